//! Functions of the kernel's own that programs may call, newer ones than helpers.
//!
//! A call names its function by a number in the running kernel's BTF, which the loader writes over
//! the number here (`kernel::object` in skbcap). Rust knows no relocation for it, so a call is one
//! instruction of assembly.

use core::arch::asm;

use skbcap_common::kfunc::{DYNPTR_FROM_SKB, RDONLY_CAST};

/// `struct bpf_dynptr`: the kernel's to read and write.
pub(crate) type Dynptr = [u64; 2];

/// The address as a pointer to a structure, for loads only; `type_id` must be known to the verifier.
/// No instruction is left of it. Linux 6.2.
///
/// # Safety
///
/// The result is only loaded from, at fields of that structure.
#[inline(always)]
pub(crate) unsafe fn rdonly_cast(address: u64, type_id: u32) -> u64 {
    let typed;
    // SAFETY: a call as any other: it takes r1 and r2, returns r0, and clobbers r1 to r5.
    unsafe {
        asm!(
            "call {function}",
            function = const RDONLY_CAST,
            inlateout("r1") address => _,
            inlateout("r2") u64::from(type_id) => _,
            lateout("r0") typed,
            lateout("r3") _, lateout("r4") _, lateout("r5") _,
            options(nostack),
        );
    }
    typed
}

/// Makes `dynptr` stand for the bytes of the frame. Linux 6.4; for BTF tracepoints 6.11.
///
/// # Safety
///
/// `skb` is the pointer that the program was given, and `dynptr` lies on the stack.
#[inline(always)]
pub(crate) unsafe fn dynptr_from_skb(skb: u64, dynptr: *mut Dynptr) {
    // SAFETY: as above, with r3; it writes all of `dynptr`.
    unsafe {
        asm!(
            "call {function}",
            function = const DYNPTR_FROM_SKB,
            inlateout("r1") skb => _,
            inlateout("r2") 0u64 => _,
            inlateout("r3") dynptr => _,
            lateout("r0") _,
            lateout("r4") _, lateout("r5") _,
            options(nostack),
        );
    }
}
