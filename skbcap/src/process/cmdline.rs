//! The command line of a process, while that is provably still the one that was told of.
//!
//! `/proc` answers for whoever has the number now, and tells when that process was started, in ticks of
//! 10 ms. One that has the number after another began after that one was last heard of: so if that was
//! in a later tick than its start, a process with the same start is the same one. Else nothing is said.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::time::{ClockId, clock_gettime};
use skbcap_common::process::{EXE_LEN, Event};

/// Bytes of a command line that are kept.
const MOST: u64 = 1024;

/// A tick of `/proc`, on every architecture that skbcap runs on.
const TICK_NS: u64 = 10_000_000;

/// The inode numbers of the first namespaces (include/linux/proc_ns.h).
const FIRST_PID: u64 = 0xEFFF_FFFC;
const FIRST_TIME: u64 = 0xEFFF_FFFA;

/// Asks for command lines.
#[derive(Debug)]
pub(super) struct CommandLines {
    /// `CLOCK_BOOTTIME` less `CLOCK_MONOTONIC` at the start: it only grows.
    offset_ns: u64,
    /// Whether numbers and times mean here what they mean to the kernel side.
    is_first: bool,
}

impl CommandLines {
    pub(super) fn new() -> Self {
        let now = |clock| {
            let now = clock_gettime(clock);
            now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
        };
        // In this order, so that it is never too much.
        let boot = now(ClockId::Boottime);
        Self {
            offset_ns: boot.saturating_sub(now(ClockId::Monotonic)),
            is_first: is_first(),
        }
    }

    /// The words of the process that an event is about, each but the last ended by a NUL byte; empty
    /// where it can't be shown that they are its. `program` is the name of its program.
    pub(super) fn of(&self, event: &Event, program: &[u8]) -> Vec<u8> {
        let heard_ns = event.time_ns + self.offset_ns;
        if !self.is_first || program.is_empty() || !tells_apart(event.start_ns, heard_ns) {
            return Vec::new();
        }
        ask(event, program).unwrap_or_default()
    }
}

/// Whether the start of any process that has the number next is another one, in ticks.
fn tells_apart(start_ns: u64, heard_ns: u64) -> bool {
    heard_ns / TICK_NS > start_ns / TICK_NS
}

fn ask(event: &Event, program: &[u8]) -> Option<Vec<u8>> {
    // It stays this process's, and what is in it can't be opened once that is gone.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let path = format!("/proc/{}", event.tgid);
    let process = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    let stat = read(&process, "stat", u64::MAX)?;
    if started(&stat)? != event.start_ns / TICK_NS {
        return None;
    }
    let mut line = read(&process, "cmdline", MOST)?;
    // It may be another program by now. Its file may lie in layers and have other numbers.
    let exe = rustix::fs::readlinkat(&process, "exe", Vec::new()).ok()?;
    if !is_of(exe.to_bytes(), program) {
        return None;
    }
    if line.last() == Some(&0) {
        line.pop();
    }
    Some(line)
}

fn read(process: impl AsFd, name: &str, most: u64) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file: OwnedFd = rustix::fs::openat(process, name, flags, Mode::empty()).ok()?;
    let mut bytes = Vec::new();
    fs::File::from(file)
        .take(most)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(bytes)
}

/// When a process was started, in ticks: field 22 of its `stat`. Its name, the second, may hold anything.
fn started(stat: &[u8]) -> Option<u64> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let behind = str::from_utf8(&stat[end + 1..]).ok()?;
    behind.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Whether a path is that of a program of this name.
fn is_of(path: &[u8], program: &[u8]) -> bool {
    let last = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
    let last = last.strip_suffix(b" (deleted)").unwrap_or(last);
    // One that fills its place was longer.
    last == program || program.len() == EXE_LEN - 1 && last.starts_with(program)
}

