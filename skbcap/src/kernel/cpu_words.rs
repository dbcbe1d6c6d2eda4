//! Where each CPU keeps the words that the programs look at: its `__preempt_count`, which tells
//! whether it runs a task, a softirq or a hardware interrupt; and `current_kprobe` and
//! `bpf_prog_active`, which tell whether it leaves kprobes out. x86-64.
//!
//! Owns the search for them, and the proof. Must not know: what the programs make of the values.
//! What cannot be proved is not reported: the context is then recorded as unknown.
//!
//! The variables are per-CPU. The count is `__preempt_count` (5.10, 6.1, 6.15 and newer; 8 bytes since
//! 7.3, 4 before), or a member of `pcpu_hot` (6.2 to 6.14). Per-CPU variables of CPU `c` lie at `start +
//! offset in the section + __per_cpu_offset[c]`, where `start` is `__per_cpu_start`: 0 up to 6.14, an address in the
//! kernel's image since (`arch/x86/kernel/vmlinux.lds.S`). BTF tells the offsets in the section.
//!
//! Where kallsyms lists no data symbols, a per-CPU map of our own tells `__per_cpu_offset[c]`: the
//! map keeps one per-CPU pointer, to which each CPU adds its offset to get at its value
//! (`kernel/bpf/arraymap.c:percpu_array_map_lookup_elem@5.10`). The offset is also the value of the
//! per-CPU variable `this_cpu_off`: only with the right `start` does it hold itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use skbcap_common::config::PreemptBits;

use super::btf::{Btf, BtfError};
use super::kallsyms::Symbols;
use super::peek::{PAGE_LEN, Peek};

mod affinity;
#[cfg(test)]
mod tests;

/// The names that [`find`] wants to have been looked up. The init text's end is far behind the rest,
/// and not needed where the start is listed.
pub const SYMBOLS: &[&[&str]] = &[
    &[PER_CPU_START, END_OF_INIT_TEXT],
    &[COUNT, HOT],
    &[CURRENT_KPROBE],
    &[BPF_PROG_ACTIVE],
];

const PER_CPU_START: &str = "__per_cpu_start";
const COUNT: &str = "__preempt_count";
const HOT: &str = "pcpu_hot";
/// What came with the bits that count how often interrupts were disabled.
const DISABLED: &str = "local_interrupt_disable_state";
const CURRENT_KPROBE: &str = "current_kprobe";
const BPF_PROG_ACTIVE: &str = "bpf_prog_active";
const END_OF_INIT_TEXT: &str = "_einittext";

const SECTION: &str = ".data..percpu";

/// How far in the kernel's image the per-CPU section is looked for: no kernel is larger
/// (`arch/x86/include/asm/page_64_types.h:KERNEL_IMAGE_SIZE@6.12`: 1 GiB with KASLR, of which a
/// kernel itself takes some ten MiB).
const SEARCHED: u64 = 128 << 20;

/// `include/linux/preempt.h@5.10`: 8 bits of preemption, 8 of softirq, then what [`Count`] tells.
const PREEMPTION: u64 = 0x0000_00ff;
const SOFTIRQ: u64 = 0x0000_ff00;
/// Where it is 4 bytes, its highest bit is x86's inverted "needs rescheduling".
const NEED_RESCHED: u64 = 0x8000_0000;
/// Where it is 8, that bit is in the upper half.
const UPPER: u64 = !(u32::MAX as u64);

/// Levels of preemption that a run by hand may show: the run's own and a tracer's or two.
const MAX_PREEMPTION: u64 = 8;

/// How often a value that does not fit is read again: the task may be due for rescheduling.
const ATTEMPTS: usize = 8;

/// Where a CPU keeps the words that the programs look at; 0 where it isn't known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuWords {
    /// The address of `__preempt_count`.
    pub preempt_count: u64,
    /// The address of `current_kprobe`: 0 on a kernel without kprobes.
    pub current_kprobe: u64,
    /// The address of `bpf_prog_active`.
    pub bpf_prog_active: u64,
}

/// The words of all CPUs.
#[derive(Clone, Debug)]
pub struct AllCpuWords {
    /// What their counts say by which bits.
    pub preempt: PreemptBits,
    /// Of each. CPUs that were offline are missing.
    pub of: BTreeMap<u32, CpuWords>,
}

