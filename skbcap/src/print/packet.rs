//! The link layer: what kind of packet a frame holds.

use std::io::{self, Write};
use std::net::Ipv4Addr;

use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacketSlice, EtherType, Ethernet2HeaderSlice,
    SingleVlanHeaderSlice, ether_type,
};

use super::bytes::Bytes;
use super::ip;
use super::style::Detail;

const LINKTYPE_ETHERNET: u16 = 1;
const LINKTYPE_RAW: u16 = 101;
const LINKTYPE_LINUX_SLL: u16 = 113;
const LINKTYPE_LINUX_SLL2: u16 = 276;
const LINKTYPE_IPV4: u16 = 228;
const LINKTYPE_IPV6: u16 = 229;

/// VLAN tags that are followed; the kernel itself stops at 8 (`MAX_VLAN_DEPTH`).
const MAX_TAGS: usize = 8;

/// Ethernet's type field holds a length below this: an 802.3 frame.
const LEAST_ETHERTYPE: u16 = 0x600;

/// Writes what `frame` is. What the bytes are too few for is shown as tcpdump does: `[|tcp]`.
pub(super) fn write(
    out: &mut impl Write,
    frame: Bytes<'_>,
    link_type: u16,
    detail: Detail,
) -> io::Result<()> {
    match link_type {
        LINKTYPE_ETHERNET => write_ethernet(out, frame, detail),
        LINKTYPE_LINUX_SLL => write_cooked(out, frame, (14, 16), detail),
        LINKTYPE_LINUX_SLL2 => write_cooked(out, frame, (0, 20), detail),
        LINKTYPE_RAW | LINKTYPE_IPV4 | LINKTYPE_IPV6 => write_raw(out, frame, detail),
        _ => write!(out, "link type {link_type}, length {}", frame.wire_len),
    }
}

/// Writes the link layer's header, where it has addresses, and the frame's length: what stands
/// before the packet under `-e`.
pub(super) fn write_link_layer(
    out: &mut impl Write,
    frame: Bytes<'_>,
    link_type: u16,
) -> io::Result<()> {
    if link_type == LINKTYPE_ETHERNET
        && let Ok(header) = Ethernet2HeaderSlice::from_slice(frame.data)
    {
        write_address(out, &header.source())?;
        out.write_all(b" > ")?;
        match header.destination() {
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] => out.write_all(b"Broadcast")?,
            address => write_address(out, &address)?,
        }
        let EtherType(number) = header.ether_type();
        if number >= LEAST_ETHERTYPE {
            write!(
                out,
                ", ethertype {} (0x{number:04x}), ",
                type_name(header.ether_type())
            )?;
        } else {
            out.write_all(b", 802.3, ")?;
        }
    }
    write!(out, "length {}: ", frame.wire_len)
}

fn type_name(ether_type: EtherType) -> &'static str {
    match ether_type {
        ether_type::IPV4 => "IPv4",
        ether_type::IPV6 => "IPv6",
        ether_type::ARP => "ARP",
        ether_type::VLAN_TAGGED_FRAME => "802.1Q",
        ether_type::PROVIDER_BRIDGING => "802.1Q-QinQ",
        _ => "Unknown",
    }
}

fn write_address(out: &mut impl Write, address: &[u8]) -> io::Result<()> {
    for (index, byte) in address.iter().enumerate() {
        let colon = if index == 0 { "" } else { ":" };
        write!(out, "{colon}{byte:02x}")?;
    }
    Ok(())
}

/// How many bytes stand before the packet: tags belong to the link layer.
pub(super) fn link_layer_len(data: &[u8], link_type: u16) -> usize {
    let (type_at, mut len) = match link_type {
        LINKTYPE_ETHERNET => (12, 14),
        LINKTYPE_LINUX_SLL => (14, 16),
        LINKTYPE_LINUX_SLL2 => (0, 20),
        _ => return 0,
    };
    let mut type_at: usize = type_at;
    for _ in 0..MAX_TAGS {
        let Some(&[high, low]) = data.get(type_at..type_at + 2) else {
            break;
        };
        if !is_tag(EtherType(u16::from_be_bytes([high, low]))) {
            break;
        }
        type_at = len + 2;
        len += 4;
    }
    len
}

