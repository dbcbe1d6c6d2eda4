//! Super-frames against their segments.

use proptest::prelude::*;

use super::*;

pub(super) fn segments() -> (Vec<u8>, Vec<Vec<u8>>) {
    let payload: Vec<u8> = (0..250).collect();
    let parts = payload.chunks(100).enumerate();
    let part = |(number, part): (usize, &[u8])| {
        let flags = [0x90, 0x10, 0x19][number];
        tcp(7000 + 100 * number as u32, 40 + number as u16, flags, part)
    };
    (tcp(7000, 40, 0x99, &payload), parts.map(part).collect())
}

#[test]
fn a_super_frame_is_its_segments() {
    let (whole, parts) = segments();
    let whole = [udp(1, b"x"), whole];
    let parts = [parts, vec![udp(1, b"x")]].concat();
    let (ours, theirs) = (capture(&whole), capture(&parts));
    for (ours, theirs) in [(&ours, &theirs), (&theirs, &ours)] {
        let explanation = explained(ours, theirs);
        assert_eq!(
            explanation.count(Difference::Segmentation),
            1,
            "{explanation:?}"
        );
        assert_eq!(explanation.segmented[0].segments.len(), 3);
        assert!(explanation.pairs.is_empty() && !explanation.is_equal());
        let report = compare(ours, theirs, &Options::default());
        assert!(explain(report, &[Difference::Segmentation], None).is_equal());
    }
}

/// What is wrong with one segment is told of that one, and the others are still the super-frame's.
#[test]
fn a_wrong_segment_is_told_beside_the_others() {
    let (whole, parts) = segments();
    let whole = [whole];
    for (segment, at, bits, field) in [
        (1, 60, 1, "payload+106"),
        (0, 47, 8, "tcp.flags"),
        (2, 47, 1, "tcp.flags"),
        (1, 19, 0x40, "ipv4.id"),
        (1, 47, 0x80, "tcp.flags"),
        (2, 22, 1, "ipv4.ttl"),
        (2, 49, 1, "tcp.window"),
        (1, 3, 1, "eth.dst"),
    ] {
        let mut parts = parts.clone();
        parts[segment][at] ^= bits;
        let (ours, theirs) = (capture(&whole), capture(&parts));
        for (ours, theirs) in [(&ours, &theirs), (&theirs, &ours)] {
            let explanation = explained(ours, theirs);
            let [segmented] = &explanation.segmented[..] else {
                panic!("{explanation:?}");
            };
            assert_eq!((segmented.segments.len(), segmented.missing), (3, 0));
            let [pair] = &explanation.pairs[..] else {
                panic!("{explanation:?}");
            };
            let relation = explanation.relation(pair);
            let [found] = &relation.fields[..] else {
                panic!("{relation:?}");
            };
            // A byte of the payload is counted in our frame.
            let ours_is_part = field == "payload+106" && !segmented.is_ours;
            assert_eq!(found.name, if ours_is_part { "payload+6" } else { field });
            let part_at = usize::from(segmented.is_ours);
            let offset = found.offsets[part_at];
            assert!((offset..offset + found.len).contains(&at), "{found:?}");
            assert_eq!(pair.frames[part_at].number, segment as u64 + 1);
            assert_eq!(explanation.count(Difference::Bytes), 1);
            assert!(explanation.only.iter().all(Vec::is_empty));
            let report = compare(ours, theirs, &Options::default());
            assert!(!explain(report, &[Difference::Segmentation], None).is_equal());
        }
    }
}

#[test]
fn a_missing_segment_is_told() {
    let (whole, parts) = segments();
    let whole = [whole];
    for (segment, missing) in [(0, 100), (1, 100), (2, 50)] {
        let mut parts = parts.clone();
        parts.remove(segment);
        // Sent again, or seen twice: it is no part of the super-frame.
        parts.push(parts[0].clone());
        let (ours, theirs) = (capture(&whole), capture(&parts));
        let explanation = explained(&ours, &theirs);
        let [segmented] = &explanation.segmented[..] else {
            panic!("{explanation:?}");
        };
        assert_eq!((segmented.segments.len(), segmented.missing), (2, missing));
        assert!(explanation.pairs.is_empty());
        assert_eq!(explanation.only.each_ref().map(Vec::len), [0, 1]);
        assert_eq!(explanation.count(Difference::Bytes), 1);
        let mut text = Vec::new();
        text::write(&mut text, &explanation, 10, false).unwrap();
        let text = String::from_utf8(text).unwrap();
        let says = format!("theirs 2 frames from 1 on, {missing} bytes missing");
        assert!(text.contains(&says), "{text}");
        let report = compare(&ours, &theirs, &Options::default());
        assert!(!explain(report, &[Difference::Segmentation], None).is_equal());
    }
}

