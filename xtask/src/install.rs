//! `cargo xtask install`: skbcap where a system looks for programs, with its man pages and
//! completions, which are made of the command line's own definition.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::repository;
use crate::run::run;

/// `cargo xtask install`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Install below this directory
    #[arg(long, default_value = "/usr/local")]
    prefix: PathBuf,
}

/// What is made, and where it goes below the prefix.
const PAGES: [(&str, &str); 6] = [
    ("skbcap.8", "share/man/man8/skbcap.8"),
    ("skbcap-diff.8", "share/man/man8/skbcap-diff.8"),
    ("skbcap-verify.8", "share/man/man8/skbcap-verify.8"),
    ("skbcap.bash", "share/bash-completion/completions/skbcap"),
    ("_skbcap", "share/zsh/site-functions/_skbcap"),
    ("skbcap.fish", "share/fish/vendor_completions.d/skbcap.fish"),
];

/// Builds and copies.
pub(crate) fn main(options: &Options) -> Result<()> {
    let made = repository().join("target/pages");
    let cargo = |words: &[&str]| {
        let mut command = Command::new("cargo");
        command.current_dir(repository()).args(words);
        command
    };
    run(&mut cargo(&[
        "build",
        "--locked",
        "--release",
        "--package",
        "skbcap",
    ]))?;
    let example = [
        "run",
        "--locked",
        "--package",
        "skbcap",
        "--example",
        "pages",
        "--",
    ];
    run(cargo(&example).arg(&made))?;
    let program = repository().join("target/release/skbcap");
    copy(&program, &options.prefix.join("sbin/skbcap"), 0o755)?;
    for (name, place) in PAGES {
        copy(&made.join(name), &options.prefix.join(place), 0o644)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let shown = to.display();
    let place = || -> Result<()> {
        fs::create_dir_all(to.parent().context("no directory")?)?;
        // Beside it first: the one there may be running.
        let new = to.with_extension("new");
        fs::copy(from, &new)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(mode))?;
        Ok(fs::rename(&new, to)?)
    };
    place().with_context(|| format!("cannot install {shown}"))?;
    println!("{shown}");
    Ok(())
}
