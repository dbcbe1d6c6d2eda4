//! What a person reads of a comparison.

use std::io::{self, Write};

use super::{Capture, Difference, Explanation, FieldDiff, Frame, Pair, Segmented, Skew};
use crate::print;

/// Bytes in a row of hex.
const ROW: usize = 16;
/// Rows shown of one pair, for each side.
const MAX_ROWS: usize = 8;
/// Fields named of one pair.
const MAX_FIELDS: usize = 16;

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

/// Writes the first `show` differing pairs, frames of one side only likewise, and the summary.
pub(super) fn write(
    out: &mut impl Write,
    explanation: &Explanation<'_>,
    show: usize,
    is_colored: bool,
) -> io::Result<()> {
    let captures = explanation.captures;
    for pair in explanation.different().take(show) {
        write_pair(out, explanation, pair, is_colored)?;
    }
    let more = explanation.different().count().saturating_sub(show);
    if more > 0 {
        writeln!(out, "{more} more pairs that differ")?;
    }
    write_segmented(out, explanation, show)?;
    for (side, name) in ["ours", "theirs"].into_iter().enumerate() {
        let only = &explanation.only[side];
        for frame in only.iter().take(show) {
            write!(out, "only in {name}: {}", frame.number)?;
            write_frame(out, captures[side], frame)?;
        }
        if only.len() > show {
            writeln!(out, "only in {name}: {} more", only.len() - show)?;
        }
    }
    write_summary(out, explanation, is_colored)
}

fn write_summary(
    out: &mut impl Write,
    explanation: &Explanation<'_>,
    is_colored: bool,
) -> io::Result<()> {
    let (verdict, color) = match explanation.is_equal() {
        true => ("equal", GREEN),
        false => ("different", RED),
    };
    match is_colored {
        true => write!(out, "{BOLD}{color}{verdict}{RESET}")?,
        false => write!(out, "{verdict}")?,
    }
    write!(out, ": {} frames the same", explanation.matched)?;
    let [ours, theirs] = explanation.only.each_ref().map(Vec::len);
    let counted = [
        (Difference::Bytes, "differ"),
        (Difference::Checksum, "checksum"),
        (Difference::Segmentation, "segmentation"),
        (Difference::Vlan, "vlan"),
        (Difference::Cooked, "cooked"),
        (Difference::Cut, "cut"),
        (Difference::Order, "order"),
    ];
    for (difference, word) in counted {
        let count = explanation.count(difference);
        let ignored = match explanation.counts(difference) {
            true => "",
            false => " (ignored)",
        };
        if count > 0 {
            write!(out, ", {count} {word}{ignored}")?;
        }
    }
    let rest = [
        (ours, "only in ours"),
        (theirs, "only in theirs"),
        (explanation.snaplen, "cut by the snapshot length"),
        (explanation.outside.iter().sum(), "outside the common time"),
    ];
    for (count, words) in rest {
        if count > 0 {
            write!(out, ", {count} {words}")?;
        }
    }
    if let Some(Skew {
        median_ns,
        largest_ns,
    }) = explanation.skew
    {
        write!(
            out,
            "; time skew {median_ns} ns (median), {largest_ns} ns (largest)"
        )?;
    }
    writeln!(out)
}

fn write_segmented(
    out: &mut impl Write,
    explanation: &Explanation<'_>,
    show: usize,
) -> io::Result<()> {
    let counts = |segmented: &&Segmented<'_>| {
        segmented.missing > 0 || explanation.counts(Difference::Segmentation)
    };
    let all = || explanation.segmented.iter().filter(counts);
    for segmented in all().take(show) {
        let (name, other) = match segmented.is_ours {
            true => ("ours", "theirs"),
            false => ("theirs", "ours"),
        };
        let first = segmented.segments.first().map_or(0, |frame| frame.number);
        write!(
            out,
            "segmentation: {name} {}, {other} {} frames from {first} on",
            segmented.whole.number,
            segmented.segments.len()
        )?;
        if segmented.missing > 0 {
            write!(out, ", {} bytes missing", segmented.missing)?;
        }
        let capture = explanation.captures[usize::from(!segmented.is_ours)];
        write_frame(out, capture, segmented.whole)?;
    }
    let more = all().count().saturating_sub(show);
    if more > 0 {
        writeln!(out, "segmentation: {more} more")?;
    }
    Ok(())
}

