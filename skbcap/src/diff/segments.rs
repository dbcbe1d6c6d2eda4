//! A super-frame against the segments that software made of it.
//!
//! Source: `tcp_gso_segment` and `__udp_gso_segment`, `net/ipv4/{tcp,udp}_offload.c@6.12`.

pub(super) mod damaged;
mod datagrams;

use std::hash::Hasher;

use super::checksum::Side;
use super::layers::{Layers, TCP, UDP};
use super::table::{Digester, Table};

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// One of TCP's or UDP's packets that has a payload.
#[derive(Clone, Copy)]
struct Packet<'a> {
    side: Side<'a>,
    protocol: u8,
    is_v6: bool,
    id: u32,
    sequence: u32,
    transport: usize,
    payload: usize,
    payload_len: usize,
}

impl<'a> Packet<'a> {
    fn of(side: Side<'a>) -> Option<Self> {
        let data = side.frame.data;
        let ip = side.layers.ip.as_ref().filter(|ip| !ip.is_fragment)?;
        let payload = ip.payload(data)?;
        let payload_len = ip.end.checked_sub(payload).filter(|&len| len > 0)?;
        data.get(..payload)?;
        Some(Self {
            side,
            protocol: ip.protocol,
            is_v6: ip.is_v6,
            id: ip.id.unwrap_or_default(),
            sequence: ip.sequence(data).unwrap_or_default(),
            transport: ip.transport,
            payload,
            payload_len,
        })
    }

    fn bytes(&self, from: usize, to: usize) -> &'a [u8] {
        self.side.frame.data.get(from..to).unwrap_or_default()
    }

    fn layers(&self) -> &'a Layers {
        self.side.layers
    }

    /// Addresses and ports, and where in the flow.
    fn digest(&self, digester: &Digester, sequence: u32) -> u64 {
        digester.digest(|hasher| self.write(hasher, sequence))
    }

    fn write(&self, hasher: &mut dyn Hasher, sequence: u32) {
        if let Some(ip) = &self.layers().ip {
            hasher.write(self.bytes(ip.addresses.start, ip.addresses.end));
            hasher.write(ip.ports(self.side.frame.data));
        }
        hasher.write_u8(self.protocol);
        hasher.write_u32(sequence);
    }

    /// The payload's bytes that were kept.
    fn kept(&self) -> &'a [u8] {
        let kept = self.side.frame.data;
        kept.get(self.payload..kept.len().min(self.payload + self.payload_len))
            .unwrap_or_default()
    }

    /// Whether UDP's length agrees with IP's, as it does in every datagram that software makes.
    fn has_udp_len(&self) -> bool {
        let len = self.bytes(self.transport + 4, self.transport + 6);
        let header_len = self.payload - self.transport;
        len.first_chunk().is_some_and(|&len| {
            usize::from(u16::from_be_bytes(len)) == header_len + self.payload_len
        })
    }

    /// Whether `segment` can be the part of this one's payload that begins at `offset`.
    fn has(&self, segment: &Self, offset: usize, number: u32) -> bool {
        let end = offset + segment.payload_len;
        let is_last = end == self.payload_len;
        if end > self.payload_len || segment.payload_len == self.payload_len {
            return false;
        }
        let payload = self.kept().get(offset..).unwrap_or_default();
        let common = payload.len().min(segment.kept().len());
        self.has_headers(segment)
            && self.has_id(segment, number)
            && match self.protocol {
                TCP => self.has_tcp(segment, number == 0, is_last),
                _ => segment.has_udp_len(),
            }
            && payload[..common] == segment.kept()[..common]
    }

    fn has_id(&self, segment: &Self, number: u32) -> bool {
        self.is_v6 || segment.id == self.id || segment.id == (self.id + number) & 0xffff
    }

    fn flags(&self) -> Option<u8> {
        self.side.frame.data.get(self.transport + 13).copied()
    }

    /// What TCP's flags become in a segment.
    fn flags_of_part(&self, is_first: bool, is_last: bool) -> Option<u8> {
        let mut flags = self.flags()?;
        if !is_first {
            flags &= !CWR;
        }
        if !is_last {
            flags &= !(FIN | PSH);
        }
        Some(flags)
    }

    fn has_headers(&self, segment: &Self) -> bool {
        let ends = |packet: &Self| {
            let layers = packet.layers();
            let at = layers.network;
            let addresses = layers.ip.as_ref().map_or(0..0, |ip| ip.addresses.clone());
            // The type of service, and how far it may go.
            let fixed = match packet.is_v6 {
                true => [packet.bytes(at, at + 4), packet.bytes(at + 7, at + 8)],
                false => [packet.bytes(at, at + 2), packet.bytes(at + 6, at + 9)],
            };
            let ports = packet.bytes(packet.transport, packet.transport + 4);
            (
                packet.protocol,
                fixed,
                packet.bytes(addresses.start, addresses.end),
                ports,
            )
        };
        let link = |packet: &Self| packet.layers().link(packet.side.frame.data);
        let is_same_link =
            self.layers().header != segment.layers().header || link(self) == link(segment);
        ends(self) == ends(segment) && is_same_link
    }

    fn has_tcp(&self, segment: &Self, is_first: bool, is_last: bool) -> bool {
        let header = |packet: &Self| {
            let at = packet.transport;
            let ack = packet.bytes(at + 8, at + 13);
            let window = packet.bytes(at + 14, at + 16);
            (ack, window, packet.bytes(at + 18, packet.payload))
        };
        let flags = self.flags_of_part(is_first, is_last);
        flags.is_some() && flags == segment.flags() && header(self) == header(segment)
    }
}

