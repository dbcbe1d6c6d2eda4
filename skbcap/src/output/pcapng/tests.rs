//! Frames in, and a file that the strict checker and the comment's parser agree with.

use crate::annotation::Annotation;
use std::fs;
use std::path::PathBuf;

use skbcap_common::{Flags, Hook, RecordHeader};
use zerocopy::FromZeros;

use super::*;
use crate::config::Output;
use crate::diff;
use crate::output::capture_file::UNKNOWN;
use crate::output::senders::CHECKSUM_PARTIAL;
use crate::pcapng::LinkType;
use crate::pcapng::check;

/// A file of its own, removed at the end.
struct Scratch(PathBuf, LinkTypes);

impl Scratch {
    fn new(name: &str) -> Self {
        Self::of(name, LinkTypes::Mixed)
    }

    fn of(name: &str, link_types: LinkTypes) -> Self {
        let file = format!("skbcap-{name}-{}.pcapng", std::process::id());
        Self(std::env::temp_dir().join(file), link_types)
    }

    /// The file of another link type beside it.
    fn beside(&self, word: &str) -> PathBuf {
        self.0.with_extension(format!("{word}.pcapng"))
    }

    fn open(&self) -> Pcapng {
        let output = FileOutput::open(&Output::File(self.0.clone()));
        let origin = Origin {
            os: "Linux 6.12.0".into(),
            ..Origin::default()
        };
        Pcapng::new(output.unwrap().unwrap(), origin, 262_144, self.1).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        let _ = fs::remove_file(self.beside("raw"));
    }
}

const TIME: u64 = 1_700_000_000_000_000_000;

fn header(name: &str, dev_type: u16, dropped: u32) -> RecordHeader {
    let mut header = RecordHeader::new_zeroed();
    header.hook = Hook::Kprobe as u8;
    header.context = 1;
    (header.tgid, header.pid) = (2211, 2214);
    header.comm[..5].copy_from_slice(b"x pid");
    header.netns = 1;
    header.ifindex = u32::from(dev_type);
    header.ifname[..name.len()].copy_from_slice(name.as_bytes());
    (header.dev_type, header.dropped) = (dev_type, dropped);
    header
}

fn send(file: &mut Pcapng, header: &RecordHeader, wall_ns: u64) -> Outcome {
    let mut header = *header;
    let data = [0x45; 60];
    (header.len, header.captured_len) = (60, 60);
    let frame = Frame {
        header: &header,
        data: &data,
        current: None,
    };
    file.frame(&frame, wall_ns).unwrap()
}

/// In each section the losses of an interface are those that its frames tell, and those after the
/// last.
#[test]
fn losses_add_up_in_every_section() {
    let scratch = Scratch::new("losses");
    let mut file = scratch.open();
    send(&mut file, &header("eth0", 1, 3), TIME);
    send(&mut file, &header("eth0", 1, 5), TIME + 1);
    file.clock_was_set(-1_000_000).unwrap();
    send(&mut file, &header("eth0", 1, 9), TIME - 1_000_000);
    let drops = [InterfaceDrops {
        netns: 1,
        ifindex: 1,
        dropped: 16,
    }];
    file.finish(&drops, &Stats::default(), TIME).unwrap();
    let report = check::check(&fs::read(&scratch.0).unwrap());
    assert_eq!(report.faults, []);
    assert_eq!(report.sections, 2);
    let losses: Vec<_> = report
        .interfaces
        .iter()
        .map(|interface| {
            (
                interface.packets,
                interface.dropped_between,
                interface.dropped,
            )
        })
        .collect();
    assert_eq!(losses, [(2, 5, Some(5)), (1, 4, Some(11))]);
}

