//! skbcap as a user runs it: started, waited for, ended, its summary read.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use skbcap_tests::capture::{self, Capture};

use crate::lab::Space;
use crate::program::{Program, out};

/// Where frames are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Kprobe,
    Queue,
    Xmit,
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kprobe => "kprobe",
            Self::Queue => "queue",
            Self::Xmit => "xmit",
        })
    }
}

impl Hook {
    /// The hooks that this kernel has: one without kprobes has no list of them.
    pub(crate) fn all() -> Vec<Self> {
        if has_kprobes() {
            vec![Self::Kprobe, Self::Queue]
        } else {
            vec![Self::Queue]
        }
    }

    /// The same, and the place where tcpdump listens.
    pub(crate) fn with_xmit() -> Vec<Self> {
        let mut all = Self::all();
        all.push(Self::Xmit);
        all
    }
}

/// Whether the kernel has kprobes.
pub(crate) fn has_kprobes() -> bool {
    ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
        .iter()
        .any(|dir| fs::exists(format!("{dir}/kprobe_events")).unwrap_or(false))
}

/// One that was started.
pub(crate) struct Skbcap {
    pub(crate) program: Program,
    /// The line that says that it listens.
    pub(crate) listening: String,
    /// Its file, when it writes one.
    pub(crate) file: PathBuf,
}

/// What it left.
#[derive(Debug)]
pub(crate) struct Done {
    /// Standard error.
    pub(crate) said: String,
    /// The file, read and checked.
    pub(crate) capture: Capture,
}

/// Runs `skbcap verify` on a file, which must find that it adds up.
pub(crate) fn verify(file: &Path) -> Result<()> {
    let mut command = Command::new("skbcap");
    let output = command.arg("verify").arg(file).output()?;
    ensure!(
        output.status.success(),
        "skbcap verify: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// The command, with debugging aids off.
pub(crate) fn command(words: &str) -> Command {
    let mut command = Command::new("skbcap");
    command.args(words.split_whitespace());
    command
}

impl Skbcap {
    /// Starts it in a namespace with a file `NAME.pcapng`; it need not listen yet.
    pub(crate) fn launch(space: &Space, name: &str, words: &str) -> Result<Self> {
        Self::launch_with(space, name, &mut command(words))
    }

    /// As [`Skbcap::launch`], of a command that has no `-w` yet.
    pub(crate) fn launch_with(space: &Space, name: &str, command: &mut Command) -> Result<Self> {
        let file = out(&format!("{name}.pcapng"));
        command.arg("-w").arg(&file);
        Ok(Self {
            program: space.start(&format!("skbcap-{name}"), command)?,
            listening: String::new(),
            file,
        })
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start(space: &Space, name: &str, words: &str) -> Result<Self> {
        Self::launch(space, name, words)?.listen()
    }

    /// Waits until it listens.
    pub(crate) fn listen(mut self) -> Result<Self> {
        self.listening = self.program.wait_stderr("skbcap: listening on")?;
        ensure!(
            self.listening.starts_with("skbcap: listening on"),
            "{}",
            self.listening
        );
        Ok(self)
    }

    /// Ends it by SIGINT, which is a good end, and reads what it left.
    pub(crate) fn stop(self) -> Result<Done> {
        self.program.signal(Signal::INT)?;
        self.finish()
    }

    /// Waits for its own good end, and reads what it left.
    pub(crate) fn finish(mut self) -> Result<Done> {
        let status = self.program.wait()?;
        let said = self.program.stderr()?;
        ensure!(status.success(), "skbcap ended with {status}:\n{said}");
        verify(&self.file)?;
        let capture = capture::read_pcapng(&self.file)?;
        let done = Done { said, capture };
        ensure!(
            done.count("frames captured")? == done.capture.packets.len() as u64,
            "{} packets in the file, but:\n{}",
            done.capture.packets.len(),
            done.said
        );
        Ok(done)
    }
}

impl Done {
    /// `N` of the line `N WHAT` at the end.
    pub(crate) fn count(&self, what: &str) -> Result<u64> {
        self.count_or_untold(what)?
            .with_context(|| format!("no count of {what}:\n{}", self.said))
    }

    /// The same of a line that is there only when there is something to count.
    pub(crate) fn count_or_none(&self, what: &str) -> Result<u64> {
        if self.said.contains(what) {
            self.count(what)
        } else {
            Ok(0)
        }
    }

    /// The same of a count that this kernel may not keep.
    fn count_or_untold(&self, what: &str) -> Result<Option<u64>> {
        let mut lines = self.said.lines().filter(|line| line.contains(what));
        let line = lines.next();
        let line = line.with_context(|| format!("nothing about {what}:\n{}", self.said))?;
        ensure!(lines.next().is_none(), "more than one line of {what}");
        let number = line.split(' ').next().unwrap_or_default();
        Ok(number.parse().ok())
    }

    /// What became of the frames that the kernel did not hand to the hook.
    pub(crate) fn misses(&self) -> Result<Misses> {
        if !self.said.contains("missed by both") {
            return Ok(Misses::default());
        }
        Ok(Misses {
            caught: self.count("missed by the kprobe and seen by its net")?,
            lost: self.count_or_untold("missed by both")?,
            doubtful: self.count_or_none("in doubt")?,
        })
    }
}

/// Frames that the kprobe missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Misses {
    /// The net took them.
    pub(crate) caught: u64,
    /// It missed them too; `None` where the kernel doesn't tell.
    pub(crate) lost: Option<u64>,
    /// They may be missing, or be there twice.
    pub(crate) doubtful: u64,
}

impl fmt::Display for Misses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            caught,
            lost,
            doubtful,
        } = self;
        write!(
            f,
            "{caught} caught by the net, {lost:?} lost, {doubtful} in doubt"
        )
    }
}
