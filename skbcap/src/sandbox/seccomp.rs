//! The system calls that a capture is refused once it listens.
//!
//! Those that it has no use for are named, and all others are left alone: the C library makes other
//! ones with each version, and the first that were missing in a list of those allowed would end the
//! capture.
//!
//! Owns the filter. Must not know what is written where, and why.

mod refused;

use std::fmt;
use std::io;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch,
};

/// What came of entering it.
#[derive(Debug)]
pub struct Confined(Result<(), io::Error>);

impl Confined {
    /// Whether anything is forbidden.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.0.is_ok()
    }
}

impl fmt::Display for Confined {
    /// One line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Ok(()) => write!(f, "the sandbox (seccomp) forbids: {}", refused::in_words()),
            Err(error) => write!(f, "no sandbox by seccomp: {error}"),
        }
    }
}

/// Has the kernel refuse, for good, what its list names: to all threads of this process, and to those
/// that come. With it go the ways to new privileges (`no_new_privs`).
///
/// What is open stays so, and processes that were started before are not touched. A call by the numbers
/// of a 32-bit program ends the process.
pub fn enter() -> Confined {
    let install = || {
        rustix::thread::set_no_new_privs(true)?;
        // Where the second one fails, nothing has changed that anybody would notice.
        for program in [thread_starts(), all_else()] {
            install(&program.map_err(io::Error::other)?)?;
        }
        Ok(())
    };
    Confined(install())
}

/// `clone3` hides from a filter what it is to make, a process or a thread. The C library takes `clone`
/// where there is none.
fn thread_starts() -> Result<BpfProgram, BackendError> {
    program([(libc::SYS_clone3, Vec::new())], libc::ENOSYS)
}

fn all_else() -> Result<BpfProgram, BackendError> {
    program(refused::rules()?, libc::EPERM)
}

fn program(
    rules: impl IntoIterator<Item = (libc::c_long, Vec<SeccompRule>)>,
    answer: libc::c_int,
) -> Result<BpfProgram, BackendError> {
    let filter = SeccompFilter::new(
        rules.into_iter().collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(answer.cast_unsigned()),
        TargetArch::x86_64,
    )?;
    filter.try_into()
}

/// Not by `seccompiler::apply_filter_all_threads`, which has no `SPEC_ALLOW`: without it, kernels before
/// Linux 5.16 take branch prediction and the like away from whoever has a filter, because it might run
/// the code of others. skbcap runs none, and would read its rings slower.
#[expect(unsafe_code, reason = "no crate at hand has this call with its flags")]
fn install(program: &BpfProgram) -> io::Result<()> {
    let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let described = libc::sock_fprog {
        len: program.len().try_into().map_err(too_long)?,
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: the call reads the description and as many instructions as that says, and keeps neither.
    // Both are alive. The crate's instructions are laid out as the C library's, `repr(C)` with the same
    // fields, because they are given to the same call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            &raw const described,
        )
    };
    match result {
        0 => Ok(()),
        thread @ 1.. => Err(io::Error::other(format!(
            "thread {thread} has a filter of its own"
        ))),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests;
