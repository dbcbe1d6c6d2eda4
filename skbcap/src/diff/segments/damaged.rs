//! A super-frame of which the other side has some segments right, and others wrong or not at all.
//!
//! By their sequence numbers TCP's are known to belong to it, whatever they hold; for UDP's see
//! [`datagrams`](super::datagrams).

use std::collections::HashMap;
use std::ops::Range;

use super::datagrams::Datagrams;
use super::{Packet, TCP, UDP};
use crate::diff::checksum::Side;
use crate::diff::relation::{self, Relation};
use crate::diff::table::Digester;

/// Segments looked at for one super-frame, so that thousands of retransmissions don't make it quadratic.
const MAX_CANDIDATES: usize = 1024;

/// Where in a super-frame a segment belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::diff) struct Part {
    /// Bytes of the payload before it.
    offset: usize,
    /// Segments before it.
    number: u32,
}

/// A super-frame and what there is of its segments.
#[derive(Debug)]
pub(in crate::diff) struct Damaged {
    /// Its place.
    pub(in crate::diff) whole: usize,
    /// All of them, in order.
    pub(in crate::diff) segments: Vec<usize>,
    /// Those that differ from their part.
    pub(in crate::diff) wrong: Vec<(usize, Part)>,
    /// Bytes of the payload that are in no segment.
    pub(in crate::diff) missing: usize,
}

/// For each of `wholes` of which the other side has at least one segment as it should be.
///
/// A segment belongs to one super-frame only.
pub(in crate::diff) fn find(wholes: &[Side<'_>], others: &[Side<'_>]) -> Vec<Damaged> {
    let digester = Digester::default();
    let packets: Vec<_> = others.iter().map(|&side| of(side)).collect();
    let flows = streams(&packets, &digester);
    let datagrams = Datagrams::new(&packets, &digester);
    let mut is_taken = vec![false; others.len()];
    let mut found = Vec::new();
    for (at, &side) in wholes.iter().enumerate() {
        let Some(whole) = of(side) else {
            continue;
        };
        let is_free = |index: usize| !is_taken[index];
        let damaged = if whole.protocol == TCP {
            flows.get(&whole.digest(&digester, 0)).and_then(|flow| {
                let within = within(flow, whole.sequence, whole.payload_len);
                let within: Vec<_> = within.filter(|&(_, index)| is_free(index)).collect();
                damaged(at, &whole, &packets, within, None)
            })
        } else {
            let placed = datagrams.place(&whole, is_free);
            placed.and_then(|placed| {
                damaged(at, &whole, &packets, placed.datagrams, Some(placed.size))
            })
        };
        let Some(damaged) = damaged else {
            continue;
        };
        for &segment in &damaged.segments {
            is_taken[segment] = true;
        }
        found.push(damaged);
    }
    found
}

