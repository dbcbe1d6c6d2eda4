//! Drops by interface: a table of each ring's, which only its own CPU's programs write.

use core::ptr::{read_volatile, write_volatile};

use skbcap_common::{
    Control,
    control::{INTERFACE_DROPS, INTERFACE_DROPS_PROBES, InterfaceDropsTable, interface_drops_slot},
};

use crate::{
    maps::DROPS,
    memory::{add, opaque},
    skb::Device,
};

/// Counts a drop for the frame's interface.
///
/// # Safety
///
/// `control` is this CPU's control block, and its busy mark is set by this very program.
#[inline(always)]
pub(crate) unsafe fn count(index: u32, control: *mut Control, device: &Device) {
    // SAFETY: as the caller promises; the tables have one writer, as the control block has.
    unsafe {
        // A device that can't be read has no ifindex, as a free entry.
        let place = if device.ifindex == 0 {
            None
        } else {
            find_interface(index, device)
        };
        if let Some((table, slot)) = place {
            let entry = &raw mut (*table)[slot];
            add(&raw mut (*entry).dropped, 1);
            write_volatile(&raw mut (*entry).netns, device.netns);
            // Last: an entry is there once it has an ifindex.
            write_volatile(&raw mut (*entry).ifindex, device.ifindex);
        } else {
            add(&raw mut (*control).drops_unlisted, 1);
        }
    }
}

/// How many frames of this interface this CPU has dropped, wrapping.
///
/// # Safety
///
/// As [`count`].
#[inline(always)]
pub(crate) unsafe fn of_interface(index: u32, control: *mut Control, device: &Device) -> u32 {
    // SAFETY: as the caller promises.
    unsafe {
        let dropped = read_volatile(&raw const (*control).dropped_ring_full)
            + read_volatile(&raw const (*control).dropped_no_ring);
        if dropped == 0 {
            return 0;
        }
        match find_interface(index, device) {
            Some((table, slot)) => read_volatile(&raw const (*table)[slot].dropped) as u32,
            None => 0,
        }
    }
}

/// The table of the control block `index`, and where in it the interface stands or may be put.
#[inline(always)]
fn find_interface(index: u32, device: &Device) -> Option<(*mut InterfaceDropsTable, usize)> {
    let table = DROPS.get_ptr_mut(index)?;
    let start = interface_drops_slot(device.netns, device.ifindex);
    let mut probe = 0;
    while probe < INTERFACE_DROPS_PROBES {
        let slot = opaque((start + probe) as u64) as usize % INTERFACE_DROPS;
        // SAFETY: `slot` is below the table's length.
        let entry = unsafe { &raw const (*table)[slot] };
        // SAFETY: a whole entry, written by this CPU's program only.
        let (netns, ifindex) = unsafe {
            (
                read_volatile(&raw const (*entry).netns),
                read_volatile(&raw const (*entry).ifindex),
            )
        };
        if ifindex == 0 || (ifindex == device.ifindex && netns == device.netns) {
            return Some((table, slot));
        }
        probe += 1;
    }
    None
}
