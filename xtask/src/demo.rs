//! `cargo xtask run`: the main job on real traffic. Of this host until Ctrl-C,
//! or with `--demo` of two network namespaces of its own, in some seconds.
//!
//! Owns what is sent in a demonstration and what is shown of it. The
//! namespaces are [`crate::stage`]'s, rights [`crate::elevate`]'s.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cache::Cache;
use crate::elevate::Elevation;
use crate::repository;
use crate::run::{output, run};
use crate::stage::{Space, Stage};

/// What is captured into unless skbcap is told otherwise.
const OUTPUT: &str = "out.pcapng";

/// Lines of a demonstration's frames that are shown.
const SHOWN: usize = 20;

/// `cargo xtask run`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Make traffic in two network namespaces of its own, capture only that, and show it
    #[arg(long)]
    demo: bool,
    /// What to tell skbcap, instead of writing out.pcapng
    #[arg(last = true, conflicts_with = "demo", value_name = "SKBCAP ARGS")]
    args: Vec<OsString>,
}

/// Builds skbcap and captures. `false`: skbcap failed, and said why.
pub(crate) fn main(cache: &Cache, options: &Options) -> Result<bool> {
    let skbcap = build()?.join("skbcap");
    if options.demo {
        Demo::run(cache, &skbcap)?.print()?;
        return Ok(true);
    }
    capture_host(&skbcap, &options.args)
}

/// Captures what this host sends, as `args` say, until Ctrl-C.
fn capture_host(skbcap: &Path, args: &[OsString]) -> Result<bool> {
    // Ctrl-C is for skbcap, which hears it too; this process goes on and says how to look.
    let _interrupted = catch(&[SIGINT])?;
    let mut command = Elevation::find(skbcap)?.while_input_lasts(skbcap);
    if args.is_empty() {
        // Opened here, so that the file is not root's.
        let out = File::create(OUTPUT).with_context(|| format!("cannot write to {OUTPUT}"))?;
        println!("capturing into {OUTPUT}: Ctrl-C ends it");
        command.args(["-w", "-"]).stdout(out);
    }
    let mut child = command.args(args).spawn().context("cannot start skbcap")?;
    // Held: closing it ends the capture, and so does this process's end.
    let input = child.stdin.take();
    let status = child.wait()?;
    drop(input);
    if status.success() && args.is_empty() {
        println!("\nopen it:        wireshark {OUTPUT}");
        println!("who sent what:  tshark -r {OUTPUT} -T fields -e frame.comment | sort | uniq -c");
    }
    Ok(status.success())
}

/// A finished demonstration.
pub(crate) struct Demo {
    /// The capture file.
    pub(crate) file: PathBuf,
    /// Its frames, in skbcap's own words.
    pub(crate) lines: Vec<String>,
    /// What skbcap said of them all.
    pub(crate) summary: Vec<String>,
}

impl Demo {
    /// Sends and captures.
    pub(crate) fn run(cache: &Cache, skbcap: &Path) -> Result<Self> {
        // What was started hears of Ctrl-C by itself; this process cleans up behind it.
        let interrupted = catch(&[SIGINT, SIGTERM])?;
        let dir = repository().join("target/demo");
        fs::create_dir_all(&dir)?;
        let (file, recording) = (dir.join("demo.pcapng"), dir.join("demo.ring"));
        let elevation = Elevation::find(skbcap)?;
        let stage = Stage::new(cache, elevation)?;
        // Made here, so that it is not root's.
        File::create(&recording)?;
        let mut command = elevation.while_input_lasts(skbcap);
        command.args(["-w", "-", "--record"]).arg(&recording);
        command.arg(format!("--netns={}", stage.here.pid()));
        let capture = Capture::start(command.stdout(File::create(&file)?))?;
        let sent = send(&stage, &actors(skbcap, &dir)?, &interrupted);
        let (status, summary) = capture.stop()?;
        if interrupted.load(Ordering::Relaxed) {
            bail!("interrupted; the namespaces and all in them are gone");
        }
        sent?;
        ensure!(status.success(), "skbcap failed: {status}");
        let mut replay = Command::new(skbcap);
        let lines = output(replay.arg("--replay").arg(recording))?;
        Ok(Self {
            file,
            lines: lines.lines().map(str::to_owned).collect(),
            summary,
        })
    }