fn of(side: Side<'_>) -> Option<Packet<'_>> {
    Packet::of(side).filter(|packet| matches!(packet.protocol, TCP | UDP))
}

/// The sequence number and place of each of TCP's segments, by addresses and ports; in order.
fn streams(packets: &[Option<Packet<'_>>], digester: &Digester) -> HashMap<u64, Vec<(u32, usize)>> {
    let mut flows = HashMap::<u64, Vec<(u32, usize)>>::new();
    for (index, packet) in packets.iter().enumerate() {
        if let Some(packet) = packet.filter(|packet| packet.protocol == TCP) {
            let flow = flows.entry(packet.digest(digester, 0)).or_default();
            flow.push((packet.sequence, index));
        }
    }
    for flow in flows.values_mut() {
        flow.sort_unstable();
    }
    flows
}

/// What begins within `len` bytes of `sequence`, which may turn over: how far behind it, in order.
fn within(
    flow: &[(u32, usize)],
    sequence: u32,
    len: usize,
) -> impl Iterator<Item = (usize, usize)> {
    let first = flow.partition_point(|&(other, _)| other < sequence);
    let (before, behind) = flow.split_at(first);
    let offset = move |&(other, index): &(u32, usize)| {
        let offset = other.wrapping_sub(sequence) as usize;
        (offset < len).then_some((offset, index))
    };
    behind
        .iter()
        .chain(before)
        .map_while(offset)
        .take(MAX_CANDIDATES)
}

/// Of `candidates`, which are how far into the payload each begins, and which it is; in order. `size` is
/// that of all segments but the last, where it is known.
fn damaged(
    at: usize,
    whole: &Packet<'_>,
    packets: &[Option<Packet<'_>>],
    mut candidates: Vec<(usize, usize)>,
    size: Option<usize>,
) -> Option<Damaged> {
    let fits = |&(offset, index): &(usize, usize)| {
        packets[index].is_some_and(|packet| {
            let len = packet.payload_len;
            len < whole.payload_len && offset + len <= whole.payload_len
        })
    };
    candidates.retain(fits);
    let len = |index: usize| packets[index].map_or(0, |packet| packet.payload_len);
    let longest = candidates.iter().map(|&(_, index)| len(index)).max()?;
    let size = size.unwrap_or(longest);
    let mut damaged = Damaged {
        whole: at,
        segments: Vec::new(),
        wrong: Vec::new(),
        missing: whole.payload_len,
    };
    let mut end = 0;
    let mut candidates = candidates.into_iter().peekable();
    while let Some((offset, index)) = candidates.next() {
        if offset < end {
            continue;
        }
        let number = (offset / size) as u32;
        let is_right =
            |index: usize| packets[index].is_some_and(|packet| whole.has(&packet, offset, number));
        // Of several that stand at the same place, the one that is right.
        let mut segment = index;
        while let Some((_, other)) = candidates.next_if(|&(next, _)| next == offset) {
            if !is_right(segment) && is_right(other) {
                segment = other;
            }
        }
        if !is_right(segment) {
            damaged.wrong.push((segment, Part { offset, number }));
        }
        damaged.segments.push(segment);
        damaged.missing -= len(segment);
        end = offset + len(segment);
    }
    let has_right = damaged.wrong.len() < damaged.segments.len();
    let is_damaged = damaged.missing > 0 || !damaged.wrong.is_empty();
    (has_right && is_damaged).then_some(damaged)
}

/// How one of a super-frame's segments differs from its part. `whole_at` is the super-frame's side: 0 for
/// ours.
pub(in crate::diff) fn relate(sides: [Side<'_>; 2], whole_at: usize, part: Part) -> Relation {
    let mut relation = Relation::default();
    let packets = [whole_at, 1 - whole_at].map(|side| Packet::of(sides[side]));
    if let [Some(whole), Some(segment)] = packets {
        let order = |whole, segment| match whole_at {
            0 => [whole, segment],
            _ => [segment, whole],
        };
        for (from, to, len) in alike(&whole, &segment, part) {
            let data = sides.map(|side| side.frame.data);
            let from = order(from, to);
            relation::bytes(sides, data, from, from.map(|at| at + len), &mut relation);
        }
        if !whole.has_id(&segment, part.number) {
            let at = [&whole, &segment].map(|packet| packet.layers().network + 4);
            relation.field("ipv4.id", order(at[0], at[1]), 2);
        }
        if whole.protocol == UDP && !segment.has_udp_len() {
            let at = [&whole, &segment].map(|packet| packet.transport + 4);
            relation.field("udp.length", order(at[0], at[1]), 2);
        }
        let is_last = part.offset + segment.payload_len == whole.payload_len;
        if whole.protocol == TCP
            && segment.flags() != whole.flags_of_part(part.number == 0, is_last)
        {
            let at = [&whole, &segment].map(|packet| packet.transport + 13);
            relation.field("tcp.flags", order(at[0], at[1]), 1);
        }
    }
    relation.differs();
    relation
}

/// What a segment has as its super-frame does: where in the one, where in the other, and how long.
fn alike(whole: &Packet<'_>, segment: &Packet<'_>, part: Part) -> Vec<(usize, usize, usize)> {
    let mut alike = Vec::new();
    let network = [whole, segment].map(|packet| packet.layers().network);
    if network[0] == network[1] {
        alike.push((0, 0, network[0]));
    }
    let ip = match whole.is_v6 {
        true => [0..4, 7..8],
        false => [0..2, 6..9],
    };
    let in_ip = |range: Range<usize>| {
        let [whole, segment] = network.map(|at| at + range.start);
        (whole, segment, range.len())
    };
    alike.extend(ip.map(in_ip));
    let header_len = |packet: &Packet<'_>| packet.payload - packet.transport;
    let header_len = header_len(whole).min(header_len(segment));
    let in_tcp = |range: Range<usize>| {
        let [whole, segment] = [whole, segment].map(|packet| packet.transport + range.start);
        (whole, segment, range.len())
    };
    if whole.protocol == TCP {
        alike.extend([8..13, 14..16, 18..header_len.max(18)].map(in_tcp));
    }
    let payload = whole.payload + part.offset;
    alike.push((payload, segment.payload, segment.payload_len));
    alike
}
