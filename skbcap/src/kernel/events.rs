//! What the kernel side tells of sockets and processes: the ring that it comes through, and whether
//! some of it was lost.

use std::sync::atomic::Ordering;

use aya::maps::{MapData, RingBuf};
use skbcap_common::process::Event;
use zerocopy::FromBytes;

use super::mapped::Mapped;

/// The events that were not taken yet.
pub(super) struct Events {
    ring: RingBuf<MapData>,
    /// How many were lost for lack of room, by the kernel side's count.
    lost: Mapped,
    /// That count when it was last asked for.
    lost_seen: u64,
}

impl Events {
    pub(super) fn new(ring: RingBuf<MapData>, lost: Mapped) -> Self {
        Self {
            ring,
            lost,
            lost_seen: 0,
        }
    }

    /// Takes all that are there.
    pub(super) fn drain(&mut self, take: &mut impl FnMut(&Event)) {
        while let Some(bytes) = self.ring.next() {
            // The programs send whole events only.
            if let Ok(event) = Event::read_from_bytes(&bytes) {
                take(&event);
            }
        }
    }

    /// Whether any was lost since the last call.
    pub(super) fn has_lost(&mut self) -> bool {
        let lost = self.lost.words()[0].load(Ordering::Acquire);
        std::mem::replace(&mut self.lost_seen, lost) != lost
    }
}
