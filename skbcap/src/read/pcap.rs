//! The classic format: one header, then frames.
//!
//! Source: draft-ietf-opsawg-pcap, "PCAP Capture File Format".

use super::{Frame, Interface, Packet, TroubleKind, Visitor, Walk, snaplen};
use crate::pcapng::LinkType;
use crate::pcapng::raw::ByteOrder;

const FILE_HEADER: usize = 24;
const FRAME_HEADER: usize = 16;
/// No frame has more bytes than this; a length above it is no length (as in libpcap, which takes
/// 128 MiB at most, for USB).
const MAX_FRAME_LEN: u32 = 128 << 20;

/// Reads a whole file; whether it is one of this format.
pub(super) fn read<'a, V: Visitor<'a>>(bytes: &'a [u8], walk: &mut Walk<'_, V>) -> bool {
    let Some((order, ns_per_tick)) = format(bytes) else {
        return false;
    };
    let Some(header) = bytes.get(..FILE_HEADER) else {
        let missing = (FILE_HEADER - bytes.len()) as u64;
        walk.found(0, TroubleKind::Truncated { missing });
        return true;
    };
    // The upper half of the link type's field tells of checksums.
    let link_type = order.u32(header, 20).unwrap_or_default() as u16;
    let snaplen = snaplen(order.u32(header, 16).unwrap_or_default());
    walk.visitor.other(header);
    walk.interface(Interface {
        name: None,
        link_type: LinkType(link_type),
        snaplen,
    });
    let mut at = FILE_HEADER;
    while at < bytes.len() {
        let offset = at as u64;
        let rest = &bytes[at..];
        let missing = |needed: usize| TroubleKind::Truncated {
            missing: needed.saturating_sub(rest.len()) as u64,
        };
        let field = |field: usize| order.u32(rest, field * 4);
        let (Some(seconds), Some(ticks), Some(captured), Some(len)) =
            (field(0), field(1), field(2), field(3))
        else {
            walk.found(offset, missing(FRAME_HEADER));
            break;
        };
        if captured > MAX_FRAME_LEN {
            walk.found(offset, TroubleKind::FrameLength(captured));
            break;
        }
        let end = FRAME_HEADER + captured as usize;
        let Some(data) = rest.get(FRAME_HEADER..end) else {
            walk.found(offset, missing(end));
            break;
        };
        let time_ns = u64::from(seconds) * 1_000_000_000 + u64::from(ticks) * ns_per_tick;
        let packet = Packet {
            frame: Frame {
                number: 0,
                time_ns,
                interface: 0,
                len,
                data,
                comment: None,
            },
            flags: 0,
            block: &rest[..end],
        };
        if walk.packet(packet).is_break() {
            break;
        }
        at += end;
    }
    true
}

/// The byte order and the length of a tick of time, if the file begins like a pcap.
fn format(bytes: &[u8]) -> Option<(ByteOrder, u64)> {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        match order.u32(bytes, 0)? {
            0xa1b2_c3d4 => return Some((order, 1000)),
            0xa1b2_3c4d => return Some((order, 1)),
            _ => {}
        }
    }
    None
}
