//! The maps, but for those that one module keeps to itself.
//!
//! What userspace writes or reads while it captures are arrays that it maps into its memory
//! (`BPF_F_MMAPABLE`, Linux 5.5), and rings: that takes no bpf() call.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, PerCpuArray, RingBuf},
};
use skbcap_common::{Control, Peek, control::InterfaceDropsTable, note::Note, process::EVENTS_LEN};

/// Two control blocks for each possible CPU ([`Control`]). The loader sets the number of entries.
#[map]
pub(crate) static CONTROL: Array<Control> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Drops by interface, one table for each control block. The loader sets the number of entries.
#[map]
pub(crate) static DROPS: Array<InterfaceDropsTable> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The rings' segments. The loader sets the size of a value and the number of entries; the size
/// here only has to be one.
#[map]
pub(crate) static SEGMENTS: Array<[u8; 4096]> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Frames' heads for the filter expression, one for each control block: a
/// [`skbcap_common::head::Head`] and the bytes. The loader sets the size of a value and the number of
/// entries.
#[map]
pub(crate) static HEADS: Array<[u64; 2]> = Array::with_max_entries(1, 0);

/// Notes by skb. The loader sets the number of entries: [`skbcap_common::note::NOTES`] where they
/// are kept.
#[map]
pub(crate) static NOTES: Array<Note> = Array::with_max_entries(1, 0);

/// Notes by socket. The loader sets the number of entries.
#[map]
pub(crate) static SOCKETS: Array<Note> = Array::with_max_entries(1, 0);

/// Eight bytes through here wake userspace.
#[map]
pub(crate) static DOORBELL: RingBuf = RingBuf::with_byte_size(4096, 0);

/// What became of sockets ([`skbcap_common::process::Event`]). The loader sets the size.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(EVENTS_LEN, 0);

/// How many events found no room.
#[map]
pub(crate) static EVENTS_LOST: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The set-up program's mailbox.
#[map]
pub(crate) static PEEK: Array<Peek> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// A per-CPU value of our own, whose address tells where this CPU's data lie.
#[map]
pub(crate) static PER_CPU: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
