//! SIGINT and SIGTERM: the first asks for a clean end, the second ends at once. SIGHUP, SIGUSR1 and
//! SIGUSR2 ask for something else.
//!
//! The second is obeyed inside the handler, so it works while the main thread is stuck in a write
//! to a full pipe. SIGPIPE is ignored by Rust's runtime before `main`: a closed pipe is an error
//! of the write that meets it ([`std::io::ErrorKind::BrokenPipe`]). So is a file that reaches its
//! limit (`ulimit -f`), which SIGXFSZ would kill for.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::{flag, low_level::pipe};

/// A signal that asks for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP: the terminal is gone, or another file is wanted.
    Hangup,
    /// SIGUSR1: the counts are wanted.
    Counts,
    /// SIGUSR2: what was taken is wanted in the file.
    Flush,
}

/// All of them, by number; those that end the capture come first.
const SIGNALS: [(i32, Signal); 5] = [
    (SIGINT, Signal::Interrupt),
    (SIGTERM, Signal::Terminate),
    (SIGHUP, Signal::Hangup),
    (SIGUSR1, Signal::Counts),
    (SIGUSR2, Signal::Flush),
];

/// The handlers, and a socket that becomes readable once one of them ran.
///
/// The handlers stay for the rest of the process, as does the promise about a second signal.
#[derive(Debug)]
pub struct Signals {
    wake: UnixStream,
    /// From now on SIGINT ends at once.
    interrupt_ends: Arc<AtomicBool>,
    /// Which of [`SIGNALS`] came.
    came: [Arc<AtomicBool>; SIGNALS.len()],
}

impl Signals {
    /// Installs the handlers. To be called once. `beside_a_command`: SIGINT and SIGQUIT, which a
    /// terminal sends to a command too, are the command's, until [`Signals::command_ended`].
    ///
    /// # Errors
    ///
    /// When the process can't have another socket pair.
    pub fn install(beside_a_command: bool) -> io::Result<Self> {
        let (wake, sender) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let came = SIGNALS.map(|_| Arc::new(AtomicBool::new(false)));
        let asked = Arc::new(AtomicBool::new(false));
        let interrupt_ends = Arc::new(AtomicBool::new(false));
        if beside_a_command {
            flag::register_conditional_shutdown(SIGINT, 128 + SIGINT, Arc::clone(&interrupt_ends))?;
            flag::register_conditional_shutdown(
                SIGQUIT,
                128 + SIGQUIT,
                Arc::clone(&interrupt_ends),
            )?;
        }
        for signal in [SIGINT, SIGTERM] {
            if beside_a_command && signal == SIGINT {
                continue;
            }
            // A signal's actions run in the order of their registration: the exit looks whether
            // an earlier signal asked, and only then does this one ask.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&asked))?;
            flag::register(signal, Arc::clone(&asked))?;
        }
        for ((signal, _), came) in SIGNALS.iter().zip(&came) {
            // Whoever ignores it (nohup) wants to go on without a terminal.
            if *signal == SIGHUP && is_ignored(*signal) {
                continue;
            }
            flag::register(*signal, Arc::clone(came))?;
            pipe::register(*signal, sender.try_clone()?)?;
        }
        flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
        Ok(Self {
            wake,
            interrupt_ends,
            came,
        })
    }

    /// SIGINT and SIGQUIT are nobody else's any more.
    pub fn command_ended(&self) {
        self.interrupt_ends.store(true, Ordering::SeqCst);
    }

    /// A signal that came and was not told of yet, if one did. Does not wait.
    pub fn pending(&mut self) -> Option<Signal> {
        // Emptied first: what comes meanwhile wakes again.
        let mut bytes = [0u8; 16];
        while matches!(self.wake.read(&mut bytes), Ok(16)) {}
        SIGNALS
            .iter()
            .zip(&self.came)
            .find_map(|((_, signal), came)| came.swap(false, Ordering::SeqCst).then_some(*signal))
    }
}

#[expect(unsafe_code, reason = "a system call that only asks")]
fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action it only writes the present one, to room for one.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: all zeroes is a value of the type, and what the call writes is another.
    asked == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

impl AsFd for Signals {
    /// Readable once a signal came.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    /// Not a test: what the test below runs in a process of its own.
    #[test]
    #[ignore = "ends its process by a signal"]
    fn child_is_stuck_in_a_write() {
        let mut signals = Signals::install(false).unwrap();
        assert_eq!(signals.pending(), None);
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert_eq!(signals.pending(), Some(Signal::Terminate));
        assert_eq!(signals.pending(), None);
        for signal in [SIGUSR2, SIGHUP, SIGUSR1, SIGHUP] {
            signal_hook::low_level::raise(signal).unwrap();
        }
        for signal in [Signal::Hangup, Signal::Counts, Signal::Flush] {
            assert_eq!(signals.pending(), Some(signal));
        }
        assert_eq!(signals.pending(), None);
        let (mut full, _unread) = UnixStream::pair().unwrap();
        std::thread::spawn(|| {
            std::thread::sleep(Duration::from_millis(200));
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::INT).unwrap();
        });
        loop {
            full.write_all(&[0; 4096]).unwrap();
        }
    }

    #[test]
    fn a_second_signal_ends_a_stuck_process() {
        let status = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--ignored",
                "signals::tests::child_is_stuck_in_a_write",
            ])
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(130));
    }
}
