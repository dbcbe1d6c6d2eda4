//! Tests of the line: known frames, and any bytes at all.

use etherparse::{PacketBuilder, TcpHeader};
use jiff::tz::TimeZone;
use proptest::prelude::*;
use skbcap_common::{By, Context, Flags, RecordHeader};
use zerocopy::FromZeros;

use super::{Detail, Direction, Dump, DumpForm, Line, Printer, Sender, Style, TimeStyle};
use crate::decode::Frame;
use crate::pcapng::LinkType;

const SOURCE: [u8; 4] = [192, 168, 178, 24];
const GATEWAY: [u8; 4] = [192, 168, 178, 1];
const ETHERNET: u16 = 1;

fn header(len: usize) -> RecordHeader {
    let mut header = RecordHeader::new_zeroed();
    header.context = Context::Task as u8;
    header.tgid = 1058;
    header.comm[..7].copy_from_slice(b"chronyd");
    header.ifname[..4].copy_from_slice(b"eth0");
    header.len = u32::try_from(len).unwrap();
    header
}

fn line(header: &RecordHeader, data: &[u8], link_type: u16) -> String {
    let mut out = Vec::new();
    let frame = Frame {
        header,
        data,
        current: None,
    };
    let line = Line::of(&frame, LinkType(link_type), 43_200_123_456_789);
    let mut printer = Printer::in_zone(Style::default(), TimeZone::UTC);
    printer.write(&mut out, &line).unwrap();
    String::from_utf8(out).unwrap()
}

/// What the line says behind the sender.
fn packet_as(data: &[u8], len: usize, link_type: u16) -> String {
    let line = line(&header(len), data, link_type);
    let packet = line
        .strip_prefix("12:00:00.123456 eth0 Out chronyd[1058] ")
        .unwrap();
    packet.strip_suffix('\n').unwrap().to_owned()
}

fn packet(data: &[u8]) -> String {
    packet_as(data, data.len(), ETHERNET)
}

fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x02; 12];
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The frame that it all began with.
fn ntp() -> Vec<u8> {
    let mut frame: Vec<u8> = vec![
        0x34, 0x31, 0xc4, 0xb0, 0x6a, 0x8b, 0x3c, 0x7c, 0x3f, 0x20, 0x23, 0xbd, 0x08, 0x00, 0x45,
        0x00, 0x00, 0x4c, 0x83, 0x93, 0x40, 0x00, 0x40, 0x11, 0xd1, 0xa2, 0xc0, 0xa8, 0xb2, 0x18,
        0xc0, 0xa8, 0xb2, 0x01, 0xc8, 0x07, 0x00, 0x7b, 0x00, 0x38, 0xe5, 0xb4, 0x23, 0x00, 0x06,
        0x20,
    ];
    frame.resize(82, 0);
    frame.extend([0x38, 0xbc, 0x17, 0x13, 0x12, 0x4a, 0x4c, 0xc0]);
    frame
}

fn tcp(options: impl FnOnce(&mut TcpHeader), payload: &[u8]) -> Vec<u8> {
    let mut header = TcpHeader::new(443, 50_000, 1_000, 512);
    options(&mut header);
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4(SOURCE, GATEWAY, 64)
        .tcp_header(header)
        .write(&mut frame, payload)
        .unwrap();
    frame
}

#[test]
fn the_frame_that_it_all_began_with() {
    assert_eq!(
        line(&header(90), &ntp(), ETHERNET),
        "12:00:00.123456 eth0 Out chronyd[1058] \
         IP 192.168.178.24.51207 > 192.168.178.1.123: UDP, length 48\n"
    );
}

