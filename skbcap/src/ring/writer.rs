//! The writer's side of a ring, in userspace: what `skbcap-ebpf/src/emit.rs` does in the kernel.
//!
//! Replays a recording's records into memory, and stands in for the kernel in tests.

use std::sync::atomic::{Ordering, fence};

use skbcap_common::{
    CurrentTask, Flags, Position, RecordHeader,
    control::{BUSY_TIME_UNKNOWN, INTERFACE_DROPS, INTERFACE_DROPS_PROBES, interface_drops_slot},
    record::{self, HEADER_LEN},
};
use zerocopy::IntoBytes;

use super::memory::{Memory, word};

/// One ring, written.
#[derive(Debug)]
pub struct Writer<'m> {
    memory: Memory<'m>,
    head: Position,
}

impl<'m> Writer<'m> {
    /// Writes to the ring from its head on.
    #[must_use]
    pub fn new(memory: Memory<'m>) -> Self {
        let head = Position(memory.control(word!(head)).load(Ordering::Relaxed));
        Self { memory, head }
    }

    /// Takes a frame as the kernel side does: marks the ring busy, reads the clock with `time_ns`,
    /// copies, publishes. Sets the header's lengths, time, sequence number and drops. Returns
    /// whether the reader asked to be woken now, or `None` where the frame was dropped.
    pub fn write(
        &mut self,
        header: &RecordHeader,
        data: &[u8],
        time_ns: impl FnOnce() -> u64,
    ) -> Option<bool> {
        let memory = self.memory;
        let busy = memory.control(word!(busy_since_ns));
        busy.store(BUSY_TIME_UNKNOWN, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let time_ns = time_ns();
        busy.store(time_ns, Ordering::Relaxed);
        add(&memory, word!(seen));
        let sequence = add(&memory, word!(sequence));

        let header = RecordHeader {
            version: skbcap_common::VERSION,
            time_ns,
            sequence,
            captured_len: data.len() as u32,
            len: header.len.max(data.len() as u32),
            dropped: self.dropped(header.netns, header.ifindex) as u32,
            ..*header
        };
        let room = self.put(&header, data, None);
        if room {
            add(&memory, word!(captured));
        } else {
            add(&memory, word!(dropped_ring_full));
            self.count_drop(header.netns, header.ifindex);
        }
        busy.store(0, Ordering::Release);
        room.then(|| self.wakes())
    }

    /// Puts a record into the ring as it is but for its length and whether `current` stands behind it,
    /// and counts nothing. Returns whether there was room.
    pub fn put(
        &mut self,
        header: &RecordHeader,
        data: &[u8],
        current: Option<&CurrentTask>,
    ) -> bool {
        let memory = self.memory;
        let geometry = memory.geometry();
        let current = current.map(IntoBytes::as_bytes).unwrap_or_default();
        let record_len = record::record_len(data.len() as u32) + current.len() as u32;
        let tail = Position(memory.control(word!(tail)).load(Ordering::Acquire));
        if !geometry.fits(record_len - HEADER_LEN)
            || !self.head.has_room(record_len, tail, geometry.segments)
        {
            return false;
        }
        let flags = header.flags & !Flags::CURRENT.0;
        let has_current = u32::from(!current.is_empty()) * Flags::CURRENT.0;
        let header = RecordHeader {
            record_len,
            flags: flags | has_current,
            ..*header
        };
        let words = &memory.segment(self.head.segment())[self.head.offset() as usize / 8..];
        let bytes = header.as_bytes().chunks(8).chain(data.chunks(8));
        let bytes = bytes.chain(current.chunks(8));
        for (word, bytes) in words.iter().zip(bytes) {
            let mut value = [0; 8];
            value[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_le_bytes(value), Ordering::Relaxed);
        }
        self.head = self.head.after(record_len, geometry.segment_len);
        memory
            .control(word!(head))
            .store(self.head.0, Ordering::Release);
        true
    }

    fn wakes(&self) -> bool {
        let wake_at = self.memory.control(word!(wake_at)).load(Ordering::Relaxed);
        let rang_at = self.memory.control(word!(rang_at));
        let wakes = self.head.0 >= wake_at && rang_at.load(Ordering::Relaxed) != wake_at;
        if wakes {
            rang_at.store(wake_at, Ordering::Relaxed);
        }
        wakes
    }

    fn find(&self, netns: u32, ifindex: u32) -> Option<usize> {
        let key = key(netns, ifindex);
        (0..INTERFACE_DROPS_PROBES)
            .map(|probe| (interface_drops_slot(netns, ifindex) + probe) % INTERFACE_DROPS)
            .find(|slot| {
                let found = self.memory.drops_words()[2 * slot].load(Ordering::Relaxed);
                found == 0 || found == key
            })
    }

    fn dropped(&self, netns: u32, ifindex: u32) -> u64 {
        let words = self.memory.drops_words();
        self.find(netns, ifindex)
            .map_or(0, |slot| words[2 * slot + 1].load(Ordering::Relaxed))
    }

    fn count_drop(&self, netns: u32, ifindex: u32) {
        let words = self.memory.drops_words();
        if let Some(slot) = self.find(netns, ifindex) {
            words[2 * slot + 1].fetch_add(1, Ordering::Relaxed);
            words[2 * slot].store(key(netns, ifindex), Ordering::Release);
        } else {
            add(&self.memory, word!(drops_unlisted));
        }
    }
}

/// The first word of an interface's entry.
fn key(netns: u32, ifindex: u32) -> u64 {
    u64::from(ifindex) << 32 | u64::from(netns)
}

/// Adds one to a counter that has no other writer, and returns what it was.
fn add(memory: &Memory<'_>, word: usize) -> u64 {
    let counter = memory.control(word);
    let value = counter.load(Ordering::Relaxed);
    counter.store(value + 1, Ordering::Relaxed);
    value
}

#[cfg(test)]
mod tests {
    use super::super::{OwnedMemory, Ring, SEEN_WITHIN};
    use super::*;
    use crate::{geometry::Geometry, stats::Stats};
    use proptest::prelude::*;
    use skbcap_common::Hook;
    use std::sync::atomic::AtomicBool;
    use std::time::Instant;
    use zerocopy::FromZeros;