/// Why the counts are not known.
#[derive(Debug, thiserror::Error)]
pub enum Unknown {
    /// BTF cannot be read, or does not describe what the search walks through.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// A read of kernel memory failed.
    #[error("reading kernel memory failed: {0}")]
    Io(#[from] io::Error),
    /// Neither kallsyms nor BTF tells where the count is.
    #[error("neither kallsyms nor BTF tells where {0} is")]
    NotListed(&'static str),
    /// The start of the per-CPU variables was not found.
    #[error("the kernel's per-CPU variables were not found")]
    NoStart,
    /// What was found does not behave as a count does.
    #[error("what looked like CPU {cpu}'s count is {value:#x} in its {place:?}")]
    Contradicted {
        /// The CPU.
        cpu: u32,
        /// What was read.
        value: u64,
        /// What the CPU did.
        place: Place,
    },
}

/// Finds the words of all CPUs of `online`, and proves the counts among them.
///
/// Minimum kernel: 5.10. An online CPU is asked by an interrupt; none is waited for.
///
/// # Errors
///
/// [`Unknown`]: the context has to be recorded as unknown.
pub fn find(
    btf: &Btf,
    symbols: &Symbols,
    online: &BTreeSet<u32>,
    peek: &mut impl Peek,
) -> Result<AllCpuWords, Unknown> {
    let map = OwnMap::locate(btf, online, peek)?;
    let count = count_from_zero(btf, symbols, &map, peek)?;
    // Not there where there are no kprobes; the mark of one is then not doubted.
    let mut other = |variable| from_zero(btf, symbols, &map, variable, peek).ok();
    let [current_kprobe, bpf_prog_active] = [CURRENT_KPROBE, BPF_PROG_ACTIVE].map(&mut other);
    let of: BTreeMap<u32, CpuWords> = map
        .offsets
        .iter()
        .map(|(&cpu, offset)| {
            let on = |address: u64| offset.wrapping_add(address);
            let words = CpuWords {
                preempt_count: on(count),
                current_kprobe: current_kprobe.map_or(0, on),
                bpf_prog_active: bpf_prog_active.map_or(0, on),
            };
            (cpu, words)
        })
        .collect();
    let kind = Count::of(btf)?;
    prove(kind, &of, peek)?;
    Ok(AllCpuWords {
        preempt: kind.bits(),
        of,
    })
}

/// How a kernel counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    /// Whether it also counts how often interrupts were disabled (`HARDIRQ_DISABLE_BITS`): 8 bits more,
    /// below those of the hardirqs. 7.2 does not, 7.3 does.
    counts_disabled: bool,
    /// Whether "needs rescheduling" is in an upper half (`HAS_SEPARATE_PREEMPT_RESCHED_BITS`), and
    /// leaves all of the lower one to the counts.
    is_wide: bool,
}

impl Count {
    /// By what came into the kernel with each; that they are counted so is for [`prove`] to find out.
    fn of(btf: &Btf) -> Result<Self, BtfError> {
        let count = btf.variable(SECTION, COUNT)?;
        Ok(Self {
            counts_disabled: btf.variable(SECTION, DISABLED)?.is_some(),
            is_wide: count.is_some_and(|count| count.size == 8),
        })
    }

    fn hardirq_once(self) -> u32 {
        if self.counts_disabled {
            1 << 24
        } else {
            1 << 16
        }
    }

    fn bits(self) -> PreemptBits {
        let once = self.hardirq_once();
        let nmi_once = once << 4;
        let nmi_bits = if self.counts_disabled && !self.is_wide {
            // The other three would take "needs rescheduling" in.
            1
        } else {
            0xf
        };
        PreemptBits {
            hardirq_mask: 0xf * once,
            nmi_mask: nmi_bits * nmi_once,
            nmi_adds: nmi_once + once,
        }
    }

    /// The bits that are no counts.
    fn resched(self) -> u64 {
        if self.is_wide { UPPER } else { NEED_RESCHED }
    }

    /// Whether a count may be that of a CPU which does this. An interrupt may come upon anything but
    /// another interrupt.
    fn fits(self, place: Place, value: u64) -> bool {
        let preemption = value & PREEMPTION <= MAX_PREEMPTION;
        let resched = value & self.resched();
        let rest = value & !(PREEMPTION | self.resched());
        preemption
            && resched.count_ones() <= 1
            && match place {
                Place::Task => rest == 0 && resched != 0,
                Place::Interrupt => rest & !SOFTIRQ == self.hardirq_once().into(),
            }
    }

