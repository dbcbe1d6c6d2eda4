//! What the tracepoint `net_dev_queue` notes of a frame for `--hook xmit`, which may meet it later,
//! on another CPU, in a softirq on top of any task.
//!
//! Notes lie in two tables of [`NOTES`] entries, one by the skb's address and one by its socket's.
//! Each address has [`WAYS`] places; where all are taken, the first one is overwritten. An entry is
//! written without a lock, by any CPU, so it bears a sum: one that was read half written does not add
//! up, and counts as none.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Entries of each table.
pub const NOTES: u32 = 16_384;

/// Entries in which an address's note may lie.
pub const WAYS: u32 = 4;

/// [`Note::context`] of a socket through which more than one process has sent.
pub const SHARED: u32 = u32::MAX;

/// A note. All zero: none.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Note {
    /// The address that the note is kept by.
    pub key: u64,
    /// `skb->sk`.
    pub socket: u64,
    /// `skb->head`: the skb's buffer.
    pub head: u64,
    /// `current->comm`.
    pub comm: [u64; 2],
    /// `current->tgid`.
    pub tgid: u32,
    /// `current->pid`.
    pub pid: u32,
    /// [`crate::Context`], or [`SHARED`].
    pub context: u32,
    /// Zero.
    pub reserved: u32,
    /// [`Note::sum`].
    pub sum: u64,
}

impl Note {
    /// What `sum` has to be.
    #[inline(always)]
    #[must_use]
    pub const fn sum(&self) -> u64 {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let words = [
            self.key,
            self.socket,
            self.head,
            self.comm[0],
            self.comm[1],
            (self.tgid as u64) << 32 | self.pid as u64,
            self.context as u64,
        ];
        let mut sum = ODD;
        let mut word = 0;
        while word < words.len() {
            sum = (sum ^ words[word]).wrapping_mul(ODD).rotate_left(23);
            word += 1;
        }
        sum
    }
}

/// Where in a table an address's note is kept: here, or with one of the numbers below [`WAYS`] put to
/// it by exclusive or.
///
/// Addresses are those of neighbours in the kernel's slabs. Multiplied once they stay neighbours, and
/// where one slab falls on another one all of it does.
#[inline(always)]
#[must_use]
pub const fn note_slot(key: u64) -> u32 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = key.wrapping_mul(ODD);
    ((mixed ^ mixed >> 32).wrapping_mul(ODD) >> (u64::BITS - NOTES.ilog2())) as u32
}

const _: () = assert!(NOTES.is_power_of_two() && WAYS.is_power_of_two());
const _: () = assert!(size_of::<Note>() == 64);
