//! Each named difference, alone; and captures that were changed at random.

mod mutated;
mod segments;

use etherparse::PacketBuilder;

use super::*;
use crate::diff::{Interface, Options, compare, text};
use crate::pcapng::LinkType;

const HOST: [u8; 4] = [10, 0, 0, 1];
const PEER: [u8; 4] = [10, 0, 0, 2];

fn udp(number: u16, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4(HOST, PEER, 64)
        .udp(5000, 53);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame[18..20].copy_from_slice(&number.to_be_bytes());
    ip_checksum(&mut frame);
    frame
}

fn tcp(sequence: u32, id: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4(HOST, PEER, 64)
        .tcp(5000, 80, sequence, 1000);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame[18..20].copy_from_slice(&id.to_be_bytes());
    frame[47] = flags;
    ip_checksum(&mut frame);
    frame
}

fn ip_checksum(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let words = frame[14..34].chunks(2);
    let mut sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
        .sum();
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// As with `CHECKSUM_PARTIAL`.
fn unfinished(mut udp: Vec<u8>) -> Vec<u8> {
    let len = udp.len() as u32 - 34;
    let words = udp[26..34].chunks(2);
    let sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
        .sum();
    let sum = sum + 17 + len;
    let sum = (sum >> 16) + (sum & 0xffff);
    udp[40..42].copy_from_slice(&(sum as u16).to_be_bytes());
    udp
}

fn tagged(frame: &[u8], vid: u8) -> Vec<u8> {
    [&frame[..12], &[0x81, 0, 0, vid], &frame[12..]].concat()
}

fn cooked(frame: &[u8]) -> Vec<u8> {
    [&[0, 4, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0], &frame[12..]].concat()
}

fn capture_of<'a>(frames: &'a [Vec<u8>], link_type: LinkType, snaplen: u32) -> Capture<'a> {
    let frame = |(index, data): (usize, &'a Vec<u8>)| Frame {
        number: index as u64 + 1,
        time_ns: 1_000_000_000 * (index as u64 + 1),
        interface: 0,
        len: data.len() as u32,
        data: &data[..data.len().min(snaplen as usize)],
        comment: None,
    };
    Capture {
        frames: frames.iter().enumerate().map(frame).collect(),
        interfaces: vec![Interface {
            name: Some("eth0".into()),
            link_type,
            snaplen,
        }],
        trouble: None,
    }
}

fn capture(frames: &[Vec<u8>]) -> Capture<'_> {
    capture_of(frames, LinkType::ETHERNET, 262_144)
}

fn explained<'a>(ours: &'a Capture<'a>, theirs: &'a Capture<'a>) -> Explanation<'a> {
    explain(compare(ours, theirs, &Options::default()), &[], None)
}

/// The only pair's differences and fields, both ways round.
#[track_caller]
fn assert_pair(
    ours: &Capture<'_>,
    theirs: &Capture<'_>,
    differences: &[Difference],
    fields: &[&str],
) {
    for (ours, theirs) in [(ours, theirs), (theirs, ours)] {
        let explanation = explained(ours, theirs);
        assert_eq!(explanation.pairs.len(), 1, "{explanation:?}");
        assert!(explanation.only.iter().all(Vec::is_empty));
        let relation = &explanation.relation(&explanation.pairs[0]);
        assert_eq!(relation.differences, explanation.pairs[0].differences);
        let found: Vec<_> = relation.differences.iter().collect();
        assert_eq!(found, differences, "{relation:?}");
        let names: Vec<_> = relation
            .fields
            .iter()
            .map(|field| field.name.as_str())
            .collect();
        assert_eq!(names, fields);
        assert!(!explanation.is_equal());
        let report = compare(ours, theirs, &Options::default());
        let is_equal = explain(report, differences, None).is_equal();
        assert_eq!(is_equal, !differences.contains(&Difference::Bytes));
    }
}

