//! What became of the frames that do not match: those that differ in a way that has a name, those
//! that differ otherwise, and those that have nothing like them on the other side.

mod keys;

use std::ops::Range;
use std::time::Duration;

use super::checksum::Side;
use super::compare::{self, Report, Skew};
use super::layers::Layers;
use super::relation::{self, Difference, Differences, Relation};
use super::segments::{self, damaged, damaged::Part};
use super::table::{Digester, Table};
use super::{Capture, Frame};
use keys::Key;

/// Two frames that belong together and differ.
#[derive(Clone, Debug)]
pub struct Pair<'a> {
    /// Ours, theirs.
    pub frames: [&'a Frame<'a>; 2],
    /// How they differ. Which bytes, [`Explanation::relation`] finds out again: there may be
    /// millions of pairs.
    pub differences: Differences,
    /// Of a segment and its super-frame: which side has that, and what is the segment's part of it.
    part: Option<(usize, Part)>,
}

/// A super-frame and its segments.
#[derive(Clone, Debug)]
pub struct Segmented<'a> {
    /// Whether the super-frame is ours, and the segments theirs.
    pub is_ours: bool,
    /// The super-frame.
    pub whole: &'a Frame<'a>,
    /// Its segments, in order. One that isn't as it should be is in a pair, too.
    pub segments: Vec<&'a Frame<'a>>,
    /// Bytes of its payload that are in no segment.
    pub missing: usize,
}

/// A comparison with every difference named.
#[derive(Clone, Debug)]
pub struct Explanation<'a> {
    /// Ours, theirs.
    pub captures: [&'a Capture<'a>; 2],
    /// Pairs of frames that are the same.
    pub matched: usize,
    /// Those of them of which one side kept fewer bytes, as its snapshot length says.
    pub snaplen: usize,
    /// Frames that belong together and differ, in our order.
    pub pairs: Vec<Pair<'a>>,
    /// Super-frames with their segments.
    pub segmented: Vec<Segmented<'a>>,
    /// Frames of one side only: ours, theirs.
    pub only: [Vec<&'a Frame<'a>>; 2],
    /// Frames of one side only that are excused, as they lie outside of the common time.
    pub outside: [usize; 2],
    /// Frames that stand before one that stands before them in the other.
    pub reordered: usize,
    /// How far apart the times are.
    pub skew: Option<Skew>,
    /// Differences that count as none.
    pub ignored: Vec<Difference>,
}

impl<'a> Explanation<'a> {
    /// How often a difference was found.
    #[must_use]
    pub fn count(&self, difference: Difference) -> usize {
        match difference {
            Difference::Segmentation => self.segmented.len(),
            Difference::Order => self.reordered,
            _ => {
                let has = |pair: &&Pair<'_>| pair.differences.contains(difference);
                let pairs = self.pairs.iter().filter(has).count();
                match difference {
                    Difference::Bytes => pairs + self.incomplete().count(),
                    _ => pairs,
                }
            }
        }
    }

    /// The super-frames of which segments are missing.
    pub fn incomplete(&self) -> impl Iterator<Item = &Segmented<'a>> {
        let is_incomplete = |segmented: &&Segmented<'_>| segmented.missing > 0;
        self.segmented.iter().filter(is_incomplete)
    }

    /// Whether a difference counts.
    #[must_use]
    pub fn counts(&self, difference: Difference) -> bool {
        difference == Difference::Bytes || !self.ignored.contains(&difference)
    }

    /// The pairs that count as different.
    pub fn different(&self) -> impl Iterator<Item = &Pair<'a>> {
        let counts = |pair: &&Pair<'_>| pair.differences.iter().any(|d| self.counts(d));
        self.pairs.iter().filter(counts)
    }

    /// How a pair differs, and where.
    #[must_use]
    pub fn relation(&self, pair: &Pair<'_>) -> Relation {
        let link_type = |side: usize| self.captures[side].interface(pair.frames[side]).link_type;
        let layers = [0, 1].map(|side| Layers::of(pair.frames[side], link_type(side)));
        let side = |side: usize| Side {
            frame: pair.frames[side],
            layers: &layers[side],
        };
        match pair.part {
            Some((whole, part)) => damaged::relate([side(0), side(1)], whole, part),
            None => relation::relate(side(0), side(1), common_snaplen(self.captures)),
        }
    }

    /// Whether nothing is left that counts.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.only.iter().all(Vec::is_empty)
            && Difference::ALL
                .into_iter()
                .all(|difference| !self.counts(difference) || self.count(difference) == 0)
    }
}

