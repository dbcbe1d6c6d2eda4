//! Good files pass; each fault is found where it is; nothing panics.

use proptest::prelude::*;

use super::report::MAX_FAULTS;
use super::*;
use crate::pcapng::{
    Interface, InterfaceId, Packet, PacketOptions, Section, Statistics, Writer, epb_flags,
};

const SNAPLEN: u32 = 96;
const TIME: u64 = 1_700_000_000_000_000_000;

/// A file with all that skbcap writes: two sections, two link types, comments, drops, statistics.
fn file() -> Vec<u8> {
    let section = Section {
        hardware: "x86_64".into(),
        os: "Linux 6.12".into(),
        application: "skbcap 0.1".into(),
        comments: vec!["one".into(), "the clock was set".into()],
    };
    let mut writer = Writer::new(Vec::new(), &section, SNAPLEN).unwrap();
    for part in 0..2 {
        if part == 1 {
            writer.new_section(&section).unwrap();
        }
        for (id, (name, link_type)) in [("eth0", LinkType::ETHERNET), ("wg0", LinkType::RAW)]
            .into_iter()
            .enumerate()
        {
            let interface = writer
                .interface(&Interface {
                    name: name.into(),
                    description: format!("netns=4026531840 ifindex={id}"),
                    link_type,
                    os: "Linux".into(),
                    filter: Some("udp port 53".into()),
                    comment: String::new(),
                })
                .unwrap();
            assert_eq!(interface, InterfaceId(id as u32));
        }
        for n in 0..6u32 {
            let data = vec![n as u8; n as usize * 17];
            let comment = "comm=curl pid=2 tgid=1 ctx=task";
            let flags = epb_flags::OUTBOUND | epb_flags::CHECKSUM_NOT_READY;
            writer
                .packet(&Packet {
                    interface: InterfaceId(n % 2),
                    time_ns: TIME - part * 1000 + u64::from(n / 2),
                    data: &data,
                    len: n * 17 + 1,
                    options: &PacketOptions::new(comment, flags, Some((1, 2))).unwrap(),
                    dropped: u64::from(n == 4) * 3,
                })
                .unwrap();
        }
        for (id, dropped) in [(0, 3), (1, 7)] {
            let interface = InterfaceId(id);
            let (start_ns, end_ns) = (TIME - 2000, TIME + 2000);
            let received = 3 + dropped;
            let statistics = Statistics {
                interface,
                start_ns,
                end_ns,
                received,
                dropped,
                delivered: 3,
                comments: vec![],
            };
            writer.statistics(&statistics).unwrap();
        }
    }
    writer.into_inner().unwrap()
}

/// Where the n-th block of a kind begins.
fn nth(bytes: &[u8], kind: u32, n: usize) -> usize {
    let block = RawBlocks::new(bytes)
        .map(Result::unwrap)
        .filter(|block| block.kind == kind)
        .nth(n);
    block.unwrap().offset as usize
}

/// The faults after writing `value` at a place in the n-th block of a kind.
fn after(kind: u32, n: usize, at: usize, value: &[u8]) -> Vec<(u64, FaultKind)> {
    let mut bytes = file();
    let block = nth(&bytes, kind, n);
    bytes[block + at..][..value.len()].copy_from_slice(value);
    let faults = check(&bytes).faults;
    faults
        .into_iter()
        .map(|fault| (fault.offset - block as u64, fault.what))
        .collect()
}

#[test]
fn a_good_file_has_no_fault() {
    let report = check(&file());
    assert_eq!(report.faults, []);
    assert_eq!((report.sections, report.packets), (2, 12));
    let names: Vec<_> = report
        .interfaces
        .iter()
        .map(|i| {
            (
                i.section,
                i.name.as_str(),
                i.packets,
                i.dropped_between,
                i.dropped,
            )
        })
        .collect();
    assert_eq!(
        names,
        [
            (0, "eth0", 3, 3, Some(3)),
            (0, "wg0", 3, 0, Some(7)),
            (1, "eth0", 3, 3, Some(3)),
            (1, "wg0", 3, 0, Some(7)),
        ]
    );
    assert_eq!(
        report.interfaces[1].description,
        "netns=4026531840 ifindex=1"
    );
    assert_eq!(report.interfaces[0].times_ns, Some((TIME, TIME + 2)));
}

