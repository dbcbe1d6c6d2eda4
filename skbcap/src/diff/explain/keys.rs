//! What two frames must share to be compared: a table of these finds one's candidates.

use std::hash::Hasher;

use crate::diff::checksum::Side;
use crate::diff::layers::{Header, TCP};

/// The longest header before the network layer, tags included: by so much more are frames cut
/// that have another header.
const MAX_LINK: usize = 20 + 8 * 4;

/// Feeds what is shared, of at most so many bytes of a frame; whether the frame has it at all.
pub(super) type Key = fn(Side<'_>, usize, &mut dyn Hasher) -> bool;

/// The network layer's bytes but for checksums, as many as both sides have for sure, and how many
/// there were.
fn network(side: Side<'_>, cut: usize, hasher: &mut dyn Hasher) -> bool {
    let Side { frame, layers } = side;
    let start = layers.network.min(frame.data.len());
    // Both sides' bytes end here, whatever header each has.
    let end = frame
        .data
        .len()
        .min(start.saturating_add(cut.saturating_sub(MAX_LINK)));
    let mut at = start;
    for skipped in layers.checksums() {
        let skipped = skipped.start.clamp(at, end.max(at))..skipped.end.clamp(at, end.max(at));
        hasher.write(frame.data.get(at..skipped.start).unwrap_or_default());
        at = skipped.end;
    }
    hasher.write(frame.data.get(at..end).unwrap_or_default());
    hasher.write_u64(u64::from(frame.len).saturating_sub(layers.network as u64));
    true
}

fn header(header: Header, hasher: &mut dyn Hasher) {
    hasher.write_u32(match header {
        Header::Ethernet => 1 << 16,
        Header::Sll => 2 << 16,
        Header::Sll2 => 3 << 16,
        Header::Ip => 4 << 16,
        Header::Other(number) => number.into(),
    });
}

pub(super) fn behind_checksums(side: Side<'_>, cut: usize, hasher: &mut dyn Hasher) -> bool {
    header(side.layers.header, hasher);
    let link = side
        .frame
        .data
        .get(..side.layers.network)
        .unwrap_or_default();
    hasher.write(link);
    network(side, cut, hasher)
}

pub(super) fn behind_tags(side: Side<'_>, cut: usize, hasher: &mut dyn Hasher) -> bool {
    header(side.layers.header, hasher);
    for part in side.layers.link(side.frame.data) {
        hasher.write(part);
    }
    network(side, cut, hasher)
}

pub(super) fn behind_link(side: Side<'_>, cut: usize, hasher: &mut dyn Hasher) -> bool {
    hasher.write_u16(side.layers.ether_type.unwrap_or_default());
    network(side, cut, hasher)
}

/// The same header and true length: where one side kept little, no more may be there to share.
pub(super) fn same_len(side: Side<'_>, _: usize, hasher: &mut dyn Hasher) -> bool {
    header(side.layers.header, hasher);
    hasher.write_u32(side.frame.len);
    true
}

/// Addresses, ports and protocol.
fn flow(side: Side<'_>, hasher: &mut dyn Hasher) -> bool {
    let data = side.frame.data;
    let Some(ip) = &side.layers.ip else {
        return false;
    };
    hasher.write(data.get(ip.addresses.clone()).unwrap_or_default());
    hasher.write_u8(ip.protocol);
    hasher.write(ip.ports(data));
    true
}

fn payload_len(side: Side<'_>) -> u64 {
    let ip = side.layers.ip.as_ref();
    ip.map_or(0, |ip| ip.end.saturating_sub(ip.transport) as u64)
}

fn id(side: Side<'_>) -> Option<u32> {
    side.layers.ip.as_ref()?.id.filter(|&id| id != 0)
}

fn sequence(side: Side<'_>) -> Option<u32> {
    side.layers.ip.as_ref()?.sequence(side.frame.data)
}

/// The same flow, id, sequence number and length.
pub(super) fn same_packet(side: Side<'_>, _: usize, hasher: &mut dyn Hasher) -> bool {
    hasher.write_u32(id(side).unwrap_or_default());
    hasher.write_u32(sequence(side).unwrap_or_default());
    hasher.write_u64(payload_len(side));
    (id(side).is_some() || sequence(side).is_some()) && flow(side, hasher)
}

/// The same flow and id.
pub(super) fn same_identity(side: Side<'_>, _: usize, hasher: &mut dyn Hasher) -> bool {
    id(side).is_some_and(|id| {
        hasher.write_u32(id);
        flow(side, hasher)
    })
}

/// The same flow, sequence number and length.
pub(super) fn same_sequence(side: Side<'_>, _: usize, hasher: &mut dyn Hasher) -> bool {
    let is_tcp = side.layers.ip.as_ref().is_some_and(|ip| ip.protocol == TCP);
    hasher.write_u32(sequence(side).unwrap_or_default());
    hasher.write_u64(payload_len(side));
    is_tcp && flow(side, hasher)
}

/// The same length and second half: a header differs.
pub(super) fn same_end(side: Side<'_>, cut: usize, hasher: &mut dyn Hasher) -> bool {
    let data = &side.frame.data[..side.frame.data.len().min(cut)];
    header(side.layers.header, hasher);
    hasher.write_u32(side.frame.len);
    hasher.write(&data[data.len() / 2..]);
    data.len() > 1
}

/// The same length and first half: the payload differs.
pub(super) fn same_start(side: Side<'_>, cut: usize, hasher: &mut dyn Hasher) -> bool {
    let data = &side.frame.data[..side.frame.data.len().min(cut)];
    header(side.layers.header, hasher);
    hasher.write_u32(side.frame.len);
    hasher.write(&data[..data.len() / 2]);
    data.len() > 1
}
