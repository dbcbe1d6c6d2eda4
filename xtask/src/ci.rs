//! `cargo xtask test`: everything that must hold before a change is merged,
//! each step once, the cheap ones first. Owns the list of steps; what a step
//! does is the matter of other modules or other tools.

use std::env;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::cache::Cache;
use crate::run::run;
use crate::tools::Tools;
use crate::vm::Count;
use crate::{ebpf, repository, vm};

/// Runs all steps, also behind a failed one, and prints how many passed; a
/// guest test counts as a step. `false`: something failed.
pub(crate) fn main(cache: &Cache, with_guests: bool) -> Result<bool> {
    let mut count = Count::default();
    let mut step = |name: &str, result: &mut dyn FnMut() -> Result<()>| {
        println!("\n== {name}");
        let begun = Instant::now();
        match result() {
            Ok(()) => {
                count.passed += 1;
                println!("== {name}: ok ({:.0} s)", begun.elapsed().as_secs_f64());
            }
            Err(error) => {
                count.failed += 1;
                println!("== {name}: FAILED: {error:#}");
            }
        }
    };
    step("format", &mut || {
        run(cargo().args(["fmt", "--all", "--check"]))
    });
    step("format of the eBPF part", &mut || {
        let dir = repository().join("skbcap-ebpf");
        run(cargo().args(["fmt", "--check"]).current_dir(dir))
    });
    step("lints", &mut || {
        run(cargo()
            .args(["clippy", "--workspace", "--all-targets", "--locked"])
            .args(["--", "-Dwarnings"]))
    });
    step("lints of the eBPF part", &mut || ebpf::lint(cache));
    step("eBPF object", &mut || ebpf::check(cache));
    step("tests on the host", &mut || {
        let tools = Tools::get(cache)?;
        let path = env::var_os("PATH").unwrap_or_default();
        let dirs = [tools.bin().to_owned()]
            .into_iter()
            .chain(env::split_paths(&path));
        let path = env::join_paths(dirs).context("the cache's path has a colon")?;
        run(cargo()
            .args(["test", "--workspace", "--locked", "--no-fail-fast"])
            .env("PATH", path))
    });
    step("documentation", &mut || {
        run(cargo()
            .args([
                "doc",
                "--workspace",
                "--no-deps",
                "--document-private-items",
                "--locked",
            ])
            .env("RUSTDOCFLAGS", "-Dwarnings"))
    });
    let mut guests = Count::default();
    if with_guests {
        println!("\n== tests in guests");
        let begun = Instant::now();
        match vm::all(cache) {
            Ok(ended) => {
                guests.add(ended);
                println!("== tests in guests: {:.0} s", begun.elapsed().as_secs_f64());
            }
            Err(error) => {
                guests.failed += 1;
                println!("== tests in guests: FAILED: {error:#}");
            }
        }
        step("instructions a frame", &mut vm::icount::judge_gate);
    }
    count.add(guests);
    println!("\n{} passed, {} failed", count.passed, count.failed);
    Ok(count.failed == 0)
}

/// cargo in the repository.
fn cargo() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(repository());
    command
}
