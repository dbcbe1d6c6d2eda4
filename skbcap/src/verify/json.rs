//! A check for programs: the schema is told in `docs/verify.md`.

use std::io::{self, Write};
use std::path::Path;

use super::Verification;
use crate::account::Account;
use crate::json::{lines, list, string};

/// Raised when a key changes its meaning or goes; new keys don't raise it.
const VERSION: u32 = 1;

/// What stands before the first file.
pub(super) fn begin(out: &mut impl Write) -> io::Result<()> {
    write!(out, "{{\n  \"version\": {VERSION},\n  \"files\": [")
}

/// What stands behind the last file.
pub(super) fn end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"]\n}\n")
}

/// Writes what was found of one file.
pub(super) fn write<W: Write>(
    out: &mut W,
    number: usize,
    path: &Path,
    verification: &Verification,
) -> io::Result<()> {
    let report = &verification.report;
    let comma = if number == 0 { "" } else { ", " };
    write!(out, "{comma}{{\n  \"path\": ")?;
    string(out, path.display())?;
    write!(out, ",\n  \"verdict\": ")?;
    string(out, verification.verdict.name())?;
    write!(out, ",\n  \"writers\": ")?;
    list(out, &report.writers, string)?;
    let (sections, frames) = (report.sections, report.packets);
    write!(
        out,
        ",\n  \"sections\": {sections},\n  \"frames\": {frames},\n  \"interfaces\": "
    )?;
    lines(out, verification.rows(), |out, row| {
        out.write_all(b"{\"name\": ")?;
        string(out, row.name)?;
        out.write_all(b", \"description\": ")?;
        string(out, row.description)?;
        write!(out, ", \"frames\": {}, \"dropped\": ", row.frames)?;
        number_or_null(out, row.dropped)?;
        write!(out, ", \"dropped_between\": {}}}", row.dropped_between)
    })?;
    write!(out, ",\n  \"accounts\": ")?;
    lines(out, &report.accounts, write_account)?;
    if !report.parts.is_empty() {
        write!(out, ",\n  \"parts\": ")?;
        lines(out, &report.parts, |out, part| {
            write!(
                out,
                "{{\"number\": {}, \"captured\": {}, \"dropped\": {}}}",
                part.number, part.captured, part.dropped
            )
        })?;
    }
    write!(out, ",\n  \"unstated\": ")?;
    list(out, &verification.unstated, |out, unstated| {
        string(out, unstated.name())
    })?;
    write!(out, ",\n  \"time_goes_back\": ")?;
    match report.time_goes_back {
        None => out.write_all(b"null")?,
        Some((offset, times)) => write!(out, "{{\"offset\": {offset}, \"times\": {times}}}")?,
    }
    write!(out, ",\n  \"cut_at\": ")?;
    number_or_null(out, verification.cut().map(|(offset, _)| offset))?;
    write!(out, ",\n  \"faults\": ")?;
    lines(out, &report.faults, |out, fault| {
        write!(out, "{{\"offset\": {}, \"message\": ", fault.offset)?;
        string(out, fault.what)?;
        out.write_all(b"}")
    })?;
    write!(out, ",\n  \"more_faults\": {}\n}}", report.more_faults)
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
        "{{\"seen\": {seen}, \"filtered\": {filtered}, \"captured\": {captured}, \
         \"dropped_ring_full\": {dropped_ring_full}, \"dropped_busy\": {dropped_busy}, \
         \"dropped_no_ring\": {dropped_no_ring}, \"dropped_unreadable\": {dropped_unreadable}, \
         \"not_written\": {not_written}, \"cut_short\": {cut_short}, \"missed\": "
    )?;
    number_or_null(out, *missed)?;
    write!(
        out,
        ", \"captured_elsewhere\": {captured_elsewhere}, \
         \"dropped_elsewhere\": {dropped_elsewhere}}}"
    )
}

fn number_or_null(out: &mut impl Write, number: Option<u64>) -> io::Result<()> {
    match number {
        Some(number) => write!(out, "{number}"),
        None => out.write_all(b"null"),
    }
}
