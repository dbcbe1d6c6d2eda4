//! Where in a super-frame of UDP datagrams belong.
//!
//! Nothing in them says so but, in IPv4, the identification. Else their bytes do, and of one whose bytes
//! are wrong the datagrams that were sent before and behind it.

use std::collections::HashMap;

use super::{Packet, UDP};
use crate::diff::table::{Digester, Table};

/// `UDP_MAX_SEGMENTS` (include/linux/udp.h@6.12).
const MAX_SEGMENTS: usize = 128;

/// Lengths that are tried for that of all segments but the last: the most frequent ones of a flow.
const MAX_SIZES: usize = 8;

/// The first bytes of a payload, by which it is found.
const PREFIX_LEN: usize = 16;

/// All datagrams of one side.
pub(super) struct Datagrams<'p, 'a> {
    packets: &'p [Option<Packet<'a>>],
    digester: &'p Digester,
    flows: HashMap<u64, Flow>,
    /// By flow, length and first bytes.
    table: Table,
}

/// Datagrams of the same addresses and ports.
#[derive(Default)]
struct Flow {
    /// Their places among the packets, in the order in which they were sent.
    places: Vec<usize>,
    sizes: Vec<usize>,
}

/// The datagrams of one super-frame.
pub(super) struct Placed {
    /// How far into the payload each belongs, and its place among the packets; in order.
    pub(super) datagrams: Vec<(usize, usize)>,
    /// The length of all but the last one.
    pub(super) size: usize,
}

impl<'p, 'a> Datagrams<'p, 'a> {
    pub(super) fn new(packets: &'p [Option<Packet<'a>>], digester: &'p Digester) -> Self {
        let all = || {
            let all = packets.iter().enumerate();
            let all = all.filter_map(|(place, packet)| Some((place, packet.as_ref()?)));
            all.filter(|(_, packet)| packet.protocol == UDP)
        };
        let mut flows = HashMap::<u64, Flow>::new();
        for (place, packet) in all() {
            let flow = flows.entry(packet.digest(digester, 0)).or_default();
            flow.places.push(place);
        }
        for flow in flows.values_mut() {
            flow.sizes = sizes(packets, &flow.places);
        }
        let digest =
            |packet: &Packet<'_>| digest(digester, packet, packet.payload_len, packet.kept());
        let digests: Vec<_> = all()
            .map(|(place, packet)| (digest(packet), place))
            .collect();
        Self {
            packets,
            digester,
            flows,
            table: Table::new(digests.into_iter()),
        }
    }

    /// Finds those of `whole` that are `free`; nothing if none has the right bytes.
    pub(super) fn place(
        &self,
        whole: &Packet<'_>,
        is_free: impl Fn(usize) -> bool,
    ) -> Option<Placed> {
        let flow = self.flows.get(&whole.digest(self.digester, 0))?;
        let can_be = |&size: &usize| {
            size < whole.payload_len && whole.payload_len.div_ceil(size) <= MAX_SEGMENTS
        };
        let sizes = flow.sizes.iter().copied().filter(can_be);
        let right = sizes.map(|size| self.right_ones(whole, size, &is_free));
        let mut slots = right.max_by_key(|slots| slots.filled)?;
        if slots.filled == 0 {
            return None;
        }
        let sent = flow.sent_about(&slots);
        let sent: Vec<_> = sent
            .iter()
            .copied()
            .filter(|&place| is_free(place))
            .collect();
        slots.fill_with_others(&sent, self.packets);
        Some(Placed {
            size: slots.size,
            datagrams: slots.datagrams(),
        })
    }

    /// Those that have the bytes of a part of so many bytes.
    fn right_ones<'w>(
        &self,
        whole: &'w Packet<'a>,
        size: usize,
        is_free: &impl Fn(usize) -> bool,
    ) -> Slots<'w, 'a>
    where
        'a: 'w,
    {
        let mut slots = Slots::new(whole, size);
        for slot in 0..slots.places.len() {
            let offset = slot * size;
            let bytes = whole.kept().get(offset..).unwrap_or_default();
            let digest = digest(self.digester, whole, slots.len(slot), bytes);
            let place = self.table.find(digest, |place| {
                let fits = |packet: &Packet<'_>| {
                    packet.payload_len == slots.len(slot) && whole.has(packet, offset, slot as u32)
                };
                is_free(place)
                    && !slots.places.contains(&Some(place))
                    && self.packets[place].as_ref().is_some_and(fits)
            });
            if let Some(place) = place {
                slots.put(slot, place);
            }
        }
        slots
    }
}