fn write_raw(out: &mut impl Write, packet: Bytes<'_>, detail: Detail) -> io::Result<()> {
    match packet.data.first().map(|byte| byte >> 4) {
        Some(4) => ip::write_v4(out, packet, detail),
        Some(6) => ip::write_v6(out, packet, detail),
        Some(version) => write!(out, "IP version {version}, length {}", packet.wire_len),
        None => out.write_all(b"[|ip]"),
    }
}

fn write_ethernet(out: &mut impl Write, frame: Bytes<'_>, detail: Detail) -> io::Result<()> {
    let Ok(header) = Ethernet2HeaderSlice::from_slice(frame.data) else {
        return out.write_all(b"[|ether]");
    };
    let payload = frame.after(header.slice().len());
    write_typed(out, frame, payload, header.ether_type(), detail)
}

/// A frame behind a header that Linux has made, with the type and the payload at these offsets.
fn write_cooked(
    out: &mut impl Write,
    frame: Bytes<'_>,
    (type_at, payload_at): (usize, usize),
    detail: Detail,
) -> io::Result<()> {
    let Some(header) = frame.data.get(..payload_at) else {
        return out.write_all(b"[|sll]");
    };
    let ether_type = EtherType(u16::from_be_bytes([header[type_at], header[type_at + 1]]));
    write_typed(out, frame, frame.after(payload_at), ether_type, detail)
}

fn write_typed(
    out: &mut impl Write,
    frame: Bytes<'_>,
    mut payload: Bytes<'_>,
    mut ether_type: EtherType,
    detail: Detail,
) -> io::Result<()> {
    for _ in 0..MAX_TAGS {
        if !is_tag(ether_type) {
            break;
        }
        let Ok(tag) = SingleVlanHeaderSlice::from_slice(payload.data) else {
            return out.write_all(b"[|vlan]");
        };
        write!(out, "vlan {}, ", tag.vlan_identifier().value())?;
        payload = payload.after(tag.slice().len());
        ether_type = tag.ether_type();
    }
    match ether_type {
        ether_type::IPV4 => ip::write_v4(out, payload, detail),
        ether_type::IPV6 => ip::write_v6(out, payload, detail),
        ether_type::ARP => write_arp(out, payload),
        EtherType(len) if len < LEAST_ETHERTYPE => {
            write!(out, "802.3, length {}", frame.wire_len)
        }
        EtherType(number) => {
            write!(out, "ethertype 0x{number:04x}, length {}", frame.wire_len)
        }
    }
}

fn is_tag(ether_type: EtherType) -> bool {
    matches!(
        ether_type,
        ether_type::VLAN_TAGGED_FRAME
            | ether_type::PROVIDER_BRIDGING
            | ether_type::VLAN_DOUBLE_TAGGED_FRAME
    )
}

fn write_arp(out: &mut impl Write, bytes: Bytes<'_>) -> io::Result<()> {
    let Ok(arp) = ArpPacketSlice::from_slice(bytes.data) else {
        return out.write_all(b"[|arp]");
    };
    out.write_all(b"ARP, ")?;
    let addresses = (
        ipv4(arp.sender_protocol_addr()),
        ipv4(arp.target_protocol_addr()),
    );
    match (arp.operation(), arp.proto_addr_type(), addresses) {
        (ArpOperation::REQUEST, ether_type::IPV4, (Some(sender), Some(target))) => {
            write!(out, "Request who-has {target} tell {sender}")?;
        }
        (ArpOperation::REPLY, ether_type::IPV4, (Some(sender), Some(_))) => {
            write!(out, "Reply {sender} is-at ")?;
            write_hardware(out, arp.hw_addr_type(), arp.sender_hw_addr())?;
        }
        (ArpOperation(number), ..) => write!(out, "operation {number}")?,
    }
    write!(out, ", length {}", bytes.wire_len)
}

fn ipv4(address: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(address).ok().map(Ipv4Addr::from)
}

fn write_hardware(out: &mut impl Write, kind: ArpHardwareId, address: &[u8]) -> io::Result<()> {
    if address.is_empty() {
        return write!(out, "an address of hardware type {}", kind.0);
    }
    write_address(out, address)
}
