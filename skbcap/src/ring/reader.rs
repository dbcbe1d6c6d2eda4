//! The reader's side of a ring.

use std::sync::atomic::{Ordering, fence};

use skbcap_common::{
    InterfaceDrops, Position, RecordHeader,
    control::{BUSY_TIME_UNKNOWN, NEVER},
};

use super::memory::{Memory, word};
use crate::{
    decode::{DecodeError, Frame},
    geometry::Geometry,
    stats::Stats,
};

/// A ring whose contents contradict the protocol. Never seen; the capture ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ring {ring}, segment {segment}, offset {offset}: {source}")]
pub struct RingError {
    /// The ring's number.
    pub ring: usize,
    /// The segment, counted from the start of the capture.
    pub segment: u32,
    /// The offset in the segment, in bytes.
    pub offset: u32,
    /// What is wrong with the record there.
    pub source: DecodeError,
}

/// What was read is given back once it is this share of a ring.
const MUCH_SHARE: u64 = 8;

/// One ring, read.
#[derive(Debug)]
pub struct Ring<'m> {
    memory: Memory<'m>,
    number: usize,
    /// The segment that the reader is in.
    segment: u32,
    /// The bytes from the next record to read up to the head, or to the end of the segment if that
    /// comes first.
    unread: &'m [u8],
    /// The offset in the segment at which they end.
    unread_end: u32,
    /// With so many of them left, or fewer, there is more to do than to go on to the next record.
    pause_at: usize,
    /// The newest head seen.
    head: Position,
    /// The tail as the writer knows it.
    tail: Position,
    /// No record behind `head` is older than this.
    floor_ns: u64,
}

impl<'m> Ring<'m> {
    /// Reads the ring from its tail on.
    #[must_use]
    pub fn new(memory: Memory<'m>, number: usize) -> Self {
        let tail = Position(memory.control(word!(tail)).load(Ordering::Relaxed));
        Self {
            memory,
            number,
            segment: tail.segment(),
            unread: &[],
            unread_end: tail.offset(),
            pause_at: 0,
            head: tail,
            tail,
            floor_ns: 0,
        }
    }

    /// Where the next record to read begins.
    fn position(&self) -> Position {
        Position::new(self.segment, self.unread_end - self.unread.len() as u32)
    }

    /// Looks at the writer's marks. `now_ns` was read from the clock before this call.
    pub fn refresh(&mut self, now_ns: u64) {
        // The mark before the head: what is begun after the mark was read is not older than
        // `now_ns`, and what was ended before lies before the head.
        let floor_ns = match self
            .memory
            .control(word!(busy_since_ns))
            .load(Ordering::Acquire)
        {
            0 => now_ns,
            BUSY_TIME_UNKNOWN => self.floor_ns,
            busy_since_ns => busy_since_ns,
        };
        self.floor_ns = self.floor_ns.max(floor_ns);
        self.head = Position(self.memory.control(word!(head)).load(Ordering::Acquire));
        self.go_to(self.position());
    }

    /// Goes on at `position`.
    fn go_to(&mut self, position: Position) {
        self.segment = position.segment();
        self.unread = self.lend(position);
        self.unread_end = position.offset() + self.unread.len() as u32;
        // Past its nominal length the segment is over.
        let over = self
            .unread_end
            .saturating_sub(self.memory.geometry().segment_len);
        let much = self.unread.len().saturating_sub(self.much_bytes() as usize);
        self.pause_at = much.max(over as usize);
    }