/// On a terminal columns stay where they are, and the sender stands out.
#[test]
fn columns_do_not_dance() {
    let style = Style {
        colour: true,
        time: TimeStyle::None,
        ..Style::default()
    };
    let mut printer = Printer::in_zone(style, TimeZone::UTC);
    let frame = ntp();
    let mut print = |interface: &str, comm: &[u8], context| {
        let mut out = Vec::new();
        let line = Line {
            wall_time_ns: 0,
            interface: Some(interface.as_bytes()),
            direction: Some(Direction::Out),
            sender: Some(Sender {
                comm,
                pid: 8,
                tgid: 7,
                context,
                by: None,
                writers: [0; 4],
            }),
            more: "",
            data: &frame,
            wire_len: 90,
            link_type: LinkType(ETHERNET),
        };
        printer.write(&mut out, &line).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.split_once(" IP ").unwrap().0.to_owned()
    };
    assert_eq!(
        print("wlan0", b"chronyd", Context::Task),
        "wlan0 Out \x1b[1;36mchronyd[7]\x1b[m"
    );
    assert_eq!(
        print("lo", b"sh", Context::Task),
        "lo    Out \x1b[1;36msh[7]     \x1b[m"
    );
    let wide = print("lo", b"sh", Context::Softirq);
    assert_eq!(wide, "lo    Out \x1b[2m(softirq on sh[7])\x1b[m");
}

#[test]
fn more_and_less_is_told() {
    let told = |detail, frame: &[u8]| {
        let mut out = Vec::new();
        let bytes = super::bytes::Bytes::new(frame, frame.len());
        super::packet::write(&mut out, bytes, ETHERNET, detail).unwrap();
        String::from_utf8(out).unwrap()
    };
    let segment = tcp(|header| header.ack = true, b"hello");
    assert_eq!(
        told(Detail::Quiet, &segment),
        "IP 192.168.178.24.443 > 192.168.178.1.50000: tcp 5"
    );
    assert_eq!(
        told(Detail::Verbose, &ntp()),
        "IP (tos 0x0, ttl 64, id 33683, offset 0, flags [DF], proto UDP (17), length 76)\n    \
         192.168.178.24.51207 > 192.168.178.1.123: UDP, length 48"
    );
}

#[test]
fn an_object_for_each_frame() {
    let style = Style {
        json: true,
        ..Style::default()
    };
    let header = header(90);
    let frame = Frame {
        header: &header,
        data: &ntp(),
        current: None,
    };
    let line = Line::of(&frame, LinkType(ETHERNET), 1_700_000_000_000_000_001);
    let mut out = Vec::new();
    let mut printer = Printer::in_zone(style, TimeZone::UTC);
    printer.write(&mut out, &line).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "{\"time\": \"1700000000.000000001\", \"interface\": \"eth0\", \"direction\": \"out\", \
         \"comm\": \"chronyd\", \"pid\": 0, \"tgid\": 1058, \"ctx\": \"task\", \
         \"link_type\": \"ethernet\", \"len\": 90, \"captured\": 90, \"packet\": \
         \"IP 192.168.178.24.51207 > 192.168.178.1.123: UDP, length 48\"}\n"
    );

    let header = RecordHeader {
        flags: Flags::of_by(By::Shared).0,
        tgid: 0,
        comm: *b"\x0c\0\0\0\x22\0\0\0\0\0\0\0\0\0\0\0",
        ..header
    };
    let frame = Frame {
        header: &header,
        ..frame
    };
    let mut out = Vec::new();
    let line = Line::of(&frame, LinkType(ETHERNET), 0);
    printer.write(&mut out, &line).unwrap();
    let text = String::from_utf8(out).unwrap();
    let sender = "\"comm\": \"\", \"pid\": 0, \"tgid\": 0, \"ctx\": \"task\", \
                  \"by\": \"shared\", \"writers\": [12, 34], \"link_type\"";
    assert!(text.contains(sender), "{text}");

    let more = r#"owner=a\x20"/1 exe=/bin/a\x3d\x1b uid=0 start=1.000000002 netns=4026531840"#;
    let mut out = Vec::new();
    printer.write(&mut out, &Line { more, ..line }).unwrap();
    let text = String::from_utf8(out).unwrap();
    let said = r#"[12, 34], "owner": {"comm": "a \"", "tgid": 1}, "exe": "/bin/a=\\x1b", "uid": 0, "start": "1.000000002", "netns": 4026531840, "link_type""#;
    assert!(text.contains(said), "{text}");
}

