//! What is not asked for, cheapest first.

use core::ptr::read_volatile;

use aya_ebpf::{macros::map, maps::Array};
use skbcap_common::{
    config::MAX_INTERFACES,
    devices::MAX_NAMESPACES,
    sender::{NAME_LEN, Pattern, UNWANTED, WANTED},
};

use crate::{
    config::{config, global, load},
    glob::Glob,
    skb::Device,
    source::Source,
};

/// Patterns for names. The loader sets the number of entries.
#[map]
static DEVICES: Array<Pattern> = Array::with_max_entries(1, 0);

/// Whether frames of this device are wanted.
#[inline(always)]
pub(crate) fn wants<S: Source>(device: &Device) -> bool {
    let netns = config!(netns);
    if netns != 0 && netns != device.netns {
        return false;
    }
    if config!(devices.netns_count) != 0
        && is_listed(device.netns) != (config!(devices.netns_wanted) != 0)
    {
        return false;
    }
    if config!(devices.patterns) != 0 {
        let ([low, high], _) = device.name::<S>();
        return skbcap_device(low, high) != 0;
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

/// Whether a namespace is one of those that are wanted, or left out.
#[inline(always)]
fn is_listed(netns: u32) -> bool {
    let mut index = 0;
    while index < MAX_NAMESPACES && index < config!(devices.netns_count) as usize {
        if load(&global().devices.netns[index]) == netns {
            return true;
        }
        index += 1;
    }
    false
}

/// 1 if a device of this name is wanted by the patterns, else 0. Verified once, so it takes the name
/// as two words.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn skbcap_device(low: u64, high: u64) -> u64 {
    if config!(devices.patterns) == 0 {
        return 0;
    }
    let mut bits = 0;
    let mut number = 0;
    while number < MAX_INTERFACES as u32 && number < config!(devices.patterns) {
        bits |= skbcap_device_matches(low, high, number);
        number += 1;
    }
    let wanted = config!(devices.wanted) == 0 || bits & u64::from(WANTED) != 0;
    u64::from(wanted && bits & u64::from(UNWANTED) == 0)
}

/// The bits of one pattern, if it matches the name.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn skbcap_device_matches(low: u64, high: u64, number: u32) -> u64 {
    if config!(devices.patterns) == 0 {
        return 0;
    }
    let Some(pattern) = DEVICES.get_ptr(number) else {
        return 0;
    };
    // SAFETY: a whole map value.
    let mut glob = unsafe { Glob::new(pattern) };
    let mut rest = [low, high];
    let mut at = 0;
    while at < NAME_LEN {
        let byte = rest[0] & 0xff;
        if byte == 0 {
            break;
        }
        rest = [rest[0] >> 8 | rest[1] << 56, rest[1] >> 8];
        glob.step(byte);
        at += 1;
    }
    glob.bits()
}

/// An interface's name from the configuration, as two words.
#[inline(always)]
fn interface_name(index: usize) -> [u64; 2] {
    let name = (&raw const global().interfaces).cast::<[u64; 2]>();
    // SAFETY: `index` is below `MAX_INTERFACES`, and the array lies at a multiple of 8 in a static
    // that nobody writes after the load.
    unsafe {
        let name = name.add(index).cast::<u64>();
        [read_volatile(name), read_volatile(name.add(1))]
    }
}
