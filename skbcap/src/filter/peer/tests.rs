use etherparse::PacketBuilder;

use super::*;

const SERVER: [u8; 4] = [10, 0, 0, 2];
const CLIENT: [u8; 4] = [10, 0, 0, 1];
const SERVER_6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const CLIENT_6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

fn peer(address: &str, transport: Transport, ports: &[u16]) -> Peer {
    Peer {
        address: address.parse().unwrap(),
        transport,
        ports: ports.to_vec(),
    }
}

/// Whether an Ethernet frame is left, whatever tags it gets, and the packet in it by itself.
fn is_left(peers: &[Peer], frame: &[u8]) -> bool {
    let run = |link_type, bytes: &[u8]| {
        let program = without(peers, link_type, None).unwrap().unwrap();
        program.run(bytes, bytes.len() as u32) != 0
    };
    let ethernet = run(LinkType::ETHERNET, frame);
    let tags: [&[u8]; 3] = [
        &[0x81, 0, 0, 5],
        &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6],
        &[0x91, 0, 0, 5, 0x81, 0, 0, 6],
    ];
    for tags in tags {
        let tagged = [&frame[..12], tags, &frame[12..]].concat();
        assert_eq!(run(LinkType::ETHERNET, &tagged), ethernet, "{tagged:02x?}");
    }
    assert_eq!(run(LinkType::RAW, &frame[14..]), ethernet, "{frame:02x?}");
    ethernet
}

/// A frame of these addresses, both of the same version, and ports.
fn frame(transport: Transport, from: (&[u8], u16), to: (&[u8], u16)) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let builder = match (from.0.try_into(), to.0.try_into()) {
        (Ok(from), Ok(to)) => builder.ipv4(from, to, 64),
        _ => builder.ipv6(from.0.try_into().unwrap(), to.0.try_into().unwrap(), 64),
    };
    let mut bytes = Vec::new();
    match transport {
        Transport::Tcp => {
            let builder = builder.tcp(from.1, to.1, 1, 1);
            builder.write(&mut bytes, b"abcd").unwrap();
        }
        Transport::Udp => {
            let builder = builder.udp(from.1, to.1);
            builder.write(&mut bytes, b"abcd").unwrap();
        }
    }
    bytes
}

