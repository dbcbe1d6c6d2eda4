//! What Rust on the BPF target lacks: atomic words, and values the compiler may not reason about.

use core::{
    arch::asm,
    ptr::{read_volatile, write_volatile},
};

/// Adds to a word that an interrupt on the same CPU may change too, as one locked instruction.
///
/// On x86-64 it also is a full barrier: no later load passes it, no earlier store comes after it.
/// `BPF_ATOMIC | BPF_ADD` without fetch: every kernel since 3.18 (as `BPF_XADD`).
///
/// # Safety
///
/// `word` points into a map's value, aligned to 8.
#[inline(always)]
pub(crate) unsafe fn locked_add(word: *mut u64, value: u64) {
    // SAFETY: the caller's promise; the instruction reads and writes these 8 bytes only.
    unsafe {
        asm!("lock *(u64 *)({word} + 0) += {value}", word = in(reg) word, value = in(reg) value);
    }
}

/// Adds to a word that only this CPU's program writes, and userspace reads.
///
/// # Safety
///
/// As [`locked_add`], and the ring's busy mark is set.
#[inline(always)]
pub(crate) unsafe fn add(word: *mut u64, value: u64) {
    // SAFETY: the caller's promise; volatile, so that the store is whole and stays where it is.
    unsafe { write_volatile(word, read_volatile(word).wrapping_add(value)) }
}

/// The same value, unknown to the compiler: a bounds check behind this one cannot be taken for
/// superfluous, though the verifier needs it.
///
/// Not an empty assembly text: that would give two line records for one instruction, which the
/// kernel refuses.
#[inline(always)]
pub(crate) fn opaque(mut value: u64) -> u64 {
    // SAFETY: an assignment of a register to itself.
    unsafe { asm!("{value} = {value}", value = inout(reg) value, options(pure, nomem, nostack)) };
    value
}