#[test]
fn what_was_asked_for_stands_behind_the_sender() {
    let (header, data) = (header(90), ntp());
    let frame = Frame {
        header: &header,
        data: &data,
        current: None,
    };
    let line = Line {
        more: "exe=/bin/a uid=0",
        ..Line::of(&frame, LinkType(ETHERNET), 43_200_123_456_789)
    };
    let mut out = Vec::new();
    let mut printer = Printer::in_zone(Style::default(), TimeZone::UTC);
    printer.write(&mut out, &line).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "12:00:00.123456 eth0 Out chronyd[1058] [exe=/bin/a uid=0] \
         IP 192.168.178.24.51207 > 192.168.178.1.123: UDP, length 48\n"
    );
}

#[test]
fn an_interrupt_names_nobody_as_the_sender() {
    let sender = |context: Context, tgid| {
        let header = RecordHeader {
            context: context as u8,
            tgid,
            ..header(90)
        };
        let line = line(&header, &ntp(), ETHERNET);
        let (_, rest) = line.split_once(" Out ").unwrap();
        rest.split_once(" IP ").unwrap().0.to_owned()
    };
    assert_eq!(sender(Context::Task, 7), "chronyd[7]");
    assert_eq!(sender(Context::Softirq, 7), "(softirq on chronyd[7])");
    assert_eq!(sender(Context::Hardirq, 7), "(hardirq on chronyd[7])");
    assert_eq!(sender(Context::Softirq, 0), "(softirq)");
    assert_eq!(sender(Context::Unknown, 7), "(perhaps chronyd[7])");
}

#[test]
fn a_claim_is_told_by_what_it_is_worth() {
    let sender = |by: By, context: Context, tgid| {
        let mut header = RecordHeader {
            context: context as u8,
            flags: Flags::of_by(by).0,
            tgid,
            ..header(90)
        };
        if by == By::Shared {
            header.comm = *b"\x0c\0\0\0\x22\0\0\0\0\0\0\0\0\0\0\0";
        }
        let line = line(&header, &ntp(), ETHERNET);
        let (_, rest) = line.split_once(" Out ").unwrap();
        rest.split_once(" IP ").unwrap().0.to_owned()
    };
    assert_eq!(sender(By::Task, Context::Task, 7), "chronyd[7]");
    assert_eq!(sender(By::Socket, Context::Softirq, 7), "chronyd[7]");
    assert_eq!(sender(By::Kernel, Context::Softirq, 0), "(kernel)");
    assert_eq!(sender(By::Kernel, Context::Task, 7), "(kernel: chronyd[7])");
    assert_eq!(sender(By::Shared, Context::Softirq, 0), "(one of 12, 34)");
    assert_eq!(sender(By::Unknown, Context::Softirq, 0), "(unknown)");
    assert_eq!(
        sender(By::Unknown, Context::Task, 7),
        "(perhaps chronyd[7])"
    );
}

#[test]
fn names_are_escaped() {
    let mut header = header(90);
    header.comm = *b"a\nb\x1b[31m\0\0\0\0\0\0\0\0";
    header.ifname[..4].copy_from_slice(b"e\x07h0");
    let line = line(&header, &ntp(), ETHERNET);
    assert!(
        line.contains(" e\\x07h0 Out a\\x0ab\\x1b[31m[1058] IP "),
        "{line}"
    );
}

#[test]
fn tcp_is_told_by_flags_and_lengths() {
    let ends = "IP 192.168.178.24.443 > 192.168.178.1.50000: ";
    let syn = |tcp: &mut TcpHeader| tcp.syn = true;
    assert_eq!(
        packet(&tcp(syn, &[])),
        format!("{ends}Flags [S], seq 1000, win 512, length 0")
    );
    let push = |tcp: &mut TcpHeader| {
        (tcp.psh, tcp.ack, tcp.acknowledgment_number) = (true, true, 77);
    };
    let mut frame = tcp(push, &[1; 100]);
    let told = format!("{ends}Flags [P.], seq 1000:1100, ack 77, win 512, length 100");
    assert_eq!(packet(&frame), told);
    // Cut by the snapshot length, the frame is still told by its true one.
    assert_eq!(packet_as(&frame[..60], frame.len(), ETHERNET), told);
    // A super-frame too long for 16 bits.
    frame[16..18].copy_from_slice(&[0, 0]);
    assert!(
        packet_as(&frame, 100_054, ETHERNET)
            .ends_with("seq 1000:101000, ack 77, win 512, length 100000")
    );
    assert_eq!(
        packet(&tcp(|_| {}, &[])),
        format!("{ends}Flags [none], win 512, length 0")
    );
}