fn all_pairs() -> [(&'static str, &'static [u8], &'static [u8]); 2] {
    [
        ("10.0.0.2", &CLIENT, &SERVER),
        ("fd00::2", &CLIENT_6, &SERVER_6),
    ]
}

#[test]
fn what_goes_to_the_peers_port_and_comes_from_it_is_turned_away() {
    use Transport::{Tcp, Udp};
    for (address, client, server) in all_pairs() {
        for (transport, other) in [(Tcp, Udp), (Udp, Tcp)] {
            let peers = [peer(address, transport, &[2049, 2050])];
            for (from, to, wanted) in [
                ((client, 700), (server, 2049), false),
                ((client, 700), (server, 2050), false),
                ((server, 2049), (client, 700), false),
                ((client, 700), (server, 2051), true),
                ((client, 2049), (server, 700), true),
                ((client, 700), (client, 2049), true),
                ((server, 700), (server, 2049), false),
                ((server, 2050), (server, 700), false),
            ] {
                let told = format!("{transport:?} {from:?} {to:?}");
                assert_eq!(
                    is_left(&peers, &frame(transport, from, to)),
                    wanted,
                    "{told}"
                );
                assert!(is_left(&peers, &frame(other, from, to)), "{told}");
            }
        }
    }
}

#[test]
fn without_a_port_all_of_them_are_meant() {
    for (address, client, server) in all_pairs() {
        let peers = [peer(address, Transport::Tcp, &[])];
        for (from, to) in [(client, server), (server, client)] {
            assert!(!is_left(&peers, &frame(Transport::Tcp, (from, 1), (to, 2))));
            assert!(is_left(&peers, &frame(Transport::Udp, (from, 1), (to, 2))));
        }
    }
}

#[test]
fn any_of_several_peers_is_meant() {
    let peers = [
        peer("10.0.0.9", Transport::Tcp, &[445]),
        peer("fd00::2", Transport::Tcp, &[2049]),
        peer("::ffff:10.0.0.2", Transport::Tcp, &[2049]),
    ];
    for (_, client, server) in all_pairs() {
        let to = |port| frame(Transport::Tcp, (client, 700), (server, port));
        assert!(!is_left(&peers, &to(2049)));
        assert!(is_left(&peers, &to(445)));
    }
    let to = |port| frame(Transport::Tcp, (&CLIENT, 700), (&[10, 0, 0, 9], port));
    assert!(!is_left(&peers, &to(445)));
    assert!(is_left(&peers, &to(2049)));
}

/// All of them: which a later one belongs to, nobody knows.
#[test]
fn fragments_go_with_their_packet() {
    let peers = [peer("10.0.0.2", Transport::Udp, &[2049])];
    let mut first = frame(Transport::Udp, (&CLIENT, 700), (&SERVER, 2049));
    first[20] = 0x20;
    assert!(!is_left(&peers, &first));
    let mut other = frame(Transport::Udp, (&CLIENT, 700), (&SERVER, 2048));
    other[20] = 0x20;
    assert!(is_left(&peers, &other));
    // One byte of payload.
    let mut later = other[..35].to_vec();
    later[21] = 185;
    assert!(!is_left(&peers, &later));
    // To somebody else.
    later[33] = 3;
    assert!(is_left(&peers, &later));
    // With options, behind which the ports are.
    let mut options = frame(Transport::Udp, (&CLIENT, 700), (&SERVER, 2049));
    options[14] = 0x46;
    options.splice(34..34, [1, 1, 1, 0]);
    assert!(!is_left(&peers, &options));

    let peers = [peer("fd00::2", Transport::Udp, &[2049])];
    for (port, offset, wanted) in [(2049, 0, false), (2048, 0, true), (2048, 185 << 3, false)] {
        let mut frame = frame(Transport::Udp, (&CLIENT_6, 700), (&SERVER_6, port));
        let next = std::mem::replace(&mut frame[20], 44);
        let [high, low] = u16::to_be_bytes(offset | 1);
        frame.splice(54..54, [next, 0, high, low, 0, 0, 0, 9]);
        assert_eq!(is_left(&peers, &frame), wanted, "{port} {offset}");
        frame[54] = 6;
        assert!(is_left(&peers, &frame), "TCP");
    }
}

/// A load beyond a frame's end would turn it away.
#[test]
fn short_frames_are_left() {
    for (address, client, server) in all_pairs() {
        let whole = frame(Transport::Tcp, (client, 700), (server, 2049));
        let peers = [peer(address, Transport::Tcp, &[2049])];
        let ports_end = whole.len() - 4 - 16;
        for len in 0..whole.len() {
            for (link_type, cut) in [
                (LinkType::ETHERNET, &whole[..len]),
                (LinkType::RAW, whole.get(14..len).unwrap_or_default()),
            ] {
                let program = without(&peers, link_type, None).unwrap().unwrap();
                let is_left = program.run(cut, cut.len() as u32) != 0;
                assert_eq!(is_left, len < ports_end, "{len} {link_type:?}");
            }
        }
    }
}

#[test]
fn what_is_left_is_for_the_other_program() {
    let peers = [peer("10.0.0.2", Transport::Tcp, &[2049])];
    // Of an even length; X and A begin as zeros.
    let instruction = |code, jt, jf, k| Instruction { code, jt, jf, k };
    let even = [
        instruction(ADD_X, 0, 0, 0),
        instruction(KEEP_A, 0, 0, 0),
        instruction(LOAD_LEN, 0, 0, 0),
        instruction(AND, 0, 0, 1),
        instruction(IS, 0, 2, 0),
        instruction(RECALL_A, 0, 0, 0),
        instruction(IS, 1, 0, 0),
        instruction(RETURN, 0, 0, 0),
        instruction(RETURN, 0, 0, 7),
    ];
    let even = Program::new(&even).unwrap();
    let both = without(&peers, LinkType::ETHERNET, Some(&even));
    let both = both.unwrap().unwrap();
    let run = |frame: &[u8]| both.run(frame, frame.len() as u32);
    let mut other = frame(Transport::Tcp, (&CLIENT, 700), (&SERVER, 2048));
    assert_eq!(run(&other), 7);
    other.push(0);
    assert_eq!(run(&other), 0);
    let to_it = frame(Transport::Tcp, (&CLIENT, 700), (&SERVER, 2049));
    assert_eq!(even.run(&to_it, to_it.len() as u32), 7);
    assert_eq!(run(&to_it), 0);
    let alone = without(&[], LinkType::ETHERNET, Some(&even));
    assert_eq!(alone, Ok(Some(even)), "it costs nothing");
}

#[test]
fn in_other_frames_no_peer_is_looked_for() {
    let peers = [peer("10.0.0.2", Transport::Tcp, &[2049])];
    assert_eq!(without(&peers, LinkType(105), None), Ok(None));
}
