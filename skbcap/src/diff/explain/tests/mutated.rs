//! Captures that were changed at random: each change is found and named.

use proptest::prelude::*;

use super::*;

/// A frame that IP says to be shorter is another frame, and not the first segment of what it was.
#[test]
fn a_shorter_length_makes_no_segment() {
    let ours = frames(1);
    for shorter in 1..=15 {
        let mut theirs = ours.clone();
        theirs[0][17] -= shorter;
        let (ours, theirs) = (capture(&ours), capture(&theirs));
        for (ours, theirs) in [(&ours, &theirs), (&theirs, &ours)] {
            let explanation = explained(ours, theirs);
            let [pair] = &explanation.pairs[..] else {
                panic!("{shorter}: {explanation:?}");
            };
            let [field] = &explanation.relation(pair).fields[..] else {
                panic!("{shorter}: {explanation:?}");
            };
            assert_eq!((field.name.as_str(), field.offsets), ("ipv4.len", [17; 2]));
        }
    }
}

/// Where a field of the frames here lies.
fn field(offset: usize) -> &'static str {
    match offset {
        0..6 => "eth.dst",
        6..12 => "eth.src",
        12..14 => "eth.type",
        14 => "ipv4.",
        15 => "ipv4.",
        16..18 => "ipv4.len",
        18..20 => "ipv4.id",
        20..22 => "ipv4.f",
        22 => "ipv4.ttl",
        23 => "ipv4.protocol",
        24..26 => "ipv4.checksum",
        26..30 => "ipv4.src",
        30..34 => "ipv4.dst",
        34..36 => "udp.srcport",
        36..38 => "udp.dstport",
        38..40 => "udp.length",
        40..42 => "udp.checksum",
        _ => "payload+",
    }
}

fn frames(count: u16) -> Vec<Vec<u8>> {
    let frame = |number| udp(number, format!("frame {number} of some").as_bytes());
    (1..=count).map(frame).collect()
}

proptest! {
    #[test]
    fn a_flipped_byte_is_found_and_named(
        count in 1u16..30, which: proptest::sample::Index, at: proptest::sample::Index, bits in 1u8..,
    ) {
        let ours = frames(count);
        let mut theirs = ours.clone();
        let which = which.index(theirs.len());
        let at = at.index(theirs[which].len());
        theirs[which][at] ^= bits;
        let (ours, theirs) = (capture(&ours), capture(&theirs));
        let explanation = explained(&ours, &theirs);
        prop_assert_eq!(explanation.matched, usize::from(count) - 1);
        prop_assert_eq!(explanation.pairs.len(), 1);
        let pair = &explanation.pairs[0];
        prop_assert_eq!(pair.frames.map(|frame| frame.number), [which as u64 + 1; 2]);
        let fields = explanation.relation(pair).fields;
        prop_assert_eq!(fields.len(), 1);
        prop_assert_eq!(fields[0].len, 1);
        prop_assert_eq!(fields[0].offsets[0], at);
        prop_assert!(fields[0].name.starts_with(field(at)), "{} at {}", fields[0].name, at);
        // A checksum can become the unfinished one, or 0, by chance.
        if !fields[0].name.ends_with("checksum") {
            prop_assert_eq!(pair.differences.iter().collect::<Vec<_>>(), [Difference::Bytes]);
        }
        let mut out = Vec::new();
        text::write(&mut out, &explanation, 10, true).unwrap();
    }

    #[test]
    fn dropped_doubled_and_turned_frames_are_found(
        count in 4u16..30, dropped: proptest::sample::Index, doubled: proptest::sample::Index, turned: proptest::sample::Index,
    ) {
        let ours = frames(count);
        let dropped = dropped.index(ours.len());
        let mut theirs = ours.clone();
        theirs.remove(dropped);
        let mutated = capture(&theirs);
        let whole = capture(&ours);
        let explanation = explained(&whole, &mutated);
        prop_assert_eq!(explanation.only[0].len(), 1);
        prop_assert_eq!(explanation.only[0][0].number, dropped as u64 + 1);
        prop_assert!(explanation.only[1].is_empty() && explanation.pairs.is_empty());
        prop_assert_eq!(explanation.reordered, 0);

        let mut theirs = ours.clone();
        let doubled = doubled.index(ours.len());
        theirs.insert(doubled, ours[doubled].clone());
        let mutated = capture(&theirs);
        let explanation = explained(&whole, &mutated);
        prop_assert_eq!(explanation.only[1].len(), 1);
        prop_assert_eq!(explanation.only[1][0].number, doubled as u64 + 2);
        prop_assert!(explanation.only[0].is_empty() && explanation.pairs.is_empty());

        let mut theirs = ours.clone();
        let turned = turned.index(ours.len() - 1);
        theirs.swap(turned, turned + 1);
        let mutated = capture(&theirs);
        let explanation = explained(&whole, &mutated);
        prop_assert_eq!(explanation.matched, usize::from(count));
        prop_assert_eq!(explanation.count(Difference::Order), 1);
    }

    #[test]
    fn a_frame_cut_short_is_found(
        count in 1u16..20, which: proptest::sample::Index, at: proptest::sample::Index,
    ) {
        let frames = frames(count);
        let ours = capture(&frames);
        let mut theirs = capture(&frames);
        let which = which.index(theirs.frames.len());
        let frame = &mut theirs.frames[which];
        frame.data = &frame.data[..at.index(frame.data.len())];
        let explanation = explained(&ours, &theirs);
        prop_assert_eq!(explanation.pairs.len(), 1);
        prop_assert_eq!(explanation.pairs[0].differences.iter().collect::<Vec<_>>(), [Difference::Cut]);
        prop_assert_eq!(explanation.pairs[0].frames[1].number, which as u64 + 1);
    }

    /// Any bytes as any link type, in any number: nothing panics, and no frame is lost.
    #[test]
    fn any_frames_are_told(
        ours in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..90), 0..12),
        theirs in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..90), 0..12),
        mutations in proptest::collection::vec((0usize..12, any::<proptest::sample::Index>(), any::<u8>()), 0..20),
        types in (0usize..5, 0usize..5),
        snaplen in 1u32..100,
    ) {
        let (whole, parts) = segments::segments();
        let mut ours = [ours, frames(3), vec![whole, tagged(&frames(1)[0], 3)]].concat();
        let theirs = [theirs, frames(2), parts].concat();
        for (which, at, value) in mutations {
            let which = which % ours.len();
            if !ours[which].is_empty() {
                let at = at.index(ours[which].len());
                ours[which][at] = value;
            }
        }
        let types = [types.0, types.1].map(|at| LinkType([1, 113, 276, 101, 147][at]));
        let one = capture_of(&ours, types[0], snaplen);
        let other = capture_of(&theirs, types[1], 262_144);
        let explanation = explained(&one, &other);
        // A wrong segment's pair is of two frames that are told with the other segments.
        let pairs = explanation.pairs.iter().filter(|pair| pair.part.is_none());
        let mut found = [explanation.matched + pairs.count(); 2];
        for segmented in &explanation.segmented {
            let whole = usize::from(!segmented.is_ours);
            found[whole] += 1;
            found[1 - whole] += segmented.segments.len();
        }
        let lens = explanation.only.each_ref().map(Vec::len);
        prop_assert_eq!([found[0] + lens[0], found[1] + lens[1]], [ours.len(), theirs.len()]);
        let mut out = Vec::new();
        text::write(&mut out, &explanation, 100, true).unwrap();
        crate::diff::json::write(&mut out, &explanation, ["a".as_ref(), "b".as_ref()]).unwrap();
    }
}
