//! Every format, byte order and resolution; damage anywhere.

use proptest::prelude::*;

use super::*;
use crate::pcapng::{Interface as Described, InterfaceId, Packet, PacketOptions, Section, Writer};

const TIME: u64 = 1_700_000_000_123_456_789;

fn u32s(big: bool, numbers: &[u32]) -> Vec<u8> {
    let bytes = |n: &u32| {
        if big {
            n.to_be_bytes()
        } else {
            n.to_le_bytes()
        }
    };
    numbers.iter().flat_map(bytes).collect()
}

/// A pcap of two frames: 3 bytes of 60, then 2 of 2.
fn pcap(big: bool, magic: u32, fraction: u32) -> Vec<u8> {
    let version = if big { 0x0002_0004 } else { 0x0004_0002 };
    let mut bytes = u32s(big, &[magic, version, 0, 0, 96, 101]);
    bytes.extend(u32s(big, &[1_700_000_000, fraction, 3, 60]));
    bytes.extend([1, 2, 3]);
    bytes.extend(u32s(big, &[1_700_000_001, 0, 2, 2]));
    bytes.extend([4, 5]);
    bytes
}

/// A big-endian pcapng in microseconds, without an end of options.
fn big_endian() -> Vec<u8> {
    let mut bytes = u32s(
        true,
        &[0x0a0d_0d0a, 28, 0x1a2b_3c4d, 0x0001_0000, !0, !0, 28],
    );
    bytes.extend(u32s(true, &[1, 32, 0x0001_0000, 0, 0x0002_0004]));
    bytes.extend(b"eth0");
    bytes.extend(u32s(true, &[0, 32]));
    let ticks = TIME / 1000;
    let packet = [6, 44, 0, (ticks >> 32) as u32, ticks as u32, 3, 60];
    bytes.extend(u32s(true, &packet));
    bytes.extend([1, 2, 3, 0]);
    bytes.extend(u32s(true, &[0x0001_0002]));
    bytes.extend(b"hi\0\0");
    bytes.extend(u32s(true, &[44]));
    bytes
}

fn pcapng() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &Section::default(), 96).unwrap();
    for section in 0..2 {
        if section == 1 {
            writer.new_section(&Section::default()).unwrap();
        }
        let interface = writer
            .interface(&Described {
                name: format!("eth{section}"),
                description: String::new(),
                link_type: LinkType::ETHERNET,
                os: String::new(),
                filter: None,
                comment: String::new(),
            })
            .unwrap();
        assert_eq!(interface, InterfaceId(0));
        for n in 0..3u8 {
            let (comment, data) = ("comm=a pid=1 tgid=1 ctx=task", [n; 20]);
            let packet = Packet {
                interface,
                time_ns: TIME,
                data: &data[..usize::from(n) + 10],
                len: 70,
                options: &PacketOptions::new(comment, 2, Some((1, 1))).unwrap(),
                dropped: 0,
            };
            writer.packet(&packet).unwrap();
        }
    }
    writer.into_inner().unwrap()
}

#[test]
fn every_pcap_is_read() {
    for big in [false, true] {
        for (magic, fraction, time_ns) in [
            (0xa1b2_c3d4, 123_456, TIME - 789),
            (0xa1b2_3c4d, 123_456_789, TIME),
        ] {
            let bytes = pcap(big, magic, fraction);
            let capture = Capture::read(&bytes).unwrap();
            assert_eq!(capture.trouble, None);
            assert_eq!(
                capture.interfaces,
                [Interface {
                    name: None,
                    link_type: LinkType::RAW,
                    snaplen: 96
                }]
            );
            let interface = 0;
            let first = Frame {
                number: 1,
                time_ns,
                interface,
                len: 60,
                data: &[1, 2, 3],
                comment: None,
            };
            let time_ns = 1_700_000_001_000_000_000;
            let second = Frame {
                number: 2,
                time_ns,
                len: 2,
                data: &[4, 5],
                ..first
            };
            assert_eq!(capture.frames, [first, second]);
        }
    }
}

#[test]
fn another_program_s_pcapng_is_read() {
    let bytes = big_endian();
    let capture = Capture::read(&bytes).unwrap();
    assert_eq!(capture.trouble, None);
    assert_eq!(
        capture.interfaces,
        [Interface {
            name: Some("eth0".into()),
            link_type: LinkType::ETHERNET,
            snaplen: u32::MAX
        }]
    );
    let comment = Some("hi");
    let time_ns = TIME - 789;
    let frame = Frame {
        number: 1,
        time_ns,
        interface: 0,
        len: 60,
        data: &[1, 2, 3],
        comment,
    };
    assert_eq!(capture.frames, [frame]);
}

