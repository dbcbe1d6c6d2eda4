//! The guests of one run: what they are booted from, several at a time, and
//! what is told of each test. Knows nothing of what tests do.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::initramfs::{Payload, System};
use super::plan::{Guest, Machine, Run};
use super::programs::Programs;
use super::qemu::{self, Accelerator, BOOT, End, Next, Scratch, UP};
use super::{Count, Options, readers, results, results_dir};
use crate::cache::Cache;
use crate::kernels::{Image, KERNELS};
use crate::tools::Tools;

/// How long a guest may take between two tests and for its end.
const BETWEEN: Duration = Duration::from_secs(60);

/// What all guests need.
pub(crate) struct Host {
    /// QEMU and the guests' programs.
    pub(crate) tools: Tools,
    /// The kernels that were asked for, oldest first.
    pub(crate) systems: Vec<Bootable>,
    /// What executes the guests.
    pub(crate) accelerator: Accelerator,
}

/// A kernel with its files.
pub(crate) struct Bootable {
    /// The kernel's place among all.
    pub(crate) place: usize,
    /// The kernel.
    pub(crate) image: Image,
    /// What it boots with.
    pub(crate) system: System,
}

impl Host {
    /// Fetches and makes what is not there.
    pub(crate) fn get(cache: &Cache, options: &Options) -> Result<Self> {
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
        let first = systems.first().context("no kernel was asked for")?;
        let accelerator = Accelerator::find(cache, &tools, &first.image, &first.system)?;
        Ok(Self {
            tools,
            systems,
            accelerator,
        })
    }

    /// Runs `guests`, `jobs` at a time.
    pub(crate) fn run_all(
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
                count.add(one?);
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
                total.add(count?);
            }
            Ok(total)
        })
    }

    /// Runs one guest, and another one for the rest of its tests where QEMU failed.
    fn run_one(&self, options: &Options, programs: &Programs, guest: &Guest) -> Result<Count> {
        let (mut count, ran) = self.boot(options, programs, guest, true)?;
        if let Some(next) = guest.runs.get(ran) {
            let kernel = KERNELS[guest.kernel].name;
            println!("{kernel:<6} once more, from {} on", next.test.name);
            let rest = Guest {
                kernel: guest.kernel,
                machine: guest.machine.clone(),
                runs: guest.runs[ran..].to_vec(),
            };
            let (more, _) = self.boot(options, programs, &rest, false)?;
            count.add(more);
        }
        Ok(count)
    }

    /// Boots one guest, prints how its tests ended, and returns how many of them did: all, as what died
    /// with the guest has failed, but for those that a failure of QEMU's left over, if it `may_fail`.
    fn boot(
        &self,
        options: &Options,
        programs: &Programs,
        guest: &Guest,
        may_fail: bool,
    ) -> Result<(Count, usize)> {
        let place = self
            .systems
            .iter()
            .position(|system| system.place == guest.kernel);
        let place = place.context("a guest's kernel is one that was asked for")?;
        let bootable = &self.systems[place];
        let kernel = bootable.image.name;
        let scratch = Scratch::new()?;
        let initramfs = scratch.0.join("initramfs");
        let share = |run: &Run| match &options.share {
            Some(share) => share.clone(),
            None if options.whole => "0/1".to_owned(),
            None => format!("{}/{}", run.place, run.kernels),
        };
        let line = |run: &Run| format!("{} {} {}\n", run.test.name, run.test.seconds, share(run));
        let tests: String = guest.runs.iter().map(line).collect();
        let payload = Payload {
            programs: &programs.paths,
            tests: &tests,
        };
        bootable.system.write(&payload, &initramfs)?;
        let disk = scratch.0.join("disk");
        results::create(&disk)?;
        let results = results_dir(kernel);
        for Run { test, .. } in &guest.runs {
            results::clear(&results.join(&test.name))?;
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
        let console = results.join(&guest.runs[0].test.name).join("console");
        // How long what comes next may take: a test's own time, with which
        // the guest itself is strict, and what goes on around it.
        let mut limits = guest
            .runs
            .iter()
            .map(|run| BETWEEN + seconds(run.test.seconds));
        let mut next = || Next::Within(limits.next().unwrap_or(BETWEEN));
        let mut verdicts = Vec::new();
        let end = qemu.run(&self.tools, self.accelerator, &console, BOOT, |line| {
            if line.contains(UP) {
                return next();
            }
            // The kernel may have written before it on the same line.
            if let Some((_, verdict)) = line.split_once("skbcap-guest: test ") {
                println!("{kernel:<6} {verdict}");
                verdicts.push(verdict.to_owned());
                return next();
            }
            Next::Go
        })?;
        let some = results::unpack(&disk, &results)?;
        let failure = match end {
            End::Crashed => Some("QEMU crashed"),
            End::Off if self.accelerator == Accelerator::Tcg && stale_breakpoint(&console) => {
                Some("QEMU stopped the kernel at a breakpoint that was not there any more")
            }
            _ => None,
        };
        let ran = match failure {
            Some(failure) if may_fail => {
                println!("{kernel:<6} {failure}");
                verdicts.len()
            }
            _ => guest.runs.len(),
        };
        let runs = &guest.runs[..ran];
        let mut count = tell(kernel, runs, &verdicts, &end, &results);
        for Run { test, .. } in runs {
            // A test that failed has been counted, and may leave anything.
            let passed = verdicts
                .iter()
                .any(|verdict| verdict.starts_with(&format!("{} ... ok", test.name)));
            if !passed {
                continue;
            }
            if let Err(error) = readers::open_all(&self.tools, &results.join(&test.name)) {
                println!("{kernel:<6} {} ... FAILED: {error:#}", test.name);
                count.passed -= 1;
                count.failed += 1;
            }
        }
        if !some || verdicts.len() < guest.runs.len() {
            println!("{kernel:<6} the end of {}:", console.display());
            tell_log(&console, 60);
        }
        Ok((count, ran))
    }
}

