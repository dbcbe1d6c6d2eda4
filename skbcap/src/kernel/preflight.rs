//! What this machine offers, gathered before anything is loaded or attached.
//!
//! Owns the questions, what follows from the answers for the way in, and the refusals with what to
//! do about them. Must not know: how programs are loaded. Kernel memory needs a loaded program:
//! whoever has one adds what was found there ([`Preflight::add_memory`]).
//!
//! What is asked once is kept, for loading: reading BTF takes some 3 ms, kallsyms 40.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use rustix::process::{Resource, getrlimit};
use skbcap_common::Hook;
use skbcap_common::config::Layout;

use super::btf::{self, Btf, RUNNING_KERNEL};
use super::capabilities::{Capabilities, Capability};
use super::cpu_words::{self, AllCpuWords, Unknown};
use super::cpus::{self, CpuListError};
use super::kallsyms::{Symbol, Symbols};
use super::layout::{self, LayoutError};
use super::page_base::{self, NotFound, PageBases};
use super::preemption;
use crate::config::HookChoice;

mod refusal;
mod report;
#[cfg(test)]
mod tests;

pub use refusal::Refusal;

/// The function that the kprobe hook attaches to.
pub const FUNCTION: &str = "__dev_queue_xmit";

/// The kernel's typedef of the tracepoint that the queue hook attaches to.
const QUEUE_TYPEDEF: &str = "btf_trace_net_dev_queue";
const XMIT_TYPEDEF: &str = "btf_trace_net_dev_start_xmit";

/// The oldest kernel: its raw tracepoint programs can be run by hand.
const OLDEST: (u32, u32) = (5, 10);

/// The first kernel that counts maps and programs as their cgroup's memory, and no more as memory that
/// a process has locked (`kernel/bpf/syscall.c`).
const UNLOCKED: (u32, u32) = (5, 11);

/// What this machine offers.
pub struct Preflight {
    /// The kernel's release, as `uname -r` prints it.
    pub release: String,
    /// What it was built as, and when: `uname -v`.
    pub version: String,
    /// The machine, as `uname -m` prints it.
    pub machine: String,
    /// The kernel's types.
    pub types: Result<Types, LayoutError>,
    /// The addresses of the symbols that the searches in kernel memory want.
    pub symbols: io::Result<Symbols>,
    /// Whether the kernel has kprobes (`CONFIG_KPROBE_EVENTS`: it shows a perf PMU for them).
    pub kprobes: bool,
    /// What this process may do.
    pub capabilities: io::Result<Capabilities>,
    /// Whether it may lock any amount of memory (`RLIMIT_MEMLOCK`).
    pub unlimited_memlock: bool,
    /// Whether its capabilities count: those of another user namespace don't.
    pub initial_user_namespace: bool,
    /// How far this process's monotonic clock is from the kernel's, by its time namespace, in
    /// seconds and nanoseconds: records are dated by the kernel's.
    pub time_namespace_offset: (i64, i64),
    /// What the kernel's lockdown forbids.
    pub lockdown: Lockdown,
    /// `kernel.kptr_restrict`, if it can be read.
    pub kptr_restrict: Option<u32>,
    /// `kernel.unprivileged_bpf_disabled`, if it can be read.
    pub unprivileged_bpf_disabled: Option<u32>,
    /// The kernel's clock source, if it can be read.
    pub clock_source: Option<String>,
    /// CPUs that may ever come online.
    pub possible_cpus: Result<BTreeSet<u32>, CpuListError>,
    /// CPUs that run.
    pub online_cpus: Result<BTreeSet<u32>, CpuListError>,
    /// The page bases, once they were looked for.
    pub page_bases: Option<Result<PageBases, NotFound>>,
    /// Where each CPU counts its interrupts, once that was looked for.
    pub cpu_words: Option<Result<AllCpuWords, Unknown>>,
    /// Whether the kernel may preempt its own code, once that was looked for.
    pub preempts: Option<bool>,
}