/// Of a flow, the length and the first bytes of a payload that begins with `bytes`.
fn digest(digester: &Digester, packet: &Packet<'_>, len: usize, bytes: &[u8]) -> u64 {
    digester.digest(|hasher| {
        packet.write(hasher, len as u32);
        hasher.write(&bytes[..bytes.len().min(len).min(PREFIX_LEN)]);
    })
}

/// The most frequent lengths; of two as frequent, the longer one last.
fn sizes(packets: &[Option<Packet<'_>>], places: &[usize]) -> Vec<usize> {
    let mut counts = HashMap::<usize, usize>::new();
    for packet in places.iter().filter_map(|&place| packets[place].as_ref()) {
        *counts.entry(packet.payload_len).or_default() += 1;
    }
    let counts = counts.into_iter().map(|(size, count)| (count, size));
    let mut counts: Vec<_> = counts.collect();
    counts.sort_unstable();
    let most = counts.split_off(counts.len().saturating_sub(MAX_SIZES));
    most.into_iter().map(|(_, size)| size).collect()
}

impl Flow {
    /// What was sent between the right ones of a super-frame, and before and behind them as much as it
    /// has segments.
    fn sent_about(&self, slots: &Slots<'_, '_>) -> &[usize] {
        let places = || slots.places.iter().flatten();
        let at = |place: Option<&usize>| {
            let place = place.copied().unwrap_or_default();
            self.places.partition_point(|&other| other < place)
        };
        let from = at(places().min()).saturating_sub(slots.places.len());
        let to = at(places().max()) + 1 + slots.places.len();
        &self.places[from..to.min(self.places.len())]
    }
}

/// A super-frame's segments.
struct Slots<'w, 'a> {
    whole: &'w Packet<'a>,
    size: usize,
    /// For each segment its datagram, if it is there: the place among the packets.
    places: Vec<Option<usize>>,
    /// How many are there.
    filled: usize,
}

impl<'w, 'a> Slots<'w, 'a> {
    fn new(whole: &'w Packet<'a>, size: usize) -> Self {
        Self {
            whole,
            size,
            places: vec![None; whole.payload_len.div_ceil(size)],
            filled: 0,
        }
    }

    /// Bytes of the payload in a segment.
    fn len(&self, slot: usize) -> usize {
        (self.whole.payload_len - slot * self.size).min(self.size)
    }

    fn put(&mut self, slot: usize, place: usize) {
        self.places[slot] = Some(place);
        self.filled += 1;
    }

    /// Puts the others of what was `sent` where their identification says, or their neighbours do.
    fn fill_with_others(&mut self, sent: &[usize], packets: &[Option<Packet<'_>>]) {
        let mut slots: Vec<_> = sent.iter().map(|place| self.slot_of(*place)).collect();
        for (at, &place) in sent.iter().enumerate() {
            let Some(packet) = packets[place].as_ref().filter(|_| slots[at].is_none()) else {
                continue;
            };
            let len = packet.payload_len;
            let by_id = self.by_id(packet);
            let by_id = by_id.filter(|&slot| self.is_free(slot) && len <= self.len(slot));
            let by_neighbours = || {
                let slot = by_neighbours(&slots, at);
                slot.filter(|&slot| self.is_free(slot) && len == self.len(slot))
            };
            if let Some(slot) = by_id.or_else(by_neighbours) {
                self.put(slot, place);
                slots[at] = Some(slot);
            }
        }
    }

    fn slot_of(&self, place: usize) -> Option<usize> {
        self.places.iter().position(|&other| other == Some(place))
    }

    fn is_free(&self, slot: usize) -> bool {
        self.places.get(slot) == Some(&None)
    }

    /// Not of the first one, whose identification all may have.
    fn by_id(&self, packet: &Packet<'_>) -> Option<usize> {
        let number = (packet.id.wrapping_sub(self.whole.id) & 0xffff) as usize;
        (!packet.is_v6 && number > 0).then_some(number)
    }

    fn datagrams(&self) -> Vec<(usize, usize)> {
        let places = self.places.iter().enumerate();
        places
            .filter_map(|(slot, place)| Some((slot * self.size, (*place)?)))
            .collect()
    }
}

/// The segment that a datagram would be, by those sent before and behind it.
fn by_neighbours(slots: &[Option<usize>], at: usize) -> Option<usize> {
    let before = slots[..at].last().copied().flatten();
    let mut behind = slots[at..].iter().enumerate();
    let behind = behind.find_map(|(distance, slot)| Some((distance, (*slot)?)));
    match (before, behind) {
        (Some(before), None) => Some(before + 1),
        (Some(before), Some((_, behind))) => Some(before + 1).filter(|&slot| slot < behind),
        (None, Some((distance, behind))) => behind.checked_sub(distance),
        (None, None) => None,
    }
}