/// Names what [`compare()`](super::compare()) found.
///
/// With a `window`, frames of one side only are excused where they lie outside of the time that
/// both captures share, or no farther than this within its ends.
#[must_use]
pub fn explain<'a>(
    report: Report<'a>,
    ignored: &[Difference],
    window: Option<Duration>,
) -> Explanation<'a> {
    let captures = report.captures;
    let span = window.map(|slack| common_time(&report, slack));
    let kept = |frame: &Frame<'_>| frame.data.len();
    let snaplen = report
        .matched
        .iter()
        .filter(|(ours, theirs)| kept(ours) != kept(theirs))
        .count();
    let mut search = Search {
        left: [
            Left::new(report.only_ours, captures[0]),
            Left::new(report.only_theirs, captures[1]),
        ],
        cut: common_snaplen(captures),
        digester: Digester::default(),
        pairs: Vec::new(),
    };
    search.named();
    let mut segmented = search.segmented();
    let mut outside = [0; 2];
    if let Some(span) = span {
        outside = search.left.each_mut().map(|left| left.excuse(&span));
    }
    segmented.extend(search.damaged());
    search.alike();

    let Search {
        left, mut pairs, ..
    } = search;
    pairs.sort_by_key(|pair| pair.frames[0].number);
    // Order and time of all that is known to be the same frame.
    let mut same = report.matched;
    let matched = same.len();
    let named = pairs.iter().filter(|pair| pair.differences.are_named());
    same.extend(named.map(|pair| (pair.frames[0], pair.frames[1])));
    if same.len() > matched {
        same.sort_by_key(|(ours, _)| ours.number);
    }
    Explanation {
        captures,
        matched,
        snaplen,
        pairs,
        segmented,
        only: left.map(Left::rest),
        outside,
        reordered: compare::reordered(&same),
        skew: compare::skew(&same),
        ignored: ignored.to_vec(),
    }
}

fn common_snaplen([ours, theirs]: [&Capture<'_>; 2]) -> usize {
    ours.snaplen().min(theirs.snaplen()) as usize
}

/// From the later of the first frames to the earlier of the last, less the slack at both ends.
fn common_time(report: &Report<'_>, slack: Duration) -> Range<u64> {
    let slack = u64::try_from(slack.as_nanos()).unwrap_or(u64::MAX);
    let ours = report
        .matched
        .iter()
        .map(|(ours, _)| *ours)
        .chain(report.only_ours.iter().copied());
    let theirs = report.matched.iter().map(|(_, theirs)| *theirs);
    let theirs = theirs.chain(report.only_theirs.iter().copied());
    let ends = |frames: &mut dyn Iterator<Item = &Frame<'_>>| {
        frames.fold((u64::MAX, 0), |(first, last), frame| {
            (frame.time_ns.min(first), frame.time_ns.max(last))
        })
    };
    let mut ours = ours;
    let mut theirs = theirs;
    let (ours, theirs) = (ends(&mut ours), ends(&mut theirs));
    let first = ours.0.max(theirs.0).saturating_add(slack);
    let last = ours.1.min(theirs.1).saturating_sub(slack);
    first..last.saturating_add(1)
}

/// Frames of one side that have not found their like yet.
struct Left<'a> {
    frames: Vec<(&'a Frame<'a>, Layers)>,
    is_paired: Vec<bool>,
}

impl<'a> Left<'a> {
    fn new(frames: Vec<&'a Frame<'a>>, capture: &Capture<'_>) -> Self {
        let with_layers = |frame| (frame, Layers::of(frame, capture.interface(frame).link_type));
        Self {
            is_paired: vec![false; frames.len()],
            frames: frames.into_iter().map(with_layers).collect(),
        }
    }

    fn side(&self, index: usize) -> Side<'_> {
        let (frame, layers) = &self.frames[index];
        Side { frame, layers }
    }

    /// Whether any has fewer bytes than at most `cut` explains.
    fn has_short(&self, cut: usize) -> bool {
        self.indices()
            .iter()
            .any(|&index| self.side(index).is_short(cut))
    }

    fn indices(&self) -> Vec<usize> {
        (0..self.frames.len())
            .filter(|&index| !self.is_paired[index])
            .collect()
    }

    /// Passes over what lies outside of `span`; how many frames that are.
    fn excuse(&mut self, span: &Range<u64>) -> usize {
        let mut excused = 0;
        for index in self.indices() {
            if !span.contains(&self.frames[index].0.time_ns) {
                self.is_paired[index] = true;
                excused += 1;
            }
        }
        excused
    }

    fn rest(self) -> Vec<&'a Frame<'a>> {
        let frames = self.frames.into_iter().zip(self.is_paired);
        frames
            .filter(|(_, is_paired)| !is_paired)
            .map(|((frame, _), _)| frame)
            .collect()
    }
}

struct Search<'a> {
    /// Ours, theirs.
    left: [Left<'a>; 2],
    cut: usize,
    digester: Digester,
    pairs: Vec<Pair<'a>>,
}

