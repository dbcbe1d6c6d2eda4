//! The writer against outputs that fail, and its blocks byte by byte.

use std::io::{self, Write};
use std::sync::{Arc, LazyLock, Mutex};

use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::blocks::opt_common::UnknownOption;
use proptest::prelude::*;

use super::packet::EPB_PROCESSID_THREADID;
use super::*;
use crate::pcapng::{LinkType, epb_flags};

/// An output of so many bytes, taken a few at a time; then it fails.
struct Disk {
    bytes: Vec<u8>,
    capacity: usize,
    stride: usize,
    then: io::ErrorKind,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.capacity - self.bytes.len();
        if room == 0 {
            return Err(self.then.into());
        }
        let taken = bytes.len().min(room).min(self.stride);
        self.bytes.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn section() -> Section {
    Section {
        hardware: "x86_64".into(),
        os: "Linux 6.12".into(),
        application: "skbcap".into(),
        comments: vec![],
    }
}

fn interface(name: &str) -> Interface {
    Interface {
        name: name.into(),
        description: "netns=4026531840 ifindex=2".into(),
        link_type: LinkType::ETHERNET,
        os: String::new(),
        filter: None,
        comment: String::new(),
    }
}

static OPTIONS: LazyLock<PacketOptions> =
    LazyLock::new(|| options("comm=curl pid=2 tgid=1 ctx=task"));

fn options(comment: &str) -> PacketOptions {
    PacketOptions::new(comment, epb_flags::OUTBOUND, Some((1, 2))).unwrap()
}

fn packet(data: &[u8]) -> Packet<'_> {
    Packet {
        interface: InterfaceId(0),
        time_ns: 1_700_000_000_123_456_789,
        data,
        len: data.len() as u32,
        options: &OPTIONS,
        dropped: 0,
    }
}

#[test]
fn a_packet_is_these_bytes() {
    let mut writer = Writer::new(Vec::new(), &Section::default(), 100).unwrap();
    writer.interface(&interface("eth0")).unwrap();
    let before = writer.encoded_len() as usize;
    writer
        .packet(&Packet {
            len: 60,
            dropped: 3,
            options: &options("hi"),
            ..packet(&[0xaa; 5])
        })
        .unwrap();
    let bytes = writer.into_inner().unwrap();
    assert_eq!(bytes[..8], [0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0]);
    assert_eq!(bytes[8..12], [0x4d, 0x3c, 0x2b, 0x1a], "little-endian");
    assert_eq!(bytes[16..24], [0xff; 8], "a section of unspecified length");
    let time = 1_700_000_000_123_456_789u64;
    let expected: Vec<u8> = [
        &6u32.to_le_bytes()[..],
        &84u32.to_le_bytes(),
        &0u32.to_le_bytes(),
        &((time >> 32) as u32).to_le_bytes(),
        &(time as u32).to_le_bytes(),
        &5u32.to_le_bytes(),
        &60u32.to_le_bytes(),
        &[0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0, 0, 0],
        &[1, 0, 2, 0, b'h', b'i', 0, 0],
        &[2, 0, 4, 0, 2, 0, 0, 0],
        &[4, 0, 8, 0, 3, 0, 0, 0, 0, 0, 0, 0],
        &[8, 0, 8, 0, 1, 0, 0, 0, 2, 0, 0, 0],
        &[0, 0, 0, 0],
        &84u32.to_le_bytes(),
    ]
    .concat();
    assert_eq!(bytes[before..], expected);
}

#[test]
fn what_can_not_be_written_leaves_no_trace() {
    assert!(matches!(
        Writer::new(io::sink(), &section(), 0),
        Err(Error::Snaplen(0))
    ));
    assert!(matches!(
        Writer::new(io::sink(), &section(), MAX_SNAPLEN + 1),
        Err(Error::Snaplen(_))
    ));
    let mut writer = Writer::new(Vec::new(), &section(), 100).unwrap();
    let before = writer.encoded_len();
    assert!(matches!(
        writer.packet(&packet(b"x")),
        Err(Error::Block {
            block: "packet",
            ..
        })
    ));
    writer.interface(&interface("eth0")).unwrap();
    let described = writer.encoded_len();
    assert!(described > before);
    assert!(matches!(
        writer.packet(&packet(&[0; 101])),
        Err(Error::DataTooLong {
            len: 101,
            snaplen: 100
        })
    ));
    assert!(
        writer
            .packet(&Packet {
                len: 4,
                ..packet(b"12345")
            })
            .is_err()
    );
    assert!(matches!(
        PacketOptions::new(&"x".repeat(65_536), 0, None),
        Err(Error::CommentTooLong { len: 65_536 })
    ));
    assert!(writer.interface(&interface(&"x".repeat(65_536))).is_err());
    assert_eq!(writer.encoded_len(), described);
    writer.packet(&packet(b"12345")).unwrap();
    writer.new_section(&section()).unwrap();
    assert!(
        writer.packet(&packet(b"x")).is_err(),
        "interfaces are those of a section"
    );
    assert_eq!(
        writer.interface(&interface("eth0")).unwrap(),
        InterfaceId(0)
    );
    writer.packet(&packet(b"x")).unwrap();
}

