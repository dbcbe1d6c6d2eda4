//! Many rings, one time order.
//!
//! By a rule, not by waiting a while: a frame leaves once no ring can still yield an older one.
//! Each ring knows a time below which nothing can come from it any more ([`Ring::floor_ns`]); the
//! least of them is the watermark, and every frame up to it may go, oldest first.
//!
//! Knows rings and times; nothing of what is in a frame or where it goes.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::{
    decode::Frame,
    ring::{Ring, RingError},
};

/// The rings of one capture, read as one.
#[derive(Debug)]
pub struct Order<'m> {
    rings: Vec<Ring<'m>>,
    /// The oldest unread record of each ring that has one: its time and the ring's number.
    oldest: BinaryHeap<Reverse<(u64, usize)>>,
    /// Rings that had no unread record when they were last looked at.
    empty: Vec<usize>,
    watermark_ns: u64,
}

/// A ring of which one record after the other may leave: mostly many, because a processor sends in
/// bursts.
#[derive(Clone, Copy, Debug)]
struct Turn {
    ring: usize,
    /// The time of its first record.
    time_ns: u64,
    /// Records up to this time may leave: no other ring has an older one, and none can yield one.
    until_ns: u64,
}

impl<'m> Order<'m> {
    /// Reads all of `rings`.
    #[must_use]
    pub fn new(rings: Vec<Ring<'m>>) -> Self {
        let empty = (0..rings.len()).collect();
        Self {
            rings,
            oldest: BinaryHeap::new(),
            empty,
            watermark_ns: 0,
        }
    }

    /// The rings, to be armed and counted.
    #[must_use]
    pub fn rings(&self) -> &[Ring<'m>] {
        &self.rings
    }

    /// Looks at every ring anew. `now_ns` was read from the records' clock before this call.
    ///
    /// # Errors
    ///
    /// When a ring holds something that is no record.
    pub fn refresh(&mut self, now_ns: u64) -> Result<(), RingError> {
        for ring in &mut self.rings {
            ring.refresh(now_ns);
        }
        self.watermark_ns = self
            .rings
            .iter()
            .map(Ring::floor_ns)
            .min()
            .unwrap_or(now_ns);
        let Self {
            rings,
            oldest,
            empty,
            ..
        } = self;
        empty.retain(|&number| match rings[number].next_time_ns() {
            Some(time_ns) => {
                oldest.push(Reverse((time_ns, number)));
                false
            }
            None => true,
        });
        // A record is checked when it leaves. One that is none might never do so, for its time.
        rings.iter().try_for_each(|ring| ring.peek().map(drop))
    }

    /// Lets every record go, whatever its time: nothing more will be written.
    ///
    /// # Errors
    ///
    /// When a ring holds something that is no record.
    pub fn finish(&mut self) -> Result<(), RingError> {
        self.refresh(u64::MAX)?;
        self.watermark_ns = u64::MAX;
        Ok(())
    }

    /// Hands frames to `consume`, oldest first, as long as they may go: at most so many. Returns
    /// how many it was.
    ///
    /// # Errors
    ///
    /// When a ring holds something that is no record.
    #[inline]
    pub fn each(
        &mut self,
        at_most: usize,
        mut consume: impl FnMut(Frame<'_>),
    ) -> Result<usize, RingError> {
        let mut taken = 0;
        while taken < at_most {
            let Some(turn) = self.next_turn() else { break };
            let ring = &mut self.rings[turn.ring];
            let mut next_ns = Some(turn.time_ns);
            while let Some(time_ns) = next_ns
                && time_ns <= turn.until_ns
                && taken < at_most
            {
                let frame = match ring.peek() {
                    Ok(frame) => frame.expect("a ring whose turn it is has a record"),
                    Err(error) => {
                        self.end_turn(&turn, next_ns);
                        return Err(error);
                    }
                };
                let record_len = frame.header.record_len;
                consume(frame);
                taken += 1;
                ring.advance(record_len);
                next_ns = ring.next_time_ns();
            }
            self.end_turn(&turn, next_ns);
        }
        Ok(taken)
    }

    /// The turn of the ring with the oldest record, if that may leave. It stays the heap's first.
    fn next_turn(&self) -> Option<Turn> {
        let &Reverse((time_ns, ring)) = self.oldest.peek()?;
        if time_ns > self.watermark_ns {
            return None;
        }
        // In a heap the second oldest is one of these two.
        let others = self.oldest.as_slice().get(1..).unwrap_or_default();
        let until_ns = others
            .iter()
            .take(2)
            .map(|&Reverse((time_ns, _))| time_ns)
            .fold(self.watermark_ns, u64::min);
        Some(Turn {
            ring,
            time_ns,
            until_ns,
        })
    }

    /// Puts the heap's first in its place, by the time of its next record.
    fn end_turn(&mut self, turn: &Turn, next_ns: Option<u64>) {
        match next_ns {
            Some(time_ns) => {
                if let Some(mut first) = self.oldest.peek_mut() {
                    *first = Reverse((time_ns, turn.ring));
                }
            }
            None => {
                self.oldest.pop();
                self.empty.push(turn.ring);
            }
        }
    }

    /// Gives the memory of everything read back to the writers.
    pub fn release(&mut self) {
        for ring in &mut self.rings {
            ring.release();
        }
    }

    /// Whether any ring holds a record that was not handed out yet.
    #[must_use]
    pub fn has_more(&self) -> bool {
        !self.oldest.is_empty() || self.rings.iter().any(Ring::has_more)
    }

    /// Asks every ring for the doorbell; see [`Ring::arm`]. `bytes` is told each ring's capacity.
    pub fn arm(&self, bytes: impl Fn(u64) -> u64) {
        for ring in &self.rings {
            ring.arm(bytes(ring.geometry().usable_bytes()).max(1));
        }
    }

    /// Takes the wish for the doorbell back.
    pub fn disarm(&self) {
        for ring in &self.rings {
            ring.disarm();
        }
    }

    /// How full the fullest ring is, in percent.
    #[must_use]
    pub fn fullest_percent(&self) -> u64 {
        self.rings
            .iter()
            .map(|ring| ring.fill() * 100 / ring.geometry().usable_bytes().max(1))
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        geometry::Geometry,
        ring::{OwnedMemory, Writer},
    };
    use proptest::prelude::*;
    use skbcap_common::{Hook, RecordHeader};
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use zerocopy::FromZeros;

    fn header(cpu: u32) -> RecordHeader {
        let mut header = RecordHeader::new_zeroed();
        header.hook = Hook::Queue as u8;
        header.cpu = cpu;
        header.ifindex = 1;
        header
    }

    fn memories(count: usize, segment_len: u32) -> Vec<OwnedMemory> {
        let geometry = Geometry {
            segments: 2,
            segment_len,
            slack_len: 512,
            chunk_len: 1,
            value_len: segment_len + 512,
        };
        (0..count).map(|_| OwnedMemory::new(geometry)).collect()
    }

    fn order(memories: &[OwnedMemory]) -> Order<'_> {
        let memories = memories.iter().enumerate();
        Order::new(
            memories
                .map(|(number, memory)| Ring::new(memory.as_memory(), number))
                .collect(),
        )
    }

