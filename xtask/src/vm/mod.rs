//! `cargo xtask vm`: the guest tests on every kernel, in virtual machines.
//! This file owns the order of things: build, plan, boot, tell.

mod attribution;
mod cost;
mod cpio;
mod exactness;
mod host;
pub(crate) mod icount;
mod initramfs;
mod plan;
mod programs;
mod qemu;
mod readers;
mod results;
pub(crate) mod soak;

use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result};

use self::host::Host;
use self::initramfs::Payload;
use self::plan::{Machine, Test};
use self::programs::Programs;
use self::qemu::Scratch;
use crate::cache::Cache;
use crate::kernels::KERNELS;
use crate::repository;

/// What can be asked for.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run on this kernel only; can be given several times
    #[arg(long = "kernel", value_name = "KERNEL", value_parser = KERNELS.map(|kernel| kernel.name))]
    pub(crate) kernels: Vec<String>,
    /// Run the other guests when a test has failed
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// Run all of every test on every kernel, where kernels that are tested together share some
    #[arg(long)]
    pub(crate) whole: bool,
    /// Run this share of the parts of a test, PLACE/KERNELS, to repeat what one kernel of several ran
    #[arg(long, value_name = "SHARE", conflicts_with = "whole")]
    pub(crate) share: Option<String>,
    /// Processors of each guest whose tests do not say
    #[arg(long, value_name = "N")]
    pub(crate) smp: Option<u32>,
    /// More kernel arguments
    #[arg(
        long,
        value_name = "ARGUMENTS",
        default_value = "",
        allow_hyphen_values = true
    )]
    pub(crate) append: String,
    /// Guests at a time; one more than there are processors, unless given
    #[arg(long, value_name = "N", default_value_t = jobs())]
    pub(crate) jobs: usize,
    /// Give a shell in a guest instead
    #[arg(long, conflicts_with = "tests")]
    pub(crate) shell: bool,
    /// Name the tests and what they want, and run none
    #[arg(long)]
    pub(crate) list: bool,
    /// Tests to run, or beginnings of their names; all when none is given
    #[arg(value_name = "TEST")]
    pub(crate) tests: Vec<String>,
}

impl Options {
    /// Everything, to the end.
    fn all() -> Self {
        Self {
            kernels: Vec::new(),
            keep_going: true,
            whole: false,
            share: None,
            smp: None,
            append: String::new(),
            jobs: jobs(),
            shell: false,
            list: false,
            tests: Vec::new(),
        }
    }
}

/// Guests at a time: one waits for part of its time, mostly until its kernel has let programs go.
fn jobs() -> usize {
    thread::available_parallelism().map_or(1, usize::from) + 1
}

/// How many tests ended how.
#[derive(Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
}

impl Count {
    /// Counts these too.
    pub(crate) fn add(&mut self, more: Self) {
        self.passed += more.passed;
        self.failed += more.failed;
    }
}

/// `cargo xtask vm`. `false`: a test failed.
pub(crate) fn main(cache: &Cache, options: &Options) -> Result<bool> {
    if options.shell {
        return shell(cache, options).map(|()| true);
    }
    let programs = Programs::build("guest")?;
    let tests = programs.tests()?;
    if options.list {
        for test in tests {
            println!("{}", test.name);
        }
        return Ok(true);
    }
    let count = run(cache, options, &programs, tests)?;
    println!("{} passed, {} failed", count.passed, count.failed);
    Ok(count.failed == 0)
}

/// All guest tests on all kernels, and beside them the measurement that [`icount::judge_gate`] judges.
pub(crate) fn all(cache: &Cache) -> Result<Count> {
    // As users build it, for the measurement's sake.
    let programs = Programs::build("release")?;
    let tests = programs.tests()?;
    let gate = icount::gate_test(&tests)?;
    let mut tests = plan::select(tests, &[])?;
    tests.push(gate);
    run_selected(cache, &Options::all(), &programs, &tests)
}

/// Runs the tests that are asked for and prints how each one ended.
fn run(cache: &Cache, options: &Options, programs: &Programs, tests: Vec<Test>) -> Result<Count> {
    let mut tests = plan::select(tests, &options.tests)?;
    if options.whole {
        tests.iter_mut().for_each(Test::everywhere);
    }
    run_selected(cache, options, programs, &tests)
}

fn run_selected(
    cache: &Cache,
    options: &Options,
    programs: &Programs,
    tests: &[Test],
) -> Result<Count> {
    let host = Host::get(cache, options)?;
    let names = KERNELS.map(|kernel| kernel.name);
    let kernels: Vec<usize> = host.systems.iter().map(|system| system.place).collect();
    let guests = plan::guests(tests, &kernels, &names)?;
    let mut dirs = Vec::new();
    for guest in &guests {
        let kernel = names[guest.kernel];
        let runs = guest.runs.iter();
        dirs.extend(runs.map(|run| (kernel, results_dir(kernel).join(&run.test.name))));
    }
    let (alone, together): (Vec<_>, Vec<_>) =
        guests.into_iter().partition(|guest| guest.machine.alone);
    let mut count = Count::default();
    for (guests, jobs) in [(together, options.jobs.max(1)), (alone, 1)] {
        if count.failed > 0 && !options.keep_going {
            break;
        }
        count.add(host.run_all(options, programs, guests, jobs)?);
    }
    // What guests measured is also what the document says.
    if let Err(error) = exactness::check(&dirs, &names) {
        println!("FAILED: {error:#}");
        count.failed += 1;
    }
    if let Err(error) = attribution::check(&dirs) {
        println!("FAILED: {error:#}");
        count.failed += 1;
    }
    Ok(count)
}

/// Where a kernel's results lie: a directory for each test.
fn results_dir(kernel: &str) -> PathBuf {
    repository().join("target/vm").join(kernel)
}

/// `cargo xtask vm --shell`.
fn shell(cache: &Cache, options: &Options) -> Result<()> {
    let programs = Programs::build("guest")?;
    let host = Host::get(cache, options)?;
    // The newest of those asked for.
    let bootable = host.systems.last().context("there is a kernel")?;
    let scratch = Scratch::new()?;
    let initramfs = scratch.0.join("initramfs");
    bootable.system.write(
        &Payload {
            programs: &programs.paths,
            tests: "",
        },
        &initramfs,
    )?;
    let guest = qemu::Guest {
        kernel: &bootable.image,
        initramfs: &initramfs,
        disk: None,
        machine: &Machine {
            smp: options.smp,
            ..Machine::default()
        },
        append: &format!("skbcap.shell {}", options.append),
    };
    guest.interact(&host.tools, host.accelerator)
}
