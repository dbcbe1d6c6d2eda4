//! tcpdump's command lines that capture, with tcpdump replaced by skbcap: `capturing.txt` lists them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use skbcap::diff::Capture;

use crate::beside::LAST_BLOCK;
use crate::expressions::{AT_ONCE, Frame, PROGRAM, send_all};
use crate::lab::{Pair, Space, words_of};
use crate::program::{Program, out};

/// One program with one of the lines, in a directory of its own.
struct Run {
    program: Program,
    directory: PathBuf,
}

/// What it left.
struct Left {
    status: Option<i32>,
    /// `N packets captured`, or `N frames captured`.
    captured: Option<u64>,
    /// Its files' names, and the frames of each.
    files: Vec<(String, Vec<Frame>)>,
    said: String,
}

impl Run {
    /// Starts `line` with other words in place of `tcpdump`.
    fn start(space: &Space, name: &str, line: &str, program: &str) -> Result<Self> {
        let directory = out(name);
        fs::create_dir_all(&directory)?;
        let rest = line.strip_prefix("tcpdump").context("not tcpdump's")?;
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("exec {program}{rest}"));
        // A skbcap that says who sends takes longer to start, and captures nothing else.
        shell
            .current_dir(&directory)
            .env("SKBCAP_ATTRIBUTION", "none");
        Ok(Self {
            program: space.start(name, &mut shell)?,
            directory,
        })
    }

    /// Waits until it listens, or ends.
    fn listen(&mut self) -> Result<()> {
        while self.program.is_running()? && !self.program.stderr()?.contains("listening on") {
            sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn stop(mut self) -> Result<Left> {
        if self.program.is_running()? {
            self.program.signal(Signal::INT)?;
        }
        let status = self.program.wait()?.code();
        let said = self.program.stderr()?;
        let captured = said.lines().find_map(|line| {
            let (count, what) = line.split_once(' ')?;
            let is_it = what.starts_with("packet") || what.starts_with("frame");
            (is_it && what.ends_with("captured")).then(|| count.parse().ok())?
        });
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let bytes = fs::read(entry.path())?;
            let capture = Capture::read(&bytes)?;
            ensure!(capture.trouble.is_none(), "{:?}", capture.trouble);
            let frames = capture.frames.iter();
            let frames = frames.map(|frame| (frame.len, frame.data.to_vec()));
            let name = entry.file_name().to_string_lossy().into_owned();
            files.push((name, frames.collect()));
        }
        files.sort();
        fs::remove_dir_all(&self.directory)?;
        Ok(Left {
            status,
            captured,
            files,
            said,
        })
    }
}

/// More than a megabyte, so that `-C 1` begins another file; both protocols, and every kind of frame.
fn send(pair: &Pair) -> Result<()> {
    let mut server = pair
        .b
        .start("server", &mut words_of("traffic tcp-serve at=10.0.0.2:80"))?;
    server.wait_stdout("listening")?;
    pair.a
        .sh("traffic udp to=10.0.0.2:9 sizes=1,100,1000,1400 count=400")?;
    pair.a
        .sh("traffic udp to=10.0.0.2:99 sizes=1400,1200 count=400")?;
    pair.a.sh("traffic tcp-send to=10.0.0.2:80 bytes=20000")?;
    server.finish()?;
    send_all(&pair.a, "va", skbcap_tests::frames::ETHERNET)
}

/// All frames of a run's files, in the order of their bytes.
fn all_frames(left: &Left) -> Vec<&Frame> {
    let mut all: Vec<&Frame> = left.files.iter().flat_map(|(_, frames)| frames).collect();
    all.sort();
    all
}

fn judge(line: &str, theirs: &Left, ours: &Left) -> Result<()> {
    let wanted = match theirs.status {
        Some(1) => Some(2),
        other => other,
    };
    ensure!(
        ours.status == wanted,
        "{:?}, tcpdump: {:?}\n{}\n{}",
        ours.status,
        theirs.status,
        ours.said,
        theirs.said
    );
    if wanted == Some(2) {
        let caret = ours.said.contains("can't parse filter expression");
        let lines = ours.said.lines().count();
        ensure!(lines == if caret { 3 } else { 1 }, "{}", ours.said);
        ensure!(ours.files.is_empty(), "a file was made");
        return Ok(());
    }
    // `-D` and its like count nothing.
    ensure!(
        theirs.captured.is_none() || theirs.said.contains("\n0 packets dropped by kernel"),
        "tcpdump lost some:\n{}",
        theirs.said
    );
    ensure!(
        ours.captured == theirs.captured,
        "{:?} captured, tcpdump: {:?}\n{}\n{}",
        ours.captured,
        theirs.captured,
        ours.said,
        theirs.said
    );
    // With a size, blocks of pcapng fill a file sooner than records of pcap.
    if !line.contains(" -C ") {
        let names = |left: &Left| -> Vec<String> {
            left.files.iter().map(|(name, _)| name.clone()).collect()
        };
        ensure!(names(ours) == names(theirs), "{:?}", names(ours));
    }
    let (mine, others) = (all_frames(ours), all_frames(theirs));
    ensure!(
        mine == others,
        "{} frames in {} files, tcpdump: {} in {}, or others",
        mine.len(),
        ours.files.len(),
        others.len(),
        theirs.files.len()
    );
    println!(
        "{line}: {:?}, {:?} captured, {} in {} files",
        ours.status,
        ours.captured,
        mine.len(),
        ours.files.len()
    );
    Ok(())
}

/// The same status, the same frames, the same files as `tcpdump -Q out`.
pub(crate) fn invocations() -> Result<()> {
    let pair = Pair::new("invocations")?;
    let all = include_str!("../../../tests/tcpdump/capturing.txt").lines();
    let lines: Vec<&str> = all.filter(|line| !line.starts_with('#')).collect();
    let mut captured = 0;
    for chunk in lines.chunks(AT_ONCE) {
        let mut runs = Vec::new();
        for (number, line) in chunk.iter().enumerate() {
            let start = |name: &str, program: &str| {
                Run::start(&pair.a, &format!("{name}-{number}"), line, program)
            };
            // Debian's drops privileges to a user who has no business here. Its own buffer holds less
            // than is sent; skbcap's holds more.
            let user = if line.contains("-Z ") { "" } else { " -Z root" };
            let theirs = start("tcpdump", &format!("tcpdump -Q out -B 16384{user}"))?;
            runs.push((line, theirs, start("skbcap", PROGRAM)?));
        }
        for (_, theirs, ours) in &mut runs {
            theirs.listen()?;
            ours.listen()?;
        }
        send(&pair)?;
        // Once for its ring, and once for the lines that it prints.
        sleep(2 * LAST_BLOCK);
        for (line, theirs, ours) in runs {
            let (theirs, ours) = (theirs.stop()?, ours.stop()?);
            judge(line, &theirs, &ours).with_context(|| line.to_owned())?;
            captured += usize::from(ours.captured > Some(0));
        }
    }
    ensure!(captured >= 25, "only {captured} captured anything");
    Ok(())
}
