//! Running skbcap with the rights it needs: as it is where that is enough, else
//! under the program that this machine has for it. Nothing else is elevated
//! that need not be; cargo and the build never are.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// Programs that run another one as root, the likeliest first.
const PROGRAMS: [&str; 3] = ["sudo", "doas", "pkexec"];

/// Runs its arguments until they end, or until its own input does.
const WHILE_INPUT_LASTS: &str = "exec 3<&0
(cat <&3; kill -TERM $$) >/dev/null 2>&1 &
exec \"$@\" </dev/null 3<&-";

/// What stands before a command that needs root's rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Elevation(Option<&'static str>);

impl Elevation {
    /// What `skbcap` needs here: nothing for root, and nothing where skbcap itself says that it
    /// can capture as it is (`setcap`).
    pub(crate) fn find(skbcap: &Path) -> Result<Self> {
        if is_root() || can_capture(skbcap) {
            return Ok(Self(None));
        }
        let found = PROGRAMS.into_iter().find(|program| in_path(program));
        let Some(program) = found else {
            bail!(
                "capturing needs root's rights here, and there is none of {}: run '{}' as root, \
                 or give it the capabilities that it names when it is run without them",
                PROGRAMS.join(", "),
                skbcap.display()
            );
        };
        println!("skbcap runs under {program}: capturing needs root's rights here");
        Ok(Self(Some(program)))
    }

    /// `program`, with the rights found.
    pub(crate) fn command(self, program: impl AsRef<OsStr>) -> Command {
        match self.0 {
            None => Command::new(program),
            Some(elevator) => {
                let mut command = Command::new(elevator);
                command.arg(program);
                command
            }
        }
    }

    /// `program`, with the rights found, which is ended by SIGTERM once the pipe at its input
    /// closes: a signal of ours may not reach a process of root's, and if we are killed there is
    /// none.
    pub(crate) fn while_input_lasts(self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.command("sh");
        command.args(["-c", WHILE_INPUT_LASTS, "sh"]).arg(program);
        command.stdin(Stdio::piped());
        command
    }
}

/// Whether this process is root's, by the owner of what stands for it.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Whether a program of this name can be found.
pub(crate) fn in_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn can_capture(skbcap: &Path) -> bool {
    let mut command = Command::new(skbcap);
    command.arg("--check");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_program_ends_with_the_pipe_at_its_input() {
        let mut command = Elevation::default().while_input_lasts("sleep");
        let mut child = command.arg("60").spawn().unwrap();
        drop(child.stdin.take());
        assert_eq!(child.wait().unwrap().signal(), Some(15));
    }

    #[test]
    fn a_program_that_ends_by_itself_keeps_its_status() {
        let mut command = Elevation::default().while_input_lasts("sh");
        let mut child = command.args(["-c", "exit 3"]).spawn().unwrap();
        let input = child.stdin.take();
        assert_eq!(child.wait().unwrap().code(), Some(3));
        drop(input);
    }
}
