//! The block format, as any program may write it.

use std::ops::ControlFlow;

use super::{Frame, Interface, Packet, TroubleKind, Visitor, Walk, snaplen};
use crate::pcapng::LinkType;
use crate::pcapng::raw::{
    BrokenKind, ENHANCED_PACKET, INTERFACE_DESCRIPTION, OBSOLETE_PACKET, RawBlock, RawBlocks,
    SECTION_HEADER, SIMPLE_PACKET,
};
use crate::pcapng::time::{IF_TSOFFSET, IF_TSRESOL, Ticks};

const OPT_COMMENT: u16 = 1;
const IF_NAME: u16 = 2;
const EPB_FLAGS: u16 = 2;
/// The type and the two lengths around a block's body.
const FRAMING: usize = 12;

/// Reads a whole file; whether it is one of this format.
pub(super) fn read<'a, V: Visitor<'a>>(bytes: &'a [u8], walk: &mut Walk<'_, V>) -> bool {
    if bytes.get(..4) != Some(&SECTION_HEADER.to_be_bytes()) {
        return false;
    }
    // Of the current section, whose interfaces are the last in the capture.
    let mut clocks: Vec<Ticks> = Vec::new();
    for block in RawBlocks::new(bytes) {
        let block = match block {
            Ok(block) => block,
            Err(broken) => {
                walk.found(broken.offset, TroubleKind::Broken(broken.what));
                break;
            }
        };
        let start = block.offset as usize;
        let whole = &bytes[start..start + FRAMING + block.body.len()];
        if !matches!(
            block.kind,
            ENHANCED_PACKET | SIMPLE_PACKET | OBSOLETE_PACKET
        ) {
            walk.visitor.other(whole);
        }
        let read = match block.kind {
            SECTION_HEADER => {
                clocks.clear();
                Some(ControlFlow::Continue(()))
            }
            INTERFACE_DESCRIPTION => interface(&block, walk).map(|clock| {
                clocks.push(clock);
                ControlFlow::Continue(())
            }),
            ENHANCED_PACKET => packet(&block, whole, &clocks, walk),
            kind @ (SIMPLE_PACKET | OBSOLETE_PACKET) => {
                walk.found(block.offset, TroubleKind::PacketBlock(kind));
                Some(ControlFlow::Continue(()))
            }
            _ => Some(ControlFlow::Continue(())),
        };
        match read {
            Some(ControlFlow::Continue(())) => {}
            Some(ControlFlow::Break(())) => break,
            None => walk.found(block.offset, TroubleKind::ShortBlock),
        }
    }
    true
}

fn interface<'a, V: Visitor<'a>>(block: &RawBlock<'a>, walk: &mut Walk<'_, V>) -> Option<Ticks> {
    let RawBlock { order, body, .. } = *block;
    let link_type = LinkType(order.u16(body, 0)?);
    let snaplen = snaplen(order.u32(body, 4)?);
    let mut name = None;
    let mut clock = Ticks::default();
    options(block, 8, walk, |code, value| match code {
        IF_NAME => name = Some(String::from_utf8_lossy(value).into_owned()),
        IF_TSRESOL => clock.resolution = value.first().copied().unwrap_or(6),
        IF_TSOFFSET => clock.offset_s = order.u64(value, 0).unwrap_or_default() as i64,
        _ => {}
    });
    walk.interface(Interface {
        name,
        link_type,
        snaplen,
    });
    Some(clock)
}

fn packet<'a, V: Visitor<'a>>(
    block: &RawBlock<'a>,
    whole: &'a [u8],
    clocks: &[Ticks],
    walk: &mut Walk<'_, V>,
) -> Option<ControlFlow<()>> {
    let RawBlock { order, body, .. } = *block;
    let id = order.u32(body, 0)?;
    let ticks = order.time(body, 4)?;
    let captured = order.u32(body, 12)? as usize;
    let len = order.u32(body, 16)?;
    let data = body.get(20..)?.get(..captured)?;
    let Some(clock) = clocks.get(id as usize) else {
        walk.found(block.offset, TroubleKind::UndefinedInterface(id));
        return Some(ControlFlow::Continue(()));
    };
    let interface = walk.interfaces - clocks.len() + id as usize;
    let (mut comment, mut flags) = (None, 0);
    let options_at = (20 + captured).next_multiple_of(4);
    options(block, options_at, walk, |code, value| match code {
        OPT_COMMENT if comment.is_none() => comment = std::str::from_utf8(value).ok(),
        EPB_FLAGS => flags = order.u32(value, 0).unwrap_or_default(),
        _ => {}
    });
    Some(walk.packet(Packet {
        frame: Frame {
            number: 0,
            time_ns: clock.time_ns(ticks),
            interface,
            len,
            data,
            comment,
        },
        flags,
        block: whole,
    }))
}

fn options<'a, V: Visitor<'a>>(
    block: &RawBlock<'a>,
    at: usize,
    walk: &mut Walk<'_, V>,
    mut take: impl FnMut(u16, &'a [u8]),
) {
    for option in block.options(at) {
        match option {
            Ok(option) => take(option.code, option.value),
            // Many writers leave it out, and nothing is lost.
            Err(broken) if broken.what == BrokenKind::NoEndOfOptions => {}
            Err(broken) => walk.found(broken.offset, TroubleKind::Broken(broken.what)),
        }
    }
}
