//! Real captures add up, and whatever is changed in their accounts is found and named.

use proptest::prelude::*;

use super::*;
use crate::pcapng::check::Fault;
use crate::pcapng::raw::{
    ENHANCED_PACKET, INTERFACE_DESCRIPTION, INTERFACE_STATISTICS, RawBlock, RawBlocks,
};

/// A ring that was full: most frames tell of losses before them.
const LOSSES: &[u8] = include_bytes!("../../../fixtures/golden/losses.pcapng");
/// Four sections.
const CLOCK: &[u8] = include_bytes!("../../../fixtures/golden/clock.pcapng");
const OTHERS: [&[u8]; 3] = [
    include_bytes!("../../../fixtures/golden/chronyd.pcapng"),
    include_bytes!("../../../fixtures/golden/stream.pcapng"),
    include_bytes!("../../../fixtures/golden/vlan.pcapng"),
];

fn verify(bytes: &[u8]) -> Verification {
    Verification::of(bytes).unwrap()
}

fn faults(bytes: &[u8]) -> Vec<Fault> {
    let verification = verify(bytes);
    assert_eq!(
        verification.verdict == Verdict::DoesNotAddUp,
        !verification.report.faults.is_empty()
    );
    verification.report.faults
}

fn has(faults: &[Fault], wanted: impl Fn(&FaultKind) -> bool) -> bool {
    faults.iter().any(|fault| wanted(&fault.what))
}

/// The blocks of a kind: where each lies.
fn blocks(bytes: &[u8], kind: u32) -> Vec<(std::ops::Range<usize>, RawBlock<'_>)> {
    RawBlocks::new(bytes)
        .map(Result::unwrap)
        .filter(|block| block.kind == kind)
        .map(|block| {
            let start = block.offset as usize;
            (start..start + block.body.len() + 12, block)
        })
        .collect()
}

/// With a word raised by `by`.
fn raised(bytes: &[u8], at: usize, by: u32) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let word = u32::from_le_bytes(*bytes[at..].first_chunk().unwrap());
    bytes[at..at + 4].copy_from_slice(&word.wrapping_add(by).to_le_bytes());
    bytes
}

/// Where an option's value lies in the file.
fn option_at(block: &RawBlock<'_>, options: usize, code: u16) -> Option<usize> {
    let mut found = block.options(options).map(Result::unwrap);
    let option = found.find(|option| option.code == code)?;
    Some(option.offset as usize + 4)
}

fn options_of_packet(block: &RawBlock<'_>) -> usize {
    let captured = block.order.u32(block.body, 12).unwrap() as usize;
    20 + captured.next_multiple_of(4)
}

#[test]
fn real_captures_add_up() {
    for bytes in [LOSSES, CLOCK].into_iter().chain(OTHERS) {
        let verification = verify(bytes);
        assert_eq!(verification.report.faults, []);
        assert_eq!(verification.unstated, []);
        assert_eq!(verification.verdict, Verdict::AddsUp);
    }
    let losses = verify(LOSSES);
    let rows = losses.rows();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].frames, rows[0].dropped), (179, Some(823)));
    assert_eq!(rows[0].dropped_between, 823);
    assert_eq!(verify(CLOCK).rows().len(), 1, "sections are added up");
}

#[test]
fn a_missing_frame_is_found() {
    for file in [LOSSES, CLOCK] {
        for (range, _) in blocks(file, ENHANCED_PACKET) {
            let faults = faults(&[&file[..range.start], &file[range.end..]].concat());
            assert!(has(&faults, |what| matches!(
                what,
                FaultKind::StatisticsCount { .. }
            )));
            assert!(has(&faults, |what| matches!(
                what,
                FaultKind::AccountCaptured { .. }
            )));
        }
    }
}

#[test]
fn a_changed_drop_count_is_found() {
    let mut changed = 0;
    for (range, block) in blocks(LOSSES, ENHANCED_PACKET) {
        let Some(at) = option_at(&block, options_of_packet(&block), 4) else {
            continue;
        };
        changed += 1;
        for by in [1, u32::MAX] {
            let faults = faults(&raised(LOSSES, at, by));
            assert!(
                has(&faults, |what| matches!(
                    what,
                    FaultKind::LossesBetween { between: 823, told } if *told != 823
                )),
                "byte {}",
                range.start
            );
        }
    }
    assert!(changed > 0);
}

