//! `cargo xtask icount`: measurements in instructions, which a noisy machine
//! does not blur. The tests measure; this gives them a guest whose nanosecond
//! is an instruction, shows what they print, and holds it against the
//! committed figures.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::cost::{FILE, Figures, KERNEL};
use super::plan::{self, Test};
use super::programs::Programs;
use super::results_dir;
use crate::cache::Cache;
use crate::kernels::KERNELS;
use crate::repository;

/// What can be asked for.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Measure on this kernel; can be given several times
    #[arg(
        long = "kernel",
        value_name = "KERNEL",
        default_values_t = [KERNEL.to_owned()],
        value_parser = KERNELS.map(|kernel| kernel.name)
    )]
    kernels: Vec<String>,
    /// Write docs/cost.tsv anew instead of comparing with it
    #[arg(long)]
    bless: bool,
    /// Measurements to run, or beginnings of their names
    #[arg(
        value_name = "TEST",
        default_values_t = ["icount_write", "icount_capture", "icount_disk"].map(str::to_owned)
    )]
    tests: Vec<String>,
}

/// Runs the measurements. `false`: one failed, or a frame costs more than it may.
pub(crate) fn main(cache: &Cache, options: &Options) -> Result<bool> {
    let Some(measured) = measure(cache, options)? else {
        return Ok(false);
    };
    if options.bless {
        bless(measured).map(|()| true)
    } else {
        compare(&measured)
    }
}

/// What continuous integration asks for: the shortest measurement.
const GATE: &str = "icount_gate";

/// That one, to run beside others: what it counts does not depend on them.
pub(super) fn gate_test(tests: &[Test]) -> Result<Test> {
    let test = tests.iter().find(|test| test.name == GATE);
    let mut test = test.context("no test counts for the gate")?.clone();
    test.on = Some(KERNEL.to_owned());
    test.machine.alone = false;
    Ok(test)
}

/// Holds what it measured, in a run that is over, against the committed figures.
pub(crate) fn judge_gate() -> Result<()> {
    let path = results_dir(KERNEL).join(GATE).join("log");
    let log = fs::read_to_string(&path);
    let log = log.with_context(|| format!("cannot read {}", path.display()))?;
    print!("{log}");
    let measured = Figures::of_log(&log)?;
    ensure!(!measured.is_empty(), "nothing was measured");
    ensure!(compare(&measured)?, "a frame costs too much");
    Ok(())
}

/// Runs the measurements and shows what they print. `None`: one failed.
fn measure(cache: &Cache, options: &Options) -> Result<Option<Figures>> {
    // As users build it: the guests' usual profile is made for quick links.
    let programs = Programs::build("release")?;
    let tests = plan::select(programs.tests()?, &options.tests)?;
    ensure!(
        tests.iter().all(|test| test.machine.icount),
        "a measurement's name begins with icount_"
    );
    let run = super::Options {
        kernels: options.kernels.clone(),
        tests: options.tests.clone(),
        ..super::Options::all()
    };
    let count = super::run(cache, &run, &programs, tests.clone())?;
    let mut measured = Figures::default();
    for kernel in &options.kernels {
        for test in &tests {
            println!("{kernel} {}", test.name);
            // Without a log, its failure has been told.
            let log = fs::read_to_string(results_dir(kernel).join(&test.name).join("log"));
            let log = log.unwrap_or_default();
            print!("{log}");
            if kernel == KERNEL {
                measured.update(Figures::of_log(&log)?);
            }
        }
    }
    Ok((count.failed == 0).then_some(measured))
}

fn committed() -> Result<Figures> {
    let text = fs::read_to_string(repository().join(FILE));
    Figures::parse(&text.with_context(|| format!("cannot read {FILE}"))?)
}

fn compare(measured: &Figures) -> Result<bool> {
    let judgement = committed()?.judge(measured);
    for line in &judgement.lines {
        println!("{line}");
    }
    if judgement.failed {
        println!(
            "a frame costs more than {FILE} says: make it cheaper, or say why it must be so in \
             the commit that has what `cargo xtask icount --bless` writes"
        );
    }
    Ok(!judgement.failed)
}

fn bless(measured: Figures) -> Result<()> {
    ensure!(
        !measured.is_empty(),
        "nothing was measured that {FILE} has: it is of kernel {KERNEL}, by icount_capture"
    );
    // Those that this measurement does not have stay; the first time there are none.
    let mut figures = match fs::exists(repository().join(FILE))? {
        true => committed()?,
        false => Figures::default(),
    };
    figures.update(measured);
    fs::write(repository().join(FILE), figures.text())
        .with_context(|| format!("cannot write {FILE}"))
}
