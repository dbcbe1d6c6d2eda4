//! What was last written on this CPU, so that the frames that come of it cost little.
//!
//! Owns one fingerprint for each CPU: of a socket, of the one thread that is known to write to it, of
//! that thread's name, and of a generation. Whatever changes what is known of the socket ends the
//! generation, and so the fingerprint, on all CPUs. It is a single word, so that a task that
//! interrupts another one at its write leaves either's whole.

use core::arch::asm;

use aya_ebpf::{
    helpers::generated::bpf_probe_read_kernel,
    macros::map,
    maps::{Array, PerCpuArray},
};

use crate::memory::locked_add;

const BUCKETS: u32 = 1024;

/// A fingerprint, and a place through which pointers go.
#[map]
static LAST: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(1, 0);

/// How often what is known of a socket has changed, by a hash of the socket's address.
#[map]
static GENERATIONS: Array<u64> = Array::with_max_entries(BUCKETS, 0);

/// A pointer's address as a number: the verifier lets nobody calculate with what it knows to be a
/// pointer.
#[inline(always)]
pub(crate) fn address(pointer: u64) -> u64 {
    if let Some(place) = LAST.get_ptr_mut(0) {
        // SAFETY: a whole map value. Another task may write there between the two. The assembly
        // assigns a register to itself.
        unsafe {
            let place = place.cast::<u64>().add(1);
            core::ptr::write_volatile(place, pointer);
            let address = core::ptr::read_volatile(place);
            // Not `pure`, so that it stays before the two are known to be equal: behind that, the
            // compiler might give it the pointer.
            let mut number = address;
            asm!("{number} = {number}", number = inout(reg) number, options(nomem, nostack));
            if address == pointer {
                return number;
            }
        }
    }
    let mut address = 0;
    // SAFETY: both are this program's, and 8 bytes long.
    unsafe {
        let from = (&raw const pointer).cast();
        bpf_probe_read_kernel((&raw mut address).cast(), 8, from);
    }
    address
}

/// The generation of the socket at this address.
#[inline(always)]
pub(crate) fn generation(address: u64) -> u64 {
    let Some(place) = GENERATIONS.get_ptr(bucket(address)) else {
        return 0;
    };
    // SAFETY: a whole map value.
    unsafe { core::ptr::read_volatile(place) }
}

/// Ends the generation of the socket at this address. To be called when a change is done.
#[inline(always)]
pub(crate) fn end_generation(address: u64) {
    if let Some(place) = GENERATIONS.get_ptr_mut(bucket(address)) {
        // SAFETY: a whole map value.
        unsafe { locked_add(place, 1) };
    }
}

#[inline(always)]
fn bucket(address: u64) -> u32 {
    (address.wrapping_mul(FACTORS[0]) >> 54) as u32
}

/// Odd, so that each keeps all of what it is multiplied with; else arbitrary.
const FACTORS: [u64; 4] = [
    0x9e37_79b9_7f4a_7c15,
    0xc2b2_ae3d_27d4_eb4f,
    0xd6e8_feb8_6659_fd93,
    0xa076_1d64_78bd_642f,
];

/// The fingerprint of a socket's address, a thread (its tgid in the upper half, its pid in the lower), its
/// `comm` and a generation. Two that differ in one of them only are never equal, others once in 2^64.
#[inline(always)]
pub(crate) fn fingerprint(address: u64, pid_tgid: u64, comm: [u64; 2], generation: u64) -> u64 {
    let mut print = address.wrapping_mul(FACTORS[0]);
    print ^= pid_tgid.wrapping_mul(FACTORS[1]);
    print ^= comm[0].wrapping_mul(FACTORS[2]);
    print ^= comm[1].wrapping_mul(FACTORS[3]);
    print.wrapping_add(generation)
}

/// Whether this is what was last written on this CPU.
#[inline(always)]
pub(crate) fn is(fingerprint: u64) -> bool {
    let Some(place) = LAST.get_ptr(0) else {
        return false;
    };
    // SAFETY: a whole map value.
    unsafe { core::ptr::read_volatile(place.cast::<u64>()) == fingerprint }
}

/// This was written on this CPU.
#[inline(always)]
pub(crate) fn remember(fingerprint: u64) {
    if let Some(place) = LAST.get_ptr_mut(0) {
        // SAFETY: a whole map value.
        unsafe { core::ptr::write_volatile(place.cast::<u64>(), fingerprint) };
    }
}