#[test]
fn turned_frames_are_found() {
    for file in [LOSSES, CLOCK] {
        let blocks = blocks(file, ENHANCED_PACKET);
        let mut turned = 0;
        for pair in blocks.windows(2) {
            let [(first, a), (second, b)] = pair else {
                unreachable!()
            };
            let is_later = b.order.time(b.body, 4) > a.order.time(a.body, 4);
            if first.end != second.start || !is_later {
                continue;
            }
            turned += 1;
            let file = [
                &file[..first.start],
                &file[second.clone()],
                &file[first.clone()],
                &file[second.end..],
            ];
            assert!(has(&faults(&file.concat()), |what| matches!(
                what,
                FaultKind::TimeGoesBack(_)
            )));
        }
        assert!(turned > 2);
    }
}

/// Wherever a file is cut: at the block's beginning if in one, and never taken for a whole one.
#[test]
fn a_cut_file_is_named_as_such() {
    let starts: Vec<u64> = RawBlocks::new(CLOCK)
        .map(|block| block.unwrap().offset)
        .collect();
    for len in 4..CLOCK.len() {
        let verification = verify(&CLOCK[..len]);
        assert_eq!(verification.verdict, Verdict::DoesNotAddUp, "{len}");
        let start = *starts.iter().rfind(|&&start| start <= len as u64).unwrap();
        let cut = verification.cut();
        if start == len as u64 {
            assert_eq!(cut, None);
        } else {
            assert_eq!(cut.unwrap().0, start, "{len}");
        }
        let no_account = has(&verification.report.faults, |what| {
            *what == FaultKind::NoAccount
        });
        // Before the first section's header is whole, nobody knows whose file it is.
        assert!(no_account || len < starts[1] as usize);
    }
}

#[test]
fn every_length_counts() {
    for block in RawBlocks::new(CLOCK).map(Result::unwrap) {
        let start = block.offset as usize;
        let end = start + block.body.len() + 12;
        for at in [start + 4, end - 4] {
            for by in [1, 4, 4u32.wrapping_neg(), 1 << 20] {
                let faults = faults(&raised(CLOCK, at, by));
                let broken = |fault: &Fault| {
                    matches!(fault.what, FaultKind::Broken(_)) && fault.offset == start as u64
                };
                assert!(faults.iter().any(broken), "{at} {by}: {faults:?}");
            }
        }
        if block.kind == ENHANCED_PACKET {
            for at in [start + 20, start + 24] {
                for by in [1, u32::MAX] {
                    let faults = faults(&raised(CLOCK, at, by));
                    assert!(!faults.is_empty(), "{at} {by}");
                }
            }
        }
    }
}

/// Another interface, another count, another number of the account.
#[test]
fn every_number_of_the_account_counts() {
    for (range, _) in blocks(LOSSES, ENHANCED_PACKET) {
        assert!(!faults(&raised(LOSSES, range.start + 8, 1)).is_empty());
    }
    let (_, statistics) = &blocks(LOSSES, INTERFACE_STATISTICS)[0];
    for code in [4, 5, 8] {
        let at = option_at(statistics, 12, code).unwrap();
        assert!(!faults(&raised(LOSSES, at, 1)).is_empty(), "option {code}");
    }
    let text = |text: &str| {
        let bytes = text.as_bytes();
        let found = LOSSES.windows(bytes.len()).position(|here| here == bytes);
        found.unwrap() + bytes.len()
    };
    for key in [
        "dropped_between=",
        "dropped_after=",
        " captured=",
        "dropped_ring_full=",
        "dropped_busy=",
        "dropped_no_ring=",
        "dropped_unreadable=",
        "not_written=",
        "cut_short=",
        "seen=",
        "filtered=",
    ] {
        // The first digit.
        assert!(!faults(&raised(LOSSES, text(key), 1)).is_empty(), "{key}");
    }
    // The last block is gone; or the description of an interface, which makes its frames nobody's.
    let last = blocks(LOSSES, INTERFACE_STATISTICS)[0].0.start;
    assert_eq!(
        faults(&LOSSES[..last]),
        [Fault {
            offset: last as u64,
            what: FaultKind::NoAccount
        }]
    );
    let described = blocks(LOSSES, INTERFACE_DESCRIPTION)[0].0.clone();
    let faults = faults(&[&LOSSES[..described.start], &LOSSES[described.end..]].concat());
    assert!(has(&faults, |what| *what == FaultKind::UndefinedInterface(0)));
}

