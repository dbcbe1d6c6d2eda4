//! Development commands: `cargo xtask …`. Each command is a module; this file
//! only says what can be typed.

mod apt;
mod bench;
mod cache;
mod ci;
mod demo;
mod diff_bench;
mod ebpf;
mod elevate;
mod install;
mod kernels;
mod mirror;
mod picture;
mod run;
mod stack;
mod stage;
mod toolchain;
mod tools;
mod vm;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::cache::Cache;
use crate::kernels::KERNELS;
use crate::toolchain::Toolchain;
use crate::tools::Tools;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "skbcap's development commands")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build skbcap and capture what this host sends into out.pcapng, until
    /// Ctrl-C
    Run(demo::Options),
    /// Rebuild the eBPF object that is committed beside the loader
    Ebpf {
        /// Change nothing; fail unless the committed object is what the source gives
        #[arg(long)]
        check: bool,
    },
    /// Run the guest tests on Debian's kernels, in virtual machines
    Vm(vm::Options),
    /// Count instructions: run the tests whose names begin with icount_, and
    /// print what they print
    Icount(vm::icount::Options),
    /// Measure parts of skbcap on this machine
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Run the stress tests for hours, in a guest
    Soak(vm::soak::Options),
    /// Write two captures of a gigabyte and print what comparing them takes
    DiffBench(diff_bench::Options),
    /// Run all checks and tests, as continuous integration does
    Test {
        /// Leave out the tests in virtual machines
        #[arg(long)]
        no_vm: bool,
    },
    /// Build skbcap and install it, with man pages and completions
    Install(install::Options),
    /// Draw docs/picture.svg anew, from a real run of the demonstration
    Picture,
    /// Fetch into the cache what the other commands need
    Fetch,
}

fn main() -> ExitCode {
    match perform(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Not `{error:?}`: a stack trace says nothing about a failed tool.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Does what was asked for. `false`: tests failed, and that was said.
fn perform(task: Task) -> Result<bool> {
    let cache = Cache::open()?;
    match task {
        Task::Run(options) => demo::main(&cache, &options),
        Task::Ebpf { check: false } => ebpf::build(&cache).map(|()| true),
        Task::Ebpf { check: true } => ebpf::check(&cache).map(|()| true),
        Task::Vm(options) => vm::main(&cache, &options),
        Task::Icount(options) => vm::icount::main(&cache, &options),
        Task::Bench(bench) => bench::main(&cache, &bench).map(|()| true),
        Task::Soak(options) => vm::soak::main(&cache, &options),
        Task::DiffBench(options) => diff_bench::main(&options).map(|()| true),
        Task::Test { no_vm } => ci::main(&cache, !no_vm),
        Task::Install(options) => install::main(&options).map(|()| true),
        Task::Picture => picture::main(&cache).map(|()| true),
        Task::Fetch => fetch(&cache).map(|()| true),
    }
}

fn fetch(cache: &Cache) -> Result<()> {
    Toolchain::get(cache)?;
    let tools = Tools::get(cache)?;
    for kernel in &KERNELS {
        kernel.get(cache, &tools)?;
    }
    println!(
        "tools: {}, for PATH: {}",
        tools.root().display(),
        tools.bin().display()
    );
    Ok(())
}

/// The repository's root, as cargo knew it when it built this.
fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the repository")
}
