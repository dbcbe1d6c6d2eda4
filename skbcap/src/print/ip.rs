//! IPv4 and IPv6: addresses, fragments, and the headers between them and the transport.

use std::fmt::Display;
use std::io::{self, Write};

use etherparse::{
    IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice, Ipv6RawExtHeaderSlice,
    ip_number,
};

use super::bytes::Bytes;
use super::style::Detail;
use super::transport::{self, Ends};

/// Extension headers that are followed.
const MAX_EXTENSIONS: usize = 16;

/// What part of a packet a packet is.
#[derive(Clone, Copy)]
enum Part {
    Whole,
    /// Holds the transport's header.
    First,
    /// Begins so many bytes into the packet's payload.
    Later(usize),
}

impl Part {
    fn new(offset: u16, has_more: bool) -> Self {
        match (offset, has_more) {
            (0, false) => Self::Whole,
            (0, true) => Self::First,
            (offset, _) => Self::Later(usize::from(offset) * 8),
        }
    }
}

pub(super) fn write_v4(out: &mut impl Write, packet: Bytes<'_>, detail: Detail) -> io::Result<()> {
    out.write_all(b"IP ")?;
    let Ok(header) = Ipv4HeaderSlice::from_slice(packet.data) else {
        return out.write_all(b"[|ip]");
    };
    if detail == Detail::Verbose {
        write_v4_header(out, &header)?;
    }
    let header_len = header.slice().len();
    // 0 where the length of a super-frame is more than 16 bits hold.
    let packet = match usize::from(header.total_len()) {
        0 => packet,
        len => packet.at_most(len),
    };
    let part = Part::new(header.fragments_offset().value(), header.more_fragments());
    let addresses = (header.source_addr(), header.destination_addr());
    write_payload(
        out,
        addresses,
        packet.after(header_len),
        header.protocol(),
        part,
        detail,
    )
}

/// The fields between the protocol and the addresses, as in tcpdump's print-ip.c.
fn write_v4_header(out: &mut impl Write, header: &Ipv4HeaderSlice<'_>) -> io::Result<()> {
    let (dscp, ecn) = (header.dcp().value(), header.ecn().value());
    write!(out, "(tos 0x{:x}", dscp << 2 | ecn)?;
    out.write_all(match ecn {
        1 => b",ECT(1)",
        2 => b",ECT(0)",
        3 => b",CE",
        _ => b"",
    })?;
    if header.ttl() > 0 {
        write!(out, ", ttl {}", header.ttl())?;
    }
    let flags = match (header.more_fragments(), header.dont_fragment()) {
        (false, false) => "none",
        (true, false) => "+",
        (false, true) => "DF",
        (true, true) => "+, DF",
    };
    let IpNumber(protocol) = header.protocol();
    write!(
        out,
        ", id {}, offset {}, flags [{flags}], proto {} ({protocol}), length {})\n    ",
        header.identification(),
        usize::from(header.fragments_offset().value()) * 8,
        transport::long_name(header.protocol()),
        header.total_len(),
    )
}

/// The same of IPv6, as in tcpdump's print-ip6.c: all on one line.
fn write_v6_header(out: &mut impl Write, header: &Ipv6HeaderSlice<'_>) -> io::Result<()> {
    out.write_all(b"(")?;
    if header.traffic_class() > 0 {
        write!(out, "class 0x{:02x}, ", header.traffic_class())?;
    }
    if header.flow_label().value() > 0 {
        write!(out, "flowlabel 0x{:05x}, ", header.flow_label().value())?;
    }
    let IpNumber(next) = header.next_header();
    write!(
        out,
        "hlim {}, next-header {} ({next}) payload length: {}) ",
        header.hop_limit(),
        transport::long_name(header.next_header()),
        header.payload_length(),
    )
}

pub(super) fn write_v6(out: &mut impl Write, packet: Bytes<'_>, detail: Detail) -> io::Result<()> {
    out.write_all(b"IP6 ")?;
    let Ok(header) = Ipv6HeaderSlice::from_slice(packet.data) else {
        return out.write_all(b"[|ip6]");
    };
    if detail == Detail::Verbose {
        write_v6_header(out, &header)?;
    }
    let mut payload = packet.after(header.slice().len());
    // 0 for a jumbogram, whose length stands in an option.
    match usize::from(header.payload_length()) {
        0 => {}
        len => payload = payload.at_most(len),
    }
    let addresses = (header.source_addr(), header.destination_addr());
    let mut next = header.next_header();
    let mut part = Part::Whole;
    for _ in 0..MAX_EXTENSIONS {
        let (len, after) = match next {
            ip_number::IPV6_FRAG => {
                let Ok(fragment) = Ipv6FragmentHeaderSlice::from_slice(payload.data) else {
                    break;
                };
                let offset = fragment.fragment_offset().value();
                part = Part::new(offset, fragment.more_fragments());
                (fragment.slice().len(), fragment.next_header())
            }
            ip_number::IPV6_HOP_BY_HOP | ip_number::IPV6_ROUTE | ip_number::IPV6_DEST_OPTIONS => {
                let Ok(extension) = Ipv6RawExtHeaderSlice::from_slice(payload.data) else {
                    break;
                };
                (extension.slice().len(), extension.next_header())
            }
            _ => break,
        };
        payload = payload.after(len);
        next = after;
        if matches!(part, Part::Later(_)) {
            break;
        }
    }
    write_payload(out, addresses, payload, next, part, detail)
}

fn write_payload<A: Display>(
    out: &mut impl Write,
    (source, destination): (A, A),
    payload: Bytes<'_>,
    protocol: IpNumber,
    part: Part,
    detail: Detail,
) -> io::Result<()> {
    if let Part::Later(offset) = part {
        write!(out, "{source} > {destination}: ")?;
        transport::write_name(out, protocol)?;
        return write!(out, ", fragment at {offset}, length {}", payload.wire_len);
    }
    transport::write(
        out,
        &Ends {
            source,
            destination,
        },
        payload,
        protocol,
        detail,
    )?;
    match part {
        Part::First => out.write_all(b", first fragment"),
        _ => Ok(()),
    }
}
