//! A ring's control block: positions, marks and counters, in memory that both sides map.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::config::{SHARED_INFO_WINDOW, SKB_WINDOW};

/// [`Control::first_segment`] of a CPU that has no ring (it came online after the start).
pub const NO_RING: u32 = u32::MAX;

/// [`Control::busy_since_ns`] before the clock was read.
pub const BUSY_TIME_UNKNOWN: u64 = 1;

/// [`Control::wake_at`] when nobody waits.
pub const NEVER: u64 = u64::MAX;

/// `skb_frag_t`s that are followed: `MAX_SKB_FRAGS` is 17 by default and at most 45.
pub const MAX_FRAGS: usize = 45;

/// Room for them: a power of two, so that an index can be bounded by a mask.
pub const FRAGS_ROOM: usize = 64;

/// In a mark: the kprobe left the frame to the tracepoint. An skb's address is a multiple of 8.
pub const DEFERRED: u64 = 1;

/// Sets of [`Control::marks`].
pub const MARK_SETS: usize = 16;

/// Marks in each of them.
pub const MARK_WAYS: usize = 4;

/// Entries of a ring's table of drops by interface.
pub const INTERFACE_DROPS: usize = 256;

/// One ring's control block. There are two for each possible CPU: number `cpu` for the frames that
/// it sends, and number `cpus + cpu` for those that it sends while a program is in the middle of
/// another one ([`crate::Flags::SECOND_RING`]).
///
/// The first 128 bytes are written by programs on the ring's own CPU only, the next 128 by
/// userspace only, so that no cache line has two writers. Each word is aligned and written whole;
/// counters grow and wrap.
///
/// Invariant: `seen = filtered + captured + dropped_ring_full + dropped_no_ring + unreadable`, and
/// `dropped_busy` comes on top.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub struct Control {
    /// Where the next record will be written ([`crate::Position`]). Published last.
    pub head: u64,
    /// 0 while no frame is being taken; else no record that is still to come from this ring is
    /// older than this time (`CLOCK_MONOTONIC`, ns), or [`BUSY_TIME_UNKNOWN`].
    pub busy_since_ns: u64,
    /// The address of the skb that the kprobe on this CPU saw last, until the tracepoint has seen it
    /// too, else 0; with [`DEFERRED`] if the kprobe left it to the tracepoint to take the frame.
    pub marked: u64,
    /// The `wake_at` for which the doorbell was rung last.
    pub rang_at: u64,
    /// The sequence number of the next frame that passes the filters.
    pub sequence: u64,
    /// Frames that a hook took up, which is every one but those in `dropped_busy`.
    pub seen: u64,
    /// Frames of other namespaces, interfaces or senders than were asked for, or that the expression
    /// turned away.
    pub filtered: u64,
    /// Frames written into the ring.
    pub captured: u64,
    /// Frames dropped because the ring had no room.
    pub dropped_ring_full: u64,
    /// Frames dropped because this CPU was already taking one (an interrupt came in between).
    pub dropped_busy: u64,
    /// Frames dropped because this CPU has no ring.
    pub dropped_no_ring: u64,
    /// Captured frames that lost bytes to anything but the snapshot length.
    pub cut_short: u64,
    /// Drops for which the table of drops by interface had no place left.
    pub drops_unlisted: u64,
    /// Frames dropped because their skb itself could not be read. Not known to happen.
    pub unreadable: u64,
    /// Of `seen`: frames that the kprobe had missed, and the net under it took.
    pub seen_by_net: u64,
    /// Times that the kprobe's program left a frame to the net, because the CPU was busy.
    pub left_to_net: u64,
    /// Everything before this was read and may be overwritten ([`crate::Position`]).
    pub tail: u64,
    /// Ring the doorbell once `head` reaches this; [`NEVER`] while the reader is awake.
    pub wake_at: u64,
    /// The address of this CPU's `__preempt_count`, 0 if it is not known.
    pub preempt_count_addr: u64,
    /// The address of this CPU's `current_kprobe`, 0 if it is not known.
    pub current_kprobe_addr: u64,
    /// The address of this CPU's `bpf_prog_active`, 0 if it is not known.
    pub bpf_prog_active_addr: u64,
    /// Not 0: the capture is over, and the programs are to do nothing.
    pub over: u64,
    /// The number of this ring's first segment, or [`NO_RING`].
    pub first_segment: u32,
    /// How many segments it has.
    pub segments: u32,
    /// Not 0: the kprobe may leave frames to the tracepoint that no egress can change in between.
    pub defers: u32,
    /// Not 0: sockets are watched, and what is known of them holds.
    pub watched: u32,
    /// Zero.
    pub reserved_user: [u64; 8],
    /// The program's own, as is all that follows: a copy of the skb's first bytes.
    pub skb: [u64; SKB_WINDOW / 8],
    /// A copy of the first bytes of `skb_shared_info`.
    pub shared_info: [u64; SHARED_INFO_WINDOW / 8],
    /// A copy of the skb's array of fragments.
    pub frags: [u64; 2 * FRAGS_ROOM],
    /// Where the walk over the skb's parts is.
    pub walk: Walk,
    /// The skb's address, for a program that was given a pointer it may not calculate with.
    pub skb_addr: u64,
    /// Times that a frame was sent again, under the same address, though the tracepoint had never
    /// seen it: it was dropped or redirected at egress.
    pub vanished: u64,
    /// Frames that were taken for seen by the kprobe, or for missed, without proof.
    pub doubtful: u64,
    /// Marks that were given up for newer ones.
    pub marks_lost: u64,
    /// Frames that the kprobe left to the tracepoint.
    pub deferred: u64,
    /// Those of them that the tracepoint took up.
    pub deferred_seen: u64,
    /// Of `filtered`: frames that the expression turned away.
    pub not_selected: u64,
    /// Of `filtered`: frames of other senders than were asked for.
    pub other_sender: u64,
    /// What was last written to a socket on this CPU, as a fingerprint; 0 in a second ring's block.
    /// The one word that is written without the busy mark, by a program that no frame runs.
    pub last_written: u64,
    /// Frames of sockets of which nothing was known, or nothing any more.
    pub owners_missed: u64,
    /// Where the segment of the last record is: its number among all segments, and above that one more
    /// than how many segments lay before it. 0 before the first record.
    pub place: u64,
    /// Zero.
    pub reserved_own: [u64; 4],
    /// What was in `marked` when the kprobe took up the next frame: [`MARK_SETS`] sets, the newest
    /// mark first in each, 0 where there is none.
    pub marks: [u64; MARK_SETS * MARK_WAYS],
}

