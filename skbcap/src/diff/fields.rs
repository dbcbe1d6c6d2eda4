//! The name of the field that a byte belongs to.

use super::layers::{ARP, Header, ICMP, ICMP6, Layers, SCTP, TCP, UDP};

/// A name, and where the field begins, so that bytes of one field can be told together.
pub(super) type Field = (String, usize);

/// The field of the byte at `at`. `bits` are those that differ: they tell fields that share it.
pub(super) fn at(layers: &Layers, data: &[u8], at: usize, bits: u8) -> Field {
    if at < layers.network || matches!(layers.header, Header::Other(_)) {
        return link(layers, at, bits);
    }
    let inner = at - layers.network;
    let Some(ip) = &layers.ip else {
        return match layers.ether_type {
            Some(ARP) => arp(inner, layers.network),
            _ => (format!("payload+{inner}"), layers.network),
        };
    };
    if at >= ip.end {
        return (format!("padding+{}", at - ip.end), ip.end);
    }
    if at < ip.transport {
        return match ip.is_v6 {
            true => v6(inner, layers.network, bits),
            false => v4(inner, layers.network, bits),
        };
    }
    let inner = at - ip.transport;
    let header_len = match ip.protocol {
        _ if ip.is_later_fragment => 0,
        TCP => ip
            .payload(data)
            .map_or(20, |payload| payload - ip.transport),
        UDP => 8,
        ICMP | ICMP6 => 4,
        SCTP => 12,
        _ => 0,
    };
    if inner >= header_len {
        let payload = ip.transport + header_len;
        return (format!("payload+{}", at - payload), payload);
    }
    let (name, start) = match ip.protocol {
        TCP => tcp(inner, bits),
        UDP => named(
            "udp",
            inner,
            &[
                ("srcport", 0),
                ("dstport", 2),
                ("length", 4),
                ("checksum", 6),
            ],
        ),
        SCTP => named(
            "sctp",
            inner,
            &[("srcport", 0), ("dstport", 2), ("tag", 4), ("checksum", 8)],
        ),
        ICMP => named("icmp", inner, &[("type", 0), ("code", 1), ("checksum", 2)]),
        _ => named(
            "icmpv6",
            inner,
            &[("type", 0), ("code", 1), ("checksum", 2)],
        ),
    };
    (name, ip.transport + start)
}

/// The last field that begins at or before `at`.
fn named(protocol: &str, at: usize, fields: &[(&str, usize)]) -> Field {
    let field = fields.iter().rev().find(|(_, start)| *start <= at);
    let (name, start) = field.copied().unwrap_or(("header", 0));
    (format!("{protocol}.{name}"), start)
}

fn link(layers: &Layers, at: usize, bits: u8) -> Field {
    if layers.tags.contains(&at) {
        let inner = (at - layers.tags.start) % 4;
        let start = at - inner % 2;
        // Where a type stands before each tag, or behind it.
        let is_type = (inner < 2) == (layers.header != Header::Sll2);
        return match inner % 2 {
            _ if is_type => ("vlan.tpid".into(), start),
            0 if bits & 0x0f == 0 && bits & 0xe0 != 0 => ("vlan.pcp".into(), start),
            0 if bits & 0x0f == 0 && bits & 0x10 != 0 => ("vlan.dei".into(), start),
            _ => ("vlan.vid".into(), start),
        };
    }
    let untagged = match at < layers.tags.end {
        true => at,
        false => at - layers.tags.len(),
    };
    let (name, start) = match layers.header {
        Header::Ethernet => named("eth", untagged, &[("dst", 0), ("src", 6), ("type", 12)]),
        Header::Sll => {
            let fields = [
                ("type", 0),
                ("arphrd", 2),
                ("addrlen", 4),
                ("addr", 6),
                ("protocol", 14),
            ];
            named("sll", untagged, &fields)
        }
        Header::Sll2 => {
            let fields = [
                ("protocol", 0),
                ("reserved", 2),
                ("ifindex", 4),
                ("arphrd", 8),
            ];
            let more = [("type", 10), ("addrlen", 11), ("addr", 12)];
            named("sll2", untagged, &[&fields[..], &more].concat())
        }
        Header::Ip | Header::Other(_) => return (format!("payload+{at}"), 0),
    };
    (name, start + (at - untagged))
}

fn arp(inner: usize, network: usize) -> Field {
    let fields = [
        ("hrd", 0),
        ("pro", 2),
        ("hln", 4),
        ("pln", 5),
        ("op", 6),
        ("sha", 8),
    ];
    let more = [("spa", 14), ("tha", 18), ("tpa", 24)];
    if inner >= 28 {
        return (format!("padding+{}", inner - 28), network + 28);
    }
    let (name, start) = named("arp", inner, &[&fields[..], &more].concat());
    (name, network + start)
}

fn v4(inner: usize, network: usize, bits: u8) -> Field {
    let (name, start) = match inner {
        0 if bits & 0xf0 == 0 => ("ipv4.ihl".into(), 0),
        1 if bits & 0xfc == 0 => ("ipv4.ecn".into(), 1),
        6 if bits & 0x1f == 0 => ("ipv4.flags".into(), 6),
        _ => {
            let fields = [
                ("version", 0),
                ("dscp", 1),
                ("len", 2),
                ("id", 4),
                ("fragment", 6),
            ];
            let more = [
                ("ttl", 8),
                ("protocol", 9),
                ("checksum", 10),
                ("src", 12),
                ("dst", 16),
            ];
            let all = [&fields[..], &more, &[("options", 20)]].concat();
            named("ipv4", inner, &all)
        }
    };
    (name, network + start)
}

fn v6(inner: usize, network: usize, bits: u8) -> Field {
    let (name, start) = match inner {
        0 if bits & 0xf0 == 0 => ("ipv6.class".into(), 0),
        1 if bits & 0x0f == 0 => ("ipv6.class".into(), 0),
        _ => {
            let fields = [
                ("version", 0),
                ("flow", 1),
                ("len", 4),
                ("next", 6),
                ("hops", 7),
            ];
            let more = [("src", 8), ("dst", 24), ("extensions", 40)];
            named("ipv6", inner, &[&fields[..], &more].concat())
        }
    };
    (name, network + start)
}

fn tcp(inner: usize, bits: u8) -> Field {
    if inner == 12 && bits & 0xf0 == 0 {
        return ("tcp.flags".into(), 12);
    }
    let fields = [
        ("srcport", 0),
        ("dstport", 2),
        ("seq", 4),
        ("ack", 8),
        ("offset", 12),
    ];
    let more = [
        ("flags", 13),
        ("window", 14),
        ("checksum", 16),
        ("urgent", 18),
        ("options", 20),
    ];
    named("tcp", inner, &[&fields[..], &more].concat())
}
