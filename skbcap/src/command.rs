//! The command whose frames are wanted (`skbcap … -- COMMAND ARG…`): held before its first step, let
//! go once frames are taken, and waited for.
//!
//! Owns the child process. Must not know: frames, kernels, what becomes of its children.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, pidfd_open, waitpid};

use crate::privilege::User;

/// skbcap's own exit status when something went wrong that was neither the command's fault nor bad
/// usage, as `env`, `nohup` and `timeout` have it.
pub const FAILED: u8 = 125;
/// The kernel won't run what is there.
const NOT_RUN: u8 = 126;
/// What it takes to run it isn't there, such as a script's interpreter, or it has gone since it was
/// found.
const NOT_FOUND: u8 = 127;
/// To this a shell adds the number of the signal that ended a command.
const BY_SIGNAL: i32 = 128;

/// Why a command can't be run.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no such program, or it is none: nothing was done yet.
    #[error("cannot run '{}': {why}", .program.display())]
    Missing {
        /// As it was typed.
        program: PathBuf,
        /// What the kernel would say.
        why: io::Error,
    },
    /// The kernel doesn't run it, which shows only when it is to: frames were taken by then.
    #[error("cannot run '{}': {why}", .program.display())]
    Program {
        /// As it was typed.
        program: PathBuf,
        /// What the kernel says.
        why: io::Error,
    },
    /// It can't be run as who called `sudo`.
    #[error("cannot become who called sudo, to run the command")]
    User(#[source] io::Error),
    /// Nothing can be run.
    #[error("cannot start another process, to run the command")]
    Fork(#[source] io::Error),
}

impl CommandError {
    /// The exit status for it, or [`None`] if that is bad usage.
    #[must_use]
    pub fn status(&self) -> Option<u8> {
        match self {
            Self::Missing { .. } => None,
            Self::Program { why, .. } if why.kind() == io::ErrorKind::NotFound => Some(NOT_FOUND),
            Self::Program { .. } => Some(NOT_RUN),
            Self::User(_) | Self::Fork(_) => Some(FAILED),
        }
    }
}

/// What the child says of itself, if it doesn't become the command: one byte, and an error's number.
const AS_USER: u8 = 1;
const AS_COMMAND: u8 = 2;

/// A process that waits to become the command.
#[derive(Debug)]
pub struct Held {
    program: PathBuf,
    pid: Pid,
    pidfd: OwnedFd,
    line: UnixStream,
}

impl Held {
    /// Makes the process, which waits: to be called before this one has other threads, has changed
    /// anything of itself, or has opened what the command should not have. It ends by itself if this
    /// one does.
    ///
    /// Under sudo it is the caller's: user, groups, `HOME`, `USER` and `LOGNAME`.
    ///
    /// # Errors
    ///
    /// When there is no such program, or no such user, or there can be no other process.
    ///
    /// # Panics
    ///
    /// Without a word.
    pub fn new(words: &[OsString]) -> Result<Self, CommandError> {
        let (program, arguments) = words.split_first().expect("a program's name");
        let found = find(program, env::var_os("PATH").as_deref());
        let found = found.map_err(|why| CommandError::Missing {
            program: program.into(),
            why,
        })?;
        let user = User::of_sudo();
        let mut command = Command::new(found);
        command.arg0(program).args(arguments);
        if let Some(user) = &user {
            command.env("USER", &user.name).env("LOGNAME", &user.name);
            if let Some(home) = &user.home {
                command.env("HOME", home);
            }
        }
        let (line, far_end) = UnixStream::pair().map_err(CommandError::Fork)?;
        let pid = match fork().map_err(CommandError::Fork)? {
            Some(pid) => pid,
            None => become_command(far_end, line, user.as_ref(), &mut command),
        };
        let pidfd = pidfd_open(pid, PidfdFlags::empty());
        Ok(Self {
            program: program.into(),
            pid,
            pidfd: pidfd.map_err(|error| CommandError::Fork(error.into()))?,
            line,
        })
    }

    /// Its process id, which is the command's.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Has it become the command.
    ///
    /// # Errors
    ///
    /// When it couldn't.
    pub fn go(mut self) -> Result<Running, CommandError> {
        let mut said = Vec::new();
        let said = self
            .line
            .write_all(&[0])
            .and_then(|()| self.line.read_to_end(&mut said))
            .map(|_| said)
            // It was ended by a signal before: its status says so.
            .unwrap_or_default();
        let Some((&stage, number)) = said.split_first() else {
            return Ok(Running {
                pid: self.pid,
                pidfd: self.pidfd,
                status: None,
            });
        };
        let number = number.first_chunk().copied().map_or(0, i32::from_le_bytes);
        let why = io::Error::from_raw_os_error(number);
        Err(match stage {
            AS_USER => CommandError::User(why),
            _ => CommandError::Program {
                program: self.program,
                why,
            },
        })
    }
}

/// Where the program is that a shell would run. The name is looked for before anything else is done.
fn find(program: &OsStr, path: Option<&OsStr>) -> io::Result<PathBuf> {
    let not_found = || io::Error::from_raw_os_error(libc::ENOENT);
    if program.is_empty() {
        return Err(not_found());
    }
    if program.as_encoded_bytes().contains(&b'/') {
        return executable(Path::new(program)).map(|()| program.into());
    }
    let mut trouble = None;
    for directory in env::split_paths(path.unwrap_or(OsStr::new("/bin:/usr/bin"))) {
        let candidate = if directory.as_os_str().is_empty() {
            Path::new(".").join(program)
        } else {
            directory.join(program)
        };
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                trouble.get_or_insert(error);
            }
            Err(_) => {}
        }
    }
    Err(trouble.unwrap_or_else(not_found))
}

