//! SIGINT and SIGTERM: the first asks for a clean end, the second ends at once.
//!
//! The second is obeyed inside the handler, so it works while the main thread is stuck in a write
//! to a full pipe. SIGPIPE is ignored by Rust's runtime before `main`: a closed pipe is an error
//! of the write that meets it ([`std::io::ErrorKind::BrokenPipe`]). So is a file that reaches its
//! limit (`ulimit -f`), which SIGXFSZ would kill for.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::{flag, low_level::pipe};

/// A signal that asks for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

/// The handlers, and a socket that becomes readable once one of them ran.
///
/// The handlers stay for the rest of the process, as does the promise about a second signal.
#[derive(Debug)]
pub struct Signals {
    wake: UnixStream,
    /// The number of the signal that came last.
    number: Arc<AtomicUsize>,
}

impl Signals {
    /// Installs the handlers. To be called once.
    ///
    /// # Errors
    ///
    /// When the process can't have another socket pair.
    pub fn install() -> io::Result<Self> {
        let (wake, sender) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let number = Arc::new(AtomicUsize::new(0));
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // A signal's actions run in the order of their registration: the exit looks whether
            // an earlier signal asked, and only then does this one ask.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&asked))?;
            flag::register(signal, Arc::clone(&asked))?;
            flag::register_usize(signal, Arc::clone(&number), signal.unsigned_abs() as usize)?;
            pipe::register(signal, sender.try_clone()?)?;
        }
        flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
        Ok(Self { wake, number })
    }

    /// The signal that came since the last call, if one did. Does not wait.
    pub fn pending(&mut self) -> Option<Signal> {
        let mut bytes = [0u8; 16];
        match self.wake.read(&mut bytes) {
            Ok(1..) => match i32::try_from(self.number.load(Ordering::SeqCst)) {
                Ok(SIGINT) => Some(Signal::Interrupt),
                _ => Some(Signal::Terminate),
            },
            _ => None,
        }
    }
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
        let mut signals = Signals::install().unwrap();
        assert_eq!(signals.pending(), None);
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert_eq!(signals.pending(), Some(Signal::Terminate));
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
