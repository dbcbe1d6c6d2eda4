//! Marks that the kprobe leaves on the skbs it took up, for the tracepoint behind it in the same
//! function to find.
//!
//! Between the two, a frame is nearly always the last one that its CPU's kprobe saw: its mark is
//! one word of the control block. What was not taken from there when the next one comes is kept in
//! a small table: frames in whose midst others are sent (a mirror at egress, a softirq between the
//! two places), and tasks that were preempted there, perhaps to go on on another CPU.
//!
//! A frame that egress tc or nft drop, steal or redirect never reaches the tracepoint, and its mark
//! stays, though the same address may belong to another frame the next moment. If the kprobe sees
//! that one, all is well: the mark is new. If it misses it, the old mark would hide it. So a mark is
//! only believed where the kprobe can't have been left out: the kernel leaves it out while
//! `current_kprobe` is set (`kprobe_running`) or `bpf_prog_active` is not 0 (`trace_call_bpf`,
//! kernel/trace/bpf_trace.c@6.12). What lies below a softirq stands still until it is over, so for a
//! frame sent by one both words are what they were at the function's entry. For a frame sent by a
//! task the first one is 0, and the second can only differ if the task was preempted between the
//! two places, while another one, itself preempted in the midst of a bpf() call on a map, holds it.
//! Then the mark is believed as long as no frame was seen to vanish here; and counted as doubtful.
//!
//! Marks of a CPU are written by its own programs only, and never by a program that interrupts
//! another one.

use core::ptr::{read_volatile, write_volatile};

use skbcap_common::{
    Context, Control,
    control::{MARK_WAYS, mark_set},
};

use crate::{
    config::config,
    identity,
    maps::CONTROL,
    memory::{add, opaque},
    source::{ByAddress, Source},
};

/// The most CPUs on which a mark is looked for. A frame whose task went on on another CPU than
/// these is captured twice.
const MAX_CPUS: u32 = 1024;

/// Marks the skb at `skb_addr`, for the kprobe.
///
/// # Safety
///
/// `control` is the control block of this CPU, `cpu`, and its busy mark is set by this very program.
#[inline(always)]
pub(crate) unsafe fn set(cpu: u32, control: *mut Control, skb_addr: u64) {
    // SAFETY: as the caller promises.
    unsafe {
        let before = read_volatile(&raw const (*control).marked);
        if before == skb_addr {
            add(&raw mut (*control).vanished, 1);
        } else if before != 0 {
            skbcap_keep_mark(cpu, before);
        }
        write_volatile(&raw mut (*control).marked, skb_addr);
    }
}

/// Takes the mark off the skb at `skb_addr`, for the tracepoint. Whether the kprobe took the frame.
///
/// # Safety
///
/// `control` is the control block of this CPU, `cpu`, and is not busy; softirqs are disabled.
#[inline(always)]
pub(crate) unsafe fn take<S: Source>(cpu: u32, control: *mut Control, skb_addr: u64) -> bool {
    // SAFETY: as the caller promises.
    unsafe {
        if read_volatile(&raw const (*control).marked) == skb_addr {
            write_volatile(&raw mut (*control).marked, 0);
        } else if skbcap_find_mark(cpu, skb_addr) == 0 {
            return false;
        }
        if S::is_word64_set(read_volatile(&raw const (*control).current_kprobe_addr)) {
            return false;
        }
        S::word32(read_volatile(&raw const (*control).bpf_prog_active_addr)) == 0
            || skbcap_judge_mark(cpu) != 0
    }
}

/// Keeps the mark of `skb_addr` in the table.
///
/// A function of its own, as are the next two, so that the verifier goes through it once.
///
/// # Safety
///
/// `cpu` is this CPU, and its control block's busy mark is set.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn skbcap_keep_mark(cpu: u32, skb_addr: u64) -> u64 {
    let Some(control) = CONTROL.get_ptr_mut(cpu) else {
        return 0;
    };
    // SAFETY: a set lies within the table. Written by this CPU only, as the caller promises.
    unsafe {
        let set = set_of(control, skb_addr);
        let mut mark = skb_addr;
        let mut way = 0;
        // Each mark moves on by one, up to the first free place or the same one's.
        while way < MARK_WAYS {
            let before = read_volatile(set.add(way));
            write_volatile(set.add(way), mark);
            if before == 0 || before == skb_addr {
                return 0;
            }
            mark = before;
            way += 1;
        }
        add(&raw mut (*control).marks_lost, 1);
    }
    0
}

/// Looks for the mark of `skb_addr` in this CPU's table, and takes it out; then on all other CPUs.
/// Whether there is one.
///
/// # Safety
///
/// `cpu` is this CPU, and its control block is not busy; softirqs are disabled.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn skbcap_find_mark(cpu: u32, skb_addr: u64) -> u64 {
    let Some(control) = CONTROL.get_ptr_mut(cpu) else {
        return 0;
    };
    // SAFETY: for all of this block, sets lie within their tables. Only this CPU's is written to.
    unsafe {
        let set = set_of(control, skb_addr);
        let mut way = 0;
        while way < MARK_WAYS {
            if read_volatile(set.add(way)) == skb_addr {
                write_volatile(set.add(way), 0);
                return 1;
            }
            way += 1;
        }
        // Softirqs and interrupts end on the CPU they began on.
        if let Context::Softirq | Context::Hardirq =
            identity::context::<ByAddress>(read_volatile(&raw const (*control).preempt_count_addr))
        {
            return 0;
        }
        let cpus = config!(cpus);
        let mut other = 0;
        while other < MAX_CPUS && other < cpus {
            let Some(control) = CONTROL.get_ptr_mut(other) else {
                return 0;
            };
            // First the mark, then the table: the other order may miss one that moves meanwhile. A
            // mark of another CPU stays where it is: only that CPU writes there.
            if read_volatile(&raw const (*control).marked) == skb_addr {
                return 1;
            }
            let set = set_of(control, skb_addr);
            let mut way = 0;
            while way < MARK_WAYS {
                if read_volatile(set.add(way)) == skb_addr {
                    return 1;
                }
                way += 1;
            }
            other += 1;
        }
        0
    }
}

/// Whether to believe a mark that was found while this CPU's `bpf_prog_active` was not 0.
///
/// # Safety
///
/// `cpu` is this CPU, and its control block is not busy; softirqs are disabled.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn skbcap_judge_mark(cpu: u32) -> u64 {
    let Some(control) = CONTROL.get_ptr_mut(cpu) else {
        return 0;
    };
    // SAFETY: this CPU's control block, as the caller promises.
    unsafe {
        if let Context::Softirq | Context::Hardirq =
            identity::context::<ByAddress>(read_volatile(&raw const (*control).preempt_count_addr))
        {
            return 0;
        }
        add(&raw mut (*control).doubtful, 1);
        (read_volatile(&raw const (*control).vanished) == 0) as u64
    }
}

/// The set of the table that an skb's mark is kept in.
#[inline(always)]
fn set_of(control: *mut Control, skb_addr: u64) -> *mut u64 {
    let first = opaque((mark_set(skb_addr) * MARK_WAYS) as u64) as usize
        & (skbcap_common::control::MARK_SETS - 1) * MARK_WAYS;
    // SAFETY: a multiple of a set's length, below the table's.
    unsafe { (&raw mut (*control).marks).cast::<u64>().add(first) }
}
