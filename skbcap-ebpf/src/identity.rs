//! Who is running on this CPU, and in which context: facts, not yet an answer to who sent it.

use aya_ebpf::helpers::generated::{
    bpf_get_current_pid_tgid, bpf_get_current_task, bpf_probe_read_kernel,
};
use skbcap_common::{Context, RecordHeader};

use crate::config::config;

/// `PREEMPT_BITS` and `SOFTIRQ_BITS` are 8 wide, `HARDIRQ_BITS` and `NMI_BITS` 4
/// (include/linux/preempt.h, unchanged from 5.10 to 7.2).
const SOFTIRQ_OFFSET: u32 = 1 << 8;
const HARDIRQ_OFFSET: u32 = 1 << 16;
const HARDIRQ_MASK: u32 = 0xf << 16;
const NMI_OFFSET: u32 = 1 << 20;
const NMI_MASK: u32 = 0xf << 20;

/// Writes `current`'s pid, tgid and comm into a record.
///
/// # Safety
///
/// `header` points to a whole record header in a map's value.
#[inline(always)]
pub(crate) unsafe fn write_current(header: *mut RecordHeader) {
    // SAFETY: the caller's promise; the helper writes the 16 bytes that it is told.
    unsafe {
        let pid_tgid = bpf_get_current_pid_tgid();
        (*header).tgid = (pid_tgid >> 32) as u32;
        (*header).pid = pid_tgid as u32;
        // Half of what `bpf_get_current_comm` costs. The bytes behind the NUL are not cleared.
        let comm = bpf_get_current_task() + u64::from(config!(layout.task_comm));
        bpf_probe_read_kernel((&raw mut (*header).comm).cast(), 16, comm as *const _);
    }
}

/// What this CPU is doing, from its preemption counter.
#[inline(always)]
pub(crate) fn context(preempt_count_addr: u64) -> Context {
    if preempt_count_addr == 0 {
        return Context::Unknown;
    }
    let mut count = 0u32;
    // SAFETY: the helper writes the four bytes of `count`, or fails on an address not mapped.
    let failed = unsafe {
        bpf_probe_read_kernel((&raw mut count).cast(), 4, preempt_count_addr as *const _)
    };
    if failed != 0 {
        return Context::Unknown;
    }
    // A kprobe by breakpoint runs inside what the kernel counts as an NMI (`irqentry_nmi_enter`,
    // which counts a hardirq too). Nothing is sent from a real NMI: it is the probe's own.
    if count & NMI_MASK != 0 {
        count = count.wrapping_sub(NMI_OFFSET + HARDIRQ_OFFSET);
    }
    if count & HARDIRQ_MASK != 0 {
        Context::Hardirq
    } else if count & SOFTIRQ_OFFSET != 0 {
        // An odd count of softirqs is one being served; merely disabled ones count twice this.
        Context::Softirq
    } else {
        Context::Task
    }
}
