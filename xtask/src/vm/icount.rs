//! `cargo xtask icount`: measurements in instructions, which a noisy machine
//! does not blur. The tests measure; this only gives them a guest whose
//! nanosecond is an instruction, and shows what they print.

use std::fs;

use anyhow::{Result, ensure};

use super::plan;
use super::programs::Programs;
use super::results_dir;
use crate::cache::Cache;
use crate::kernels::KERNELS;

/// What can be asked for.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Measure on this kernel; can be given several times
    #[arg(
        long = "kernel",
        value_name = "KERNEL",
        default_values_t = ["6.12".to_owned()],
        value_parser = KERNELS.map(|kernel| kernel.name)
    )]
    kernels: Vec<String>,
    /// Measurements to run, or beginnings of their names
    #[arg(value_name = "TEST", default_values_t = ["icount_".to_owned()])]
    tests: Vec<String>,
}

/// Runs the measurements. `false`: one failed.
pub(crate) fn main(cache: &Cache, options: &Options) -> Result<bool> {
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
    for kernel in &options.kernels {
        for test in &tests {
            println!("{kernel} {}", test.name);
            // Without a log, its failure has been told.
            let log = fs::read_to_string(results_dir(kernel).join(&test.name).join("log"));
            print!("{}", log.unwrap_or_default());
        }
    }
    Ok(count.failed == 0)
}