fn write_pair(
    out: &mut impl Write,
    explanation: &Explanation<'_>,
    pair: &Pair<'_>,
    is_colored: bool,
) -> io::Result<()> {
    for (at, difference) in pair.differences.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        write!(out, "{comma}{difference}")?;
    }
    let [ours, theirs] = pair.frames.map(|frame| frame.number);
    write!(out, ": ours {ours}, theirs {theirs}")?;
    write_frame(out, explanation.captures[0], pair.frames[0])?;
    let fields = &explanation.relation(pair).fields;
    for (at, field) in fields.iter().take(MAX_FIELDS).enumerate() {
        let comma = if at == 0 { "    " } else { ", " };
        write!(out, "{comma}{}", field.name)?;
        if field.len > 0 {
            write!(out, " at {}", field.offsets[0])?;
        } else if field.name == "frame.len" {
            let [ours, theirs] = pair.frames.map(|frame| frame.len);
            write!(out, " {ours} and {theirs}")?;
        }
    }
    if fields.len() > MAX_FIELDS {
        write!(out, " and more")?;
    }
    if !fields.is_empty() {
        writeln!(out)?;
    }
    write_rows(out, pair.frames.map(|frame| frame.data), fields, is_colored)
}

/// The rows in which bytes differ, each side's under the other's.
fn write_rows(
    out: &mut impl Write,
    data: [&[u8]; 2],
    fields: &[FieldDiff],
    is_colored: bool,
) -> io::Result<()> {
    let mut shown = 0;
    let mut next = 0;
    for field in fields.iter().filter(|field| field.len > 0) {
        let [ours, theirs] = field.offsets;
        let shift = theirs as isize - ours as isize;
        let mut row = (ours / ROW * ROW).max(next);
        while row < ours + field.len {
            if shown == MAX_ROWS {
                return writeln!(out, "    more rows differ");
            }
            shown += 1;
            next = row + ROW;
            for (side, name) in ["ours  ", "theirs"].into_iter().enumerate() {
                let shift = if side == 0 { 0 } else { shift };
                let place = |at: usize| at.checked_add_signed(shift);
                write!(out, "    {name} {:04x} ", place(row).unwrap_or_default())?;
                for at in row..row + ROW {
                    let byte = |side: usize, at: Option<usize>| data[side].get(at?).copied();
                    let Some(this) = byte(side, place(at)) else {
                        continue;
                    };
                    let other = match side {
                        0 => byte(1, at.checked_add_signed(theirs as isize - ours as isize)),
                        _ => byte(0, Some(at)),
                    };
                    match is_colored && other != Some(this) {
                        true if side == 0 => write!(out, " {GREEN}{this:02x}{RESET}")?,
                        true => write!(out, " {RED}{this:02x}{RESET}")?,
                        false => write!(out, " {this:02x}")?,
                    }
                }
                writeln!(out)?;
            }
            row += ROW;
        }
    }
    Ok(())
}

/// A frame's time, interface and what it is.
fn write_frame(out: &mut impl Write, capture: &Capture<'_>, frame: &Frame<'_>) -> io::Result<()> {
    let (seconds, nanoseconds) = (frame.time_ns / 1_000_000_000, frame.time_ns % 1_000_000_000);
    write!(out, " at {seconds}.{nanoseconds:09}")?;
    let interface = capture.interface(frame);
    if let Some(name) = &interface.name {
        write!(out, " on {}", name.escape_debug())?;
    }
    write!(out, ", ")?;
    print::write_packet(out, frame.data, frame.len as usize, interface.link_type.0)?;
    if let Some(comment) = frame.comment {
        // A comment of any file may hold what moves a terminal's cursor.
        write!(out, " ({})", comment.escape_debug())?;
    }
    writeln!(out)
}