/// The program's own: how far the copy of one frame has come. In memory, not in registers, because
/// the verifier would else follow every combination of values through every step: 500,000
/// instructions instead of 50,000 at the most.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Walk {
    /// Bytes to copy in all.
    pub want: u64,
    /// Bytes copied so far.
    pub copied: u64,
    /// The address to copy from next.
    pub source: u64,
    /// Bytes there.
    pub remaining: u64,
    /// The fragment after that.
    pub next_frag: u64,
    /// Fragments to follow.
    pub nr_frags: u64,
    /// The address of the next skb of the `frag_list`, 0 if there is none.
    pub next_skb: u64,
    /// [`crate::Flags`] so far.
    pub flags: u64,
    /// What flag tells that bytes are missing behind the last fragment.
    pub flag_behind: u64,
}

/// Drops of one interface on one ring. A free entry has `ifindex` 0.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct InterfaceDrops {
    /// The inode number of the device's network namespace.
    pub netns: u32,
    /// `dev->ifindex`.
    pub ifindex: u32,
    /// Frames of this interface that were dropped.
    pub dropped: u64,
}

/// One ring's drops by interface: an open-addressed table, looked up from
/// [`interface_drops_slot`] onward.
pub type InterfaceDropsTable = [InterfaceDrops; INTERFACE_DROPS];

/// Entries tried before a drop counts as unlisted.
pub const INTERFACE_DROPS_PROBES: usize = 16;

/// The set of [`Control::marks`] for a mark.
#[inline(always)]
#[must_use]
pub const fn mark_set(mark: u64) -> usize {
    ((mark & !DEFERRED).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % MARK_SETS
}

/// Where the search for an interface's drops begins.
#[inline(always)]
#[must_use]
pub const fn interface_drops_slot(netns: u32, ifindex: u32) -> usize {
    (ifindex ^ netns.wrapping_mul(0x9e37_79b1)) as usize % INTERFACE_DROPS
}

const _: () = {
    use core::mem::{align_of, offset_of, size_of};
    assert!(size_of::<Control>() == 2304);
    assert!(align_of::<Control>() == 64);
    assert!(offset_of!(Control, head) == 0);
    assert!(offset_of!(Control, seen) == 40);
    assert!(offset_of!(Control, unreadable) == 104);
    assert!(offset_of!(Control, left_to_net) == 120);
    assert!(offset_of!(Control, tail) == 128);
    assert!(offset_of!(Control, wake_at) == 136);
    assert!(offset_of!(Control, preempt_count_addr) == 144);
    assert!(offset_of!(Control, over) == 168);
    assert!(offset_of!(Control, first_segment) == 176);
    assert!(offset_of!(Control, defers) == 184);
    assert!(offset_of!(Control, watched) == 188);
    assert!(offset_of!(Control, skb) == 256);
    assert!(size_of::<InterfaceDrops>() == 16);
    assert!(size_of::<InterfaceDropsTable>() == 4096);
};
