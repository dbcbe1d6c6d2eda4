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
//! A mark may also say that the kprobe left the frame to the tracepoint ([`DEFERRED`]). Such a one
//! hides nothing if it is left over: the tracepoint takes the frame with it and without.
//!
//! Marks of a CPU are written by its own programs only. A tracepoint's program that interrupts the
//! kprobe's serves a frame that the kprobe missed, and so finds no mark but one that was left over.

use core::ptr::{read_volatile, write_volatile};

use skbcap_common::{
    Context, Control,
    control::{DEFERRED, MARK_WAYS, mark_set},
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

/// What the kprobe did with a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Nothing: it missed it.
    None,
    /// It took the frame.
    Taken,
    /// It left the frame to the tracepoint.
    Deferred,
}

/// Leaves a mark, for the kprobe: an skb's address, perhaps with [`DEFERRED`].
///
/// # Safety
///
/// `control` is the control block of this CPU, `cpu`. What interrupts this is no kprobe.
#[inline(always)]
pub(crate) unsafe fn set(cpu: u32, control: *mut Control, mark: u64) {
    // SAFETY: as the caller promises.
    unsafe {
        let before = read_volatile(&raw const (*control).marked);
        if before == mark {
            add(&raw mut (*control).vanished, 1);
        } else if before != 0 {
            skbcap_keep_mark(cpu, before);
        }
        write_volatile(&raw mut (*control).marked, mark);
    }
}

/// Takes the mark off the skb at `skb_addr`, for the tracepoint.
///
/// # Safety
///
/// `control` is the control block of this CPU, `cpu`, and is not busy; softirqs are disabled.
#[inline(always)]
pub(crate) unsafe fn take<S: Source>(cpu: u32, control: *mut Control, skb_addr: u64) -> Mark {
    // SAFETY: as the caller promises.
    unsafe {
        let marked = read_volatile(&raw const (*control).marked);
        if marked == skb_addr | DEFERRED {
            write_volatile(&raw mut (*control).marked, 0);
            return Mark::Deferred;
        }
        if marked == skb_addr {
            write_volatile(&raw mut (*control).marked, 0);
        } else {
            match skbcap_find_mark(cpu, skb_addr) {
                0 => return Mark::None,
                1 => {}
                _ => return Mark::Deferred,
            }
        }
        if S::is_word64_set(read_volatile(&raw const (*control).current_kprobe_addr)) {
            return Mark::None;
        }
        if S::word32(read_volatile(&raw const (*control).bpf_prog_active_addr)) == 0
            || skbcap_judge_mark(cpu) != 0
        {
            Mark::Taken
        } else {
            Mark::None
        }
    }
}

/// Keeps a mark in the table.
///
/// A function of its own, as are the next two, so that the verifier goes through it once.
///
/// # Safety
///
/// `cpu` is this CPU. What interrupts this is no kprobe.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn skbcap_keep_mark(cpu: u32, newest: u64) -> u64 {
    let Some(control) = CONTROL.get_ptr_mut(cpu) else {
        return 0;
    };
    // SAFETY: a set lies within the table. Written by this CPU only, as the caller promises.
    unsafe {
        let set = set_of(control, newest);
        let mut mark = newest;
        let mut way = 0;
        // Each mark moves on by one, up to the first free place or the same one's.
        while way < MARK_WAYS {
            let before = read_volatile(set.add(way));
            write_volatile(set.add(way), mark);
            if before == 0 || before == newest {
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
/// 0: there is none; 1: the kprobe took the frame; 2: it left it to the tracepoint.
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
            let mark = read_volatile(set.add(way));
            if mark & !DEFERRED == skb_addr {
                write_volatile(set.add(way), 0);
                return 1 + (mark & DEFERRED);
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
            let mark = read_volatile(&raw const (*control).marked);
            if mark & !DEFERRED == skb_addr {
                return 1 + (mark & DEFERRED);
            }
            let set = set_of(control, skb_addr);
            let mut way = 0;
            while way < MARK_WAYS {
                let mark = read_volatile(set.add(way));
                if mark & !DEFERRED == skb_addr {
                    return 1 + (mark & DEFERRED);
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

/// The set of the table that a mark is kept in.
#[inline(always)]
fn set_of(control: *mut Control, mark: u64) -> *mut u64 {
    let first = opaque((mark_set(mark) * MARK_WAYS) as u64) as usize
        & ((skbcap_common::control::MARK_SETS - 1) * MARK_WAYS);
    // SAFETY: a multiple of a set's length, below the table's.
    unsafe { (&raw mut (*control).marks).cast::<u64>().add(first) }
}