#[test]
fn sections_have_their_own_interfaces() {
    let bytes = pcapng();
    let capture = Capture::read(&bytes).unwrap();
    assert_eq!(capture.trouble, None);
    let names: Vec<_> = capture
        .frames
        .iter()
        .map(|frame| {
            (
                frame.number,
                capture.interface(frame).name.as_deref().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        names,
        [
            (1, "eth0"),
            (2, "eth0"),
            (3, "eth0"),
            (4, "eth1"),
            (5, "eth1"),
            (6, "eth1")
        ]
    );
    assert_eq!(
        capture.frames[4].comment,
        Some("comm=a pid=1 tgid=1 ctx=task")
    );
    assert_eq!(capture.frames[4].time_ns, TIME);
}

#[test]
fn what_is_no_capture_is_refused() {
    assert_eq!(Capture::read(b"").unwrap_err(), NotACapture(vec![]));
    let error = Capture::read(b"PK\x03\x04....").unwrap_err();
    let message = "neither a pcap nor a pcapng file: it begins with [50, 4b, 03, 04]";
    assert_eq!(error.to_string(), message);
}

#[test]
fn a_length_that_cannot_be_is_told() {
    let mut bytes = pcap(false, 0xa1b2_c3d4, 0);
    bytes[24 + 16 + 3 + 11] = 0x7f;
    let capture = Capture::read(&bytes).unwrap();
    assert_eq!(capture.frames.len(), 1);
    let what = TroubleKind::FrameLength(0x7f00_0002);
    assert_eq!(capture.trouble, Some(Trouble { offset: 43, what }));
}

proptest! {
    /// Whatever is missing, every frame before it is read, and the byte is told.
    #[test]
    fn a_truncated_file_gives_its_whole_frames(cut: proptest::sample::Index, block_format: bool) {
        let bytes = if block_format { pcapng() } else { pcap(true, 0xa1b2_3c4d, 5) };
        let whole = Capture::read(&bytes).unwrap();
        let cut = 4 + cut.index(bytes.len() - 4);
        let capture = Capture::read(&bytes[..cut]).unwrap();
        prop_assert_eq!(&capture.frames[..], &whole.frames[..capture.frames.len()]);
        let start = bytes.as_ptr() as usize;
        let inside = |frame: &&Frame<'_>| {
            frame.data.as_ptr() as usize - start + frame.data.len() <= cut
        };
        let expected = whole.frames.iter().filter(inside).count();
        // In a pcapng the options and a length still follow the data.
        prop_assert!(capture.frames.len() <= expected);
        prop_assert!(capture.frames.len() + usize::from(block_format) >= expected);
        if let Some(trouble) = capture.trouble {
            prop_assert!(trouble.offset < cut as u64);
        }
    }

    #[test]
    fn damaged_files_never_panic(
        hits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        kind in 0..3,
    ) {
        let mut bytes = match kind {
            0 => pcapng(),
            1 => big_endian(),
            _ => pcap(false, 0xa1b2_c3d4, 999_999),
        };
        for (index, value) in hits {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(capture) = Capture::read(&bytes) {
            for frame in &capture.frames {
                prop_assert!(capture.interfaces.len() > frame.interface);
            }
        }
    }

    #[test]
    fn any_resolution_and_offset_is_a_time(resolution: u8, offset: u64, ticks: u64) {
        let mut bytes = u32s(false, &[0x0a0d_0d0a, 28, 0x1a2b_3c4d, 1, !0, !0, 28]);
        bytes.extend(u32s(false, &[1, 44, 1, 0, 0x0001_0009, resolution.into(), 0x0008_000e]));
        bytes.extend(offset.to_le_bytes());
        bytes.extend(u32s(false, &[0, 44]));
        bytes.extend(u32s(false, &[6, 32, 0, (ticks >> 32) as u32, ticks as u32, 0, 0, 32]));
        let capture = Capture::read(&bytes).unwrap();
        prop_assert_eq!(capture.trouble, None);
        let seconds = capture.frames[0].time_ns as f64 / 1e9;
        let base = if resolution & 0x80 == 0 { 10f64 } else { 2f64 };
        let exact = ticks as f64 / base.powi((resolution & 0x7f).into()) + offset as i64 as f64;
        let expected = exact.clamp(0.0, u64::MAX as f64 / 1e9);
        prop_assert!((seconds - expected).abs() <= 1e-8 + expected * 1e-9, "{seconds} {expected}");
    }
}
