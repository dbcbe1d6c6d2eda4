//! Programs that run beside a test: what they say goes to files, where a test and a person can read
//! it; what is still running when the test ends is killed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// How long a program may take to say that it is ready, or to end: guests are emulated.
pub(crate) const PATIENCE: Duration = Duration::from_secs(150);
const STEP: Duration = Duration::from_millis(10);

/// Where a test leaves its files: `/out`, or `SKBCAP_OUT` when it is run on a host.
pub(crate) fn out(name: &str) -> PathBuf {
    let dir = std::env::var_os("SKBCAP_OUT").unwrap_or_else(|| "/out".into());
    Path::new(&dir).join(name)
}

/// A program that was started.
#[derive(Debug)]
pub(crate) struct Program {
    name: String,
    pub(crate) child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Program {
    /// Starts it; its output goes to `NAME.stdout` and `NAME.stderr`.
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self> {
        let (stdout, stderr) = (
            out(&format!("{name}.stdout")),
            out(&format!("{name}.stderr")),
        );
        command.stdout(File::create(&stdout)?);
        Self::start_with_stdout(name, command, stdout, stderr)
    }

    /// Starts it with a pipe for its standard output.
    pub(crate) fn start_piped(name: &str, command: &mut Command) -> Result<Self> {
        let stderr = out(&format!("{name}.stderr"));
        command.stdout(Stdio::piped());
        Self::start_with_stdout(name, command, PathBuf::new(), stderr)
    }

    fn start_with_stdout(
        name: &str,
        command: &mut Command,
        stdout: PathBuf,
        stderr: PathBuf,
    ) -> Result<Self> {
        command.stdin(Stdio::piped());
        command.stderr(File::create(&stderr)?);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            stdout,
            stderr,
        })
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard output so far.
    pub(crate) fn stdout(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.stdout)?)
    }

    /// What it wrote to standard error so far.
    pub(crate) fn stderr(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.stderr)?)
    }

    /// Waits for a line on standard error that contains `text`, and returns it.
    pub(crate) fn wait_stderr(&mut self, text: &str) -> Result<String> {
        let path = self.stderr.clone();
        self.wait_line(&path, text)
    }

    /// Waits for a line on standard output that contains `text`, and returns it.
    pub(crate) fn wait_stdout(&mut self, text: &str) -> Result<String> {
        let path = self.stdout.clone();
        self.wait_line(&path, text)
    }

    fn wait_line(&mut self, path: &Path, text: &str) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = self.child.try_wait()?;
            let said = fs::read_to_string(path)?;
            let whole = said
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            if let Some(line) = whole.map(str::trim_end).find(|line| line.contains(text)) {
                return Ok(line.to_owned());
            }
            if let Some(status) = ended {
                bail!("{} ended with {status}:\n{}", self.name, self.stderr()?);
            }
            ensure!(
                Instant::now() < deadline,
                "{} does not say {text:?}, only:\n{said}",
                self.name
            );
            sleep(STEP);
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus> {
        self.wait_for(PATIENCE)
    }

    /// Waits for its end, which must come in time.
    pub(crate) fn wait_for(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(
                Instant::now() < deadline,
                "{} does not end; it said:\n{}",
                self.name,
                self.stderr()?
            );
            sleep(STEP);
        }
    }

    /// Waits for its end, which must be a good one; what it wrote to standard output.
    pub(crate) fn finish(mut self) -> Result<String> {
        let status = self.wait()?;
        ensure!(
            status.success(),
            "{} ended with {status}:\n{}",
            self.name,
            self.stderr()?
        );
        self.stdout()
    }

    /// Has it end by SIGINT.
    pub(crate) fn interrupt(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::INT)?;
        self.wait()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail when it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