#[test]
fn nothing_is_written_before_a_flush_or_a_full_buffer() {
    let mut writer = Writer::new(Vec::new(), &section(), MAX_SNAPLEN).unwrap();
    writer.interface(&interface("eth0")).unwrap();
    assert!(writer.get_ref().is_empty());
    writer.flush().unwrap();
    assert_eq!(writer.get_ref().len() as u64, writer.encoded_len());
    let flushed = writer.whole_len();
    let data = vec![1; MAX_SNAPLEN as usize];
    writer.packet(&packet(&data)).unwrap();
    assert_eq!(writer.whole_len(), flushed);
    writer
        .packet(&packet(b"the next finds the buffer full"))
        .unwrap();
    assert!(writer.whole_len() > flushed + u64::from(MAX_SNAPLEN));
}

#[test]
fn a_closed_pipe_is_known_by_its_kind() {
    let disk = Disk {
        bytes: vec![],
        capacity: 0,
        stride: 9,
        then: io::ErrorKind::BrokenPipe,
    };
    let mut writer = Writer::new(disk, &section(), MAX_SNAPLEN).unwrap();
    assert_eq!(
        writer.flush().unwrap_err().io_kind(),
        Some(io::ErrorKind::BrokenPipe)
    );
    assert_eq!(writer.whole_len(), 0);
}

