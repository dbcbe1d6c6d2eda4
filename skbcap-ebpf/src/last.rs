//! What was last written on this CPU, so that the frames that come of it cost little.
//!
//! Owns one fingerprint for each CPU: of a socket, of the one thread that is known to write to it, of
//! that thread's name, and of a generation. Whatever changes what is known of the socket ends the
//! generation, and so the fingerprint, on all CPUs. It is a single word, so that a task that
//! interrupts another one at its write leaves either's whole.

use core::{
    arch::asm,
    ptr::{read_volatile, write_volatile},
};

use aya_ebpf::{helpers::generated::bpf_probe_read_kernel, macros::map, maps::PerCpuArray};
use skbcap_common::Control;

use crate::memory::locked_add;

const BUCKETS: usize = 1024;

/// A place through which pointers go.
#[map]
static PLACE: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// How often what is known of a socket has changed, by a hash of the socket's address. A global, of
/// which the programs know where it lies: nothing has to be looked up.
// SAFETY: nothing else in the object has this name.
#[unsafe(no_mangle)]
static mut GENERATIONS: [u64; BUCKETS] = [0; BUCKETS];

/// A pointer's address as a number: the verifier lets nobody calculate with what it knows to be a
/// pointer.
#[inline(always)]
pub(crate) fn address(pointer: u64) -> u64 {
    if let Some(place) = PLACE.get_ptr_mut(0) {
        // SAFETY: a whole map value. Another task may write there between the two. The assembly
        // assigns a register to itself.
        unsafe {
            write_volatile(place, pointer);
            let address = read_volatile(place);
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
    // SAFETY: a word of this program's global.
    unsafe { read_volatile(place_of(address)) }
}

/// Ends the generation of the socket at this address. To be called when a change is done.
#[inline(always)]
pub(crate) fn end_generation(address: u64) {
    // SAFETY: a word of this program's global, which is a map's value.
    unsafe { locked_add(place_of(address), 1) };
}

#[inline(always)]
fn place_of(address: u64) -> *mut u64 {
    let bucket = address.wrapping_mul(FACTORS[0]) >> (u64::BITS - BUCKETS.ilog2());
    // SAFETY: as many buckets as those bits can number.
    unsafe { (&raw mut GENERATIONS).cast::<u64>().add(bucket as usize) }
}

/// Odd, so that each keeps all of what it is multiplied with; else arbitrary.
const FACTORS: [u64; 4] = [
    0x9e37_79b9_7f4a_7c15,
    0xc2b2_ae3d_27d4_eb4f,
    0xd6e8_feb8_6659_fd93,
    0xa076_1d64_78bd_642f,
];

/// The fingerprint of a socket's address, a thread ([`crate::identity::Current::ids`]), its `comm` and a
/// generation. Two that differ in one of them only are never equal, others once in 2^64.
#[inline(always)]
pub(crate) fn fingerprint(address: u64, ids: u64, comm: [u64; 2], generation: u64) -> u64 {
    let mut print = address.wrapping_mul(FACTORS[0]);
    print ^= ids.wrapping_mul(FACTORS[1]);
    print ^= comm[0].wrapping_mul(FACTORS[2]);
    print ^= comm[1].wrapping_mul(FACTORS[3]);
    print.wrapping_add(generation)
}

/// Whether this is what was last written on this control block's CPU.
///
/// # Safety
///
/// `control` is a whole control block.
#[inline(always)]
pub(crate) unsafe fn is(control: *mut Control, fingerprint: u64) -> bool {
    // SAFETY: the caller's promise.
    unsafe { read_volatile(&raw const (*control).last_written) == fingerprint }
}

/// This was written on this control block's CPU.
///
/// # Safety
///
/// `control` is this CPU's first control block.
#[inline(always)]
pub(crate) unsafe fn remember(control: *mut Control, fingerprint: u64) {
    // SAFETY: the caller's promise.
    unsafe { write_volatile(&raw mut (*control).last_written, fingerprint) };
}
