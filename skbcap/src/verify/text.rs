//! What a person reads of a check.

use std::io::{self, Write};
use std::path::Path;

use super::{Row, Verification};
use crate::account::{Account, Part};
use crate::escape::escape_into;
use crate::pcapng::check::Fault;

/// Writes what was found of one file.
pub(super) fn write(
    out: &mut impl Write,
    path: &Path,
    verification: &Verification,
) -> io::Result<()> {
    let report = &verification.report;
    let writers: Vec<_> = report
        .writers
        .iter()
        .map(|writer| match writer.as_str() {
            "" => "an unnamed program".to_owned(),
            writer => printable(writer),
        })
        .collect();
    writeln!(
        out,
        "{}: {} frame{} in {} section{}, by {}",
        printable(&path.to_string_lossy()),
        report.packets,
        plural(report.packets),
        report.sections,
        plural(report.sections.into()),
        writers.join(", ")
    )?;
    write_table(out, &verification.rows())?;
    for account in &report.accounts {
        write_account(out, account)?;
    }
    for Part {
        number,
        captured,
        dropped,
    } in &report.parts
    {
        writeln!(
            out,
            "  file {number} of a capture that went on in another: {captured} captured, {dropped} \
             dropped"
        )?;
    }
    if let Some((offset, times)) = report.time_goes_back {
        let plural = plural(times);
        writeln!(
            out,
            "  time goes back {times} time{plural}, first at byte {offset}"
        )?;
    }
    for unstated in &verification.unstated {
        writeln!(out, "  not stated: {unstated}")?;
    }
    if let Some((offset, missing)) = verification.cut() {
        writeln!(
            out,
            "  cut short: the last block begins at byte {offset} and lacks {missing} byte{}",
            plural(missing)
        )?;
    }
    let is_told =
        |fault: &&Fault| Some(fault.offset) != verification.cut().map(|(offset, _)| offset);
    for fault in report.faults.iter().filter(is_told) {
        writeln!(out, "  {fault}")?;
    }
    if report.more_faults > 0 {
        writeln!(out, "  and {} more faults", report.more_faults)?;
    }
    writeln!(out, "  {}", verification.verdict)
}

fn write_table(out: &mut impl Write, rows: &[Row<'_>]) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let head = ["interface", "of", "frames", "dropped", "between", "after"];
    let mut table = vec![head.map(str::to_owned)];
    for row in rows {
        let unstated = || "?".to_owned();
        let dropped = row.dropped;
        let after = dropped.map(|dropped| dropped.saturating_sub(row.dropped_between));
        table.push([
            match row.name {
                "" => "-".to_owned(),
                name => printable(name),
            },
            match row.description {
                "" => "-".to_owned(),
                description => printable(description),
            },
            row.frames.to_string(),
            dropped.map_or_else(unstated, |dropped| dropped.to_string()),
            row.dropped_between.to_string(),
            after.map_or_else(unstated, |after| after.to_string()),
        ]);
    }
    let width = |column: usize| {
        let cells = table.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    for [name, of, numbers @ ..] in &table {
        write!(out, "  {name:0$}  {of:1$}", widths[0], widths[1])?;
        for (number, width) in numbers.iter().zip(&widths[2..]) {
            write!(out, "  {number:>width$}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn write_account(out: &mut impl Write, account: &Account) -> io::Result<()> {
    let Account {
        seen,
        filtered,
        captured,
        dropped_ring_full,
        dropped_busy,
        dropped_no_ring,
        dropped_unreadable,
        not_written,
        cut_short,
        missed,
        captured_elsewhere,
        dropped_elsewhere,
    } = account;
    write!(
        out,
        "  {seen} seen: {captured} captured, {filtered} filtered"
    )?;
    let rest = [
        (dropped_ring_full, "dropped: ring full"),
        (dropped_busy, "dropped: busy"),
        (dropped_no_ring, "dropped: no ring"),
        (dropped_unreadable, "dropped: unreadable"),
        (not_written, "not written"),
        (captured_elsewhere, "captured into other files"),
        (dropped_elsewhere, "of the dropped told of in other files"),
    ];
    for (count, what) in rest {
        if *count > 0 {
            write!(out, ", {count} {what}")?;
        }
    }
    match missed {
        Some(missed) => write!(out, "; {missed} missed")?,
        None => write!(out, "; missed: this kernel couldn't tell")?,
    }
    writeln!(out, "; {cut_short} cut short")
}

/// Names are anybody's choice.
fn printable(text: &str) -> String {
    let mut line = String::new();
    escape_into(&mut line, text.as_bytes(), b"");
    line
}

fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}
