//! A position in a ring of segments.
//!
//! A ring is a row of equal segments, because one map value may not exceed 4 MiB on Linux 5.10. A
//! record begins below a segment's nominal length and may run on into the slack behind it, so a
//! record is always contiguous. After a record that reaches the nominal length, the next one
//! begins in the next segment.
//!
//! Both sides compute positions with the same two functions, so they need not tell each other.

/// A place in the endless sequence of segments: `segment << 32 | offset`.
///
/// Positions only grow and compare in the order in which records were written. The segment counts
/// on without end; its place in memory is `segment % segments`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// The start of `segment`.
    #[inline(always)]
    #[must_use]
    pub const fn new(segment: u32, offset: u32) -> Self {
        Self((segment as u64) << 32 | offset as u64)
    }

    /// How many segments lie before this position.
    #[inline(always)]
    #[must_use]
    pub const fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Bytes from the segment's start.
    #[inline(always)]
    #[must_use]
    pub const fn offset(self) -> u32 {
        self.0 as u32
    }

    /// Where the record after one of `record_len` bytes begins.
    #[inline(always)]
    #[must_use]
    pub const fn after(self, record_len: u32, segment_len: u32) -> Self {
        let offset = self.offset() + record_len;
        if offset >= segment_len {
            Self::new(self.segment().wrapping_add(1), 0)
        } else {
            Self::new(self.segment(), offset)
        }
    }

    /// Whether a record of `record_len` bytes may be written here while the reader has released
    /// everything before `tail`.
    ///
    /// Memory is shared by the segments `n`, `n + segments`, `n + 2 * segments`, …: what may still
    /// be read lies at or behind `tail`, so this lap may reach up to the tail of the last one.
    #[inline(always)]
    #[must_use]
    pub const fn has_room(self, record_len: u32, tail: Self, segments: u32) -> bool {
        let ahead = self.segment().wrapping_sub(tail.segment());
        ahead < segments || (ahead == segments && self.offset() + record_len <= tail.offset())
    }
}