/// Sequence numbers turn over in the middle of it.
#[test]
fn a_wrong_segment_is_found_behind_the_turn() {
    let payload: Vec<u8> = (0..250).collect();
    let first = u32::MAX - 149;
    let parts = payload.chunks(100).enumerate();
    let part = |(number, part): (usize, &[u8])| {
        let flags = if number == 2 { 0x18 } else { 0x10 };
        let sequence = first.wrapping_add(100 * number as u32);
        tcp(sequence, 40 + number as u16, flags, part)
    };
    let mut parts: Vec<_> = parts.map(part).collect();
    parts[2][60] ^= 1;
    let whole = [tcp(first, 40, 0x18, &payload)];
    let (ours, theirs) = (capture(&whole), capture(&parts));
    let explanation = explained(&ours, &theirs);
    assert_eq!(explanation.segmented[0].segments.len(), 3);
    assert_eq!(explanation.pairs[0].frames[1].number, 3);
}

/// One frame that is like another in nothing but its place is no segment of it.
#[test]
fn without_a_right_segment_there_is_no_super_frame() {
    let (whole, parts) = segments();
    let whole = [whole];
    let mut parts = [parts[1].clone(), parts[2].clone()];
    parts[0][60] ^= 1;
    parts[1][60] ^= 1;
    let (ours, theirs) = (capture(&whole), capture(&parts));
    let explanation = explained(&ours, &theirs);
    assert!(explanation.segmented.is_empty() && !explanation.is_equal());
}

/// Of UDP, in so many datagrams of 100 bytes, the last one of 50; in IPv6 none has a number.
fn datagrams(count: u16, is_v6: bool) -> (Vec<u8>, Vec<Vec<u8>>) {
    let payload: Vec<u8> = (0..count * 100 - 50).map(|n| (n / 3) as u8).collect();
    let packet = |number: u16, payload: &[u8]| match is_v6 {
        true => udp6(payload),
        false => udp(9 + number, payload),
    };
    let parts = payload.chunks(100).enumerate();
    let part = |(number, part): (usize, &[u8])| packet(number as u16, part);
    (packet(0, &payload), parts.map(part).collect())
}

fn udp6(payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv6([1; 16], [2; 16], 64)
        .udp(5000, 53);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame
}

#[test]
fn udp_is_segmented_too() {
    for is_v6 in [false, true] {
        let (whole, parts) = datagrams(3, is_v6);
        let whole = [whole];
        let (ours, theirs) = (capture(&whole), capture(&parts));
        let explanation = explained(&ours, &theirs);
        assert_eq!(explanation.segmented[0].segments.len(), 3);
        assert!(explanation.pairs.is_empty());
    }
}

/// Nothing in a datagram says where it belongs, but its number in IPv4; its neighbours do.
#[test]
fn wrong_datagrams_of_a_super_frame_are_told_one_by_one() {
    for is_v6 in [false, true] {
        let headers_len = if is_v6 { 62 } else { 42 };
        for wrong in [&[0][..], &[1], &[3], &[0, 1], &[1, 2], &[2, 3], &[0, 3]] {
            let (whole, mut parts) = datagrams(4, is_v6);
            for &which in wrong {
                parts[which][headers_len + 7] ^= 1;
            }
            // Another one of that flow.
            parts.push(match is_v6 {
                true => udp6(b"another"),
                false => udp(99, b"another"),
            });
            let whole = [whole];
            let (ours, theirs) = (capture(&whole), capture(&parts));
            let explanation = explained(&ours, &theirs);
            let [segmented] = &explanation.segmented[..] else {
                panic!("{wrong:?} {explanation:?}");
            };
            assert_eq!((segmented.segments.len(), segmented.missing), (4, 0));
            let pairs = explanation.pairs.iter().map(|pair| {
                let [found] = &explanation.relation(pair).fields[..] else {
                    panic!("{wrong:?} {pair:?}");
                };
                assert_eq!(found.offsets[1], headers_len + 7);
                pair.frames[1].number as usize - 1
            });
            let mut pairs: Vec<_> = pairs.collect();
            pairs.sort_unstable();
            assert_eq!(pairs, wrong);
            assert_eq!(explanation.only.each_ref().map(Vec::len), [0, 1]);
        }
    }
}

