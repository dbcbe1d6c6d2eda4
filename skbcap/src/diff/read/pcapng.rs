//! The block format, as any program may write it.

use super::{Capture, Frame, Interface, TroubleKind, snaplen};
use crate::pcapng::LinkType;
use crate::pcapng::raw::{
    BrokenKind, ENHANCED_PACKET, INTERFACE_DESCRIPTION, OBSOLETE_PACKET, RawBlock, RawBlocks,
    SECTION_HEADER, SIMPLE_PACKET,
};
use crate::pcapng::time::{IF_TSOFFSET, IF_TSRESOL, Ticks};

const OPT_COMMENT: u16 = 1;
const IF_NAME: u16 = 2;

/// Reads a whole file; whether it is one of this format.
pub(super) fn read<'a>(bytes: &'a [u8], capture: &mut Capture<'a>) -> bool {
    if bytes.get(..4) != Some(&SECTION_HEADER.to_be_bytes()) {
        return false;
    }
    // Of the current section, whose interfaces are the last in the capture.
    let mut clocks: Vec<Ticks> = Vec::new();
    for block in RawBlocks::new(bytes) {
        let block = match block {
            Ok(block) => block,
            Err(broken) => {
                capture.found(broken.offset, TroubleKind::Broken(broken.what));
                break;
            }
        };
        let read = match block.kind {
            SECTION_HEADER => {
                clocks.clear();
                Some(())
            }
            INTERFACE_DESCRIPTION => interface(&block, capture).map(|clock| clocks.push(clock)),
            ENHANCED_PACKET => packet(&block, &clocks, capture),
            kind @ (SIMPLE_PACKET | OBSOLETE_PACKET) => {
                capture.found(block.offset, TroubleKind::PacketBlock(kind));
                Some(())
            }
            _ => Some(()),
        };
        if read.is_none() {
            capture.found(block.offset, TroubleKind::ShortBlock);
        }
    }
    true
}

fn interface(block: &RawBlock<'_>, capture: &mut Capture<'_>) -> Option<Ticks> {
    let RawBlock { order, body, .. } = *block;
    let link_type = LinkType(order.u16(body, 0)?);
    let snaplen = snaplen(order.u32(body, 4)?);
    let mut name = None;
    let mut clock = Ticks::default();
    options(block, 8, capture, |code, value| match code {
        IF_NAME => name = Some(String::from_utf8_lossy(value).into_owned()),
        IF_TSRESOL => clock.resolution = value.first().copied().unwrap_or(6),
        IF_TSOFFSET => clock.offset_s = order.u64(value, 0).unwrap_or_default() as i64,
        _ => {}
    });
    capture.interfaces.push(Interface {
        name,
        link_type,
        snaplen,
    });
    Some(clock)
}

fn packet<'a>(block: &RawBlock<'a>, clocks: &[Ticks], capture: &mut Capture<'a>) -> Option<()> {
    let RawBlock { order, body, .. } = *block;
    let id = order.u32(body, 0)?;
    let ticks = order.time(body, 4)?;
    let captured = order.u32(body, 12)? as usize;
    let len = order.u32(body, 16)?;
    let data = body.get(20..)?.get(..captured)?;
    let Some(clock) = clocks.get(id as usize) else {
        capture.found(block.offset, TroubleKind::UndefinedInterface(id));
        return Some(());
    };
    let interface = capture.interfaces.len() - clocks.len() + id as usize;
    let mut comment = None;
    options(
        block,
        (20 + captured).next_multiple_of(4),
        capture,
        |code, value| {
            if code == OPT_COMMENT && comment.is_none() {
                comment = std::str::from_utf8(value).ok();
            }
        },
    );
    capture.push(Frame {
        number: 0,
        time_ns: clock.time_ns(ticks),
        interface,
        len,
        data,
        comment,
    });
    Some(())
}

fn options<'a>(
    block: &RawBlock<'a>,
    at: usize,
    capture: &mut Capture<'_>,
    mut take: impl FnMut(u16, &'a [u8]),
) {
    for option in block.options(at) {
        match option {
            Ok(option) => take(option.code, option.value),
            // Many writers leave it out, and nothing is lost.
            Err(broken) if broken.what == BrokenKind::NoEndOfOptions => {}
            Err(broken) => capture.found(broken.offset, TroubleKind::Broken(broken.what)),
        }
    }
}
