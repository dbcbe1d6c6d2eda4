//! `cargo xtask soak`: the stress tests in turn for hours, in one guest. The
//! test knows what it does; this only gives it a guest and the time.

use anyhow::{Result, ensure};

use super::plan;
use super::programs::Programs;
use super::results_dir;
use crate::cache::Cache;
use crate::kernels::KERNELS;

/// What can be asked for.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run on this kernel; can be given several times
    #[arg(
        long = "kernel",
        value_name = "KERNEL",
        default_values_t = ["6.12".to_owned()],
        value_parser = KERNELS.map(|kernel| kernel.name)
    )]
    kernels: Vec<String>,
    /// How long, on each kernel
    #[arg(long, value_name = "HOURS", default_value_t = 2.0)]
    hours: f64,
}

/// Soaks. `false`: something was found.
pub(crate) fn main(cache: &Cache, options: &Options) -> Result<bool> {
    ensure!(
        options.hours > 0.0 && options.hours <= 1000.0,
        "--hours takes hours"
    );
    let minutes = (options.hours * 60.0).ceil() as u32;
    // As users build it.
    let programs = Programs::build("release")?;
    let asked = ["soak_".to_owned()];
    let mut tests = plan::select(programs.tests()?, &asked)?;
    for test in &mut tests {
        // The last round goes to its end.
        test.seconds += 60 * minutes;
    }
    let run = super::Options {
        kernels: options.kernels.clone(),
        tests: asked.to_vec(),
        append: format!("skbcap.soak_minutes={minutes}"),
        ..super::Options::all()
    };
    let count = super::run(cache, &run, &programs, tests)?;
    for kernel in &options.kernels {
        println!("{}", results_dir(kernel).join("soak_stress/log").display());
    }
    Ok(count.failed == 0)
}
