//! Which frames both captures have, and how far apart their times are.

use std::fmt;

use super::layers::Header;
use super::table::{Digester, Table};
use super::{Capture, Frame};

/// Bytes in a row of hex.
const ROW: usize = 16;
/// Rows shown of a frame.
const MAX_ROWS: usize = 8;

/// What is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Names of the interfaces whose frames are compared; empty for all. A frame whose file does
    /// not tell its interface's name is always compared.
    pub interfaces: Vec<String>,
}

/// What a comparison found. Displayed, it is a summary and the first few frames of each side.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// The captures, for what their frames point to.
    pub(super) captures: [&'a Capture<'a>; 2],
    /// Frames that both have: ours, theirs; in our order.
    pub matched: Vec<(&'a Frame<'a>, &'a Frame<'a>)>,
    /// Frames that only we have.
    pub only_ours: Vec<&'a Frame<'a>>,
    /// Frames that only they have.
    pub only_theirs: Vec<&'a Frame<'a>>,
    /// Matched frames that stand before one that stands before them in the other.
    pub reordered: usize,
    /// How far apart the times of matched frames are; [`None`] if there are none.
    pub skew: Option<Skew>,
}

/// Our time less theirs, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew {
    /// Half of the frames have at most this.
    pub median_ns: i64,
    /// The one that is farthest from 0.
    pub largest_ns: i64,
}

/// Compares two captures.
#[must_use]
pub fn compare<'a>(
    ours: &'a Capture<'a>,
    theirs: &'a Capture<'a>,
    options: &Options,
) -> Report<'a> {
    let cut = ours.snaplen().min(theirs.snaplen()) as usize;
    let bytes = |frame: &Frame<'a>| &frame.data[..frame.data.len().min(cut)];
    let header =
        |capture: &Capture<'_>, frame: &Frame<'_>| Header::of(capture.interface(frame).link_type);
    let digester = Digester::default();
    let digest = |frame: &Frame<'a>| {
        digester.digest(|hasher| {
            hasher.write_u32(frame.len);
            hasher.write(bytes(frame));
        })
    };
    let wanted = theirs.frames.iter().enumerate();
    let wanted = wanted.filter(|(_, frame)| options.wants(theirs, frame));
    let mut table = Table::new(wanted.map(|(index, frame)| (digest(frame), index)));
    let mut is_matched = vec![false; theirs.frames.len()];
    let mut report = Report {
        captures: [ours, theirs],
        matched: Vec::new(),
        only_ours: Vec::new(),
        only_theirs: Vec::new(),
        reordered: 0,
        skew: None,
    };
    for frame in ours
        .frames
        .iter()
        .filter(|frame| options.wants(ours, frame))
    {
        let is_same = |index: usize| {
            let other = &theirs.frames[index];
            (frame.len, bytes(frame)) == (other.len, bytes(other))
                && header(ours, frame) == header(theirs, other)
        };
        match table.take(digest(frame), is_same) {
            None => report.only_ours.push(frame),
            Some(index) => {
                report.matched.push((frame, &theirs.frames[index]));
                is_matched[index] = true;
            }
        }
    }
    let left = theirs.frames.iter().zip(is_matched);
    let left = left.filter(|(frame, is_matched)| !is_matched && options.wants(theirs, frame));
    report.only_theirs = left.map(|(frame, _)| frame).collect();
    report.reordered = reordered(&report.matched);
    report.skew = skew(&report.matched);
    report
}

/// How many frames, in our order, stand behind a later one in the other.
pub(super) fn reordered(matched: &[(&Frame<'_>, &Frame<'_>)]) -> usize {
    let mut farthest = 0;
    let mut is_before = |(_, theirs): &&(&Frame<'_>, &Frame<'_>)| {
        let is_before = theirs.number < farthest;
        farthest = farthest.max(theirs.number);
        is_before
    };
    matched.iter().filter(|pair| is_before(pair)).count()
}

impl Options {
    fn wants(&self, capture: &Capture<'_>, frame: &Frame<'_>) -> bool {
        match &capture.interface(frame).name {
            Some(name) if !self.interfaces.is_empty() => self.interfaces.contains(name),
            _ => true,
        }
    }
}

pub(super) fn skew(matched: &[(&Frame<'_>, &Frame<'_>)]) -> Option<Skew> {
    let mut skews: Vec<i64> = matched
        .iter()
        .map(|(ours, theirs)| {
            let skew = i128::from(ours.time_ns) - i128::from(theirs.time_ns);
            skew.clamp(i64::MIN.into(), i64::MAX.into()) as i64
        })
        .collect();
    let largest_ns = skews
        .iter()
        .copied()
        .max_by_key(|skew| skew.unsigned_abs())?;
    let middle = (skews.len() - 1) / 2;
    let (_, median_ns, _) = skews.select_nth_unstable(middle);
    Some(Skew {
        median_ns: *median_ns,
        largest_ns,
    })
}

impl Report<'_> {
    /// Whether both captures have the same frames, in whatever order and at whatever times.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.only_ours.is_empty() && self.only_theirs.is_empty()
    }

    /// The summary, and the first `frames` frames that only one side has, for each side.
    pub fn display(&self, frames: usize) -> impl fmt::Display {
        fmt::from_fn(move |f| self.write(f, frames))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, frames: usize) -> fmt::Result {
        let Self {
            captures: [ours, theirs],
            matched,
            only_ours,
            only_theirs,
            ..
        } = self;
        write!(
            f,
            "{} matched, {} only in ours",
            matched.len(),
            only_ours.len()
        )?;
        write!(f, ", {} only in theirs", only_theirs.len())?;
        if self.reordered > 0 {
            write!(f, ", {} in another order", self.reordered)?;
        }
        if let Some(Skew {
            median_ns,
            largest_ns,
        }) = self.skew
        {
            write!(
                f,
                "; ours later by {median_ns} ns (median), at most {largest_ns} ns"
            )?;
        }
        writeln!(f)?;
        for (side, capture, only) in [("ours", ours, only_ours), ("theirs", theirs, only_theirs)] {
            for frame in only.iter().take(frames) {
                write_frame(f, side, capture, frame)?;
            }
            if only.len() > frames {
                writeln!(f, "only in {side}: {} more", only.len() - frames)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 10)
    }
}

fn write_frame(
    f: &mut fmt::Formatter<'_>,
    side: &str,
    capture: &Capture<'_>,
    frame: &Frame<'_>,
) -> fmt::Result {
    let Frame {
        number,
        time_ns,
        len,
        data,
        comment,
        ..
    } = frame;
    let (seconds, nanoseconds) = (time_ns / 1_000_000_000, time_ns % 1_000_000_000);
    write!(
        f,
        "only in {side}: frame {number} at {seconds}.{nanoseconds:09}"
    )?;
    if let Some(name) = &capture.interface(frame).name {
        write!(f, " on {}", name.escape_debug())?;
    }
    write!(f, ", {len} bytes")?;
    if data.len() != *len as usize {
        write!(f, ", {} kept", data.len())?;
    }
    if let Some(comment) = comment {
        // A comment of any file may hold what moves a terminal's cursor.
        write!(f, " ({})", comment.escape_debug())?;
    }
    writeln!(f)?;
    for (row, bytes) in data.chunks(ROW).take(MAX_ROWS).enumerate() {
        write!(f, "    {:04x} ", row * ROW)?;
        for byte in bytes {
            write!(f, " {byte:02x}")?;
        }
        writeln!(f)?;
    }
    if data.len() > ROW * MAX_ROWS {
        writeln!(f, "    {} more bytes", data.len() - ROW * MAX_ROWS)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