#[test]
fn what_stands_behind_an_account_is_another_capture_s() {
    let other = OTHERS[0];
    let verification = verify(&[other, CLOCK].concat());
    assert_eq!(verification.report.faults, []);
    assert_eq!(verification.report.accounts.len(), 2);
    let (range, _) = &blocks(other, ENHANCED_PACKET)[0];
    let more = [other, &other[range.clone()]].concat();
    assert!(has(&faults(&more), |what| *what == FaultKind::BehindAccount));
    // The first capture of two was killed.
    let last = blocks(other, INTERFACE_STATISTICS)[0].0.start;
    assert!(!faults(&[&other[..last], CLOCK].concat()).is_empty());
}

/// A frame that lost bytes says why, and one that says so has lost some.
#[test]
fn a_cut_frame_is_explained() {
    let (range, block) = &blocks(CLOCK, ENHANCED_PACKET)[0];
    let captured = block.order.u32(block.body, 12).unwrap();
    let longer = faults(&raised(CLOCK, range.start + 24, 1));
    assert_eq!(longer.len(), 1);
    assert_eq!(
        longer[0].what,
        FaultKind::CutUnexplained {
            captured,
            len: captured + 1
        }
    );
    let comment = option_at(block, options_of_packet(block), 1).unwrap();
    let mut whole = CLOCK.to_vec();
    whole[comment] = b'C';
    let what = faults(&whole)[0].what;
    assert_eq!(what, FaultKind::Comment { key: "comm" });
}

/// The same files as another program's: what must hold in anybody's, and what they don't say.
#[test]
fn other_programs_files_are_checked_as_far_as_it_goes() {
    let foreign = |file: &[u8]| {
        let mut bytes = file.to_vec();
        let wanted = b"skbcap 0";
        while let Some(at) = bytes.windows(8).position(|here| here == wanted) {
            bytes[at..at + 8].copy_from_slice(b"sniffer ");
        }
        bytes
    };
    let file = foreign(LOSSES);
    let verification = verify(&file);
    assert_eq!(verification.verdict, Verdict::AddsUp);
    assert_eq!(verification.unstated, [Unstated::Account]);
    let (range, _) = &blocks(&file, ENHANCED_PACKET)[7];
    let missing = faults(&[&file[..range.start], &file[range.end..]].concat());
    assert!(matches!(
        missing[..],
        [Fault {
            what: FaultKind::StatisticsCount {
                counted: 179,
                packets: 178
            },
            ..
        }]
    ));
    // Cut at a block's border it only says too little; within a block, it is cut.
    let last = blocks(&file, INTERFACE_STATISTICS)[0].0.start;
    let cut = verify(&file[..last]);
    assert_eq!(cut.verdict, Verdict::CannotTell);
    assert_eq!(cut.unstated.len(), 3);
    assert_eq!(verify(&file[..last - 1]).verdict, Verdict::DoesNotAddUp);
    assert!(verify(&file[..last - 1]).cut().is_some());
}

proptest! {
    #[test]
    fn damaged_files_never_panic(
        hits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        cut: proptest::sample::Index,
        is_ours: bool,
    ) {
        let mut bytes = LOSSES[LOSSES.len() - 1200..].to_vec();
        bytes.splice(..0, CLOCK.iter().copied());
        for (index, value) in hits {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len() * 4).min(bytes.len()));
        if !is_ours && let Some(at) = bytes.windows(6).position(|here| here == b"skbcap") {
            bytes[at] = b'x';
        }
        if let Ok(verification) = Verification::of(&bytes) {
            let mut out = Vec::new();
            text::write(&mut out, "a".as_ref(), &verification).unwrap();
            json::write(&mut out, 0, "a".as_ref(), &verification).unwrap();
        }
    }
}

#[test]
fn what_is_no_pcapng_is_refused() {
    for bytes in [&b""[..], b"\x0a\x0d", b"text", &[0xd4, 0xc3, 0xb2, 0xa1]] {
        assert_eq!(Verification::of(bytes), Err(NotPcapng(bytes.to_vec())));
    }
}
