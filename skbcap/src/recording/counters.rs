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
}

impl Counters {
    pub(super) fn of(stats: &Stats) -> Self {
        Self {
            seen: stats.seen,
            filtered: stats.filtered,
            captured: stats.captured,
            dropped_ring_full: stats.dropped_ring_full,
            dropped_busy: stats.dropped_busy,
            dropped_no_ring: stats.dropped_no_ring,
            dropped_unreadable: stats.dropped_unreadable,
            cut_short: stats.cut_short,
            missed: stats.missed.unwrap_or(0),
            missed_known: stats.missed.is_some().into(),
            seen_by_net: stats.seen_by_net,
            left_to_net: stats.left_to_net,
            doubtful: stats.doubtful,
            deferred: stats.deferred,
            deferred_seen: stats.deferred_seen,
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
