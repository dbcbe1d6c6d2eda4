//! The set-up program's mailbox: userspace asks for kernel memory or addresses, one at a time.
//!
//! The program never runs on a packet's way; userspace runs it by hand (`BPF_PROG_TEST_RUN`)
//! before anything is attached.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes that one request can read.
pub const PEEK_LEN: usize = 256;

/// [`Peek::operation`]: read `len` bytes at `address` into `bytes`.
pub const PEEK_READ: u32 = 1;
/// [`Peek::operation`]: put the address of the running task (`current`) into `address`.
pub const PEEK_CURRENT: u32 = 2;
/// [`Peek::operation`]: put the address of the doorbell's `struct bpf_map` into `address`.
pub const PEEK_DOORBELL: u32 = 3;
/// [`Peek::operation`]: put the address of a per-CPU map's value on the running CPU into
/// `address`, and that of its `struct bpf_map` into the first eight of `bytes`.
pub const PEEK_PER_CPU: u32 = 4;

/// One request and its answer.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Peek {
    /// What to do: `PEEK_*`. The program sets it to 0 once it is done.
    pub operation: u32,
    /// Bytes to read: 1 to [`PEEK_LEN`].
    pub len: u32,
    /// Where to read, or the answer.
    pub address: u64,
    /// The helper's result: 0, or a negative errno (`-EFAULT` for an address that is not mapped).
    pub result: i64,
    /// The CPU that ran the program.
    pub cpu: u32,
    /// Zero.
    pub reserved: u32,
    /// What was read.
    pub bytes: [u8; PEEK_LEN],
}

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<Peek>() == 288);
    assert!(offset_of!(Peek, address) == 8);
    assert!(offset_of!(Peek, result) == 16);
    assert!(offset_of!(Peek, bytes) == 32);
};