#[test]
fn a_checksum_filled_in_later_has_a_name_and_a_wrong_one_has_not() {
    let right = [udp(1, b"hello")];
    let partial = [unfinished(right[0].clone())];
    let mut wrong = right.clone();
    wrong[0][41] ^= 1;
    let (right, partial, wrong) = (capture(&right), capture(&partial), capture(&wrong));
    assert_pair(&right, &partial, &[Difference::Checksum], &["udp.checksum"]);
    assert_pair(&right, &wrong, &[Difference::Bytes], &["udp.checksum"]);
    assert_pair(&partial, &wrong, &[Difference::Bytes], &["udp.checksum"]);
}

#[test]
fn a_right_checksum_is_finished_whatever_it_is() {
    // Rewritten on the way, where the right one was 0, or the sum of the pseudo-header.
    let zero = (0..=u16::MAX).map(|id| udp(id, b"hello"));
    let zero = [zero
        .into_iter()
        .find(|frame| frame[24..26] == [0; 2])
        .unwrap()];
    let mut rewritten = zero.clone();
    rewritten[0][22] = 7;
    ip_checksum(&mut rewritten[0]);
    assert_pair(
        &capture(&zero),
        &capture(&rewritten),
        &[Difference::Bytes],
        &["ipv4.ttl", "ipv4.checksum"],
    );

    let payloads = (0..=u16::MAX).map(|payload| udp(1, &payload.to_be_bytes()));
    let same = payloads
        .into_iter()
        .find(|frame| *frame == unfinished(frame.clone()));
    let same = [same.unwrap()];
    let other = [udp(1, b"!!")];
    assert_pair(
        &capture(&same),
        &capture(&other),
        &[Difference::Bytes],
        &["udp.checksum", "payload+0"],
    );
}

#[test]
fn a_tag_of_one_side_has_a_name_and_another_tag_has_not() {
    let plain = [udp(1, b"hello")];
    let (one, other) = ([tagged(&plain[0], 5)], [tagged(&plain[0], 6)]);
    let twice = [tagged(&one[0], 7)];
    let partial = [unfinished(plain[0].clone())];
    let (plain, one, other) = (capture(&plain), capture(&one), capture(&other));
    assert_pair(&plain, &one, &[Difference::Vlan], &[]);
    assert_pair(&one, &capture(&twice), &[Difference::Vlan], &[]);
    assert_pair(&one, &other, &[Difference::Bytes], &["vlan.vid"]);
    let both = [Difference::Checksum, Difference::Vlan];
    assert_pair(&one, &capture(&partial), &both, &["udp.checksum"]);
}

#[test]
fn a_cooked_header_is_equal_behind_it() {
    let ethernet = [udp(1, b"hello")];
    let (sll, raw) = ([cooked(&ethernet[0])], [ethernet[0][14..].to_vec()]);
    let sll2 = [[&[8, 0][..], &[0; 18], &raw[0]].concat()];
    let others = [
        capture_of(&sll, LinkType(113), 262_144),
        capture_of(&sll2, LinkType(276), 262_144),
        capture_of(&raw, LinkType::RAW, 262_144),
    ];
    let ethernet = capture(&ethernet);
    for other in &others {
        assert_pair(&ethernet, other, &[Difference::Cooked], &[]);
    }
    assert_pair(&others[0], &others[2], &[Difference::Cooked], &[]);
    let cut = [udp(1, &[7; 300])];
    let sll = [cooked(&cut[0])];
    let (cut, sll) = (
        capture_of(&cut, LinkType::ETHERNET, 96),
        capture_of(&sll, LinkType(113), 96),
    );
    assert_pair(&cut, &sll, &[Difference::Cooked], &[]);
}

/// As `--linktype sll2` writes it.
fn sll2(frame: &[u8]) -> Vec<u8> {
    let protocol = match u16::from_be_bytes([frame[12], frame[13]]) {
        0..0x600 => [0, 4],
        _ => [frame[12], frame[13]],
    };
    let header = [
        &protocol,
        &[0, 0, 0, 0, 0, 2, 0, 1, 4, 6][..],
        &frame[6..12],
    ];
    [&header.concat(), &[0, 0][..], &frame[14..]].concat()
}