/// Whether this process counts processes and time as the kernel side does, and `/proc` likewise.
fn is_first() -> bool {
    let is = |name, first| {
        fs::metadata(Path::new("/proc/self/ns").join(name)).map(|found| found.ino() == first)
    };
    let pid = is("pid", FIRST_PID).unwrap_or(false);
    let time = match is("time", FIRST_TIME) {
        Ok(is_first) => is_first,
        // A kernel that has none of those.
        Err(error) => error.kind() == ErrorKind::NotFound,
    };
    let me = PathBuf::from(std::process::id().to_string());
    pid && time && fs::read_link("/proc/self").is_ok_and(|path| path == me)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};
    use std::thread::sleep;
    use std::time::{Duration, Instant};
    use zerocopy::FromZeros;

    /// A process that waits, as the kernel side would tell of it; that knows its start in full, and it
    /// is somewhere in the tick that `/proc` names.
    fn waiting(words: &[&str]) -> (Waiting, Event) {
        let mut command = Command::new("sleep");
        let child = Waiting(command.args(words).spawn().unwrap());
        let mut event = Event::new_zeroed();
        event.tgid = child.0.id();
        let stat = fs::read(format!("/proc/{}/stat", event.tgid)).unwrap();
        event.start_ns = started(&stat).unwrap() * TICK_NS + TICK_NS / 2;
        // It is another program than this one from some moment on, and has its words a bit later.
        let deadline = Instant::now() + Duration::from_secs(60);
        let words = format!("/proc/{}/cmdline", event.tgid);
        while !fs::read(&words).unwrap().starts_with(b"sleep\0") {
            assert!(Instant::now() < deadline);
            sleep(Duration::from_millis(2));
        }
        (child, event)
    }

    /// A process that ends with this.
    struct Waiting(Child);

    impl Drop for Waiting {
        fn drop(&mut self) {
            self.0.kill().expect("it is a child of ours");
            self.0.wait().expect("it is a child of ours");
        }
    }

    /// Where one program is all of them, `sleep` is a link to it.
    fn program() -> String {
        let paths = std::env::var_os("PATH").unwrap();
        let mut found = std::env::split_paths(&paths).map(|path| path.join("sleep"));
        let path = found.find(|path| path.exists()).unwrap();
        let path = fs::canonicalize(path).unwrap();
        path.file_name().unwrap().to_str().unwrap().to_owned()
    }

    fn first() -> CommandLines {
        CommandLines {
            is_first: true,
            ..CommandLines::new()
        }
    }

    #[test]
    fn words_are_those_of_the_very_process() {
        let (child, mut event) = waiting(&["98", "0.5"]);
        let lines = first();
        let (program, words) = (program(), b"sleep\x0098\x000.5");
        event.time_ns = event.start_ns + TICK_NS - lines.offset_ns;
        assert_eq!(lines.of(&event, program.as_bytes()), words);
        // Heard of in the tick of its start: the next one might have begun there too.
        let early = Event {
            time_ns: event.start_ns - lines.offset_ns,
            ..event
        };
        assert_eq!(lines.of(&early, program.as_bytes()), b"");
        // Another process with its number, another program, other namespaces.
        let other = Event {
            start_ns: event.start_ns - TICK_NS,
            ..event
        };
        assert_eq!(lines.of(&other, program.as_bytes()), b"");
        assert_eq!(lines.of(&event, b"other"), b"");
        let elsewhere = CommandLines {
            is_first: false,
            ..lines
        };
        assert_eq!(elsewhere.of(&event, program.as_bytes()), b"");
        drop(child);
        assert_eq!(first().of(&event, program.as_bytes()), b"");
    }

    #[test]
    fn a_long_one_is_cut() {
        let long = "1".repeat(5000);
        let (_child, mut event) = waiting(&["98", &long]);
        let lines = first();
        event.time_ns = event.start_ns + TICK_NS - lines.offset_ns;
        let words = lines.of(&event, program().as_bytes());
        assert_eq!(words.len() as u64, MOST);
        assert!(words.starts_with(b"sleep\x0098\x00111"));
    }

    #[test]
    fn names_do_not_hide_the_start() {
        let stat = b"7 (a) b (c) S 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 2";
        assert_eq!(started(stat), Some(4711));
        assert_eq!(started(b"7 (a) S 1"), None);
        assert_eq!(started(b""), None);
    }

    #[test]
    fn a_program_is_known_by_its_name() {
        assert!(is_of(b"/bin/a", b"a") && is_of(b"/bin/a (deleted)", b"a"));
        assert!(!is_of(b"/bin/ab", b"a") && !is_of(b"/a/b", b"a"));
        let long = [b'x'; EXE_LEN - 1];
        assert!(is_of(&[b"/", &long[..], b"y"].concat(), &long));
    }
}