/// A disk with two handles.
#[derive(Clone)]
struct Shared(Arc<Mutex<Disk>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// With a thread that writes, all is as without: the bytes, what a full disk keeps, and what is
/// written once it has room again.
#[test]
fn a_thread_of_its_own_writes_the_same() {
    const PACKETS: usize = 120;
    let data: Vec<u8> = (0..100_000u32).map(|byte| byte as u8).collect();
    let packet = |number: usize| packet(&data[number..]);
    let mut alone = Writer::new(Vec::new(), &section(), MAX_SNAPLEN).unwrap();
    alone.interface(&interface("eth0")).unwrap();
    let mut borders = vec![alone.encoded_len()];
    for number in 0..PACKETS {
        alone.packet(&packet(number)).unwrap();
        borders.push(alone.encoded_len());
    }
    let expected = alone.into_inner().unwrap();
    let all = expected.len();
    for capacity in [0, 1, 300_000, 4_000_000, all - 1, all] {
        let disk = Shared(Arc::new(Mutex::new(Disk {
            bytes: vec![],
            capacity,
            stride: 70_000,
            then: io::ErrorKind::StorageFull,
        })));
        let mut writer = Writer::new(disk.clone(), &section(), MAX_SNAPLEN).unwrap();
        writer.interface(&interface("eth0")).unwrap();
        let mut taken = 0;
        let written = (0..PACKETS).try_for_each(|number| {
            if number == 10 {
                writer.write_aside(disk.clone()).unwrap();
            }
            writer.packet(&packet(number))?;
            taken += 1;
            assert_eq!(writer.encoded_len(), borders[taken]);
            Ok::<_, Error>(())
        });
        let ended = written.and_then(|()| writer.flush());
        assert_eq!(ended.is_err(), capacity < all, "{capacity}");
        if let Err(error) = ended {
            assert_eq!(error.io_kind(), Some(io::ErrorKind::StorageFull));
            let whole = borders.iter().filter(|&&border| border <= capacity as u64);
            let behind = borders[1..=taken]
                .iter()
                .filter(|&&border| border > writer.whole_len());
            // The section and the interface are blocks, too.
            if capacity > 1 {
                assert_eq!(Some(writer.whole_len()), whole.copied().max());
            }
            assert_eq!(writer.unwritten_packets(), behind.count() as u64);
            disk.0.lock().unwrap().capacity = usize::MAX;
            for number in taken..PACKETS {
                writer.packet(&packet(number)).unwrap();
            }
            writer.flush().unwrap();
        }
        assert_eq!(writer.whole_len(), all as u64);
        assert!(disk.0.lock().unwrap().bytes == expected, "{capacity}");
    }
}

proptest! {
    /// A packet's bytes are those that pcap-file makes.
    #[test]
    fn both_ways_to_make_a_packet_agree(
        data in proptest::collection::vec(any::<u8>(), 0..100),
        more in 0u32..100,
        time_ns: u64,
        comment in "[ -~é]{0,40}",
        flags in prop_oneof![Just(0), any::<u32>()],
        process: Option<(u32, u32)>,
        dropped in prop_oneof![Just(0), any::<u64>()],
    ) {
        let len = data.len() as u32 + more;
        let options = PacketOptions::new(&comment, flags, process).unwrap();
        let packet = Packet {
            interface: InterfaceId(0), time_ns, data: &data, len, options: &options, dropped,
        };
        let writer = || {
            let mut writer = Writer::new(Vec::new(), &section(), MAX_SNAPLEN).unwrap();
            writer.interface(&interface("eth0")).unwrap();
            writer
        };
        let (mut ours, mut theirs) = (writer(), writer());
        let ids = process.map(|(process, thread)| [process, thread].map(u32::to_le_bytes).concat());
        let mut options = Vec::new();
        if !comment.is_empty() {
            options.push(EnhancedPacketOption::Common(CommonOption::Comment(comment[..].into())));
        }
        if flags != 0 {
            options.push(EnhancedPacketOption::Flags(flags));
        }
        if dropped != 0 {
            options.push(EnhancedPacketOption::DropCount(dropped));
        }
        if let Some(ids) = &ids {
            options.push(EnhancedPacketOption::Common(CommonOption::Unknown(
                UnknownOption::new(EPB_PROCESSID_THREADID, ids),
            )));
        }
        let block = Block::EnhancedPacket(EnhancedPacketBlock {
            interface_id: 0,
            timestamp: Duration::from_nanos(time_ns),
            original_len: len,
            data: Cow::Borrowed(&data),
            options,
        });
        // Between blocks of the other kind, and on what another block has left in the buffer.
        for _ in 0..2 {
            ours.packet(&packet).unwrap();
            theirs.blocks.push(&block, "packet").unwrap();
            ours.interface(&interface("eth1")).unwrap();
            theirs.interface(&interface("eth1")).unwrap();
            ours.blocks.soil();
        }
        prop_assert_eq!(ours.into_inner().unwrap(), theirs.into_inner().unwrap());
    }

    /// A disk that fills up anywhere keeps every whole block, and one that gets room again keeps
    /// everything.
    #[test]
    fn a_full_disk_keeps_every_whole_block(
        packets in proptest::collection::vec(0usize..40, 0..20),
        capacity in 0usize..4000,
        stride in 1usize..500,
    ) {
        let data = [7; 40];
        let mut borders = vec![0];
        let disk = Disk { bytes: vec![], capacity, stride, then: io::ErrorKind::StorageFull };
        let mut writer = Writer::new(disk, &section(), MAX_SNAPLEN).unwrap();
        borders.push(writer.encoded_len());
        writer.interface(&interface("eth0")).unwrap();
        borders.push(writer.encoded_len());
        let mut failed = false;
        for len in packets {
            writer.packet(&packet(&data[..len])).unwrap();
            borders.push(writer.encoded_len());
            if let Err(error) = writer.flush() {
                prop_assert_eq!(error.io_kind(), Some(io::ErrorKind::StorageFull));
                failed = true;
            }
        }
        failed |= writer.flush().is_err();
        let all = writer.encoded_len();
        prop_assert_eq!(failed, all > capacity as u64);
        let fits = borders.iter().rev().find(|&&border| border <= capacity as u64);
        prop_assert_eq!(Some(&writer.whole_len()), fits);
        let behind = borders[3..].iter().filter(|&&border| border > writer.whole_len()).count();
        prop_assert_eq!(writer.unwritten_packets(), behind as u64);
        writer.get_mut().capacity = usize::MAX;
        writer.flush().unwrap();
        prop_assert_eq!(writer.whole_len(), all);
        prop_assert_eq!(writer.get_ref().bytes.len() as u64, all);
    }
}
