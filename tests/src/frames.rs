//! Frames of every kind that an expression can ask for, whole and cut, as captures of a few link
//! types.

use crate::chains;

/// `LINKTYPE_ETHERNET`.
pub const ETHERNET: u32 = 1;
/// `LINKTYPE_RAW`.
pub const RAW: u32 = 101;
/// `LINKTYPE_LINUX_SLL`.
pub const SLL: u32 = 113;
/// `LINKTYPE_LINUX_SLL2`.
pub const SLL2: u32 = 276;

const HERE: [u8; 6] = [2, 0, 0, 0, 0, 1];
const THERE: [u8; 6] = [2, 0, 0, 0, 0, 2];
const ALL: [u8; 6] = [0xff; 6];
const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 1];

/// What is behind a link layer's header, and its EtherType.
type Payload = (u16, Vec<u8>);

fn ip4(protocol: u8, ends: [[u8; 4]; 2], payload: &[u8]) -> Vec<u8> {
    ip4_with(protocol, ends, payload, 64, 0, &[])
}

fn ip4_with(
    protocol: u8,
    [source, destination]: [[u8; 4]; 2],
    payload: &[u8],
    ttl: u8,
    fragment: u16,
    options: &[u8],
) -> Vec<u8> {
    let len = (20 + options.len() + payload.len()) as u16;
    let words = 5 + options.len() as u8 / 4;
    let mut packet = vec![0x40 | words, 0];
    packet.extend(len.to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([ttl, protocol, 0, 0]);
    packet.extend(source);
    packet.extend(destination);
    packet.extend(options);
    packet.extend(payload);
    packet
}

/// An IPv6 packet between two hosts, of such a header and what follows.
#[must_use]
pub fn ip6_of((next, payload): (u8, Vec<u8>)) -> Vec<u8> {
    let of = |host| [0x2001, 0xdb8, 0, 0, 0, 0, 0, host];
    ip6(next, of(1), of(2), &payload)
}

/// An IPv4 packet between two hosts, of such a header and what follows.
#[must_use]
pub fn ip4_of((protocol, payload): (u8, Vec<u8>)) -> Vec<u8> {
    ip4(protocol, [[10, 0, 0, 1], [10, 0, 0, 2]], &payload)
}

/// A packet behind an Ethernet header, by its version's type.
#[must_use]
pub fn ethernet(packet: &[u8]) -> Vec<u8> {
    let kind: [u8; 2] = match packet[0] >> 4 {
        4 => [0x08, 0x00],
        _ => [0x86, 0xdd],
    };
    [&THERE[..], &HERE, &kind, packet].concat()
}

fn ip6(next: u8, source: [u16; 8], destination: [u16; 8], payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(source.iter().flat_map(|part| part.to_be_bytes()));
    packet.extend(destination.iter().flat_map(|part| part.to_be_bytes()));
    packet.extend(payload);
    packet
}

fn ports(source: u16, destination: u16) -> Vec<u8> {
    [source.to_be_bytes(), destination.to_be_bytes()].concat()
}

fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = ports(source, destination);
    datagram.extend((8 + payload.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

fn tcp(source: u16, destination: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = ports(source, destination);
    segment.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 1, 0, 0, 0, 0, 0]);
    segment.extend(payload);
    segment
}

fn tagged(identifier: u16, (inner, payload): Payload) -> Payload {
    let mut tag = identifier.to_be_bytes().to_vec();
    tag.extend(inner.to_be_bytes());
    tag.extend(payload);
    (0x8100, tag)
}

fn labelled(labels: &[u32], packet: &[u8]) -> Payload {
    let mut bytes = Vec::new();
    for (at, label) in labels.iter().enumerate() {
        let bottom = u32::from(at + 1 == labels.len());
        bytes.extend((label << 12 | bottom << 8 | 64).to_be_bytes());
    }
    bytes.extend(packet);
    (0x8847, bytes)
}

fn payloads() -> Vec<Payload> {
    let ends = [[10, 0, 0, 1], [10, 0, 0, 2]];
    let back = [[10, 0, 0, 2], [10, 0, 0, 1]];
    let home = [[192, 168, 178, 24], [192, 168, 178, 1]];
    let same = [[10, 0, 0, 3]; 2];
    let one = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1];
    let two = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 2];
    let local = [0xfe80, 0, 0, 0, 0, 0, 0, 1];
    let nodes = [0xff02, 0, 0, 0, 0, 0, 0, 1];
    let dns = udp(40000, 53, b"hello");
    let v4 = |packet: Vec<u8>| (0x0800, packet);
    let v6 = |packet: Vec<u8>| (0x86dd, packet);
    let mut all = vec![
        v4(ip4(17, ends, &dns)),
        v4(ip4(17, back, &udp(53, 40000, b"world, hello"))),
        v4(ip4(17, home, &udp(51207, 123, &[0x23; 48]))),
        v4(ip4(17, same, &udp(55, 150, &[0; 200]))),
        v4(ip4(17, [[10, 0, 0, 1], [255; 4]], &udp(68, 67, &[1; 20]))),
        v4(ip4(17, [[0; 4], [0; 4]], &udp(68, 67, &[1; 20]))),
        v4(ip4(
            17,
            [[10, 0, 0, 1], [224, 0, 0, 251]],
            &udp(5353, 5353, b"mdns"),
        )),
        v4(ip4(
            132,
            ends,
            &[&ports(38412, 38412)[..], &[0; 20]].concat(),
        )),
        v4(ip4(1, ends, &[8, 0, 0, 0, 0, 1, 0, 1, 9, 9])),
        v4(ip4(1, back, &[0, 0, 0, 0, 0, 1, 0, 1, 9, 9])),
        v4(ip4(1, back, &[3, 1, 0, 0, 0, 0, 0, 0])),
        v4(ip4_with(17, ends, &dns, 64, 0x2000, &[])),
        v4(ip4_with(17, ends, &dns, 64, 0x0010, &[])),
        v4(ip4_with(
            6,
            ends,
            &tcp(1024, 80, 2, b""),
            1,
            0x4000,
            &[1; 8],
        )),
        v4(ip4_with(6, ends, &tcp(1024, 80, 0x18, b"GET /"), 3, 0, &[])),
        // Authentication before TCP, for protochain.
        v4(ip4(
            51,
            ends,
            &[&[6, 4][..], &[0; 22], &tcp(1, 443, 16, b"")].concat(),
        )),
        v6(ip6(17, one, two, &udp(40000, 53, b"hello"))),
        v6(ip6(6, two, one, &tcp(443, 40000, 0x12, b""))),
        v6(ip6(58, local, nodes, &[128, 0, 0, 0, 0, 1, 0, 1])),
        v6(ip6(58, local, nodes, &[135, 0, 0, 0, 0, 0, 0, 0])),
        // Hop-by-hop options, a fragment and a routing header before UDP.
        v6(ip6(
            0,
            one,
            two,
            &[&[17, 0, 1, 4, 0, 0, 0, 0][..], &dns].concat(),
        )),
        v6(ip6(
            44,
            one,
            two,
            &[&[17, 0, 0, 1, 0, 0, 0, 9][..], &dns].concat(),
        )),
        v6(ip6(
            44,
            one,
            two,
            &[&[17, 0, 1, 1, 0, 0, 0, 9][..], &dns].concat(),
        )),
        v6(ip6(
            43,
            one,
            two,
            &[&[0, 0, 0, 0, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0][..], &dns].concat(),
        )),
        v6(ip6(0, one, two, &[58, 1, 1, 4])),
        tagged(7, v4(ip4(6, ends, &tcp(443, 1, 16, b"")))),
        tagged(100, tagged(7, v4(ip4(17, ends, &dns)))),
        tagged(0x2007, v6(ip6(17, one, two, &dns))),
        labelled(&[100], &ip4(17, ends, &dns)),
        labelled(&[100, 200], &ip4(17, ends, &dns)),
        labelled(&[100], &ip6(17, one, two, &dns)),
        (0x8863, vec![0x11, 9, 0, 0, 0, 0]),
        (
            0x8864,
            [
                &[0x11, 0, 0, 17, 0, 42, 0, 0x21][..],
                &ip4(6, ends, &tcp(1, 443, 2, b"")),
            ]
            .concat(),
        ),
        (
            0x8864,
            [
                &[0x11, 0, 0, 18, 0, 42, 0, 0x57][..],
                &ip6(6, one, two, &tcp(1, 443, 2, b"")),
            ]
            .concat(),
        ),
        (0x88cc, vec![2, 7, 4, 2, 0, 0, 0, 0, 1]),
        (0x9000, vec![0; 46]),
        (0x6003, vec![10, 0, 2, 1, 4, 2, 4, 0, 0, 0]),
        (0x6004, vec![0; 46]),
        (0x6002, vec![0; 46]),
        (0x809b, vec![0; 46]),
        (0x80f3, vec![0; 46]),
        (0x8137, vec![0xff; 46]),
    ];
    for flags in 0..=0x3f {
        all.push(v4(ip4(6, ends, &tcp(443, 40000, flags, b""))));
    }
    for protocol in [2, 4, 9, 41, 47, 50, 103, 112, 255] {
        all.push(v4(ip4(protocol, home, &[0x11; 40])));
        all.push(v6(ip6(protocol, one, two, &[0x11; 40])));
    }
    for (port, ttl) in (40..70).chain(436..456).zip((1..).step_by(5)) {
        let datagram = udp(port, 1000 + port, &[0; 9]);
        all.push(v4(ip4_with(17, ends, &datagram, ttl, 0, &[])));
        all.push(v6(ip6(6, two, one, &tcp(8000, port, 24, b"data"))));
    }
    for (version, kind, bytes) in chains::chains() {
        all.push(match version {
            4 => v4(ip4(kind, ends, &bytes)),
            _ => v6(ip6(kind, one, two, &bytes)),
        });
    }
    // Geneve, network 42 and another, around Ethernet and IP.
    for network in [42, 43] {
        let inner = [
            &THERE[..],
            &HERE,
            &[8, 0],
            &ip4(6, ends, &tcp(1, 2, 2, b"")),
        ]
        .concat();
        let header = [0, 0, 0x65, 0x58, 0, 0, network, 0];
        all.push(v4(ip4(
            17,
            home,
            &udp(9999, 6081, &[&header[..], &inner].concat()),
        )));
    }
    for (operation, kind) in [(1, 0x0806), (2, 0x0806), (3, 0x8035)] {
        let mut message = vec![0, 1, 8, 0, 6, 4, 0, operation];
        message.extend([&HERE[..], &[10, 0, 0, 1], &[0; 6], &[10, 0, 0, 2]].concat());
        all.push((kind, message));
    }
    all
}