/// The kernel's types, and what is needed of them.
pub struct Types {
    /// All of them.
    pub btf: Btf,
    /// Where the programs' fields lie. The two bases are 0.
    pub layout: Layout,
    /// Whether there is a BTF tracepoint `net_dev_queue`, and the kernel shows it.
    pub queue_tracepoint: bool,
    /// Whether there is a BTF tracepoint `net_dev_start_xmit`, and the kernel shows it.
    pub xmit_tracepoint: bool,
}

/// What lockdown forbids (`security/lockdown/lockdown.c@5.10`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lockdown {
    /// Nothing.
    None,
    /// Changing the kernel; also reading `/proc/kcore`.
    Integrity,
    /// Also reading kernel memory, which every hook does.
    Confidentiality,
    /// There is no file that tells: no lockdown, or securityfs is not mounted.
    Unknown,
}

impl Preflight {
    /// Asks everything that needs no program. `btf` is the file with the kernel's types, if it is
    /// not the kernel's own. What can't be told is kept as an error, not returned: only
    /// [`Preflight::hook`] decides what that means.
    #[must_use]
    pub fn gather(btf: Option<&Path>) -> Self {
        let names = [
            page_base::SYMBOLS,
            cpu_words::SYMBOLS,
            preemption::SYMBOLS,
            &[&[FUNCTION]],
        ]
        .concat();
        let release = line("/proc/sys/kernel/osrelease").unwrap_or_default();
        let symbols = Symbols::look_up(&names, &release);
        Self {
            release,
            version: line("/proc/sys/kernel/version").unwrap_or_default(),
            machine: line("/proc/sys/kernel/arch").unwrap_or(std::env::consts::ARCH.into()),
            types: types(btf.unwrap_or(Path::new(RUNNING_KERNEL))),
            symbols,
            kprobes: Path::new("/sys/bus/event_source/devices/kprobe").exists(),
            capabilities: Capabilities::effective(),
            unlimited_memlock: getrlimit(Resource::Memlock).current.is_none(),
            initial_user_namespace: initial_user_namespace(),
            time_namespace_offset: time_namespace_offset(
                &fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default(),
            ),
            lockdown: lockdown(line("/sys/kernel/security/lockdown").as_deref()),
            kptr_restrict: number("/proc/sys/kernel/kptr_restrict"),
            unprivileged_bpf_disabled: number("/proc/sys/kernel/unprivileged_bpf_disabled"),
            clock_source: line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            possible_cpus: cpus::possible(),
            online_cpus: cpus::online(),
            page_bases: None,
            cpu_words: None,
            preempts: None,
        }
    }

    /// Adds what a loaded program found in kernel memory, for the report.
    pub fn add_memory(
        &mut self,
        page_bases: Result<PageBases, NotFound>,
        cpu_words: Result<AllCpuWords, Unknown>,
        preempts: bool,
    ) {
        self.page_bases = Some(page_bases);
        self.cpu_words = Some(cpu_words);
        self.preempts = Some(preempts);
    }

    /// The hook to take, or why there is none. To be asked before anything is attached.
    ///
    /// # Errors
    ///
    /// [`Refusal`], whose text is one line and says what to do.
    pub fn hook(&self, choice: HookChoice) -> Result<Hook, Refusal> {
        self.check_kernel()?;
        self.check_privilege()?;
        let types = self
            .types
            .as_ref()
            .map_err(|error| Refusal::Types(with_causes(error)))?;
        let kprobe = self.kprobes && self.has_function();
        let release = || self.release.clone();
        match (choice, kprobe, types.queue_tracepoint) {
            (HookChoice::Auto | HookChoice::Kprobe, true, _) => Ok(Hook::Kprobe),
            (HookChoice::Auto | HookChoice::Queue, _, true) => Ok(Hook::Queue),
            // The other tracepoint tells who sends.
            (HookChoice::Xmit, _, true) if types.xmit_tracepoint => Ok(Hook::Xmit),
            (HookChoice::Xmit, ..) => Err(Refusal::NoXmit { release: release() }),
            (HookChoice::Kprobe, false, queue) => Err(Refusal::NoKprobe {
                release: release(),
                queue,
            }),
            (HookChoice::Queue, kprobe, false) => Err(Refusal::NoTracepoint {
                release: release(),
                kprobe,
            }),
            (HookChoice::Auto, false, false) => Err(Refusal::NoHook { release: release() }),
        }
    }

