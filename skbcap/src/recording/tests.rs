use super::*;
use crate::{order::Order, ring::Ring};
use proptest::prelude::*;
use zerocopy::FromZeros;

fn header() -> Header {
    let text = |text: &str| text.to_owned();
    Header {
        hook: Hook::Queue,
        snaplen: 2000,
        offset_ns: -5,
        origin: Origin {
            hardware: text("x86_64"),
            os: text("Linux 6.12"),
            application: text("skbcap"),
            comments: vec![text("one"), text("two")],
        },
    }
}

fn current(time_ns: u64) -> CurrentTask {
    CurrentTask {
        tgid: 1,
        pid: time_ns as u32,
        comm: [b'a'; 16],
    }
}

fn recording(frames: &[(u32, u64, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut recorder = Recorder::new(&mut bytes, &header()).unwrap();
    for (ring, time_ns, data) in frames {
        let mut record = RecordHeader::new_zeroed();
        record.version = skbcap_common::VERSION;
        record.hook = Hook::Queue as u8;
        record.time_ns = *time_ns;
        record.len = data.len() as u32;
        record.captured_len = data.len() as u32;
        // Of one ring, so that a recording has both.
        let current = current(*time_ns);
        let current = (*ring == 1).then_some(&current);
        record.flags = current.map_or(0, |_| Flags::CURRENT.0);
        recorder
            .record(
                *ring,
                &Frame {
                    header: &record,
                    data,
                    current,
                },
            )
            .unwrap();
    }
    let step = Step {
        at_monotonic_ns: 7,
        old_offset_ns: -5,
        new_offset_ns: 9,
    };
    recorder.clock(&step).unwrap();
    let stats = Stats {
        seen: 3,
        missed: Some(1),
        ..Stats::default()
    };
    let drops = [InterfaceDrops {
        netns: 1,
        ifindex: 2,
        dropped: 3,
    }];
    recorder.finish(&stats, &drops).unwrap();
    bytes
}

/// Each of the kernel side's counters comes back, and an older recording has fewer.
#[test]
fn counters_are_read_as_they_were_recorded() {
    let stats = Stats {
        seen: 1,
        filtered: 2,
        captured: 3,
        dropped_ring_full: 4,
        dropped_busy: 5,
        dropped_no_ring: 6,
        dropped_unreadable: 7,
        cut_short: 8,
        missed: Some(9),
        seen_by_net: 10,
        left_to_net: 11,
        doubtful: 12,
        deferred: 13,
        deferred_seen: 14,
        owners_missed: 15,
        not_selected: 16,
        other_sender: 17,
        socket_calls_missed: 18,
        forks_missed: 19,
        ..Stats::default()
    };
    let filled = |counters: Counters| {
        let mut stats = Stats::default();
        counters.fill(&mut stats);
        stats
    };
    let counters = Counters::of(&stats);
    let bytes = counters.as_bytes();
    assert_eq!(filled(Counters::read(bytes).unwrap()), stats);
    let older = Counters::read(&bytes[..15 * 8]).unwrap();
    assert_eq!(
        filled(older),
        Stats {
            owners_missed: 0,
            not_selected: 0,
            other_sender: 0,
            socket_calls_missed: 0,
            forks_missed: 0,
            ..stats
        }
    );
}

proptest! {
    #[test]
    fn what_was_recorded_is_read(
        lens in prop::collection::vec((0u32..3, 0usize..1500), 0..60)
    ) {
        let frames: Vec<_> = (10u64..)
            .zip(&lens)
            .map(|(time, &(ring, len))| (ring, time, vec![time as u8; len]))
            .collect();
        let recording = Recording::read(&recording(&frames)).unwrap();
        prop_assert_eq!(&recording.header, &header());
        prop_assert_eq!(recording.steps.len(), 1);
        prop_assert_eq!(recording.steps[0].old_offset_ns, -5);
        prop_assert_eq!(recording.drops[0].dropped, 3);
        let mut stats = Stats::default();
        recording.counters.fill(&mut stats);
        prop_assert_eq!((stats.seen, stats.missed), (3, Some(1)));
        let rings = recording.rings.iter().enumerate();
        let mut order =
            Order::new(rings.map(|(at, ring)| Ring::new(ring.as_memory(), at)).collect());
        order.finish().unwrap();
        let mut read = Vec::new();
        let frames_read = order
            .each(usize::MAX, |frame| {
                let current = frame.current.copied();
                read.push((frame.header.time_ns, frame.data.to_vec(), current));
            })
            .unwrap();
        prop_assert_eq!(frames_read, read.len());
        let expected: Vec<_> =
            frames.into_iter().map(|(ring, time, data)| (time, data, (ring == 1).then(|| current(time)))).collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn a_broken_recording_is_refused_and_never_panics(
        at in 0usize..600, value: u8, cut in 0usize..600,
    ) {
        let mut bytes = recording(&[(0, 1, vec![1; 60]), (1, 2, vec![2; 60])]);
        let len = bytes.len();
        bytes[at % len] = value;
        let _ = Recording::read(&bytes);
        let _ = Recording::read(&bytes[..cut % len]);
    }
}
