//! `cargo xtask vm`: the guest tests on every kernel, in virtual machines.
//! This file owns the order of things: build, plan, boot, tell.

mod cpio;
pub(crate) mod icount;
mod initramfs;
mod plan;
mod programs;
mod qemu;
mod results;

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use self::initramfs::{Payload, System};
use self::plan::{Guest, Machine, Test};
use self::programs::Programs;
use self::qemu::{Accelerator, BOOT, End, Scratch};
use crate::cache::Cache;
use crate::kernels::{Image, KERNELS};
use crate::repository;
use crate::tools::Tools;

/// What can be asked for.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run on this kernel only; can be given several times
    #[arg(long = "kernel", value_name = "KERNEL", value_parser = KERNELS.map(|kernel| kernel.name))]
    pub(crate) kernels: Vec<String>,
    /// Run the other guests when a test has failed
    #[arg(long)]
    pub(crate) keep_going: bool,
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
    /// Guests at a time
    #[arg(long, value_name = "N", default_value_t = 2)]
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

/// How many tests ended how.
#[derive(Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
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

/// All guest tests on all kernels.
pub(crate) fn all(cache: &Cache) -> Result<Count> {
    let options = Options {
        kernels: Vec::new(),
        keep_going: true,
        smp: None,
        append: String::new(),
        jobs: 2,
        shell: false,
        list: false,
        tests: Vec::new(),
    };
    let programs = Programs::build("guest")?;
    let tests = programs.tests()?;
    run(cache, &options, &programs, tests)
}

/// Runs the tests that are asked for and prints how each one ended.
fn run(cache: &Cache, options: &Options, programs: &Programs, tests: Vec<Test>) -> Result<Count> {
    let tests = plan::select(tests, &options.tests)?;
    let host = Host::get(cache, options)?;
    let names = KERNELS.map(|kernel| kernel.name);
    let kernels: Vec<usize> = host.systems.iter().map(|system| system.place).collect();
    let guests = plan::guests(&tests, &kernels, &names)?;
    let (alone, together): (Vec<_>, Vec<_>) =
        guests.into_iter().partition(|guest| guest.machine.alone);
    let mut count = Count::default();
    for (guests, jobs) in [(together, options.jobs.max(1)), (alone, 1)] {
        if count.failed > 0 && !options.keep_going {
            break;
        }
        let more = host.run_all(options, programs, guests, jobs)?;
        count.passed += more.passed;
        count.failed += more.failed;
    }
    Ok(count)
}

/// What all guests need.
struct Host {
    tools: Tools,
    systems: Vec<Bootable>,
    accelerator: Accelerator,
}

/// A kernel with its files.
struct Bootable {
    /// The kernel's place among all.
    place: usize,
    image: Image,
    system: System,
}

impl Host {
    fn get(cache: &Cache, options: &Options) -> Result<Self> {
        let tools = Tools::get(cache)?;
        let mut systems = Vec::new();
        for (place, kernel) in KERNELS.iter().enumerate() {
            if !options.kernels.is_empty() && !options.kernels.iter().any(|n| n == kernel.name) {
                continue;
            }
            let image = kernel.get(cache, &tools)?;
            let system = System::get(cache, &tools, &image)?;
            systems.push(Bootable {
                place,
                image,
                system,
            });
        }
        let accelerator = Accelerator::find(cache, &tools, &systems[0].image)?;
        Ok(Self {
            tools,
            systems,
            accelerator,
        })
    }

    fn system(&self, place: usize) -> Result<&Bootable> {
        self.systems
            .iter()
            .find(|system| system.place == place)
            .context("a kernel not asked for")
    }

