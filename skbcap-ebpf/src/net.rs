//! The kprobe, and the net under it: each frame is taken by one of the two.
//!
//! A kprobe is left out where its CPU runs another one, or a BPF program that does not nest: a
//! softirq that sends while this very program runs is enough. The tracepoint `net_dev_queue` lies
//! in the same function, runs with softirqs disabled, and is left out by nothing, so it takes what
//! the kprobe has not.
//!
//! A frame that is sent while the kprobe's program is in the middle of another one is certain to
//! have been missed, and goes to the CPU's second ring. Of any other, [`crate::marks`] tell.

use core::ptr::{read_volatile, write_volatile};

use skbcap_common::Hook;

use crate::{
    config::config,
    emit::{is_busy, take_into, this_cpu},
    maps::CONTROL,
    marks,
    memory::locked_add,
    source::Source,
};

/// For the kprobe: takes the frame at `skb`, and leaves a mark for the tracepoint.
#[inline(always)]
pub(crate) fn take_and_mark<S: Source>(skb: u64) {
    let cpu = this_cpu();
    let Some(control) = CONTROL.get_ptr_mut(cpu) else {
        return;
    };
    // SAFETY: `control` is a whole, aligned map value, and this CPU's.
    unsafe {
        if read_volatile(&raw const (*control).over) != 0 {
            return;
        }
        if is_busy(control) {
            // Without a mark: the net takes it.
            locked_add(&raw mut (*control).left_to_net, 1);
            return;
        }
        take_into::<S>(skb, Hook::Kprobe, cpu, cpu, control);
    }
}

/// For the tracepoint: takes the frame at `skb` unless the kprobe has.
#[inline(always)]
pub(crate) fn take_missed<S: Source>(skb: u64) {
    let cpu = this_cpu();
    let Some(control) = CONTROL.get_ptr_mut(cpu) else {
        return;
    };
    // SAFETY: for all of this block, `control` is a whole, aligned map value, and this CPU's.
    unsafe {
        if read_volatile(&raw const (*control).over) != 0 {
            return;
        }
        let mut index = cpu;
        if is_busy(control) {
            index += config!(cpus);
        } else {
            // The pointer's type is known, so it may not be calculated with. What is read back is
            // a number.
            write_volatile(&raw mut (*control).skb_addr, skb);
            if marks::take::<S>(cpu, control, read_volatile(&raw const (*control).skb_addr)) {
                return;
            }
        }
        let Some(control) = CONTROL.get_ptr_mut(index) else {
            return;
        };
        if is_busy(control) {
            locked_add(&raw mut (*control).dropped_busy, 1);
            return;
        }
        take_into::<S>(skb, Hook::Net, cpu, index, control);
    }
}