/// Frames with a length where others have a type: behind it, LLC.
fn llc() -> Vec<Vec<u8>> {
    let kinds: [&[u8]; 8] = [
        &[0x42, 0x42, 3, 0, 0, 0, 0],
        &[0xfe, 0xfe, 3, 0x83, 0, 0, 0, 0x0f],
        &[0xf0, 0xf0, 3, 0, 0],
        &[0xe0, 0xe0, 3, 0xff, 0xff],
        &[0xaa, 0xaa, 3, 8, 0, 7, 0x80, 0x9b, 1, 2],
        &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0, 0x45, 0],
        &[4, 4, 1, 0, 0],
        &[0xff, 0xff, 0, 0, 0, 0],
    ];
    let frame = |kind: &&[u8]| {
        let len = (kind.len() as u16).to_be_bytes();
        [&[1, 0x80, 0xc2, 0, 0, 0][..], &HERE, &len, kind].concat()
    };
    kinds.iter().map(frame).collect()
}

/// Frames of this link type, whole. None is captured yet.
#[must_use]
pub fn framed(link_type: u32) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for (at, (kind, payload)) in payloads().into_iter().enumerate() {
        let kind_bytes = kind.to_be_bytes();
        match link_type {
            ETHERNET => {
                let to = [THERE, ALL, GROUP, THERE, HERE][at % 5];
                let from = if to == HERE { THERE } else { HERE };
                frames.push([&to[..], &from, &kind_bytes, &payload].concat());
            }
            SLL => {
                let packet_type = [0, [4, 1, 2][at % 3]];
                let start = [packet_type, [0, 1], [0, 6]].concat();
                frames.push([&start[..], &HERE, &[0, 0], &kind_bytes, &payload].concat());
            }
            SLL2 => {
                let index = [0, 0, 0, 1 + at as u8 % 3];
                let end = [0, 1, [4, 0, 1][at % 3], 6];
                let start = [&kind_bytes[..], &[0, 0], &index, &end].concat();
                frames.push([&start[..], &HERE, &[0, 0], &payload].concat());
            }
            _ if kind == 0x0800 || kind == 0x86dd => frames.push(payload),
            _ => {}
        }
    }
    if link_type == ETHERNET {
        frames.extend(llc());
    }
    frames
}

/// A pcap of all frames, each whole, then some cut after every one of their first bytes; each with
/// a time of its own.
#[must_use]
pub fn pcap(link_type: u32) -> Vec<u8> {
    let frames = framed(link_type);
    let words =
        |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).collect() };
    let mut bytes = words(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, link_type]);
    let mut time_us = 0;
    let mut push = |frame: &[u8], captured: usize| {
        time_us += 1;
        bytes.extend(words(&[
            1_700_000_000,
            time_us,
            captured as u32,
            frame.len() as u32,
        ]));
        bytes.extend(&frame[..captured]);
    };
    for frame in &frames {
        push(frame, frame.len());
    }
    for frame in frames.iter().step_by(8) {
        for captured in 0..frame.len().min(80) {
            push(frame, captured);
        }
    }
    bytes
}