    /// The bytes between `position` and the head, up to the segment's end. Nothing from there on
    /// was given back.
    #[expect(unsafe_code, reason = "lends the ring's bytes without a copy")]
    fn lend(&self, position: Position) -> &'m [u8] {
        if position >= self.head {
            return &[];
        }
        let words = self.memory.segment(position.segment());
        let end = if position.segment() == self.head.segment() {
            self.head.offset() as usize / 8
        } else {
            words.len()
        };
        // Positions come from records that were checked, and lie below the segment's length; `get`
        // all the same, so that no writer could make this panic.
        let words = words
            .get(position.offset() as usize / 8..end)
            .unwrap_or_default();
        // SAFETY: the pointer and the length are those of `words`. These bytes lie between the
        // tail and the head, or behind the last record of a segment before the head's: by the
        // protocol nobody writes there until the reader moves the tail past them. `release` moves
        // it to where `unread` begins: whatever is given back has left `unread` before, and
        // frames borrow from `&self`, which `release` ends. The head was loaded with acquire, so
        // all of the writer's stores to these bytes happened before.
        unsafe { std::slice::from_raw_parts(words.as_ptr().cast::<u8>(), words.len() * 8) }
    }

    /// No record that [`Ring::peek`] does not yet see is older than this (`CLOCK_MONOTONIC`, ns).
    #[must_use]
    pub fn floor_ns(&self) -> u64 {
        self.floor_ns
    }

    /// Whether the writer was in the middle of a frame when this was last refreshed, or is now.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.memory
            .control(word!(busy_since_ns))
            .load(Ordering::Acquire)
            != 0
    }

    /// The record at the reader's position, if there is one before the head.
    ///
    /// # Errors
    ///
    /// When what lies there is no record.
    #[inline]
    pub fn peek(&self) -> Result<Option<Frame<'_>>, RingError> {
        if self.unread.is_empty() {
            return Ok(None);
        }
        match Frame::decode(self.unread) {
            Ok(frame) => Ok(Some(frame)),
            Err(source) => Err(self.error(source)),
        }
    }

    /// The time of the record that [`Ring::peek`] would give, which only that checks: for bytes
    /// that are no record, this is any number.
    #[must_use]
    #[inline]
    pub fn next_time_ns(&self) -> Option<u64> {
        const TIME: usize = core::mem::offset_of!(RecordHeader, time_ns);
        if self.unread.is_empty() {
            return None;
        }
        let bytes = self.unread.get(TIME..).and_then(<[u8]>::first_chunk);
        Some(bytes.map_or(0, |&bytes| u64::from_le_bytes(bytes)))
    }

    #[cold]
    fn error(&self, source: DecodeError) -> RingError {
        RingError {
            ring: self.number,
            segment: self.segment,
            offset: self.position().offset(),
            source,
        }
    }

    /// Goes on to the next record. The memory of this one stays the reader's until
    /// [`Ring::release`], or until so much was read that it is given back here. `record_len` is
    /// that of the record at the reader's position.
    #[inline]
    pub fn advance(&mut self, record_len: u32) {
        self.unread = self.unread.get(record_len as usize..).unwrap_or_default();
        if self.unread.len() <= self.pause_at {
            self.pause();
        }
    }

    /// Goes on to the next segment where this one is over, and gives back what was read where
    /// that is much.
    #[inline(never)]
    fn pause(&mut self) {
        let position = self.position().after(0, self.memory.geometry().segment_len);
        self.go_to(position);
        if self.distance(self.tail, position) >= self.much_bytes() {
            self.release();
        }
    }

    fn much_bytes(&self) -> u64 {
        self.memory.geometry().usable_bytes() / MUCH_SHARE
    }

    /// Gives the memory of everything read back to the writer.
    pub fn release(&mut self) {
        if self.tail != self.position() {
            self.tail = self.position();
            self.memory
                .control(word!(tail))
                .store(self.tail.0, Ordering::Release);
        }
    }

    /// Bytes that lie in the ring, read or not.
    #[must_use]
    pub fn fill(&self) -> u64 {
        self.distance(self.tail, self.head)
    }

    fn distance(&self, from: Position, to: Position) -> u64 {
        let segments = u64::from(to.segment().wrapping_sub(from.segment()));
        (segments * u64::from(self.memory.geometry().segment_len) + u64::from(to.offset()))
            .saturating_sub(from.offset().into())
    }

    /// The position so many bytes, about, behind another one.
    fn behind(&self, position: Position, bytes: u64) -> Position {
        let segment_len = u64::from(self.memory.geometry().segment_len);
        let offset = u64::from(position.offset()) + bytes;
        let segments = (offset / segment_len) as u32;
        Position::new(
            position.segment().wrapping_add(segments),
            (offset % segment_len) as u32,
        )
    }

    /// Asks for the doorbell once `bytes` more lie in the ring than the reader has read (1: with
    /// the next record). Look for more afterwards, before sleeping, and once more
    /// [`super::SEEN_WITHIN`] after that.
    pub fn arm(&self, bytes: u64) {
        let wake_at = self.behind(self.position(), bytes);
        self.memory
            .control(word!(wake_at))
            .store(wake_at.0, Ordering::Relaxed);
        // This word is seen before the head is looked at.
        fence(Ordering::SeqCst);
    }

    /// Takes the wish for the doorbell back.
    pub fn disarm(&self) {
        self.memory
            .control(word!(wake_at))
            .store(NEVER, Ordering::Relaxed);
    }

    /// Whether a record lies behind the reader's position.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.position() < Position(self.memory.control(word!(head)).load(Ordering::Acquire))
    }

    /// How the ring's memory is divided.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.memory.geometry()
    }

    /// Adds the ring's counters to `stats`.
    pub fn count(&self, stats: &mut Stats) {
        let counter = |word| self.memory.counter(word);
        let busy = counter(word!(dropped_busy));
        // Those turned away by the busy mark were seen too, by the hook that counted them so.
        stats.seen += counter(word!(seen)) + busy;
        stats.filtered += counter(word!(filtered));
        stats.not_selected += counter(word!(not_selected));
        stats.other_sender += counter(word!(other_sender));
        stats.owners_missed += counter(word!(owners_missed));
        stats.captured += counter(word!(captured));
        stats.dropped_ring_full += counter(word!(dropped_ring_full));
        stats.dropped_busy += busy;
        stats.dropped_no_ring += counter(word!(dropped_no_ring));
        stats.dropped_unreadable += counter(word!(unreadable));
        stats.cut_short += counter(word!(cut_short));
        stats.seen_by_net += counter(word!(seen_by_net));
        stats.left_to_net += counter(word!(left_to_net));
        stats.deferred += counter(word!(deferred));
        stats.deferred_seen += counter(word!(deferred_seen));
        stats.doubtful += counter(word!(doubtful)) + counter(word!(marks_lost));
    }

    /// The ring's drops by interface.
    pub fn interface_drops(&self) -> impl Iterator<Item = InterfaceDrops> + 'm {
        self.memory.interface_drops()
    }
}