    fn header(ifindex: u32) -> RecordHeader {
        let mut header = RecordHeader::new_zeroed();
        header.hook = Hook::Queue as u8;
        header.ifindex = ifindex;
        header
    }

    fn geometry(segments: u32, segment_len: u32) -> Geometry {
        Geometry {
            segments,
            segment_len,
            slack_len: 2048,
            chunk_len: 1,
            value_len: segment_len + 2048,
        }
    }

    /// What a frame of this number and length looks like.
    fn pattern(number: u64, len: usize) -> Vec<u8> {
        (0..len)
            .map(|at| (number as usize * 31 + at) as u8)
            .collect()
    }

    proptest! {
        /// Whatever the sizes, and however reads and writes alternate: what is read is what was
        /// written, in order, and what was not written is counted.
        #[test]
        fn read_is_what_was_written(
            segments in 1u32..4,
            segment_len in 1u32..60,
            steps in prop::collection::vec((0usize..1500, 0usize..4), 1..200),
        ) {
            let memory = OwnedMemory::new(geometry(segments, segment_len * 64));
            let mut writer = Writer::new(memory.as_memory());
            let mut ring = Ring::new(memory.as_memory(), 0);
            let mut written = std::collections::VecDeque::new();
            let mut dropped = 0;
            for (number, (len, reads)) in (0u64..).zip(steps) {
                let data = pattern(number, len);
                match writer.write(&header(3), &data, || number + 2) {
                    Some(_) => written.push_back((number, data)),
                    None => dropped += 1,
                }
                ring.refresh(number + 3);
                for _ in 0..reads {
                    let Some(frame) = ring.peek().unwrap() else { break };
                    let (number, data) = written.pop_front().unwrap();
                    prop_assert_eq!(frame.header.sequence, number);
                    prop_assert_eq!(frame.data, &data[..]);
                    let record_len = frame.header.record_len;
                    ring.advance(record_len);
                }
                ring.release();
            }
            let mut stats = Stats::default();
            ring.count(&mut stats);
            prop_assert_eq!(stats.dropped_ring_full, dropped);
            prop_assert_eq!(stats.seen, stats.captured + dropped);
            let listed: u64 = ring.interface_drops().map(|entry| entry.dropped).sum();
            prop_assert_eq!(listed, dropped);
        }
    }

    /// A writer and a reader in threads of their own, with the wake-up in between.
    #[test]
    fn two_threads_agree() {
        const FRAMES: u64 = if cfg!(miri) { 300 } else { 200_000 };
        let memory = OwnedMemory::new(geometry(3, 4096));
        let done = AtomicBool::new(false);
        let (doorbell, woken) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut writer = Writer::new(memory.as_memory());
                let mut captured = 0;
                for number in 0..FRAMES {
                    let data = pattern(number, (number % 700) as usize);
                    match writer.write(&header(1), &data, || number + 2) {
                        Some(true) => {
                            captured += 1;
                            doorbell.send(()).unwrap();
                        }
                        Some(false) => captured += 1,
                        None => std::thread::yield_now(),
                    }
                }
                done.store(true, Ordering::Release);
                doorbell.send(()).unwrap();
                captured
            });
            let mut ring = Ring::new(memory.as_memory(), 0);
            let (mut read, mut last) = (0u64, None);
            let mut armed_at = None;
            loop {
                let ended = done.load(Ordering::Acquire);
                ring.refresh(0);
                while let Some(frame) = ring.peek().unwrap() {
                    armed_at = None;
                    let number = frame.header.sequence;
                    assert!(last < Some(number), "{number} after {last:?}");
                    assert_eq!(frame.data, pattern(number, (number % 700) as usize));
                    last = Some(number);
                    read += 1;
                    let record_len = frame.header.record_len;
                    ring.advance(record_len);
                }
                ring.release();
                if ended {
                    break;
                }
                let at = *armed_at.get_or_insert_with(|| {
                    ring.arm(1);
                    Instant::now()
                });
                if !ring.has_more() {
                    match SEEN_WITHIN.checked_sub(at.elapsed()) {
                        Some(rest) => {
                            let _ = woken.recv_timeout(rest);
                        }
                        // Nobody wakes this again if the writer missed the wish: the test would hang.
                        None => woken.recv().unwrap(),
                    }
                }
            }
            assert_eq!(read, writer.join().unwrap());
        });
    }

    #[test]
    fn the_doorbell_rings_once_for_each_wish() {
        let memory = OwnedMemory::new(geometry(2, 4096));
        let mut writer = Writer::new(memory.as_memory());
        let mut ring = Ring::new(memory.as_memory(), 0);
        assert_eq!(writer.write(&header(1), &[1; 100], || 1), Some(false));
        ring.refresh(1);
        let record_len = ring.peek().unwrap().unwrap().header.record_len;
        ring.advance(record_len);
        ring.arm(1);
        assert_eq!(writer.write(&header(1), &[2; 100], || 2), Some(true));
        assert_eq!(writer.write(&header(1), &[3; 100], || 3), Some(false));
        ring.arm(1000);
        assert_eq!(writer.write(&header(1), &[4; 100], || 4), Some(false));
        assert_eq!(writer.write(&header(1), &[5; 600], || 5), Some(true));
    }
}