/// For each of `wholes` that the other side has in segments: its place, and theirs.
///
/// A segment belongs to one super-frame only.
pub(super) fn find(wholes: &[Side<'_>], others: &[Side<'_>]) -> Vec<(usize, Vec<usize>)> {
    let digester = Digester::default();
    let packets: Vec<_> = others.iter().map(|&side| Packet::of(side)).collect();
    let place = |packet: &Packet<'_>| match packet.protocol {
        TCP => packet.sequence,
        _ => 0,
    };
    let mut table = Table::new(packets.iter().enumerate().filter_map(|(index, packet)| {
        let packet = packet.as_ref()?;
        Some((packet.digest(&digester, place(packet)), index))
    }));
    let mut found = Vec::new();
    for (at, &side) in wholes.iter().enumerate() {
        let Some(whole) = Packet::of(side).filter(|packet| matches!(packet.protocol, TCP | UDP))
        else {
            continue;
        };
        let digest = |offset: usize| {
            let sequence = place(&whole).wrapping_add(offset as u32);
            whole.digest(&digester, if whole.protocol == TCP { sequence } else { 0 })
        };
        let Some(chain) = chain(&whole, &packets, &table, &digest) else {
            continue;
        };
        let mut offset = 0;
        for &segment in &chain {
            table.take(digest(offset), |index| index == segment);
            offset += packets[segment].map_or(0, |packet| packet.payload_len);
        }
        found.push((at, chain));
    }
    found
}

/// The segments that make up all of `whole`.
fn chain(
    whole: &Packet<'_>,
    packets: &[Option<Packet<'_>>],
    table: &Table,
    digest: &impl Fn(usize) -> u64,
) -> Option<Vec<usize>> {
    let (mut chain, mut offset, mut size) = (Vec::new(), 0, None);
    while offset < whole.payload_len {
        let next = table.find(digest(offset), |index| {
            let Some(segment) = &packets[index] else {
                return false;
            };
            let is_behind = whole.protocol == TCP || chain.last().is_none_or(|&last| index > last);
            let len = segment.payload_len;
            let is_last = offset + len == whole.payload_len;
            let is_of_size = size.is_none_or(|size| len == size || len < size && is_last);
            is_behind && is_of_size && whole.has(segment, offset, chain.len() as u32)
        })?;
        let len = packets[next].as_ref()?.payload_len;
        size.get_or_insert(len);
        chain.push(next);
        offset += len;
    }
    Some(chain)
}