#[test]
fn tags_and_link_types_are_seen() {
    let ntp = ntp();
    let told = "IP 192.168.178.24.51207 > 192.168.178.1.123: UDP, length 48";
    let mut tagged = ntp[..12].to_vec();
    tagged.extend([0x88, 0xa8, 0x20, 0x07, 0x81, 0x00, 0x00, 0x05]);
    tagged.extend(&ntp[12..]);
    assert_eq!(packet(&tagged), format!("vlan 7, vlan 5, {told}"));
    assert_eq!(packet_as(&ntp[14..], 76, 101), told);
    assert_eq!(packet_as(&ntp[14..], 76, 228), told);
    let sll = [&[0; 14][..], &tagged[12..]].concat();
    assert_eq!(packet_as(&sll, 92, 113), format!("vlan 7, vlan 5, {told}"));
    let sll2 = [&[0x88, 0xa8][..], &[0; 18], &tagged[14..]].concat();
    assert_eq!(packet_as(&sll2, 96, 276), format!("vlan 7, vlan 5, {told}"));
    assert_eq!(packet_as(&sll2[..19], 96, 276), "[|sll]");
    assert_eq!(packet_as(&[0x15, 0], 2, 101), "IP version 1, length 2");
    assert_eq!(packet_as(&ntp, 90, 195), "link type 195, length 90");
}

#[test]
fn arp_asks_and_answers() {
    let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 2, 2, 2, 2, 2, 10, 0, 0, 2];
    arp.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 1]);
    assert_eq!(
        packet(&ethernet(0x806, &arp)),
        "ARP, Request who-has 10.0.0.1 tell 10.0.0.2, length 28"
    );
    arp[7] = 2;
    assert_eq!(
        packet(&ethernet(0x806, &arp)),
        "ARP, Reply 10.0.0.2 is-at 02:02:02:02:02:02, length 28"
    );
    arp[7] = 9;
    assert_eq!(
        packet(&ethernet(0x806, &arp)),
        "ARP, operation 9, length 28"
    );
}

#[test]
fn icmp_says_what_for() {
    let mut frame = Vec::new();
    let v4 = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(SOURCE, GATEWAY, 64);
    v4.icmpv4_echo_request(7, 3)
        .write(&mut frame, &[0; 56])
        .unwrap();
    assert_eq!(
        packet(&frame),
        "IP 192.168.178.24 > 192.168.178.1: ICMP echo request, id 7, seq 3, length 64"
    );
    frame.clear();
    let mut all = [0; 16];
    (all[0], all[1], all[15]) = (0xff, 2, 1);
    let mut own = [0; 16];
    (own[0], own[1], own[15]) = (0xfe, 0x80, 9);
    let v6 = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6(own, all, 255);
    v6.icmpv6_raw(135, 0, [0; 4])
        .write(&mut frame, &own)
        .unwrap();
    assert_eq!(
        packet(&frame),
        "IP6 fe80::9 > ff02::1: ICMP6, neighbor solicitation, who has fe80::9, length 24"
    );
}

#[test]
fn fragments_say_which_they_are() {
    let mut frame = ntp();
    frame[20] = 0x20;
    assert!(packet(&frame).ends_with(".123: UDP, length 48, first fragment"));
    (frame[20], frame[21]) = (0x00, 0xb9);
    assert_eq!(
        packet(&frame),
        "IP 192.168.178.24 > 192.168.178.1: UDP, fragment at 1480, length 56"
    );
    // IPv6: hop-by-hop options, then a later fragment.
    let mut v6 = vec![0x60, 0, 0, 0, 0, 26, 0, 64];
    v6.extend([0; 15]);
    v6.push(1);
    v6.extend([0; 15]);
    v6.push(2);
    v6.extend([44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0x05, 0xa9, 0, 0, 0, 1]);
    v6.extend([0xff; 10]);
    assert_eq!(
        packet(&ethernet(0x86dd, &v6)),
        "IP6 ::1 > ::2: UDP, fragment at 1448, length 10"
    );
}

