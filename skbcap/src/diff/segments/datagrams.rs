//! Where in a super-frame of UDP datagrams belong.
//!
//! Nothing in them says so but, in IPv4, the identification. Else their bytes do, and of one whose bytes
//! are wrong the datagrams that were sent before and behind it.

use std::collections::HashMap;

use super::Packet;

/// Datagrams looked at for one super-frame: it has 128 at the most (`UDP_MAX_SEGMENTS`,
/// include/linux/udp.h@6.12).
const MAX_CANDIDATES: usize = 1024;

/// Lengths that are tried for that of all segments but the last.
const MAX_SIZES: usize = 8;

/// The datagrams of one super-frame.
pub(super) struct Placed {
    /// How far into the payload each belongs, and its place among `packets`; in order.
    pub(super) datagrams: Vec<(usize, usize)>,
    /// The length of all but the last one.
    pub(super) size: usize,
}

/// Finds those of `whole` in its `flow`, which are places among `packets`, as they were sent.
pub(super) fn place(
    whole: &Packet<'_>,
    packets: &[Option<Packet<'_>>],
    flow: impl Iterator<Item = usize>,
) -> Option<Placed> {
    let flow = flow.filter_map(|index| Some((index, packets[index]?)));
    let flow = flow.filter(|(_, packet)| packet.payload_len < whole.payload_len);
    let flow: Vec<_> = flow.take(MAX_CANDIDATES).collect();
    let filled = sizes(&flow).into_iter().map(|size| {
        let mut slots = Slots::new(whole, &flow, size);
        let right = slots.fill_with_right_ones();
        (right, slots)
    });
    let (_, mut slots) = filled.max_by_key(|&(right, _)| right)?;
    slots.fill_with_others();
    Some(Placed {
        datagrams: slots.datagrams(),
        size: slots.size,
    })
}

/// The most frequent lengths; of two as frequent, the longer one last.
fn sizes(flow: &[(usize, Packet<'_>)]) -> Vec<usize> {
    let mut counts = HashMap::<usize, usize>::new();
    for (_, packet) in flow {
        *counts.entry(packet.payload_len).or_default() += 1;
    }
    let mut sizes: Vec<_> = counts
        .into_iter()
        .map(|(size, count)| (count, size))
        .collect();
    sizes.sort_unstable();
    let most = sizes.split_off(sizes.len().saturating_sub(MAX_SIZES));
    most.into_iter().map(|(_, size)| size).collect()
}

/// A super-frame's segments, each of which is a datagram of a flow, or not there.
struct Slots<'s, 'a> {
    whole: &'s Packet<'a>,
    flow: &'s [(usize, Packet<'a>)],
    size: usize,
    /// For each segment, the place in the flow.
    taken: Vec<Option<usize>>,
    /// For each datagram of the flow, which segment it is.
    slots: Vec<Option<usize>>,
}

impl<'s, 'a> Slots<'s, 'a> {
    fn new(whole: &'s Packet<'a>, flow: &'s [(usize, Packet<'a>)], size: usize) -> Self {
        Self {
            whole,
            flow,
            size,
            taken: vec![None; whole.payload_len.div_ceil(size)],
            slots: vec![None; flow.len()],
        }
    }

    /// Puts each datagram that can be a segment where it can be one, and returns how many there are.
    fn fill_with_right_ones(&mut self) -> usize {
        let (mut right, mut next) = (0, 0);
        for (place, (_, packet)) in self.flow.iter().enumerate() {
            let mut slots = (next..self.taken.len()).chain(0..next);
            let fits = |&slot: &usize| {
                self.is_free(slot, |len| packet.payload_len == len)
                    && self.whole.has(packet, slot * self.size, slot as u32)
            };
            if let Some(slot) = slots.find(fits) {
                self.put(place, slot);
                (right, next) = (right + 1, slot + 1);
            }
        }
        right
    }

    /// Puts the others where their identification says, or their neighbours do.
    fn fill_with_others(&mut self) {
        for (place, (_, packet)) in self.flow.iter().enumerate() {
            if self.slots[place].is_some() {
                continue;
            }
            let len = packet.payload_len;
            let by_id = self.by_id(packet);
            let by_id = by_id.filter(|&slot| self.is_free(slot, |most| len <= most));
            let by_neighbours = || {
                let slot = self.by_neighbours(place);
                slot.filter(|&slot| self.is_free(slot, |its| len == its))
            };
            if let Some(slot) = by_id.or_else(by_neighbours) {
                self.put(place, slot);
            }
        }
    }

    /// Not of the first one, whose identification all may have.
    fn by_id(&self, packet: &Packet<'_>) -> Option<usize> {
        let number = (packet.id.wrapping_sub(self.whole.id) & 0xffff) as usize;
        (!packet.is_v6 && (1..self.taken.len()).contains(&number)).then_some(number)
    }

    fn by_neighbours(&self, place: usize) -> Option<usize> {
        let before = self.slots[..place].last().copied().flatten();
        let mut behind = self.slots[place..].iter().enumerate();
        let behind = behind.find_map(|(distance, slot)| Some((distance, (*slot)?)));
        match (before, behind) {
            (Some(before), None) => Some(before + 1),
            (Some(before), Some((_, behind))) => Some(before + 1).filter(|&slot| slot < behind),
            (None, Some((distance, behind))) => behind.checked_sub(distance),
            (None, None) => None,
        }
    }

    /// Whether nothing is there yet, and `fits` says so of the segment's length.
    fn is_free(&self, slot: usize, fits: impl FnOnce(usize) -> bool) -> bool {
        let left = self.whole.payload_len.saturating_sub(slot * self.size);
        self.taken.get(slot) == Some(&None) && fits(left.min(self.size))
    }

    fn put(&mut self, place: usize, slot: usize) {
        self.taken[slot] = Some(place);
        self.slots[place] = Some(slot);
    }

    fn datagrams(&self) -> Vec<(usize, usize)> {
        let taken = self.taken.iter().enumerate();
        taken
            .filter_map(|(slot, place)| Some((slot * self.size, self.flow[(*place)?].0)))
            .collect()
    }
}