/// Losses that no frame behind them tells of: of an interface that had frames in an earlier section
/// only, of one without any frame, of one whose frames can't be written, and of nobody knows which.
#[test]
fn every_loss_is_in_some_statistics() {
    let scratch = Scratch::new("every-loss");
    let mut file = scratch.open();
    send(&mut file, &header("eth0", 1, 1), TIME);
    send(&mut file, &header("lo", 772, 0), TIME + 1);
    send(&mut file, &header("ppp0", 32, 2), TIME + 2);
    file.clock_was_set(1_000_000).unwrap();
    send(&mut file, &header("lo", 772, 0), TIME + 1_000_000);
    let drops = [(1, 4), (772, 0), (32, 3), (99, 7)].map(|(ifindex, dropped)| InterfaceDrops {
        netns: 1,
        ifindex,
        dropped,
    });
    let stats = Stats {
        seen: 3 + 1 + 20,
        captured: 4,
        dropped_ring_full: 14,
        dropped_busy: 5,
        dropped_no_ring: 1,
        written: 3,
        unsupported_link_type: 1,
        ..Stats::default()
    };
    file.finish(&drops, &stats, TIME).unwrap();
    assert_eq!(
        file.notices().len(),
        1,
        "losses give the file no second link type"
    );
    let bytes = fs::read(&scratch.0).unwrap();
    let report = check::check(&bytes);
    assert_eq!(report.faults, []);
    let told: Vec<_> = report
        .interfaces
        .iter()
        .map(|interface| {
            let Some((_, ifindex)) = interface.description.split_once("ifindex=") else {
                return (interface.section, UNKNOWN, 0, None);
            };
            (
                interface.section,
                ifindex,
                interface.packets,
                interface.dropped,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (0, "1", 1, Some(1)),
            (0, "772", 1, Some(0)),
            (1, "772", 1, Some(0)),
            (1, "1", 0, Some(3)),
            (1, "32", 0, Some(3)),
            (1, "99", 0, Some(7)),
            (1, UNKNOWN, 0, None),
        ]
    );
    let unknown = report.interfaces.last().unwrap();
    assert_eq!(unknown.dropped, Some(6), "five busy, one in no table");
}

/// libpcap refuses a file without an interface, and a file without an account may be half of one.
#[test]
fn a_capture_of_nothing_has_its_account() {
    let scratch = Scratch::new("nothing");
    let mut file = scratch.open();
    let stats = Stats {
        seen: 3,
        filtered: 3,
        ..Stats::default()
    };
    file.finish(&[], &stats, TIME).unwrap();
    let bytes = fs::read(&scratch.0).unwrap();
    let report = check::check(&bytes);
    assert_eq!((report.faults.len(), report.interfaces.len()), (0, 1));
    let account = Account::of(&stats).to_string();
    assert!(
        bytes
            .windows(account.len())
            .any(|bytes| bytes == account.as_bytes())
    );
}

#[test]
fn a_frame_says_who_and_how() {
    let scratch = Scratch::new("who");
    let mut file = scratch.open();
    let mut frame = header("eth0", 1, 0);
    frame.flags = Flags::CUT_BOUND.0;
    (frame.ip_summed, frame.gso_size) = (CHECKSUM_PARTIAL, 1448);
    send(&mut file, &frame, TIME);
    file.finish(&[], &Stats::default(), TIME).unwrap();
    let bytes = fs::read(&scratch.0).unwrap();
    assert_eq!(check::check(&bytes).faults, []);
    let capture = diff::Capture::read(&bytes).unwrap();
    let comment = capture.frames[0].comment.unwrap();
    assert_eq!(
        comment,
        r"comm=x\x20pid pid=2214 tgid=2211 ctx=task cut=bound"
    );
    assert_eq!(Annotation::parse(comment).unwrap().comm, b"x pid");
    // epb_flags: outbound, checksum not ready, segmentation offloaded.
    assert!(
        bytes
            .windows(8)
            .any(|bytes| bytes == [2, 0, 4, 0, 0x02, 0x0a, 0, 0])
    );
    // epb_processid_threadid.
    let ids = [8, 0, 8, 0, 0xa3, 8, 0, 0, 0xa6, 8, 0, 0];
    assert!(bytes.windows(12).any(|bytes| bytes == ids));
}

#[test]
fn devices_are_named_once() {
    let scratch = Scratch::new("devices");
    let mut file = scratch.open();
    for _ in 0..2 {
        assert_eq!(
            send(&mut file, &header("eth0", 1, 0), TIME),
            Outcome::Written
        );
        let ib0 = header("ib0", 32, 0);
        assert_eq!(send(&mut file, &ib0, TIME), Outcome::UnsupportedLinkType);
        assert_eq!(
            send(&mut file, &header("wg0", 0xfffe, 0), TIME),
            Outcome::Written
        );
    }
    let notices = file.notices();
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert!(notices[0].starts_with("frames of ib0 are not written"));
    assert!(notices[1].starts_with("wg0 has another link type"));
    file.finish(&[], &Stats::default(), TIME).unwrap();
    let bytes = fs::read(&scratch.0).unwrap();
    let report = check::check(&bytes);
    assert_eq!((report.faults.len(), report.interfaces.len()), (0, 2));
    let left_out =
        "not written: 2 frames of ib0 (netns=1 ifindex=32), whose device type 32 has no link type";
    let left_out = left_out.as_bytes();
    let places = bytes.windows(left_out.len());
    assert_eq!(places.filter(|place| *place == left_out).count(), 1);
}

/// Each file of a split capture is whole by itself: interfaces, sections, losses.
#[test]
fn a_split_capture_adds_up_file_by_file() {
    let scratch = Scratch::of("split", LinkTypes::Split);
    let mut file = scratch.open();
    send(&mut file, &header("eth0", 1, 2), TIME);
    assert!(!scratch.beside("raw").exists(), "before its first frame");
    send(&mut file, &header("wg0", 0xfffe, 3), TIME + 1);
    file.clock_was_set(1_000_000).unwrap();
    send(&mut file, &header("wg0", 0xfffe, 4), TIME + 1_000_001);
    send(&mut file, &header("ib0", 32, 0), TIME + 1_000_002);
    let drops = [(1, 2), (0xfffe, 9)].map(|(ifindex, dropped)| InterfaceDrops {
        netns: 1,
        ifindex,
        dropped,
    });
    file.finish(&drops, &Stats::default(), TIME + 1_000_003)
        .unwrap();
    let notices = file.notices();
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert!(notices[0].starts_with("wg0 is described behind another raw IP interface"));
    assert!(notices[1].starts_with("frames of ib0"));
    let shown = scratch.0.display().to_string();
    let raw = scratch.beside("raw");
    assert_eq!(
        file.summary(),
        [
            format!("1 in {shown}: ethernet"),
            format!("2 in {}: raw", raw.display())
        ]
    );
    for (path, link_type, losses) in [
        (
            &scratch.0,
            LinkType::ETHERNET,
            &[(1, 2, Some(2)), (0, 0, Some(0))][..],
        ),
        (&raw, LinkType::RAW, &[(1, 3, Some(3)), (1, 1, Some(6))][..]),
    ] {
        let bytes = fs::read(path).unwrap();
        let report = check::check(&bytes);
        assert_eq!((report.faults, report.sections), (vec![], 2));
        let found: Vec<_> = report
            .interfaces
            .iter()
            .map(|one| (one.packets, one.dropped_between, one.dropped))
            .collect();
        assert_eq!(found, losses);
        let capture = diff::Capture::read(&bytes).unwrap();
        let types: Vec<_> = capture.interfaces.iter().map(|one| one.link_type).collect();
        assert_eq!(types, vec![link_type; losses.len()]);
    }
}

/// libpcap takes two of them for two link types; of Ethernet it takes any number.
#[test]
fn a_second_raw_interface_is_told_of() {
    let scratch = Scratch::new("raw-twice");
    let mut file = scratch.open();
    let mut notices = |ifindex: u32, dev_type: u16| {
        let mut header = header("any0", dev_type, 0);
        header.ifindex = ifindex;
        send(&mut file, &header, TIME);
        file.notices()
    };
    assert!(notices(1, 0xfffe).is_empty() && notices(1, 0xfffe).is_empty());
    let told = notices(2, 0xfffe);
    assert!(told[0].starts_with("any0 is described behind another raw IP interface"));
    assert!(notices(3, 1).is_empty(), "one warning is enough");
    let scratch = Scratch::new("ethernet-twice");
    let mut file = scratch.open();
    for ifindex in [1, 2] {
        let mut header = header("eth0", 1, 0);
        header.ifindex = ifindex;
        send(&mut file, &header, TIME);
    }
    assert!(file.notices().is_empty());
}

/// A device that becomes one of another type goes on in another file, and no loss is counted twice.
#[test]
fn a_device_may_change_its_type() {
    let scratch = Scratch::of("type-change", LinkTypes::Split);
    let mut file = scratch.open();
    let mut device = header("tap0", 1, 5);
    send(&mut file, &device, TIME);
    (device.dev_type, device.dropped) = (0xfffe, 7);
    send(&mut file, &device, TIME + 1);
    let drops = [InterfaceDrops {
        netns: 1,
        ifindex: 1,
        dropped: 8,
    }];
    file.finish(&drops, &Stats::default(), TIME + 2).unwrap();
    for (path, dropped) in [(&scratch.0, 5), (&scratch.beside("raw"), 3)] {
        let report = check::check(&fs::read(path).unwrap());
        assert_eq!(report.faults, []);
        assert_eq!(report.interfaces[0].dropped, Some(dropped));
    }
}

/// The error names the file, and what could be written elsewhere is whole.
#[test]
fn a_file_that_can_not_be_written_leaves_the_others_whole() {
    let scratch = Scratch::of("split-full", LinkTypes::Split);
    std::os::unix::fs::symlink("/dev/full", scratch.beside("raw")).unwrap();
    let mut file = scratch.open();
    send(&mut file, &header("eth0", 1, 0), TIME);
    send(&mut file, &header("wg0", 0xfffe, 0), TIME);
    let error = file.flush().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    let raw = scratch.beside("raw");
    let named = format!("cannot write to {}: ", raw.display());
    assert!(error.to_string().starts_with(&named), "{error}");
    file.finish(&[], &Stats::default(), TIME).unwrap();
    assert_eq!(file.lost(), 1);
    assert!(file.summary()[1].starts_with("0 in "));
    let report = check::check(&fs::read(&scratch.0).unwrap());
    assert_eq!((report.faults.len(), report.interfaces.len()), (0, 1));
    assert_eq!(report.interfaces[0].packets, 1);
}

#[test]
fn sll2_is_one_link_type_for_all() {
    let scratch = Scratch::of("sll2", LinkTypes::Sll2);
    let mut file = scratch.open();
    for (name, dev_type) in [("eth0", 1), ("wg0", 0xfffe), ("ib0", 32)] {
        send(&mut file, &header(name, dev_type, 0), TIME);
    }
    assert!(file.notices().is_empty());
    file.finish(&[], &Stats::default(), TIME).unwrap();
    let bytes = fs::read(&scratch.0).unwrap();
    assert_eq!(check::check(&bytes).faults, []);
    let capture = diff::Capture::read(&bytes).unwrap();
    let types: Vec<_> = capture.interfaces.iter().map(|one| one.link_type).collect();
    assert_eq!(types, [LinkType::LINUX_SLL2; 3]);
    let lens: Vec<_> = capture.frames.iter().map(|frame| frame.len).collect();
    assert_eq!(lens, [66, 80, 80]);
}
