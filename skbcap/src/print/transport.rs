//! TCP, UDP, ICMP: ports, flags, lengths.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::Ipv6Addr;

use etherparse::{IpNumber, TcpHeaderSlice, UdpHeaderSlice, ip_number};

use super::bytes::Bytes;
use super::style::Detail;

/// A packet's two addresses.
pub(super) struct Ends<A> {
    pub(super) source: A,
    pub(super) destination: A,
}

/// Writes addresses, ports and what is sent between them.
pub(super) fn write<A: Display>(
    out: &mut impl Write,
    ends: &Ends<A>,
    payload: Bytes<'_>,
    protocol: IpNumber,
    detail: Detail,
) -> io::Result<()> {
    match protocol {
        ip_number::TCP => return write_tcp(out, ends, payload, detail),
        ip_number::UDP => return write_udp(out, ends, payload),
        _ => {}
    }
    write!(out, "{} > {}: ", ends.source, ends.destination)?;
    match protocol {
        ip_number::ICMP => write_icmp(out, payload),
        ip_number::IPV6_ICMP => write_icmp6(out, payload),
        _ => {
            write_name(out, protocol)?;
            write!(out, ", length {}", payload.wire_len)
        }
    }
}

/// A protocol's name, in tcpdump's way.
pub(super) fn write_name(out: &mut impl Write, protocol: IpNumber) -> io::Result<()> {
    let name = match protocol {
        ip_number::TCP => "tcp",
        ip_number::UDP => "UDP",
        ip_number::ICMP => "ICMP",
        ip_number::IPV6_ICMP => "ICMP6",
        ip_number::IGMP => "igmp",
        ip_number::GRE => "GRE",
        ip_number::ENCAP_SEC => "ESP",
        ip_number::AUTH => "AH",
        ip_number::SCTP => "sctp",
        ip_number::IPV4 => "IP",
        ip_number::IPV6 => "IP6",
        IpNumber(number) => return write!(out, "ip-proto-{number}"),
    };
    out.write_all(name.as_bytes())
}

/// A protocol's name where its number stands beside it.
pub(super) fn long_name(protocol: IpNumber) -> &'static str {
    match protocol {
        ip_number::IPV6_HOP_BY_HOP => "Options",
        ip_number::TCP => "TCP",
        ip_number::UDP => "UDP",
        ip_number::ICMP => "ICMP",
        ip_number::IPV6_ICMP => "ICMPv6",
        ip_number::IPV6_FRAG => "Fragment",
        ip_number::IPV6_ROUTE => "Routing",
        ip_number::IGMP => "IGMP",
        ip_number::GRE => "GRE",
        ip_number::ENCAP_SEC => "ESP",
        ip_number::AUTH => "AH",
        ip_number::SCTP => "SCTP",
        ip_number::IPV4 => "IPIP",
        ip_number::IPV6 => "IPv6",
        _ => "unknown",
    }
}

impl<A: Display> Ends<A> {
    fn write_with_ports(&self, out: &mut impl Write, source: u16, to: u16) -> io::Result<()> {
        write!(
            out,
            "{}.{source} > {}.{to}: ",
            self.source, self.destination
        )
    }
}

/// Sequence numbers are those in the packet: tcpdump's `-S`.
fn write_tcp<A: Display>(
    out: &mut impl Write,
    ends: &Ends<A>,
    segment: Bytes<'_>,
    detail: Detail,
) -> io::Result<()> {
    let Ok(tcp) = TcpHeaderSlice::from_slice(segment.data) else {
        return write!(out, "{} > {}: [|tcp]", ends.source, ends.destination);
    };
    ends.write_with_ports(out, tcp.source_port(), tcp.destination_port())?;
    if detail == Detail::Quiet {
        return write!(out, "tcp {}", segment.after(tcp.slice().len()).wire_len);
    }
    out.write_all(b"Flags [")?;
    // In tcpdump's order (tcp_flag_values, print-tcp.c).
    let flags = [
        (tcp.fin(), "F"),
        (tcp.syn(), "S"),
        (tcp.rst(), "R"),
        (tcp.psh(), "P"),
        (tcp.ack(), "."),
        (tcp.urg(), "U"),
        (tcp.ece(), "E"),
        (tcp.cwr(), "W"),
        (tcp.ns(), "e"),
    ];
    if flags.iter().all(|&(is_set, _)| !is_set) {
        out.write_all(b"none")?;
    }
    for (_, name) in flags.iter().filter(|&&(is_set, _)| is_set) {
        out.write_all(name.as_bytes())?;
    }
    out.write_all(b"]")?;
    let len = segment.after(tcp.slice().len()).wire_len;
    let sequence = tcp.sequence_number();
    if len > 0 {
        // Sequence numbers wrap; no super-frame comes near their range.
        let end = sequence.wrapping_add(u32::try_from(len).unwrap_or(u32::MAX));
        write!(out, ", seq {sequence}:{end}")?;
    } else if tcp.syn() || tcp.fin() || tcp.rst() {
        write!(out, ", seq {sequence}")?;
    }
    if tcp.ack() {
        write!(out, ", ack {}", tcp.acknowledgment_number())?;
    }
    write!(out, ", win {}, length {len}", tcp.window_size())
}