#[test]
fn lengths_and_kinds_are_checked() {
    let broken = |what| vec![(0, FaultKind::Broken(what))];
    assert_eq!(
        after(ENHANCED_PACKET, 0, 4, &[13]),
        broken(BrokenKind::Length(13))
    );
    assert_eq!(
        after(ENHANCED_PACKET, 0, 4, &[8]),
        broken(BrokenKind::Length(8))
    );
    assert!(matches!(
        after(ENHANCED_PACKET, 0, 4, &[60])[..],
        [(0, FaultKind::Broken(BrokenKind::Lengths { before: 60, .. }))]
    ));
    assert_eq!(after(SECTION_HEADER, 1, 8, &[0]), broken(BrokenKind::Magic));
    assert_eq!(
        after(SECTION_HEADER, 0, 0, &[1]),
        broken(BrokenKind::NoSection(0x0a0d_0d01))
    );
    assert_eq!(
        after(SECTION_HEADER, 0, 12, &[2]),
        [(12, FaultKind::Version(2, 0))]
    );
    assert_eq!(
        after(ENHANCED_PACKET, 5, 0, &[3]).len(),
        2,
        "the statistics miss a packet, too"
    );
    let bytes = file();
    let report = check(&bytes[..bytes.len() - 1]);
    assert!(matches!(
        report.faults[..],
        [Fault {
            what: FaultKind::Broken(BrokenKind::Truncated { missing: 1 }),
            ..
        }]
    ));
    assert_eq!(check(b"").faults.len(), 1);
}

#[test]
fn an_interface_is_checked() {
    assert_eq!(
        after(INTERFACE_DESCRIPTION, 0, 10, &[1]),
        [(10, FaultKind::Reserved)]
    );
    let unequal = FaultKind::UnequalSnaplen {
        found: 97,
        first: SNAPLEN,
    };
    assert_eq!(after(INTERFACE_DESCRIPTION, 3, 12, &[97]), [(12, unequal)]);
    let too_large = after(INTERFACE_DESCRIPTION, 1, 12, &262_145u32.to_le_bytes());
    assert_eq!(too_large[0], (12, FaultKind::Snaplen(262_145)));
    // The name's option becomes a second description.
    assert_eq!(
        after(INTERFACE_DESCRIPTION, 0, 16, &[3]),
        [(24, FaultKind::RepeatedOption(3))]
    );
    assert_eq!(
        after(INTERFACE_DESCRIPTION, 0, 20, &[0xff]),
        [(16, FaultKind::NotUtf8(2))]
    );
    assert_eq!(
        after(INTERFACE_DESCRIPTION, 0, 20, b"\n"),
        [(16, FaultKind::NotOneLine(2))]
    );
    assert_eq!(
        after(INTERFACE_DESCRIPTION, 0, 16, &[99]),
        [(16, FaultKind::UnknownOption(99))]
    );
}

#[test]
fn a_packet_is_checked() {
    let packet = |n, at, value: &[u8]| after(ENHANCED_PACKET, n, at, value);
    assert_eq!(packet(0, 8, &[2])[0], (8, FaultKind::UndefinedInterface(2)));
    assert_eq!(
        packet(1, 24, &[16]),
        [(
            20,
            FaultKind::CapturedOverLen {
                captured: 17,
                len: 16
            }
        )]
    );
    // 17 bytes and 3 of padding.
    assert_eq!(packet(1, 28 + 19, &[1]), [(28 + 17, FaultKind::Padding)]);
    assert_eq!(packet(1, 20, &[255, 0, 0, 0, 255])[0].1, FaultKind::Data);
    // The comment has 31 bytes, and 1 of padding.
    assert_eq!(packet(0, 28 + 4 + 31, &[1]), [(28, FaultKind::Padding)]);
    assert_eq!(packet(0, 28 + 4, b"\x1b"), [(28, FaultKind::NotOneLine(1))]);
    let flags = 28 + 36;
    assert_eq!(packet(0, flags + 5, &[0x10]), [(0, FaultKind::Reserved)]);
    assert_eq!(
        packet(0, flags + 8, &[2]),
        [
            (flags as u64 + 8, FaultKind::RepeatedOption(2)),
            (
                flags as u64 + 8,
                FaultKind::OptionLength { code: 2, len: 8 }
            ),
        ]
    );
    // The end of options becomes a flag word that isn't there.
    assert_eq!(
        packet(0, flags + 20, &[2, 0, 0, 0]),
        [
            (flags as u64 + 20, FaultKind::RepeatedOption(2)),
            (
                flags as u64 + 20,
                FaultKind::OptionLength { code: 2, len: 0 }
            ),
            (
                flags as u64 + 24,
                FaultKind::Broken(BrokenKind::NoEndOfOptions)
            ),
        ]
    );
    // The flags become the end of options.
    assert_eq!(
        packet(0, flags, &[0, 0, 0, 0]),
        [(
            flags as u64,
            FaultKind::Broken(BrokenKind::BehindEndOfOptions)
        )]
    );
}

