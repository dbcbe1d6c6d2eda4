//! What the draft allows in each block's options.

use super::FaultKind;
use crate::pcapng::raw::{
    ENHANCED_PACKET, INTERFACE_DESCRIPTION, INTERFACE_STATISTICS, RawOption, SECTION_HEADER,
};

/// What an option's value must look like.
#[derive(Clone, Copy)]
enum Shape {
    /// UTF-8, without control characters.
    Text,
    /// So many bytes.
    Bytes(usize),
    /// At least so many bytes.
    AtLeast(usize),
}

/// One option of one block.
struct Rule {
    code: u16,
    shape: Shape,
    repeats: bool,
}

const fn once(code: u16, shape: Shape) -> Rule {
    Rule {
        code,
        shape,
        repeats: false,
    }
}

const fn many(code: u16, shape: Shape) -> Rule {
    Rule {
        code,
        shape,
        repeats: true,
    }
}

/// In every block: comments, and custom options behind their maker's 4-byte number.
const COMMON: &[Rule] = &[
    many(1, Shape::Text),
    many(2988, Shape::AtLeast(4)),
    many(2989, Shape::AtLeast(4)),
    many(19372, Shape::AtLeast(4)),
    many(19373, Shape::AtLeast(4)),
];

const SECTION: &[Rule] = &[
    once(2, Shape::Text),
    once(3, Shape::Text),
    once(4, Shape::Text),
];

const INTERFACE: &[Rule] = &[
    once(2, Shape::Text),        // if_name
    once(3, Shape::Text),        // if_description
    many(4, Shape::Bytes(8)),    // if_IPv4addr
    many(5, Shape::Bytes(17)),   // if_IPv6addr
    once(6, Shape::Bytes(6)),    // if_MACaddr
    once(7, Shape::Bytes(8)),    // if_EUIaddr
    once(8, Shape::Bytes(8)),    // if_speed
    once(9, Shape::Bytes(1)),    // if_tsresol
    once(10, Shape::Bytes(4)),   // if_tzone
    once(11, Shape::AtLeast(1)), // if_filter
    once(12, Shape::Text),       // if_os
    once(13, Shape::Bytes(1)),   // if_fcslen
    once(14, Shape::Bytes(8)),   // if_tsoffset
    once(15, Shape::Text),       // if_hardware
    once(16, Shape::Bytes(8)),   // if_txspeed
    once(17, Shape::Bytes(8)),   // if_rxspeed
    once(18, Shape::Text),       // if_iana_tzname
];

const PACKET: &[Rule] = &[
    once(2, Shape::Bytes(4)),   // epb_flags
    many(3, Shape::AtLeast(1)), // epb_hash
    once(4, Shape::Bytes(8)),   // epb_dropcount
    once(5, Shape::Bytes(8)),   // epb_packetid
    once(6, Shape::Bytes(4)),   // epb_queue
    many(7, Shape::AtLeast(1)), // epb_verdict
    once(8, Shape::Bytes(8)),   // epb_processid_threadid
];

const STATISTICS: &[Rule] = &[
    once(2, Shape::Bytes(8)), // isb_starttime
    once(3, Shape::Bytes(8)), // isb_endtime
    once(4, Shape::Bytes(8)), // isb_ifrecv
    once(5, Shape::Bytes(8)), // isb_ifdrop
    once(6, Shape::Bytes(8)), // isb_filteraccept
    once(7, Shape::Bytes(8)), // isb_osdrop
    once(8, Shape::Bytes(8)), // isb_usrdeliv
];

/// Checks one option by itself. `before` holds the codes of those before it in the block.
pub(super) fn check(
    block: u32,
    option: &RawOption<'_>,
    before: &[u16],
    mut fault: impl FnMut(FaultKind),
) {
    let RawOption {
        code,
        value,
        padding,
        ..
    } = *option;
    if padding.iter().any(|&byte| byte != 0) {
        fault(FaultKind::Padding);
    }
    let rules = match block {
        SECTION_HEADER => SECTION,
        INTERFACE_DESCRIPTION => INTERFACE,
        ENHANCED_PACKET => PACKET,
        INTERFACE_STATISTICS => STATISTICS,
        _ => &[],
    };
    let Some(rule) = rules.iter().chain(COMMON).find(|rule| rule.code == code) else {
        return fault(FaultKind::UnknownOption(code));
    };
    if !rule.repeats && before.contains(&code) {
        fault(FaultKind::RepeatedOption(code));
    }
    match rule.shape {
        Shape::Bytes(len) if value.len() != len => {
            fault(FaultKind::OptionLength {
                code,
                len: value.len(),
            });
        }
        Shape::AtLeast(len) if value.len() < len => {
            fault(FaultKind::OptionLength {
                code,
                len: value.len(),
            });
        }
        Shape::Bytes(_) | Shape::AtLeast(_) => {}
        Shape::Text => match std::str::from_utf8(value) {
            Err(_) => fault(FaultKind::NotUtf8(code)),
            Ok(text) if text.chars().any(char::is_control) => fault(FaultKind::NotOneLine(code)),
            Ok(_) => {}
        },
    }
}