    /// Whether the kprobe can have a net at the tracepoint.
    #[must_use]
    pub fn has_queue_tracepoint(&self) -> bool {
        self.types
            .as_ref()
            .is_ok_and(|types| types.queue_tracepoint)
    }

    /// As [`Preflight::hook`], where only the refusal matters.
    ///
    /// # Errors
    ///
    /// As [`Preflight::hook`].
    pub fn refuse(&self, choice: HookChoice) -> Result<(), Refusal> {
        self.hook(choice).map(|_| ())
    }

    fn check_kernel(&self) -> Result<(), Refusal> {
        if self.machine != "x86_64" {
            return Err(Refusal::Machine {
                machine: self.machine.clone(),
            });
        }
        match version(&self.release) {
            Some(version) if version < OLDEST => Err(Refusal::TooOld {
                release: self.release.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn check_privilege(&self) -> Result<(), Refusal> {
        if let Ok(capabilities) = self.capabilities {
            let missing: Vec<Capability> = self
                .needed()
                .iter()
                .copied()
                .filter(|&needed| !capabilities.allow(needed))
                .collect();
            if !missing.is_empty() {
                return Err(Refusal::Capabilities { missing });
            }
        }
        if !self.initial_user_namespace {
            return Err(Refusal::UserNamespace);
        }
        if self.time_namespace_offset != (0, 0) {
            return Err(Refusal::TimeNamespace);
        }
        if self.lockdown == Lockdown::Confidentiality {
            return Err(Refusal::Lockdown);
        }
        Ok(())
    }

    /// The capabilities without which nothing works.
    fn needed(&self) -> &'static [Capability] {
        let is_limited =
            version(&self.release).is_some_and(|it| it < UNLOCKED) && !self.unlimited_memlock;
        if is_limited {
            &[
                Capability::Bpf,
                Capability::Perfmon,
                Capability::SysResource,
            ]
        } else {
            &[Capability::Bpf, Capability::Perfmon]
        }
    }

    /// Whether the kernel lists the function. Where its list can't be read, attaching will tell.
    fn has_function(&self) -> bool {
        self.symbols
            .as_ref()
            .map_or(true, |symbols| symbols.get(FUNCTION) != Symbol::Absent)
    }
}

/// An error and all that it comes from, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn types(path: &Path) -> Result<Types, LayoutError> {
    let btf = Btf::from_file(path)?;
    let layout = layout::layout(&btf)?;
    let is_shown = btf::is_shown();
    let queue_tracepoint = is_shown && btf.has_typedef(QUEUE_TYPEDEF)?;
    let xmit_tracepoint = is_shown && btf.has_typedef(XMIT_TYPEDEF)?;
    Ok(Types {
        btf,
        layout,
        queue_tracepoint,
        xmit_tracepoint,
    })
}

fn line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().into())
}

fn number(path: &str) -> Option<u32> {
    line(path)?.parse().ok()
}

/// `6.1.0-28-amd64` is (6, 1).
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|other: char| !other.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// `PROC_USER_INIT_INO`: `include/linux/proc_ns.h@5.10`. Without user namespaces there is no file.
fn initial_user_namespace() -> bool {
    fs::read_link("/proc/self/ns/user")
        .map_or(true, |target| target == Path::new("user:[4026531837]"))
}

/// The line `monotonic <seconds> <nanoseconds>` (`kernel/time/namespace.c:show_offset@5.10`); zeros
/// without time namespaces.
fn time_namespace_offset(text: &str) -> (i64, i64) {
    let numbers = |line: &str| {
        let mut words = line.strip_prefix("monotonic")?.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    };
    text.lines().find_map(numbers).unwrap_or((0, 0))
}

/// `none [integrity] confidentiality`: what is in force stands in brackets.
fn lockdown(text: Option<&str>) -> Lockdown {
    let in_force = |text: &str| {
        text.split_whitespace()
            .find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))
            .map(str::to_owned)
    };
    match text.and_then(in_force).as_deref() {
        Some("none") => Lockdown::None,
        Some("integrity") => Lockdown::Integrity,
        Some("confidentiality") => Lockdown::Confidentiality,
        _ => Lockdown::Unknown,
    }
}