/// SLL2 has a tag's type in its first bytes, and the rest of the tag behind the header.
#[test]
fn tags_are_found_behind_sll2_too() {
    let plain = udp(1, b"hello");
    let one = tagged(&plain, 5);
    let twice = tagged(&one, 7);
    let is_pair = |ours: &[u8], theirs: &[u8], differences: &[Difference], fields: &[&str]| {
        let (ours, theirs) = ([ours.to_vec()], [sll2(theirs)]);
        let theirs = capture_of(&theirs, LinkType::LINUX_SLL2, 262_144);
        assert_pair(&capture(&ours), &theirs, differences, fields);
    };
    for frame in [&plain, &one, &twice] {
        is_pair(frame, frame, &[Difference::Cooked], &[]);
    }
    is_pair(&one, &plain, &[Difference::Vlan, Difference::Cooked], &[]);
    is_pair(&one, &twice, &[Difference::Vlan, Difference::Cooked], &[]);
    let another = tagged(&plain, 6);
    let both = [Difference::Cooked, Difference::Bytes];
    is_pair(&one, &another, &both, &["vlan.vid"]);
    let capture_sll2 = |frames| capture_of(frames, LinkType::LINUX_SLL2, 262_144);
    let [plain, one, twice, another] = [plain, one, twice, another].map(|frame| [sll2(&frame)]);
    let [plain, one, twice, another] =
        [&plain, &one, &twice, &another].map(|frames| capture_sll2(&frames[..]));
    assert_pair(&plain, &one, &[Difference::Vlan], &[]);
    assert_pair(&one, &twice, &[Difference::Vlan], &[]);
    assert_pair(&one, &another, &[Difference::Bytes], &["vlan.vid"]);
}

#[test]
fn a_length_field_is_as_good_as_a_cooked_headers_protocol() {
    let bpdu = [[
        &[1, 0x80, 0xc2, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 38][..],
        &[0x42, 0x42, 3],
        &[0; 35],
    ]
    .concat()];
    let cooked = [sll2(&bpdu[0])];
    let cooked = capture_of(&cooked, LinkType::LINUX_SLL2, 262_144);
    assert_pair(&capture(&bpdu), &cooked, &[Difference::Cooked], &[]);
}

#[test]
fn a_cut_that_the_snaplen_explains_is_equal() {
    let frames = [udp(1, &[7; 200])];
    let (whole, cut) = (
        capture(&frames),
        capture_of(&frames, LinkType::ETHERNET, 96),
    );
    let explanation = explained(&whole, &cut);
    assert!(explanation.is_equal());
    assert_eq!((explanation.matched, explanation.snaplen), (1, 1));
    let mut short = capture(&frames);
    short.frames[0].data = &short.frames[0].data[..60];
    assert_pair(&whole, &short, &[Difference::Cut], &[]);
}

#[test]
fn order_counts_unless_ignored() {
    let frames = [udp(1, b"a"), udp(2, b"b"), udp(3, b"c")];
    let turned = [udp(2, b"b"), udp(1, b"a"), udp(3, b"c")];
    let (frames, turned) = (capture(&frames), capture(&turned));
    let explanation = explained(&frames, &turned);
    assert_eq!(
        (explanation.matched, explanation.count(Difference::Order)),
        (3, 1)
    );
    assert!(!explanation.is_equal());
    let report = compare(&frames, &turned, &Options::default());
    assert!(explain(report, &[Difference::Order], None).is_equal());
}

#[test]
fn frames_outside_the_common_time_are_excused() {
    let frames: Vec<_> = (1..=6).map(|number| udp(number, b"x")).collect();
    let ours = capture(&frames);
    let mut theirs = capture(&frames);
    theirs.frames.drain(..2);
    let window = |slack| {
        let report = compare(&ours, &theirs, &Options::default());
        explain(report, &[], Some(Duration::from_secs(slack)))
    };
    assert_eq!(explained(&ours, &theirs).only[0].len(), 2);
    assert!(window(0).is_equal());
    assert_eq!(window(0).outside, [2, 0]);
    let mut gap = theirs.clone();
    gap.frames.remove(1);
    let report = compare(&ours, &gap, &Options::default());
    let explanation = explain(report, &[], Some(Duration::ZERO));
    assert_eq!(
        (explanation.outside, explanation.only[0].len()),
        ([2, 0], 1)
    );
}