    /// Runs `guests`, `jobs` at a time.
    fn run_all(
        &self,
        options: &Options,
        programs: &Programs,
        guests: Vec<Guest>,
        jobs: usize,
    ) -> Result<Count> {
        let queue = Mutex::new(VecDeque::from(guests));
        let stop = AtomicBool::new(false);
        let next = || {
            // Only to end early; the counts come by way of the threads' end.
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            queue.lock().ok()?.pop_front()
        };
        let work = || -> Result<Count> {
            let mut count = Count::default();
            while let Some(guest) = next() {
                let one = self.run_one(options, programs, &guest);
                if !options.keep_going && one.as_ref().map_or(true, |one| one.failed > 0) {
                    stop.store(true, Ordering::Relaxed);
                }
                let one = one?;
                count.passed += one.passed;
                count.failed += one.failed;
            }
            Ok(count)
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
            let mut total = Count::default();
            for thread in threads {
                let Ok(count) = thread.join() else {
                    bail!("a guest's thread panicked")
                };
                let count = count?;
                total.passed += count.passed;
                total.failed += count.failed;
            }
            Ok(total)
        })
    }

    /// Runs one guest and prints how its tests ended.
    fn run_one(&self, options: &Options, programs: &Programs, guest: &Guest) -> Result<Count> {
        let bootable = self.system(guest.kernel)?;
        let kernel = bootable.image.name;
        let scratch = Scratch::new()?;
        let initramfs = scratch.0.join("initramfs");
        let disk = scratch.0.join("disk");
        let list: String = guest
            .tests
            .iter()
            .map(|test| format!("{} {}\n", test.name, test.seconds))
            .collect();
        bootable.system.write(
            &Payload {
                programs: &programs.paths,
                tests: &list,
            },
            &initramfs,
        )?;
        results::create(&disk)?;
        let results = results_dir(kernel);
        for test in &guest.tests {
            match fs::remove_dir_all(results.join(&test.name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error.into());
                }
                _ => fs::create_dir_all(results.join(&test.name))?,
            }
        }
        let machine = Machine {
            smp: guest.machine.smp.or(options.smp),
            ..guest.machine.clone()
        };
        let qemu = qemu::Guest {
            kernel: &bootable.image,
            initramfs: &initramfs,
            disk: Some(&disk),
            machine: &machine,
            append: &options.append,
        };
        let seconds: u32 = guest.tests.iter().map(|test| test.seconds + 5).sum();
        let limit = BOOT + Duration::from_secs(u64::from(seconds));
        let console = results.join(&guest.tests[0].name).join("console");
        let mut told = Vec::new();
        let end = qemu.run(&self.tools, self.accelerator, &console, limit, |line| {
            // The kernel may have written before it on the same line.
            if let Some((_, told_line)) = line.split_once("skbcap-guest: test ") {
                println!("{kernel:<6} {told_line}");
                told.push(told_line.to_owned());
            }
            true
        })?;
        let whole = results::unpack(&disk, &results)?;
        let mut count = Count::default();
        let mut missing = false;
        for test in &guest.tests {
            let prefix = format!("{} ... ", test.name);
            let verdict = told.iter().find_map(|line| line.strip_prefix(&prefix));
            if verdict.is_some_and(|verdict| verdict.starts_with("ok")) {
                count.passed += 1;
                continue;
            }
            count.failed += 1;
            let dir = results.join(&test.name);
            if verdict.is_none() {
                missing = true;
                let why = if end == End::Off {
                    "the guest died"
                } else {
                    "the guest hung"
                };
                println!("{kernel:<6} {} ... FAILED: {why}", test.name);
            } else if whole {
                let log = fs::read(dir.join("log")).unwrap_or_default();
                tell(&String::from_utf8_lossy(&log), usize::MAX);
                println!("       more in {}", dir.display());
            }
        }
        if missing || !whole {
            let log = fs::read(&console).unwrap_or_default();
            println!("{kernel:<6} the end of the console, {}:", console.display());
            tell(&String::from_utf8_lossy(&log), 60);
        }
        Ok(count)
    }
}

/// Prints the last `most` lines of a log, set in.
fn tell(log: &str, most: usize) {
    let lines: Vec<_> = log.lines().collect();
    for line in &lines[lines.len().saturating_sub(most)..] {
        println!("       | {line}");
    }
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
