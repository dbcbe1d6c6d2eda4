//! Programs that capture, beside each other: started, waited for until they have written what they
//! have, ended, and asked how many frames that was.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::lab::{Space, words_of};
use crate::program::{PATIENCE, Program, out};

/// tcpdump hands over what is in its ring once a second, and what is there at its end not at all.
const QUIET: Duration = Duration::from_millis(1300);

/// Who captures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Nobody,
    Tcpdump,
    Dumpcap,
    Skbcap,
    /// By a policy that lets it run before whatever has the usual one.
    RealTimeTcpdump,
    RealTimeSkbcap,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nobody => "nobody",
            Self::Tcpdump => "tcpdump",
            Self::Dumpcap => "dumpcap",
            Self::Skbcap => "skbcap",
            Self::RealTimeTcpdump => "real-time tcpdump",
            Self::RealTimeSkbcap => "real-time skbcap",
        })
    }
}

/// One that captures, or nobody.
pub(super) struct Capturing {
    who: Who,
    program: Option<Program>,
    file: PathBuf,
}

/// Processor time of a process, all of its threads.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cpu {
    pub(super) all: Duration,
    /// Outside of the kernel; the kernel splits by samples.
    pub(super) user: Duration,
}

impl Capturing {
    /// Starts it, writing to a file, with a buffer of `kib`; it listens.
    pub(super) fn start(space: &Space, who: Who, kib: u32) -> Result<Self> {
        let (words, ready) = match who {
            Who::Nobody => (String::new(), ""),
            Who::Tcpdump | Who::RealTimeTcpdump => (
                format!("tcpdump -n -Z root -i va -B {kib} -w"),
                "listening on",
            ),
            // In MiB.
            Who::Dumpcap => (
                format!("dumpcap -q -p -i va -B {} -w", kib.div_ceil(1024)),
                "File: ",
            ),
            Who::Skbcap | Who::RealTimeSkbcap => (
                format!("skbcap --hook queue -i va -B {kib} -w"),
                "listening on",
            ),
        };
        let words = match who {
            Who::RealTimeTcpdump | Who::RealTimeSkbcap => format!("chrt --rr 1 {words}"),
            _ => words,
        };
        let file = out(&format!("{who}.captured"));
        let program = if who == Who::Nobody {
            None
        } else {
            let mut command = words_of(&words);
            let mut program = space.start(&who.to_string(), command.arg(&file))?;
            program.wait_stderr(ready)?;
            Some(program)
        };
        Ok(Self { who, program, file })
    }

    /// The process's number.
    pub(super) fn pid(&self) -> Option<u32> {
        Some(self.program.as_ref()?.child.id())
    }

    /// The processor time that it has had.
    pub(super) fn cpu(&self) -> Result<Cpu> {
        let Some(pid) = self.pid() else {
            return Ok(Cpu::default());
        };
        let mut all = Duration::ZERO;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let ns = text.split(' ').next().unwrap_or_default();
            all += Duration::from_nanos(ns.parse()?);
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // Behind the name, which may have anything in it: utime is field 14 of all, in USER_HZ,
        // which is 100 for programs on every machine.
        let (_, behind) = stat.rsplit_once(')').context("no name")?;
        let ticks = behind.split_whitespace().nth(11).context("no utime")?;
        let user = Duration::from_millis(10 * ticks.parse::<u64>()?);
        Ok(Cpu { all, user })
    }

    /// Waits until it has nothing more to do.
    pub(super) fn settle(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let (mut before, mut since) = (self.size(), Instant::now());
        while self.program.is_some() && since.elapsed() < QUIET {
            sleep(Duration::from_millis(50));
            let now = self.size();
            if now != before {
                (before, since) = (now, Instant::now());
            }
            ensure!(Instant::now() < deadline, "{} does not rest", self.who);
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        fs::metadata(&self.file).map_or(0, |file| file.len())
    }

    /// Ends it: how many frames it says that it wrote.
    pub(super) fn stop(mut self) -> Result<u64> {
        let Some(program) = &mut self.program else {
            return Ok(0);
        };
        let status = program.interrupt()?;
        let said = program.stderr()?;
        ensure!(
            status.success(),
            "{} ended with {status}:\n{said}",
            self.who
        );
        let number = match self.who {
            Who::Dumpcap => said
                .lines()
                .find_map(|line| line.trim_start().strip_prefix("Packets captured: ")),
            Who::Tcpdump | Who::RealTimeTcpdump => said
                .lines()
                .find_map(|line| line.strip_suffix(" packets captured")),
            _ => said
                .lines()
                .find_map(|line| line.strip_suffix(" frames captured")),
        };
        let number = number.with_context(|| format!("{} counted nothing:\n{said}", self.who))?;
        fs::remove_file(&self.file)?;
        Ok(number.trim().parse()?)
    }
}
