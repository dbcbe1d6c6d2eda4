//! Two captures that differ in a known way.

use proptest::prelude::*;

use super::*;
use crate::diff::Interface;
use crate::pcapng::LinkType;

fn interface(name: Option<&str>, snaplen: u32) -> Interface {
    Interface {
        name: name.map(Into::into),
        link_type: LinkType::ETHERNET,
        snaplen,
    }
}

/// A capture of whole frames, a microsecond apart.
fn capture<'a>(frames: &[&'a [u8]], snaplen: u32) -> Capture<'a> {
    let frames = frames.iter().enumerate().map(|(index, data)| Frame {
        number: index as u64 + 1,
        time_ns: 1_700_000_000_000_000_000 + index as u64 * 1000,
        interface: 0,
        len: data.len() as u32,
        data: &data[..data.len().min(snaplen as usize)],
        comment: None,
    });
    let frames = frames.collect();
    Capture {
        frames,
        interfaces: vec![interface(Some("eth0"), snaplen)],
        trouble: None,
    }
}

#[test]
fn frames_are_counted() {
    let ours = capture(&[b"a", b"b", b"a", b"c"], 96);
    let theirs = capture(&[b"b", b"a", b"d", b"d"], 96);
    let report = compare(&ours, &theirs, &Options::default());
    let numbers = |frames: &[&Frame<'_>]| frames.iter().map(|f| f.number).collect::<Vec<_>>();
    let pairs: Vec<_> = report
        .matched
        .iter()
        .map(|(o, t)| (o.number, t.number))
        .collect();
    assert_eq!(pairs, [(1, 2), (2, 1)]);
    assert_eq!(numbers(&report.only_ours), [3, 4]);
    assert_eq!(numbers(&report.only_theirs), [3, 4]);
    assert_eq!(report.reordered, 1);
    assert_eq!(
        report.skew,
        Some(Skew {
            median_ns: -1000,
            largest_ns: 1000
        })
    );
    assert!(!report.is_equal());
}

#[test]
fn the_smaller_snaplen_decides() {
    let frame: &[u8] = &[7; 100];
    let other: &[u8] = &[[7; 96].as_slice(), &[8; 4]].concat();
    let (ours, theirs) = (capture(&[frame], 96), capture(&[other], 262_144));
    assert!(compare(&ours, &theirs, &Options::default()).is_equal());
    assert!(compare(&theirs, &ours, &Options::default()).is_equal());
    let longer = capture(&[&[7; 101]], 96);
    assert!(
        !compare(&ours, &longer, &Options::default()).is_equal(),
        "the true length counts"
    );
}

#[test]
fn interfaces_are_chosen_by_name() {
    let mut ours = capture(&[b"a", b"b"], 96);
    ours.interfaces.push(interface(Some("lo"), 96));
    ours.frames[1].interface = 1;
    let mut theirs = capture(&[b"a"], 96);
    theirs.interfaces = vec![interface(None, 96)];
    let options = |name: &str| Options {
        interfaces: vec![name.into()],
    };
    assert!(compare(&ours, &theirs, &options("eth0")).is_equal());
    assert_eq!(compare(&ours, &theirs, &options("lo")).only_theirs.len(), 1);
}

#[test]
fn a_report_names_the_first_frames() {
    let long = [0x5a; 130];
    let mut ours = capture(&[b"both", &long, b"x", b"y"], 262_144);
    ours.frames[1].comment = Some("comm=curl pid=1 tgid=1 ctx=task\x1b");
    let theirs = capture(&[b"both"], 262_144);
    let report = compare(&ours, &theirs, &Options::default());
    let text = report.display(2).to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "1 matched, 3 only in ours, 0 only in theirs; ours later by 0 ns (median), at most 0 ns"
    );
    assert_eq!(
        lines[1],
        r"only in ours: frame 2 at 1700000000.000001000 on eth0, 130 bytes (comm=curl pid=1 tgid=1 ctx=task\u{1b})"
    );
    assert_eq!(lines[2], format!("    0000 {}", " 5a".repeat(16)));
    assert_eq!(lines[9], format!("    0070 {}", " 5a".repeat(16)));
    assert_eq!(lines[10], "    2 more bytes");
    assert_eq!(
        lines[11],
        "only in ours: frame 3 at 1700000000.000002000 on eth0, 1 bytes"
    );
    assert_eq!(lines[12..], ["    0000  78", "only in ours: 1 more"]);
    assert!(report.to_string().contains("frame 4"));
}

#[test]
fn empty_captures_are_equal() {
    let empty = Capture::default();
    let report = compare(&empty, &empty, &Options::default());
    assert!(report.is_equal() && report.skew.is_none());
}

proptest! {
    /// Frames added, lost and put in another order are told exactly.
    #[test]
    fn a_known_difference_is_found(
        common in proptest::collection::vec(proptest::collection::vec(0u8..3, 0..3), 0..40),
        ours in proptest::collection::vec(proptest::collection::vec(10u8..13, 1..3), 0..5),
        theirs in proptest::collection::vec(proptest::collection::vec(20u8..23, 1..3), 0..5),
        seed: u64,
    ) {
        let mut one: Vec<&[u8]> = common.iter().chain(&ours).map(Vec::as_slice).collect();
        let mut other: Vec<&[u8]> = common.iter().chain(&theirs).map(Vec::as_slice).collect();
        let mut random = seed;
        for frames in [&mut one, &mut other] {
            for at in (1..frames.len()).rev() {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                frames.swap(at, (random >> 33) as usize % (at + 1));
            }
        }
        let (one, other) = (capture(&one, 96), capture(&other, 96));
        let report = compare(&one, &other, &Options::default());
        prop_assert_eq!(report.matched.len(), common.len());
        prop_assert_eq!(report.only_ours.len(), ours.len());
        prop_assert_eq!(report.only_theirs.len(), theirs.len());
        for (a, b) in &report.matched {
            prop_assert_eq!((a.len, a.data), (b.len, b.data));
        }
        let back = compare(&other, &one, &Options::default());
        prop_assert_eq!(back.matched.len(), common.len());
        prop_assert_eq!(back.skew.is_some(), report.skew.is_some());
    }
}
