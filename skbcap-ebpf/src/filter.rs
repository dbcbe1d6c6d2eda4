//! What is not asked for, cheapest first.

use crate::{config::config, skb::Device, source::Source};
use skbcap_common::config::MAX_INTERFACES;

/// Whether frames of this device are wanted.
#[inline(always)]
pub(crate) fn wants<S: Source>(device: &Device) -> bool {
    let netns = config!(netns);
    if netns != 0 && netns != device.netns {
        return false;
    }
    let count = config!(interface_count) as usize;
    if count == 0 {
        return true;
    }
    let (name, _) = device.name::<S>();
    let mut index = 0;
    while index < MAX_INTERFACES && index < count {
        let [low, high] = interface_name(index);
        if low == name[0] && high == name[1] {
            return true;
        }
        index += 1;
    }
    false
}

/// An interface's name from the configuration, as two words.
#[inline(always)]
fn interface_name(index: usize) -> [u64; 2] {
    let name = (&raw const crate::config::global().interfaces).cast::<[u64; 2]>();
    // SAFETY: `index` is below `MAX_INTERFACES`, and the array lies at a multiple of 8 in a static
    // that nobody writes after the load.
    unsafe {
        let name = name.add(index).cast::<u64>();
        [
            core::ptr::read_volatile(name),
            core::ptr::read_volatile(name.add(1)),
        ]
    }
}