#[test]
fn what_is_not_known_has_a_number_and_a_length() {
    assert_eq!(
        packet(&ethernet(0x88cc, &[0; 46])),
        "ethertype 0x88cc, length 60"
    );
    assert_eq!(packet(&ethernet(38, &[0x42; 46])), "802.3, length 60");
    let mut frame = ntp();
    frame[23] = 47;
    assert_eq!(
        packet(&frame),
        "IP 192.168.178.24 > 192.168.178.1: GRE, length 56"
    );
    frame[23] = 253;
    assert_eq!(
        packet(&frame),
        "IP 192.168.178.24 > 192.168.178.1: ip-proto-253, length 56"
    );
}

#[test]
fn what_is_too_short_says_where() {
    let frame = ntp();
    assert_eq!(packet_as(&frame[..13], 90, ETHERNET), "[|ether]");
    assert_eq!(packet_as(&frame[..33], 90, ETHERNET), "IP [|ip]");
    let cut = "IP 192.168.178.24 > 192.168.178.1: [|udp]";
    assert_eq!(packet_as(&frame[..41], 90, ETHERNET), cut);
    assert_eq!(packet_as(&[], 0, 101), "[|ip]");
    assert_eq!(packet(&ethernet(0x8100, &[0])), "[|vlan]");
}

proptest! {
    /// In any style, and nothing in it can steer a terminal.
    #[test]
    fn any_bytes_can_be_shown_in_any_style(
        data in prop::collection::vec(any::<u8>(), 0..120),
        link_type in prop_oneof![Just(1u16), Just(101), Just(113), Just(276), any::<u16>()],
        time_ns: u64,
        (detail, nanoseconds, number, json) in
            (0usize..3, any::<bool>(), any::<bool>(), any::<bool>()),
        (time, link_layer, form, with_link_layer) in (0usize..6, any::<bool>(), 0usize..3, any::<bool>()),
    ) {
        let times = [
            TimeStyle::Local,
            TimeStyle::None,
            TimeStyle::Epoch,
            TimeStyle::SinceLast,
            TimeStyle::LocalWithDate,
            TimeStyle::SinceFirst,
        ];
        let details = [Detail::Quiet, Detail::Plain, Detail::Verbose];
        let form = [DumpForm::Hex, DumpForm::HexAndAscii, DumpForm::Ascii][form];
        let dump = Some(Dump { form, link_layer: with_link_layer });
        let style = Style {
            time: times[time], nanoseconds, number, detail: details[detail], link_layer, dump,
            json, colour: false,
        };
        let mut printer = Printer::in_zone(style, TimeZone::UTC);
        let mut out = Vec::new();
        let header = header(data.len());
        let frame = Frame { header: &header, data: &data, current: None };
        for time_ns in [time_ns, 0, u64::MAX] {
            printer.write(&mut out, &Line::of(&frame, LinkType(link_type), time_ns)).unwrap();
        }
        let is_plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\t');
        prop_assert!(out.iter().all(is_plain));
    }

    #[test]
    fn any_bytes_make_one_line(
        data in prop::collection::vec(any::<u8>(), 0..200),
        more in 0..70_000usize,
        link_type in prop_oneof![Just(1u16), Just(101), Just(113), Just(276), any::<u16>()],
        comm in any::<[u8; 16]>(),
        context in any::<u8>(),
    ) {
        let header = RecordHeader { comm, context, ifname: comm, ..header(data.len() + more) };
        let line = line(&header, &data, link_type);
        prop_assert_eq!(line.lines().count(), 1);
        prop_assert!(!line.trim_end_matches('\n').contains(char::is_control));
    }

    #[test]
    fn a_damaged_frame_makes_one_line(
        kind in 0..3usize,
        damage in prop::collection::vec((0..100usize, any::<u8>()), 1..6),
        cut in 0..110usize,
    ) {
        let mut data = match kind {
            0 => ntp(),
            1 => tcp(|tcp| tcp.ack = true, &[3; 40]),
            _ => ethernet(0x86dd, &[0x60, 0, 0, 0, 0, 60, 0, 1].repeat(12)),
        };
        let len = data.len();
        for (at, byte) in damage {
            data[at % len] = byte;
        }
        let line = line(&header(len), &data[..cut.min(len)], ETHERNET);
        prop_assert_eq!(line.lines().count(), 1);
    }
}