#[test]
fn time_and_sums_are_checked() {
    let low = |time: u64| (time as u32).to_le_bytes();
    assert_eq!(
        after(ENHANCED_PACKET, 3, 16, &low(TIME - 1)),
        [(12, FaultKind::TimeGoesBack(2))]
    );
    let statistics = |at, value: &[u8]| after(INTERFACE_STATISTICS, 0, at, value);
    // Options begin at 20: start, end, received, dropped, delivered, each of 12 bytes.
    assert_eq!(
        statistics(20 + 4 + 4, &low(TIME + 3000)),
        [(0, FaultKind::StatisticsTimes)]
    );
    assert_eq!(
        statistics(32 + 4 + 4, &low(TIME + 1)),
        [(0, FaultKind::StatisticsLeaveOut)]
    );
    assert_eq!(
        statistics(44 + 4, &[9]),
        [(
            0,
            FaultKind::StatisticsSum {
                received: 9,
                delivered: 3,
                dropped: 3
            }
        )]
    );
    assert_eq!(
        statistics(56 + 4, &[2])[0],
        (
            0,
            FaultKind::StatisticsDropped {
                counted: 2,
                between: 3
            }
        )
    );
    assert_eq!(
        statistics(68 + 4, &[4])[0],
        (
            0,
            FaultKind::StatisticsCount {
                counted: 4,
                packets: 3
            }
        )
    );
}

#[test]
fn faults_are_bounded() {
    let mut bytes = file();
    bytes.truncate(nth(&bytes, ENHANCED_PACKET, 0));
    let undefined = [6, 0, 0, 0, 32, 0, 0, 0];
    for _ in 0..MAX_FAULTS + 5 {
        bytes.extend(undefined);
        bytes.extend([9; 4]);
        bytes.extend([0; 16]);
        bytes.extend(&undefined[4..]);
    }
    let report = check(&bytes);
    assert_eq!((report.faults.len(), report.more_faults), (MAX_FAULTS, 5));
}

proptest! {
    #[test]
    fn damaged_files_never_panic(
        hits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        cut: proptest::sample::Index,
    ) {
        let mut bytes = file();
        for (index, value) in hits {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len() * 4).min(bytes.len()));
        for fault in check(&bytes).faults {
            prop_assert!(fault.offset <= bytes.len() as u64);
            prop_assert!(!fault.to_string().is_empty());
        }
    }

    #[test]
    fn any_bytes_never_panic(bytes: Vec<u8>) {
        prop_assert!(!check(&bytes).faults.is_empty());
    }

    #[test]
    fn what_the_writer_writes_passes(
        packets in proptest::collection::vec(
            (0u32..3, proptest::collection::vec(any::<u8>(), 0..96), 0u32..100, ".{0,20}", 0u64..3),
            0..20,
        ),
    ) {
        let mut writer = Writer::new(Vec::new(), &Section::default(), SNAPLEN).unwrap();
        let mut interfaces = vec![];
        for (n, (at, data, more, comment, dropped)) in packets.iter().enumerate() {
            while interfaces.len() <= *at as usize {
                let interface = Interface {
                    name: format!("eth{}", interfaces.len()),
                    description: String::new(),
                    link_type: LinkType::ETHERNET,
                    os: String::new(),
                    filter: None,
                    comment: String::new(),
                };
                interfaces.push(writer.interface(&interface).unwrap());
            }
            let comment = comment.replace(char::is_control, " ");
            writer.packet(&Packet {
                interface: InterfaceId(*at),
                time_ns: n as u64,
                data,
                len: data.len() as u32 + more,
                options: &PacketOptions::new(&comment, 0, None).unwrap(),
                dropped: *dropped,
            }).unwrap();
        }
        prop_assert_eq!(check(&writer.into_inner().unwrap()).faults, []);
    }
}
