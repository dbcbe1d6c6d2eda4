//! A comparison for programs: the schema is told in `docs/diff.md`.

use std::io::{self, Write};
use std::path::Path;

use super::{Capture, Difference, Explanation, Frame, Pair, Segmented};
use crate::json::{lines, list, string};
use crate::print;

/// Raised when a key changes its meaning or goes; new keys don't raise it.
const VERSION: u32 = 1;

/// Writes one object.
pub(super) fn write(
    out: &mut impl Write,
    explanation: &Explanation<'_>,
    paths: [&Path; 2],
) -> io::Result<()> {
    let is_equal = explanation.is_equal();
    write!(
        out,
        "{{\n  \"version\": {VERSION},\n  \"equal\": {is_equal}"
    )?;
    for (side, name) in ["ours", "theirs"].into_iter().enumerate() {
        let capture = explanation.captures[side];
        write!(out, ",\n  \"{name}\": ")?;
        write_side(out, paths[side], capture, explanation.outside[side])?;
    }
    write!(out, ",\n  \"same\": {}", explanation.matched)?;
    write!(out, ",\n  \"cut_by_snaplen\": {}", explanation.snaplen)?;
    write!(out, ",\n  \"differences\": {{")?;
    for (at, difference) in Difference::ALL.into_iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        write!(
            out,
            "{comma}\"{difference}\": {}",
            explanation.count(difference)
        )?;
    }
    let ignored = explanation
        .ignored
        .iter()
        .map(|difference| difference.name());
    write!(out, "}},\n  \"ignored\": ")?;
    list(out, ignored, |out, name| string(out, name))?;
    match explanation.skew {
        None => write!(out, ",\n  \"skew_ns\": null")?,
        Some(skew) => {
            let (median, largest) = (skew.median_ns, skew.largest_ns);
            write!(
                out,
                ",\n  \"skew_ns\": {{\"median\": {median}, \"largest\": {largest}}}"
            )?;
        }
    }
    write!(out, ",\n  \"pairs\": ")?;
    lines(out, &explanation.pairs, |out, pair| {
        write_pair(out, explanation, pair)
    })?;
    write!(out, ",\n  \"segmented\": ")?;
    lines(out, &explanation.segmented, write_segmented)?;
    for (side, name) in ["only_ours", "only_theirs"].into_iter().enumerate() {
        let capture = explanation.captures[side];
        write!(out, ",\n  \"{name}\": ")?;
        lines(out, &explanation.only[side], |out, frame| {
            write_frame(out, capture, frame)
        })?;
    }
    out.write_all(b"\n}\n")
}

fn write_side(
    out: &mut impl Write,
    path: &Path,
    capture: &Capture<'_>,
    outside: usize,
) -> io::Result<()> {
    out.write_all(b"{\"path\": ")?;
    string(out, path.display())?;
    write!(
        out,
        ", \"frames\": {}, \"outside\": {outside}, \"trouble\": ",
        capture.frames.len()
    )?;
    match capture.trouble {
        None => out.write_all(b"null")?,
        Some(trouble) => {
            write!(out, "{{\"offset\": {}, \"message\": ", trouble.offset)?;
            string(out, trouble.what)?;
            out.write_all(b"}")?;
        }
    }
    out.write_all(b"}")
}

fn write_pair(
    out: &mut impl Write,
    explanation: &Explanation<'_>,
    pair: &Pair<'_>,
) -> io::Result<()> {
    let [ours, theirs] = pair.frames.map(|frame| frame.number);
    write!(
        out,
        "{{\"ours\": {ours}, \"theirs\": {theirs}, \"differences\": "
    )?;
    list(out, pair.differences.iter(), |out, difference| {
        string(out, difference)
    })?;
    out.write_all(b", \"fields\": ")?;
    list(out, &explanation.relation(pair).fields, |out, field| {
        out.write_all(b"{\"name\": ")?;
        string(out, &field.name)?;
        let ([ours, theirs], len) = (field.offsets, field.len);
        write!(
            out,
            ", \"ours\": {ours}, \"theirs\": {theirs}, \"length\": {len}}}"
        )
    })?;
    out.write_all(b"}")
}

fn write_segmented(out: &mut impl Write, segmented: &Segmented<'_>) -> io::Result<()> {
    let side = if segmented.is_ours { "ours" } else { "theirs" };
    let number = segmented.whole.number;
    write!(
        out,
        "{{\"side\": \"{side}\", \"frame\": {number}, \"segments\": "
    )?;
    list(out, &segmented.segments, |out, frame| {
        write!(out, "{}", frame.number)
    })?;
    write!(out, ", \"missing\": {}}}", segmented.missing)
}

fn write_frame(out: &mut impl Write, capture: &Capture<'_>, frame: &Frame<'_>) -> io::Result<()> {
    let interface = capture.interface(frame);
    let Frame {
        number,
        time_ns,
        len,
        ..
    } = frame;
    write!(
        out,
        "{{\"frame\": {number}, \"time_ns\": {time_ns}, \"length\": {len}"
    )?;
    write!(out, ", \"captured\": {}, \"interface\": ", frame.data.len())?;
    match &interface.name {
        None => out.write_all(b"null")?,
        Some(name) => string(out, name)?,
    }
    let mut packet = Vec::new();
    print::write_packet(
        &mut packet,
        frame.data,
        frame.len as usize,
        interface.link_type.0,
    )?;
    out.write_all(b", \"packet\": ")?;
    string(out, String::from_utf8_lossy(&packet))?;
    out.write_all(b"}")
}
