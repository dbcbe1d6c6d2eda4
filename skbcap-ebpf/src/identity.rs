//! Who is running on this CPU, and in which context: facts, not yet an answer to who sent it.

use aya_ebpf::helpers::generated::bpf_get_current_pid_tgid;
use skbcap_common::{Context, CurrentTask, RecordHeader};

use crate::{config::config, source::Source};

/// `PREEMPT_BITS` and `SOFTIRQ_BITS` are 8 wide (include/linux/preempt.h, unchanged from 5.10 to 7.3).
const SOFTIRQ_OFFSET: u32 = 1 << 8;

/// Writes `current`'s pid, tgid and comm into a record.
///
/// # Safety
///
/// `header` points to a whole record header in a map's value.
#[inline(always)]
pub(crate) unsafe fn write_current<S: Source>(header: *mut RecordHeader) {
    // SAFETY: the caller's promise; a name has 16 bytes.
    unsafe {
        let Current { ids, comm } = S::current();
        (&raw mut (*header).tgid).cast::<u64>().write(ids);
        // The bytes behind the NUL are not cleared.
        (&raw mut (*header).comm).cast::<[u64; 2]>().write(comm);
    }
}

/// Writes the same by itself.
///
/// # Safety
///
/// `to` can be written to.
#[inline(always)]
pub(crate) unsafe fn write_current_task<S: Source>(to: *mut CurrentTask) {
    let Current { ids, comm } = S::current();
    // SAFETY: the caller's promise; the ids are the first two words, and a name is four.
    unsafe {
        (&raw mut (*to).tgid).cast::<u64>().write_unaligned(ids);
        (&raw mut (*to).comm)
            .cast::<[u64; 2]>()
            .write_unaligned(comm);
    }
}

/// The current task: a thread, or the idle task.
pub(crate) struct Current {
    /// Its tgid in the lower half, its pid in the upper: as they stand in a record.
    pub(crate) ids: u64,
    /// Its name.
    pub(crate) comm: [u64; 2],
}

impl Current {
    /// Its process.
    #[inline(always)]
    pub(crate) fn tgid(&self) -> u32 {
        self.ids as u32
    }

    /// Its number.
    #[inline(always)]
    pub(crate) fn pid(&self) -> u32 {
        (self.ids >> 32) as u32
    }
}

/// `current`'s tgid in the upper half, its pid in the lower.
#[inline(always)]
pub(crate) fn pid_tgid() -> u64 {
    // SAFETY: none is needed for the helper; the binding is `unsafe` as all of them are.
    unsafe { bpf_get_current_pid_tgid() }
}

/// What this CPU is doing, from its preemption counter.
#[inline(always)]
pub(crate) fn context<S: Source>(preempt_count_addr: u64) -> Context {
    if preempt_count_addr == 0 {
        return Context::Unknown;
    }
    let mut count = S::word32(preempt_count_addr);
    let (hardirq_mask, nmi_mask) = (config!(preempt.hardirq_mask), config!(preempt.nmi_mask));
    if count & (nmi_mask | hardirq_mask | SOFTIRQ_OFFSET) == 0 {
        return Context::Task;
    }
    // A kprobe by breakpoint runs inside what the kernel counts as an NMI (`irqentry_nmi_enter`,
    // which counts a hardirq too). Nothing is sent from a real NMI: it is the probe's own.
    if count & nmi_mask != 0 {
        count = count.wrapping_sub(config!(preempt.nmi_adds));
    }
    if count & hardirq_mask != 0 {
        Context::Hardirq
    } else if count & SOFTIRQ_OFFSET != 0 {
        // An odd count of softirqs is one being served; merely disabled ones count twice this.
        Context::Softirq
    } else {
        Context::Task
    }
}
