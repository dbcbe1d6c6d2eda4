//! The kernel side's counters, as they stand in a recording of this version or an older one.

use std::mem::offset_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::stats::Stats;

/// The counters of all rings together, as they stand in a recording.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Counters {
    seen: u64,
    filtered: u64,
    captured: u64,
    dropped_ring_full: u64,
    dropped_busy: u64,
    dropped_no_ring: u64,
    dropped_unreadable: u64,
    cut_short: u64,
    /// Frames missed by the hook, and whether that is known.
    missed: u64,
    missed_known: u64,
    /// From here on 0 in recordings made before there was a net.
    seen_by_net: u64,
    left_to_net: u64,
    doubtful: u64,
    deferred: u64,
    deferred_seen: u64,
    /// From here on 0 in recordings made before these were recorded.
    owners_missed: u64,
    not_selected: u64,
    other_sender: u64,
    socket_calls_missed: u64,
    forks_missed: u64,
}

impl Counters {
    pub(super) fn of(stats: &Stats) -> Self {
        // With all names, so that none is forgotten.
        let Stats {
            seen,
            filtered,
            not_selected,
            other_sender,
            captured,
            dropped_ring_full,
            dropped_busy,
            dropped_no_ring,
            dropped_unreadable,
            cut_short,
            seen_by_net,
            left_to_net,
            deferred,
            deferred_seen,
            doubtful,
            owners_missed,
            socket_calls_missed,
            forks_missed,
            missed,
            // Userspace's own: a replay has others.
            written: _,
            beyond_count: _,
            output_failed: _,
            unsupported_link_type: _,
            reordered: _,
            leaves_out_own: _,
        } = *stats;
        Self {
            seen,
            filtered,
            captured,
            dropped_ring_full,
            dropped_busy,
            dropped_no_ring,
            dropped_unreadable,
            cut_short,
            missed: missed.unwrap_or(0),
            missed_known: missed.is_some().into(),
            seen_by_net,
            left_to_net,
            doubtful,
            deferred,
            deferred_seen,
            owners_missed,
            not_selected,
            other_sender,
            socket_calls_missed,
            forks_missed,
        }
    }

    /// Puts the kernel side's counters into `stats`.
    pub fn fill(&self, stats: &mut Stats) {
        stats.seen = self.seen;
        stats.filtered = self.filtered;
        stats.captured = self.captured;
        stats.dropped_ring_full = self.dropped_ring_full;
        stats.dropped_busy = self.dropped_busy;
        stats.dropped_no_ring = self.dropped_no_ring;
        stats.dropped_unreadable = self.dropped_unreadable;
        stats.cut_short = self.cut_short;
        stats.missed = (self.missed_known != 0).then_some(self.missed);
        stats.seen_by_net = self.seen_by_net;
        stats.left_to_net = self.left_to_net;
        stats.doubtful = self.doubtful;
        stats.deferred = self.deferred;
        stats.deferred_seen = self.deferred_seen;
        stats.owners_missed = self.owners_missed;
        stats.not_selected = self.not_selected;
        stats.other_sender = self.other_sender;
        stats.socket_calls_missed = self.socket_calls_missed;
        stats.forks_missed = self.forks_missed;
    }

    /// From a chunk, which may be one of an older version, and then has fewer of them.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        const OLDEST: usize = offset_of!(Counters, seen_by_net);
        let mut counters = Self::default();
        if body.len() < OLDEST {
            return None;
        }
        counters
            .as_mut_bytes()
            .get_mut(..body.len())?
            .copy_from_slice(body);
        Some(counters)
    }
}
