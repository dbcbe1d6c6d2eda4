//! What is exchanged with a peer, by our program: against what libpcap makes of it in many words.

use std::ffi::CString;

use skbcap::filter::Libpcap;
use skbcap::filter::cbpf::Program;
use skbcap::filter::ebpf::{ForDevices, Form, Function};
use skbcap::filter::peer::{self, Peer, Transport};
use skbcap::pcapng::LinkType;
use skbcap_tests::frames;

use crate::interpreter::again;
use crate::is_skipped;
use crate::translation::{head, run, translated};

/// The same as an expression: of plain packets, first fragments, and later ones, which have no port.
/// All in parentheses: `and` does not bind closer than `or`.
fn expression(peer: &Peer) -> String {
    let address = peer.address;
    let (transport, number) = match peer.transport {
        Transport::Tcp => ("tcp", 6),
        Transport::Udp => ("udp", 17),
    };
    // Where IPv6 has the ports of a first fragment: those from whom, and to whom.
    let sides = [("src", 48), ("dst", 50)].map(|(side, at)| {
        if peer.ports.is_empty() {
            return format!(
                "{side} host {address} and ({transport} or (ip6[6] == 44 and ip6[40] == {number}))"
            );
        }
        let ports = |before: &str| {
            let ports = peer.ports.iter().map(|port| format!("{before} {port}"));
            ports.collect::<Vec<_>>().join(" or ")
        };
        let plain = ports(&format!("{transport} {side} port"));
        let first = ports(&format!("ip6[{at}:2] =="));
        format!(
            "{side} host {address} and (({plain}) or (ip proto {number} and ip[6:2] & 0x1fff != 0) or \
             (ip6[6] == 44 and ip6[40] == {number} and (ip6[42:2] & 0xfff8 != 0 or {first})))"
        )
    });
    sides.map(|side| format!("({side})")).join(" or ")
}

fn peers() -> Vec<Peer> {
    let peer = |address: &str, transport, ports: &[u16]| Peer {
        address: address.parse().expect("an address"),
        transport,
        ports: ports.to_vec(),
    };
    use Transport::{Tcp, Udp};
    vec![
        peer("10.0.0.2", Tcp, &[443, 80]),
        peer("10.0.0.2", Udp, &[53]),
        peer("10.0.0.2", Udp, &[1050]),
        peer("10.0.0.1", Tcp, &[443]),
        peer("10.0.0.1", Udp, &[]),
        peer("10.0.0.2", Tcp, &[]),
        peer("2001:db8::2", Tcp, &[443, 8000]),
        peer("2001:db8::2", Udp, &[53]),
        peer("2001:db8::1", Tcp, &[40000, 450]),
        peer("2001:db8::1", Udp, &[]),
    ]
}

#[test]
fn a_peer_is_what_libpcap_says_in_many_words() {
    if is_skipped() {
        return;
    }
    let libpcap = match Libpcap::open() {
        Ok(libpcap) => libpcap,
        Err(missing) => {
            return again("peers::a_peer_is_what_libpcap_says_in_many_words", &missing);
        }
    };
    for link_type in [frames::ETHERNET, frames::RAW] {
        let frames = frames::framed(link_type);
        let link_type = LinkType(u16::try_from(link_type).expect("a link type"));
        for peer in peers() {
            let one = expression(&peer);
            let text = match link_type {
                LinkType::ETHERNET => format!("{one} or (vlan and ({one})) or (vlan and ({one}))"),
                _ => one,
            };
            let compiled = libpcap.compile(&CString::new(&*text).expect("no NUL"), link_type);
            let theirs = Program::new(&compiled.expect("an expression")).expect("a program");
            let program = peer::without(&[peer], link_type, None).expect("short");
            let program = program.expect("a link type with IP");
            let function = translated(&program);
            let mut left = 0;
            for frame in &frames {
                let wire_len = frame.len() as u32;
                let ours = program.run(frame, wire_len) != 0;
                assert_eq!(
                    ours,
                    theirs.run(frame, wire_len) == 0,
                    "{text}: {frame:02x?}"
                );
                let head = head(frame, wire_len.into(), function.head_len);
                let in_kernel = run(&function, 1, head).map(|returned| returned != 0);
                assert_eq!(in_kernel, Ok(ours), "{text}: {frame:02x?}");
                left += usize::from(ours);
            }
            assert!(left < frames.len() && left > 0, "{text}");
        }
    }
}

#[test]
fn frames_of_other_devices_are_selected_where_nothing_is_asked_for() {
    let program = peer::without(&peers(), LinkType::RAW, None).expect("short");
    let program = program.expect("a link type with IP");
    let programs = [ForDevices {
        kinds: vec![65_534],
        form: Form::AsSent,
        program: &program,
    }];
    for (function, others) in [
        (Function::new(&programs), false),
        (Function::or_all(&programs), true),
    ] {
        let function = function.expect("short");
        for frame in frames::framed(frames::RAW) {
            let head = || head(&frame, frame.len() as u64, function.head_len);
            let ours = program.run(&frame, frame.len() as u32);
            assert_eq!(run(&function, 65_534, head()), Ok(ours.into()));
            assert_eq!(run(&function, 32, head()), Ok(others.into()));
        }
    }
}