/// Whether it is a file that somebody may run; who may is the kernel's to say.
fn executable(path: &Path) -> io::Result<()> {
    let found = fs::metadata(path)?;
    if found.is_file() && found.permissions().mode() & 0o111 != 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::EACCES))
    }
}

/// The new process's id, or [`None`] in the new process.
fn fork() -> io::Result<Option<Pid>> {
    // A process of several threads has locks that nobody in its copy would open.
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("there are other threads"));
    }
    #[expect(
        unsafe_code,
        reason = "there is no safe way to start a process and hold it"
    )]
    // SAFETY: this process has one thread, as seen above, and only that one could start another:
    // so the copy is whole, and may do whatever this process may.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Pid::from_raw(pid))
}

/// The new process's way: waits for a word, and becomes the command.
fn become_command(
    mut line: UnixStream,
    far_end: UnixStream,
    user: Option<&User>,
    command: &mut Command,
) -> ! {
    // Else it would wait for itself if the other process ended.
    drop(far_end);
    let (stage, error) = match user.map_or(Ok(()), User::become_entirely) {
        Err(error) => (AS_USER, error),
        Ok(()) => {
            if !matches!(line.read(&mut [0]), Ok(1)) {
                std::process::exit(FAILED.into());
            }
            (AS_COMMAND, command.exec())
        }
    };
    let mut said = vec![stage];
    said.extend(error.raw_os_error().unwrap_or(libc::EINVAL).to_le_bytes());
    // Who should hear it may have ended.
    let _ = line.write_all(&said);
    std::process::exit(FAILED.into());
}

/// The command.
#[derive(Debug)]
pub struct Running {
    pid: Pid,
    pidfd: OwnedFd,
    status: Option<WaitStatus>,
}

impl Running {
    /// Whether it has ended, which does not wait for it.
    pub fn has_ended(&mut self) -> bool {
        self.reap(WaitOptions::NOHANG);
        self.status.is_some()
    }

    /// Passes a signal on, if it has not ended.
    pub fn signal(&mut self, signal: Signal) {
        if !self.has_ended() {
            // It may end this very moment; nobody else gets its number before it is waited for.
            let _ = rustix::process::kill_process(self.pid, signal);
        }
    }

    /// Waits for its end. What a shell would make of that.
    pub fn wait(mut self) -> ExitCode {
        while self.status.is_none() {
            self.reap(WaitOptions::empty());
        }
        let status = self.status.expect("waited for");
        let signal = || status.terminating_signal().map(|signal| BY_SIGNAL + signal);
        let code = status.exit_status().or_else(signal);
        code.and_then(|code| u8::try_from(code).ok())
            .unwrap_or(FAILED)
            .into()
    }

    fn reap(&mut self, options: WaitOptions) {
        if self.status.is_some() {
            return;
        }
        // Nothing but a signal keeps it from telling.
        if let Ok(Some((_, status))) = waitpid(Some(self.pid), options) {
            self.status = Some(status);
        }
    }
}

impl AsFd for Running {
    /// Readable once it has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_as_a_shell_finds_them() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("plain");
        fs::write(&file, "").unwrap();
        let path = env::join_paths([dir.path(), Path::new("/bin")]).unwrap();
        let find = |program: &str| find(program.as_ref(), Some(&path));
        assert_eq!(find("sh").unwrap(), Path::new("/bin/sh"));
        assert_eq!(find("/bin/sh").unwrap(), Path::new("/bin/sh"));
        let kind = |program: &str| find(program).unwrap_err().kind();
        assert_eq!(kind("plain"), io::ErrorKind::PermissionDenied);
        assert_eq!(
            kind(file.to_str().unwrap()),
            io::ErrorKind::PermissionDenied
        );
        for missing in ["", "no such program", "/no/such/program"] {
            assert_eq!(kind(missing), io::ErrorKind::NotFound);
        }
    }
}