    fn print(&self) -> Result<()> {
        println!();
        for line in self.lines.iter().take(SHOWN) {
            println!("{line}");
        }
        if self.lines.len() > SHOWN {
            println!("… and {} more", self.lines.len() - SHOWN);
        }
        println!();
        for line in &self.summary {
            println!("{line}");
        }
        let here = std::env::current_dir()?;
        let file = self.file.strip_prefix(&here).unwrap_or(&self.file);
        let file = file.display();
        println!("\nopen it:         wireshark {file}");
        println!("chronyd's only:  tshark -r {file} -Y 'frame.comment contains \"comm=chronyd \"'");
        Ok(())
    }
}

/// skbcap at work.
struct Capture {
    child: Child,
    /// Takes what it says, and gives it back at the end.
    said: thread::JoinHandle<Vec<String>>,
}

impl Capture {
    /// Starts it, and returns once it captures.
    fn start(command: &mut Command) -> Result<Self> {
        let spawned = command.stderr(Stdio::piped()).spawn();
        let mut child = spawned.context("cannot start skbcap")?;
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        for line in lines.by_ref() {
            let line = line?;
            println!("{line}");
            if line.starts_with("skbcap: listening on") {
                let said = thread::spawn(move || lines.map_while(Result::ok).collect());
                return Ok(Self { child, said });
            }
        }
        drop(child.stdin.take());
        bail!("skbcap ended before it captured: {}", child.wait()?)
    }

    /// Ends it. What it said while it captured.
    fn stop(mut self) -> Result<(ExitStatus, Vec<String>)> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        let said = self.said.join().expect("it only reads");
        Ok((status, said))
    }
}

/// Sends some of everything, one after the other: each of `stage.here`'s frames is captured.
fn send(stage: &Stage, actors: &Path, interrupted: &AtomicBool) -> Result<()> {
    let (here, there) = (&stage.here, &stage.there);
    let act = |space: &Space, words: &str| {
        ensure!(!interrupted.load(Ordering::Relaxed), "interrupted");
        let mut words = words.split(' ');
        let actor = actors.join(words.next().unwrap_or_default());
        let mut command = space.command(actor);
        command.args(words);
        Ok(command)
    };
    // A server says a line once it listens, and ends with its first visitor.
    let visit = |server: Command, mut visitor: Command| {
        let mut server = Server::start(server)?;
        output(&mut visitor)?;
        server.end()
    };
    output(&mut act(
        here,
        "resolver udp to=192.168.178.1:53 sizes=29,31",
    )?)?;
    output(&mut act(here, "chronyd udp")?)?;
    visit(
        act(there, "web-server tcp-serve at=192.168.178.1:443")?,
        act(here, "uploader tcp-send to=192.168.178.1:443 bytes=100000")?,
    )?;
    visit(
        act(here, "web-server tcp-serve at=192.168.178.24:80")?,
        act(there, "visitor tcp-send to=192.168.178.24:80 bytes=30000")?,
    )
}

/// The programs of `fixtures/`, under the names of what they play.
fn actors(skbcap: &Path, dir: &Path) -> Result<PathBuf> {
    let actors = dir.join("actors");
    fs::create_dir_all(&actors)?;
    for (name, program) in [
        ("chronyd", "chronyd"),
        ("resolver", "traffic"),
        ("uploader", "traffic"),
        ("visitor", "traffic"),
        ("web-server", "traffic"),
    ] {
        let (link, program) = (actors.join(name), skbcap.with_file_name(program));
        let _ = fs::remove_file(&link);
        symlink(&program, &link).with_context(|| format!("cannot make {}", link.display()))?;
    }
    Ok(actors)
}

/// A server that takes one visitor.
struct Server {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Server {
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        ensure!(out.read_line(&mut String::new())? > 0, "no server came up");
        Ok(Self { child, out })
    }

    fn end(&mut self) -> Result<()> {
        while self.out.read_line(&mut String::new())? > 0 {}
        ensure!(self.child.wait()?.success(), "a server failed");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its visitor never came. Does nothing to one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Builds skbcap and the programs of the demonstration as users do. Where they are.
pub(crate) fn build() -> Result<PathBuf> {
    run(Command::new("cargo").current_dir(repository()).args([
        "build",
        "--quiet",
        "--release",
        "--locked",
        "--bins",
        "--package",
        "skbcap",
        "--package",
        "fixtures",
    ]))?;
    let here = std::env::current_exe()?;
    let target = here
        .ancestors()
        .nth(2)
        .context("xtask lies in no target directory")?;
    Ok(target.join("release"))
}

/// From here on these signals are only noted.
fn catch(signals: &[i32]) -> Result<Arc<AtomicBool>> {
    let noted = Arc::new(AtomicBool::new(false));
    for &signal in signals {
        signal_hook::flag::register(signal, noted.clone())?;
    }
    Ok(noted)
}