impl<'a> Search<'a> {
    /// Pairs that differ in named ways only: first those that share most.
    fn named(&mut self) {
        for key in [
            keys::behind_checksums as Key,
            keys::behind_tags,
            keys::behind_link,
        ] {
            self.pass(key, true);
        }
        // A table of lengths leads to many, so only where a frame was cut shorter than it should be.
        if self.left.iter().any(|left| left.has_short(self.cut)) {
            self.pass(keys::same_len, true);
        }
    }

    /// Pairs that differ otherwise.
    fn alike(&mut self) {
        let keys = [
            keys::same_packet as Key,
            keys::same_identity,
            keys::same_sequence,
            keys::same_end,
            keys::same_start,
        ];
        for key in keys {
            self.pass(key, false);
        }
    }

    fn pass(&mut self, key: Key, only_named: bool) {
        let [ours, theirs] = &self.left;
        let digest = |side: Side<'_>| {
            let mut has_key = false;
            let digest = self
                .digester
                .digest(|hasher| has_key = key(side, self.cut, hasher));
            has_key.then_some(digest)
        };
        let candidates = theirs.indices();
        let candidates = candidates.into_iter();
        let mut table =
            Table::new(candidates.filter_map(|index| Some((digest(theirs.side(index))?, index))));
        let mut found = Vec::new();
        for one in ours.indices() {
            let side = ours.side(one);
            let mut differences = Differences::default();
            let other = digest(side).and_then(|digest| {
                table.take(digest, |index| {
                    differences = relation::relate(side, theirs.side(index), self.cut).differences;
                    !only_named || differences.are_named()
                })
            });
            if let Some(other) = other {
                found.push((one, other, differences));
            }
        }
        for (one, other, differences) in found {
            self.left[0].is_paired[one] = true;
            self.left[1].is_paired[other] = true;
            let frames = [self.left[0].frames[one].0, self.left[1].frames[other].0];
            self.pairs.push(Pair {
                frames,
                differences,
                part: None,
            });
        }
    }

    /// What is left of one side, with its places there.
    fn sides(&self, at: usize) -> (Vec<usize>, Vec<Side<'_>>) {
        let left = &self.left[at];
        let indices = left.indices();
        let sides = indices.iter().map(|&index| left.side(index)).collect();
        (indices, sides)
    }

    /// Takes out a super-frame of side `whole_at` and its segments.
    fn take(&mut self, whole_at: usize, whole: usize, segments: &[usize]) -> Segmented<'a> {
        let parts_at = 1 - whole_at;
        self.left[whole_at].is_paired[whole] = true;
        for &segment in segments {
            self.left[parts_at].is_paired[segment] = true;
        }
        let frame = |&at: &usize| self.left[parts_at].frames[at].0;
        Segmented {
            is_ours: whole_at == 0,
            whole: self.left[whole_at].frames[whole].0,
            segments: segments.iter().map(frame).collect(),
            missing: 0,
        }
    }

    /// Super-frames, on either side.
    fn segmented(&mut self) -> Vec<Segmented<'a>> {
        let mut all = Vec::new();
        for whole_at in [0, 1] {
            let (wholes, whole_sides) = self.sides(whole_at);
            let (parts, part_sides) = self.sides(1 - whole_at);
            let found = segments::find(&whole_sides, &part_sides);
            for (whole, segments) in found {
                let segments: Vec<_> = segments.iter().map(|&at| parts[at]).collect();
                all.push(self.take(whole_at, wholes[whole], &segments));
            }
        }
        all
    }

    /// Super-frames that have only some of their segments as they should be. The others make pairs.
    fn damaged(&mut self) -> Vec<Segmented<'a>> {
        let mut all = Vec::new();
        for whole_at in [0, 1] {
            let (wholes, whole_sides) = self.sides(whole_at);
            let (parts, part_sides) = self.sides(1 - whole_at);
            let found = damaged::find(&whole_sides, &part_sides);
            for one in found {
                let segments: Vec<_> = one.segments.iter().map(|&at| parts[at]).collect();
                let whole = wholes[one.whole];
                for (segment, part) in one.wrong {
                    self.pair_part(whole_at, whole, parts[segment], part);
                }
                let segmented = self.take(whole_at, whole, &segments);
                all.push(Segmented {
                    missing: one.missing,
                    ..segmented
                });
            }
        }
        all
    }

    /// A super-frame, and a segment that is not as it should be.
    fn pair_part(&mut self, whole_at: usize, whole: usize, segment: usize, part: Part) {
        let index = |side: usize| if side == whole_at { whole } else { segment };
        let sides = [0, 1].map(|side| self.left[side].side(index(side)));
        let differences = damaged::relate(sides, whole_at, part).differences;
        self.pairs.push(Pair {
            frames: [0, 1].map(|side| self.left[side].frames[index(side)].0),
            differences,
            part: Some((whole_at, part)),
        });
    }
}

#[cfg(test)]
mod tests;