/// UDP's own length is of the segment, and so is compared with nothing of the super-frame's.
#[test]
fn a_datagram_with_a_wrong_length_of_its_own_is_told() {
    for is_v6 in [false, true] {
        let at = if is_v6 { 59 } else { 39 };
        for which in 0..4 {
            let (whole, mut parts) = datagrams(4, is_v6);
            parts[which][at] ^= 1;
            let whole = [whole];
            let (ours, theirs) = (capture(&whole), capture(&parts));
            for (part_at, ours, theirs) in [(1, &ours, &theirs), (0, &theirs, &ours)] {
                let explanation = explained(ours, theirs);
                let [pair] = &explanation.pairs[..] else {
                    panic!("{which} {explanation:?}");
                };
                let [field] = &explanation.relation(pair).fields[..] else {
                    panic!("{which} {pair:?}");
                };
                assert_eq!((field.name.as_str(), field.len), ("udp.length", 2));
                assert_eq!(field.offsets[part_at], at - 1);
                assert_eq!(pair.frames[part_at].number, which as u64 + 1);
                assert_eq!(explanation.segmented[0].segments.len(), 4);
                let report = compare(ours, theirs, &Options::default());
                assert!(!explain(report, &[Difference::Segmentation], None).is_equal());
            }
        }
    }
}

#[test]
fn missing_datagrams_of_a_super_frame_are_told() {
    for is_v6 in [false, true] {
        for (gone, missing) in [(0, 100), (1, 100), (3, 50)] {
            let (whole, mut parts) = datagrams(4, is_v6);
            parts.remove(gone);
            let whole = [whole];
            let (ours, theirs) = (capture(&whole), capture(&parts));
            let explanation = explained(&ours, &theirs);
            let [segmented] = &explanation.segmented[..] else {
                panic!("{gone} {explanation:?}");
            };
            assert_eq!((segmented.segments.len(), segmented.missing), (3, missing));
            assert!(explanation.pairs.is_empty(), "{gone} {explanation:?}");
            assert!(explanation.only.iter().all(Vec::is_empty));
        }
    }
}

/// Behind the hop-by-hop header that says how long it is, with an IPv6 length of 0.
#[test]
fn a_big_tcp_frame_of_ipv6_is_its_segments() {
    let packet = |sequence, payload: &[u8]| {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv6([1; 16], [2; 16], 64)
            .tcp(5000, 80, sequence, 1000);
        let mut frame = Vec::new();
        builder.write(&mut frame, payload).unwrap();
        frame
    };
    let payload: Vec<u8> = (0..70_000u32).map(|n| (n / 7) as u8).collect();
    let mut whole = packet(u32::MAX - 999, &payload[..1000]);
    whole.extend(&payload[1000..]);
    whole[18..20].fill(0);
    whole[20] = 0;
    let jumbo = (payload.len() as u32 + 28).to_be_bytes();
    whole.splice(54..54, [&[6, 0, 0xc2, 4][..], &jumbo].concat());
    let parts = payload.chunks(1400).enumerate();
    let parts: Vec<_> = parts
        .map(|(at, part)| packet((1400 * at as u32).wrapping_add(u32::MAX - 999), part))
        .collect();
    let whole = [whole];
    let (ours, theirs) = (capture(&whole), capture(&parts));
    let explanation = explained(&ours, &theirs);
    assert_eq!(explanation.segmented.len(), 1, "{:?}", explanation.pairs);
    assert_eq!(explanation.segmented[0].segments.len(), 50);
    assert!(explanation.only.iter().all(Vec::is_empty));
}

proptest! {
    #[test]
    fn a_flipped_byte_of_a_segment_is_found_and_named(
        which: proptest::sample::Index, at: proptest::sample::Index, bits in 1u8.., ours_is_whole: bool,
    ) {
        let (whole, mut parts) = segments();
        let whole = [whole];
        let which = which.index(parts.len());
        // Behind both headers.
        let at = 54 + at.index(parts[which].len() - 54);
        parts[which][at] ^= bits;
        let (whole, parts) = (capture(&whole), capture(&parts));
        let explanation = match ours_is_whole {
            true => explained(&whole, &parts),
            false => explained(&parts, &whole),
        };
        prop_assert_eq!(explanation.pairs.len(), 1);
        let pair = &explanation.pairs[0];
        prop_assert_eq!(pair.differences.iter().collect::<Vec<_>>(), [Difference::Bytes]);
        prop_assert_eq!(pair.frames[usize::from(ours_is_whole)].number, which as u64 + 1);
        let fields = explanation.relation(pair).fields;
        prop_assert_eq!(fields.len(), 1);
        let mut offsets = [at, at + 100 * which];
        if ours_is_whole {
            offsets.reverse();
        }
        prop_assert_eq!(fields[0].offsets, offsets);
        prop_assert_eq!(explanation.segmented.len(), 1);
        prop_assert!(explanation.only.iter().all(Vec::is_empty));
    }
}
