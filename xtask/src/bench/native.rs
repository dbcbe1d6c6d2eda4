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
}

/// Builds and runs a measurement.
pub(super) fn run(cache: &Cache, options: &Options, measurement: &str) -> Result<()> {
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
            .env("SKBCAP_OUT", &out),
    );
    fs::remove_dir_all(&out).with_context(|| format!("cannot remove {}", out.display()))?;
    measured
}