fn write_udp<A: Display>(
    out: &mut impl Write,
    ends: &Ends<A>,
    datagram: Bytes<'_>,
) -> io::Result<()> {
    let Ok(udp) = UdpHeaderSlice::from_slice(datagram.data) else {
        return write!(out, "{} > {}: [|udp]", ends.source, ends.destination);
    };
    ends.write_with_ports(out, udp.source_port(), udp.destination_port())?;
    // 0 in a jumbogram; and in a first fragment, the whole datagram's.
    let len = match usize::from(udp.length()) {
        0 => datagram.wire_len,
        len => len,
    };
    write!(out, "UDP, length {}", len.saturating_sub(udp.slice().len()))
}

/// Type, code and the four bytes behind the checksum.
fn icmp(message: Bytes<'_>) -> Option<(u8, u8, [u8; 4])> {
    match *message.data {
        [kind, code, _, _, a, b, c, d, ..] => Some((kind, code, [a, b, c, d])),
        _ => None,
    }
}

fn write_echo(out: &mut impl Write, name: &str, rest: [u8; 4]) -> io::Result<()> {
    let [id_high, id_low, seq_high, seq_low] = rest;
    let id = u16::from_be_bytes([id_high, id_low]);
    write!(
        out,
        "{name}, id {id}, seq {}",
        u16::from_be_bytes([seq_high, seq_low])
    )
}

fn write_icmp(out: &mut impl Write, message: Bytes<'_>) -> io::Result<()> {
    let Some((kind, code, rest)) = icmp(message) else {
        return out.write_all(b"[|icmp]");
    };
    out.write_all(b"ICMP ")?;
    match kind {
        0 => write_echo(out, "echo reply", rest)?,
        3 => write!(out, "destination unreachable, code {code}")?,
        5 => write!(out, "redirect, code {code}")?,
        8 => write_echo(out, "echo request", rest)?,
        11 => write!(out, "time exceeded, code {code}")?,
        12 => write!(out, "parameter problem, code {code}")?,
        _ => write!(out, "type {kind}, code {code}")?,
    }
    write!(out, ", length {}", message.wire_len)
}

fn write_icmp6(out: &mut impl Write, message: Bytes<'_>) -> io::Result<()> {
    let Some((kind, code, rest)) = icmp(message) else {
        return out.write_all(b"[|icmp6]");
    };
    out.write_all(b"ICMP6, ")?;
    let target = message
        .data
        .get(8..24)
        .and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    match (kind, target.map(Ipv6Addr::from)) {
        (1, _) => write!(out, "destination unreachable, code {code}")?,
        (2, _) => write!(out, "packet too big, mtu {}", u32::from_be_bytes(rest))?,
        (3, _) => write!(out, "time exceeded, code {code}")?,
        (4, _) => write!(out, "parameter problem, code {code}")?,
        (128, _) => write_echo(out, "echo request", rest)?,
        (129, _) => write_echo(out, "echo reply", rest)?,
        (133, _) => out.write_all(b"router solicitation")?,
        (134, _) => out.write_all(b"router advertisement")?,
        (135, Some(target)) => write!(out, "neighbor solicitation, who has {target}")?,
        (136, Some(target)) => write!(out, "neighbor advertisement, tgt is {target}")?,
        _ => write!(out, "type {kind}, code {code}")?,
    }
    write!(out, ", length {}", message.wire_len)
}