/// Counts the verdicts; prints the logs of failed tests, and which tests never
/// ended.
fn tell(kernel: &str, runs: &[Run], verdicts: &[String], end: &End, results: &Path) -> Count {
    let mut count = Count::default();
    let mut died = false;
    for Run { test, .. } in runs {
        let prefix = format!("{} ... ", test.name);
        let verdict = verdicts
            .iter()
            .find_map(|verdict| verdict.strip_prefix(&prefix));
        let dir = results.join(&test.name);
        match verdict {
            Some(verdict) if verdict.starts_with("ok") => {
                count.passed += 1;
                continue;
            }
            Some(_) if dir.join("log").exists() => {
                println!("{kernel:<6} {}: {}", test.name, dir.join("log").display());
                tell_log(&dir.join("log"), 200);
            }
            Some(_) => {}
            None => {
                let why = match end {
                    _ if died => "not run",
                    End::Off => "the guest died",
                    End::Crashed => "QEMU crashed",
                    End::Stopped => "the guest hung",
                };
                died = true;
                println!("{kernel:<6} {} ... FAILED: {why}", test.name);
            }
        }
        count.failed += 1;
    }
    count
}

/// Whether a guest's kernel died of a breakpoint (0xcc) that is not in its memory: the kernel tells the
/// code as it is then, the byte behind the breakpoint in angle brackets.
///
/// The kernel puts one there while it changes its own code (`smp_text_poke_single`), and takes it away
/// before it forgets about it. An emulated processor may run it all the same, as QEMU's translation of
/// code outlives a change that another processor makes just then: the guest test `stale_code` shows it.
/// No program under test can write a breakpoint into the kernel.
fn stale_breakpoint(console: &Path) -> bool {
    let console = fs::read(console).unwrap_or_default();
    is_stale_breakpoint(&String::from_utf8_lossy(&console))
}

fn is_stale_breakpoint(console: &str) -> bool {
    let mut lines = console.lines();
    lines.any(|line| line.contains("int3: 0000 [#1]"))
        && lines
            .find_map(|line| line.split_once("Code: "))
            .and_then(|(_, code)| code.split_once(" <"))
            .is_some_and(|(before, _)| !before.ends_with("cc"))
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds))
}

/// Prints the last `most` lines of a log, set in.
fn tell_log(path: &Path, most: usize) {
    let log = fs::read(path).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<_> = log.lines().collect();
    for line in &lines[lines.len().saturating_sub(most)..] {
        println!("       | {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::is_stale_breakpoint;

    const OOPS: &str = "\
[  413.233427] Oops: int3: 0000 [#1] SMP NOPTI
[  413.240179] RIP: 0010:bpf_trampoline_6442557469+0xac/0x29c
[  413.244445] Code: 48 89 de 48 8d 55 c8 e8 25 1f 3c c5 e9 <40> 00 00 00 31 ff 48
";

    #[test]
    fn a_breakpoint_that_is_there_is_no_failure_of_qemus() {
        assert!(is_stale_breakpoint(OOPS));
        assert!(!is_stale_breakpoint(&OOPS.replace("e9 <", "cc <")));
        assert!(!is_stale_breakpoint(&OOPS.replace("int3: ", "")));
        assert!(!is_stale_breakpoint("skbcap-guest: up\n"));
    }
}