    fn times(order: &mut Order<'_>) -> Vec<u64> {
        let mut times = Vec::new();
        order
            .each(usize::MAX, |frame| times.push(frame.header.time_ns))
            .unwrap();
        times
    }

    proptest! {
        /// Frames spread over rings come out sorted, all of them, however the looks fall.
        #[test]
        fn all_leave_in_time_order(
            cpus in prop::collection::vec(0usize..4, 1..200),
            looks in prop::collection::vec(any::<bool>(), 200),
        ) {
            let memories = memories(4, 1 << 16);
            let mut writers: Vec<_> =
                memories.iter().map(|memory| Writer::new(memory.as_memory())).collect();
            let mut order = order(&memories);
            let mut seen = Vec::new();
            for ((time, &cpu), look) in (1u64..).zip(&cpus).zip(looks) {
                writers[cpu].write(&header(cpu as u32), &[0; 20], || time).unwrap();
                if look {
                    order.refresh(time + 1).unwrap();
                    seen.extend(times(&mut order));
                }
            }
            order.finish().unwrap();
            seen.extend(times(&mut order));
            prop_assert_eq!(seen, (1..=cpus.len() as u64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_frame_waits_for_an_older_one_that_is_still_being_written() {
        let memories = memories(2, 4096);
        let mut order = order(&memories);
        let mut late = Writer::new(memories[0].as_memory());
        let mut prompt = Writer::new(memories[1].as_memory());
        late.write(&header(0), &[0; 20], || {
            // While the first ring is busy and its time unknown, the second takes a newer frame.
            prompt.write(&header(1), &[0; 20], || 200).unwrap();
            order.refresh(300).unwrap();
            assert_eq!(
                times(&mut order),
                [0u64; 0],
                "the busy ring may still yield an older one"
            );
            assert!(order.has_more());
            100
        })
        .unwrap();
        order.refresh(400).unwrap();
        assert_eq!(times(&mut order), [100, 200]);
        assert!(!order.has_more());
    }

    /// Writers in threads, one shared clock: what leaves never goes back in time.
    #[test]
    fn threads_with_one_clock_leave_in_order() {
        const FRAMES: usize = if cfg!(miri) { 50 } else { 20_000 };
        let memories = memories(3, 1 << 14);
        // The first frame's time is 2: 0 and 1 are no times (see `busy_since_ns`).
        let clock = AtomicU64::new(2);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let threads: Vec<_> = memories
                .iter()
                .enumerate()
                .map(|(cpu, memory)| {
                    let clock = &clock;
                    scope.spawn(move || {
                        let mut writer = Writer::new(memory.as_memory());
                        let mut captured = 0;
                        for _ in 0..FRAMES {
                            let time = || clock.fetch_add(1, Ordering::SeqCst);
                            match writer.write(&header(cpu as u32), &[0; 40], time) {
                                Some(_) => captured += 1,
                                None => std::thread::yield_now(),
                            }
                        }
                        captured
                    })
                })
                .collect();
            let reader = scope.spawn(|| {
                let mut order = order(&memories);
                let (mut last, mut read) = (0, 0);
                loop {
                    let ended = done.load(Ordering::Acquire);
                    order.refresh(clock.load(Ordering::SeqCst)).unwrap();
                    if ended {
                        order.finish().unwrap();
                    }
                    for time in times(&mut order) {
                        assert!(time > last, "{time} after {last}");
                        last = time;
                        read += 1;
                    }
                    order.release();
                    if ended {
                        break read;
                    }
                }
            });
            let captured: usize = threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum();
            done.store(true, Ordering::Release);
            assert_eq!(reader.join().unwrap(), captured);
        });
    }
}
