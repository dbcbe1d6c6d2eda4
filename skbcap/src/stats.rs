//! What became of every frame: the counters of all rings, added up, and userspace's own.
//!
//! *Filtered*, *dropped* and *cut short* are three different words: not asked for, lost, and not
//! whole.

/// Sums over all rings of one capture, and what userspace counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Times that a hook ran.
    pub seen: u64,
    /// Frames of other namespaces, interfaces or senders than were asked for, or that the filter
    /// expression turned away.
    pub filtered: u64,
    /// Of those, the ones that the expression turned away.
    pub not_selected: u64,
    /// Whether frames that the output itself causes are among them.
    pub leaves_out_own: bool,
    /// And the ones of other senders.
    pub other_sender: u64,
    /// Frames that the kernel side wrote into a ring.
    pub captured: u64,
    /// Frames dropped because a ring was full.
    pub dropped_ring_full: u64,
    /// Frames dropped because their CPU was already taking one.
    pub dropped_busy: u64,
    /// Frames dropped because their CPU had no ring.
    pub dropped_no_ring: u64,
    /// Frames dropped because the kernel side could not read their skb.
    pub dropped_unreadable: u64,
    /// Frames written to the file, pipe or terminal.
    pub written: u64,
    /// Captured frames that were not written because `-c` had been reached.
    pub beyond_count: u64,
    /// Captured frames that were not written because the output failed, or its reader went away.
    pub output_failed: u64,
    /// Captured frames of a device whose type has no link type in a capture file.
    pub unsupported_link_type: u64,
    /// Captured frames that lost bytes to anything but the snapshot length.
    pub cut_short: u64,
    /// Frames whose recorded time was older than the one written before, and was raised to it.
    pub reordered: u64,
    /// Of `seen`: frames that the kprobe missed, and the net under it took.
    pub seen_by_net: u64,
    /// Frames that the kprobe's program left to the net, because its CPU was busy.
    pub left_to_net: u64,
    /// Frames that the kprobe left to its net, because nothing could come in between.
    pub deferred: u64,
    /// Those of them that came there.
    pub deferred_seen: u64,
    /// Frames of which it could not be shown whether the kprobe had taken them: they may be missing,
    /// or be there twice.
    pub doubtful: u64,
    /// Frames of sockets of which nothing was known, or nothing any more. Counted among the others, too.
    pub owners_missed: u64,
    /// Calls on sockets that the programs that watch them did not see: not frames.
    pub socket_calls_missed: u64,
    /// Forks that were not seen, so that the new processes were not followed: not frames.
    pub forks_missed: u64,
    /// Frames that the kernel did not hand to the hook, where the kernel counts them.
    pub missed: Option<u64>,
}

impl Stats {
    /// Frames that were wanted and are lost.
    /// Frames that were missed by the hook, and by its net too, so that nothing of them was seen.
    /// `None` where the kernel doesn't count.
    #[must_use]
    pub fn never_seen(&self) -> Option<u64> {
        let missed = (self.missed? + self.left_to_net).saturating_sub(self.seen_by_net);
        // Something came in between after all: egress tc or nft that were set up that very moment.
        let vanished = self.deferred.saturating_sub(self.deferred_seen);
        Some(missed + vanished)
    }

    /// Frames that were wanted and are lost.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped_ring_full + self.dropped_busy + self.dropped_no_ring + self.dropped_unreadable
    }
}
