//! The kprobe, and the net under it: each frame is taken by one of the two.
//!
//! A kprobe is left out where its CPU runs another one, or a BPF program that does not nest: a
//! softirq that sends while this very program runs is enough. The tracepoint `net_dev_queue` lies
//! in the same function, runs with softirqs disabled, and is left out by nothing, so it takes what
//! the kprobe has not.
//!
//! Where the kernel can copy a frame at the tracepoint more cheaply than the kprobe's program can, the
//! kprobe leaves it the frames that nothing can change or take away in between: those of devices
//! without egress tc and nft. It is the same call of the same function, on behalf of the same task.
//!
//! A frame that is sent while the kprobe's program is in the middle of another one is certain to
//! have been missed, and goes to the CPU's second ring. Of any other, [`crate::marks`] tell.

use core::ptr::{read_volatile, write_volatile};

use skbcap_common::{Hook, control::DEFERRED};

use crate::{
    config::config,
    emit::{is_busy, take_into, this_cpu},
    maps::CONTROL,
    marks::{self, Mark},
    memory::{add, locked_add},
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
        if S::DEFERS && read_volatile(&raw const (*control).defers) != 0 && !has_egress::<S>(skb) {
            add(&raw mut (*control).deferred, 1);
            marks::set(cpu, control, skb | DEFERRED);
            return;
        }
        marks::set(cpu, control, skb);
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
        let (mut index, mut hook, mut ring) = (cpu, Hook::Net, control);
        if is_busy(control) {
            index += config!(cpus);
            let Some(second) = CONTROL.get_ptr_mut(index) else {
                return;
            };
            if read_volatile(&raw const (*control).over) != 0 {
                return;
            }
            if is_busy(second) {
                locked_add(&raw mut (*second).dropped_busy, 1);
                return;
            }
            ring = second;
        } else {
            // The pointer's type is known, so it may not be calculated with. What is read back is
            // a number.
            write_volatile(&raw mut (*control).skb_addr, skb);
            let address = read_volatile(&raw const (*control).skb_addr);
            match marks::take::<S>(cpu, control, address) {
                Mark::Taken => return,
                Mark::Deferred => {
                    add(&raw mut (*control).deferred_seen, 1);
                    hook = Hook::Kprobe;
                }
                Mark::None => {}
            }
        }
        // What the kprobe left to this program before the end is still taken.
        if matches!(hook, Hook::Net) && read_volatile(&raw const (*control).over) != 0 {
            return;
        }
        take_into::<S>(skb, hook, cpu, index, ring);
    }
}

/// Whether egress tc or nft have a say in what the skb's device sends.
#[inline(always)]
fn has_egress<S: Source>(skb: u64) -> bool {
    let [tc, nft] = [config!(layout.dev_egress[0]), config!(layout.dev_egress[1])];
    // SAFETY: the skb that the program was handed, and what came from the same source.
    unsafe {
        let device = S::device(skb);
        (tc != 0 && S::is_set(device, tc)) || (nft != 0 && S::is_set(device, nft))
    }
}
