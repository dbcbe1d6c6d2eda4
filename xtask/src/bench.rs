//! `cargo xtask bench`: what parts of skbcap cost on this machine, without a
//! virtual machine. Builds and runs what measures; docs/performance.md says
//! what the figures mean.

mod native;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Subcommand;

use crate::cache::Cache;
use crate::repository;
use crate::run::run;

/// Frames' lengths whose instructions are counted.
const LENGTHS: [u32; 3] = [64, 1514, 65_549];
/// Frames of the shorter and the longer run: what both have in common cancels
/// out.
const FRAMES: [u32; 2] = [4_000, 12_000];

#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Frames from memory to a file and to /dev/null, beside a plain copy of
    /// the same bytes
    Writer {
        /// Where the files are made [default: target/bench]
        #[arg(long)]
        directory: Option<PathBuf>,
    },
    /// Instructions that skbcap executes for a frame outside of the kernel,
    /// counted by valgrind
    Instructions,
    /// The time from exec to `listening on`, and the memory that skbcap then
    /// has; in a network namespace of its own, as root
    Start {
        /// How often; the median is told
        #[arg(long, default_value_t = 21)]
        times: usize,
    },
    /// The time of skbcap's program for a frame, beside an empty one and a bare
    /// copy; the processor time of skbcap, tcpdump and dumpcap, and what they
    /// leave to the sender; as root
    Native(native::Options),
    /// Frames lost at rising rates by skbcap and by tcpdump, with equal
    /// buffers; as root
    Drops(native::DropsOptions),
}

/// Builds and measures.
pub(crate) fn main(cache: &Cache, bench: &Bench) -> Result<()> {
    match bench {
        Bench::Writer { directory } => writer(directory.clone()),
        Bench::Instructions => instructions(),
        Bench::Start { times } => start(*times),
        Bench::Native(options) => native::cost(cache, options),
        Bench::Drops(options) => native::drops(cache, options),
    }
}

fn writer(directory: Option<PathBuf>) -> Result<()> {
    let directory = directory.unwrap_or_else(scratch);
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    // cargo runs it where the crate is.
    let directory = directory
        .canonicalize()
        .context("cannot find the directory")?;
    run(cargo_bench().arg("--").arg(directory))
}

fn instructions() -> Result<()> {
    run(cargo_bench().arg("--no-run"))?;
    for len in LENGTHS {
        let [few, many] = FRAMES.map(|frames| count(len, frames));
        let each = (many? - few?) as f64 / f64::from(FRAMES[1] - FRAMES[0]);
        println!("{len:5} bytes: {each:6.0} instructions a frame");
    }
    Ok(())
}

/// Instructions of a run with so many frames, less what makes the frames.
fn count(len: u32, frames: u32) -> Result<u64> {
    fs::create_dir_all(scratch()).context("cannot create target/bench")?;
    let log = scratch().join("valgrind.log");
    let valgrind = format!(
        "valgrind --tool=callgrind --toggle-collect=*Bench*drain* --callgrind-out-file=/dev/null \
         --log-file={}",
        log.display()
    );
    let mut command = cargo_bench();
    command
        .args(["--quiet", "--", "count"])
        .args([len.to_string(), frames.to_string()])
        // As in the guest of `icount`: else each byte that one instruction copies counts as one.
        .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-ERMS,-FSRM")
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", valgrind);
    crate::run::quiet(&mut command).context("is valgrind installed?")?;
    let log = fs::read_to_string(&log).context("valgrind left no log")?;
    let collected = log.lines().find_map(|line| line.split_once("Collected : "));
    let (_, count) = collected.context("valgrind counted nothing")?;
    let count = count.trim().parse().context("valgrind counted no number")?;
    ensure!(count > 0, "valgrind found no Bench::drain to count in");
    Ok(count)
}

/// What one start took, and the memory that was there then, in KiB.
struct Start {
    until_listening: Duration,
    /// Of that, the main thread was ready to run, and another one was running.
    waited: Duration,
    all_kib: u64,
    rings_kib: u64,
}

fn start(times: usize) -> Result<()> {
    run(Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "-p", "skbcap"])
        .current_dir(repository()))?;
    let skbcap = repository().join("target/release/skbcap");
    let mut starts = (0..times.max(1))
        .map(|_| start_once(&skbcap))
        .collect::<Result<Vec<_>>>()?;
    starts.sort_by_key(|start| start.until_listening);
    let ms = |place: usize| starts[place].until_listening.as_secs_f64() * 1e3;
    let last = starts.len() - 1;
    println!(
        "exec to listening: {:.0} ms ({:.0} to {:.0} in {} starts)",
        ms(last / 2),
        ms(0),
        ms(last),
        starts.len()
    );
    starts.sort_by_key(|start| start.until_listening - start.waited);
    println!(
        "without waiting for a processor that others had: {:.0} ms",
        (starts[last / 2].until_listening - starts[last / 2].waited).as_secs_f64() * 1e3
    );
    let most = starts
        .iter()
        .max_by_key(|start| start.all_kib - start.rings_kib);
    let most = most.context("no start")?;
    println!(
        "memory: {:.1} MiB, of which the rings are {:.1} MiB, and {:.1} MiB are beside them",
        most.all_kib as f64 / 1024.0,
        most.rings_kib as f64 / 1024.0,
        (most.all_kib - most.rings_kib) as f64 / 1024.0
    );
    Ok(())
}

/// How long a process's main thread has waited for a processor.
///
/// Source: Documentation/scheduler/sched-stats.rst, `/proc/<pid>/schedstat`.
fn waited(pid: u32) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    let ns = text.split_whitespace().nth(1).context("no schedstat")?;
    Ok(Duration::from_nanos(ns.parse()?))
}

fn start_once(skbcap: &Path) -> Result<Start> {
    let begun = Instant::now();
    // It becomes skbcap, and so has its process number.
    let mut child = Command::new("unshare")
        .args(["--net", "--"])
        .arg(skbcap)
        .args(["--hook", "queue", "-w", "/dev/null"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start unshare")?;
    let mut said = String::new();
    let mut stderr = BufReader::new(child.stderr.take().context("no pipe")?);
    while !said.contains("listening on") && stderr.read_line(&mut said)? > 0 {}
    let until_listening = begun.elapsed();
    let waited = waited(child.id())?;
    // What it no longer needs it gives back once it listens.
    thread::sleep(Duration::from_millis(100));
    let pid = child.id();
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    let killed = Command::new("kill")
        .args(["-INT", &pid.to_string()])
        .status();
    stderr.read_to_string(&mut said)?;
    ensure!(
        killed?.success() && child.wait()?.success(),
        "skbcap failed:\n{said}"
    );
    let (mut all_kib, mut rings_kib, mut is_ring) = (0, 0, false);
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("Rss:"), Some(kib)) => {
                let kib: u64 = kib.parse().context("smaps of another form")?;
                all_kib += kib;
                rings_kib += if is_ring { kib } else { 0 };
            }
            (Some(range), _) if range.contains('-') => is_ring = line.ends_with("bpf-map"),
            _ => {}
        }
    }
    ensure!(rings_kib > 0, "no ring is mapped:\n{said}");
    Ok(Start {
        until_listening,
        waited,
        all_kib,
        rings_kib,
    })
}

fn cargo_bench() -> Command {
    let mut command = Command::new(env!("CARGO"));
    command
        .current_dir(repository())
        .args(["bench", "--locked", "-p", "skbcap", "--bench", "writer"]);
    command
}

fn scratch() -> PathBuf {
    repository().join("target/bench")
}