    /// Reads a CPU's count, as wide as it is.
    fn read(self, cpu: u32, address: u64, peek: &mut impl Peek) -> io::Result<u64> {
        let mut bytes = [0; 8];
        let len = if self.is_wide { 8 } else { 4 };
        peek.read_on(cpu, address, &mut bytes[..len])?;
        Ok(u64::from_le_bytes(bytes))
    }
}

/// What a per-CPU map of our own tells.
struct OwnMap {
    /// `__per_cpu_offset` of each CPU.
    offsets: BTreeMap<u32, u64>,
    /// The address of its table of functions: read-only data of the kernel's image.
    operations: u64,
}

impl OwnMap {
    fn locate(btf: &Btf, online: &BTreeSet<u32>, peek: &mut impl Peek) -> Result<Self, Unknown> {
        let field = |structure, member| -> Result<u64, BtfError> {
            Ok(btf.member(structure, member)?.byte_offset().into())
        };
        let (pointers, table) = (field("bpf_array", "pptrs")?, field("bpf_map", "ops")?);
        let mut map = Self {
            offsets: BTreeMap::new(),
            operations: 0,
        };
        for &cpu in online {
            let found = peek.per_cpu(cpu)?;
            let pointer = peek.read_u64(found.map.wrapping_add(pointers))?;
            map.offsets.insert(cpu, found.value.wrapping_sub(pointer));
            map.operations = peek.read_u64(found.map.wrapping_add(table))?;
        }
        Ok(map)
    }
}

/// The count's address less any CPU's offset.
fn count_from_zero(
    btf: &Btf,
    symbols: &Symbols,
    map: &OwnMap,
    peek: &mut impl Peek,
) -> Result<u64, Unknown> {
    let has_hot = btf.variable(SECTION, HOT)?.is_some() || symbols.address(HOT).is_some();
    let in_hot = if has_hot {
        Some(btf.member(HOT, "preempt_count")?.byte_offset())
    } else {
        None
    };
    let (variable, within) = in_hot.map_or((COUNT, 0), |offset| (HOT, offset));
    Ok(from_zero(btf, symbols, map, variable, peek)?.wrapping_add(within.into()))
}

/// A per-CPU variable's address less any CPU's offset.
fn from_zero(
    btf: &Btf,
    symbols: &Symbols,
    map: &OwnMap,
    variable: &'static str,
    peek: &mut impl Peek,
) -> Result<u64, Unknown> {
    if let Some(address) = symbols.address(variable) {
        return Ok(address);
    }
    let place = btf
        .variable(SECTION, variable)?
        .ok_or(Unknown::NotListed(variable))?;
    Ok(start(btf, symbols, map, peek)?.wrapping_add(place.offset.into()))
}

/// `__per_cpu_start`: listed, or 0, or looked for in the kernel's image a page at a time, since the
/// section begins a page (`include/asm-generic/vmlinux.lds.h:PERCPU_SECTION@6.18`): behind the init
/// text, or where that is hidden, behind the read-only data. A wrong candidate reads the direct map
/// as far from the per-CPU variables as it is wrong.
fn start(btf: &Btf, symbols: &Symbols, map: &OwnMap, peek: &mut impl Peek) -> Result<u64, Unknown> {
    const SELF: &str = "this_cpu_off";
    let place = btf
        .variable(SECTION, SELF)?
        .ok_or(Unknown::NotListed(SELF))?
        .offset;
    let mut fits = |start: u64| {
        let holds_itself = |&offset: &u64| {
            let address = offset.wrapping_add(start).wrapping_add(place.into());
            peek.read_u64(address).is_ok_and(|value| value == offset)
        };
        map.offsets.values().all(holds_itself)
    };
    let listed = symbols.address(PER_CPU_START).into_iter().chain([0]);
    let image = symbols.address(END_OF_INIT_TEXT).unwrap_or(map.operations);
    let first = image / PAGE_LEN as u64 * PAGE_LEN as u64;
    let behind =
        (0..SEARCHED / PAGE_LEN as u64).map_while(|page| first.checked_add(page * PAGE_LEN as u64));
    listed
        .chain(behind)
        .find(|&start| fits(start))
        .ok_or(Unknown::NoStart)
}

/// Reads each count where it is known what it must show: on the very CPU, run by hand, a task; from
/// another CPU, which has the read done by an interrupt, that interrupt. Nothing else changes so.
///
/// The thread goes to two CPUs for that, and then back to all it may run on. Where it may run on
/// one only, that one is not seen interrupted; its address comes from the same sum as all others'.
fn prove(
    kind: Count,
    words: &BTreeMap<u32, CpuWords>,
    peek: &mut impl Peek,
) -> Result<(), Unknown> {
    let allowed = affinity::allowed()?;
    let _whole = affinity::RestoreAtEnd(allowed.clone());
    for &here in words.keys().filter(|cpu| allowed.contains(cpu)).take(2) {
        affinity::set(&BTreeSet::from([here]))?;
        for (&cpu, words) in words {
            let place = if cpu == here {
                Place::Task
            } else {
                Place::Interrupt
            };
            check(kind, cpu, words.preempt_count, place, peek)?;
        }
    }
    Ok(())
}

/// What a CPU does while its count is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A system call of this process.
    Task,
    /// An interrupt that this process asked for.
    Interrupt,
}

fn check(
    kind: Count,
    cpu: u32,
    address: u64,
    place: Place,
    peek: &mut impl Peek,
) -> Result<(), Unknown> {
    let mut value = 0;
    for _ in 0..ATTEMPTS {
        value = kind.read(cpu, address, peek)?;
        if kind.fits(place, value) {
            return Ok(());
        }
    }
    Err(Unknown::Contradicted { cpu, value, place })
}
