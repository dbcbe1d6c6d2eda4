//! `cargo xtask bench native` and `drops`: what capturing costs this machine.
//! The guests' test runner measures; this builds it and gives it its programs.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cache::Cache;
use crate::elevate::is_root;
use crate::repository;
use crate::tools::Tools;

/// What can be asked for.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where captures are written; they are removed again
    #[arg(long, value_name = "DIRECTORY", default_value = "/dev/shm")]
    directory: PathBuf,
    /// Where a virtual machine gives free memory back to its host: not while this runs. All of it is
    /// touched once before
    #[arg(long)]
    keep_memory: bool,
}

/// What can be asked for where frames are lost.
#[derive(clap::Args)]
pub(crate) struct DropsOptions {
    #[command(flatten)]
    options: Options,
    /// The buffer that each of them gets
    #[arg(long, value_name = "KIB", default_value_t = 2048)]
    buffer: u32,
    /// How long is sent at each rate
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    time: u32,
    /// Only frames of this length; can be given several times
    #[arg(
        long = "length",
        value_name = "BYTES",
        default_values_t = [64, 1514],
        value_parser = clap::value_parser!(u32).range(64..=9014)
    )]
    lengths: Vec<u32>,
    /// Only this rate, of both senders together; can be given several times
    #[arg(
        long = "rate",
        value_name = "FRAMES_PER_S",
        default_values_t = [100_000, 200_000, 300_000, 350_000, 400_000, 600_000, 10_000_000]
    )]
    rates: Vec<u32>,
}

/// What a captured frame costs.
pub(super) fn cost(cache: &Cache, options: &Options) -> Result<()> {
    run(cache, options, "native_cost", &[])
}

/// How many frames are lost.
pub(super) fn drops(cache: &Cache, options: &DropsOptions) -> Result<()> {
    let words = |numbers: &[u32]| {
        let words: Vec<_> = numbers.iter().map(u32::to_string).collect();
        words.join(" ")
    };
    let asked = [
        ("SKBCAP_DROPS_KIB", options.buffer.to_string()),
        ("SKBCAP_DROPS_SECONDS", options.time.to_string()),
        ("SKBCAP_DROPS_LENGTHS", words(&options.lengths)),
        ("SKBCAP_DROPS_RATES", words(&options.rates)),
    ];
    run(cache, &options.options, "native_drops", &asked)
}

/// Builds and runs a measurement, which gets `asked` as its environment.
fn run(
    cache: &Cache,
    options: &Options,
    measurement: &str,
    asked: &[(&str, String)],
) -> Result<()> {
    ensure!(
        is_root(),
        "capturing, and the network namespaces for it, need root's rights"
    );
    let tools = Tools::get(cache)?;
    crate::run::run(
        Command::new(env!("CARGO"))
            .args(["build", "--release", "--locked", "--bins"])
            .args(["-p", "skbcap", "-p", "skbcap-tests"])
            .current_dir(repository()),
    )?;
    let built = repository().join("target/release");
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = [built.clone(), tools.bin().to_owned()];
    let path = env::join_paths(directories.into_iter().chain(env::split_paths(&path)))
        .context("a path has a colon")?;
    let out = options
        .directory
        .join(format!("skbcap-bench-{}", std::process::id()));
    fs::create_dir(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let measured = crate::run::run(
        Command::new(built.join("guest"))
            .args(["run", measurement])
            .env("PATH", path)
            .envs(asked.iter().map(|(name, value)| (name, value)))
            .envs(options.keep_memory.then_some(("SKBCAP_KEEP_MEMORY", "1")))
            .env("SKBCAP_OUT", &out),
    );
    fs::remove_dir_all(&out).with_context(|| format!("cannot remove {}", out.display()))?;
    measured
}
