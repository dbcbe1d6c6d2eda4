//! `cargo xtask bench`: what parts of skbcap cost on this machine, without a
//! virtual machine. Builds and runs what measures; docs/performance.md says
//! what the figures mean.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Subcommand;

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
}

/// Builds and measures.
pub(crate) fn main(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Writer { directory } => writer(directory.clone()),
        Bench::Instructions => instructions(),
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
