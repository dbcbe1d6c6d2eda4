//! A capture's own account, checked: what a file holds, what it says that it should hold, and
//! whether both are the same.
//!
//! The faults are [`crate::pcapng::check`]'s to find; this says what they come to. Knows nothing of
//! how frames are taken.

pub mod command;
mod json;
mod text;

use std::collections::HashMap;
use std::fmt;

use crate::pcapng::check::{FaultKind, Report};
use crate::pcapng::raw::{BrokenKind, SECTION_HEADER};

/// What a check comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every block is sound, and every frame and loss is accounted for.
    AddsUp,
    /// Nothing contradicts, but the file does not say enough.
    CannotTell,
    /// Something is wrong or missing.
    DoesNotAddUp,
}

impl Verdict {
    /// A word for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AddsUp => "adds-up",
            Self::CannotTell => "cannot-tell",
            Self::DoesNotAddUp => "does-not-add-up",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AddsUp => "adds up",
            Self::CannotTell => "cannot tell",
            Self::DoesNotAddUp => "does not add up",
        })
    }
}

/// What other programs leave out of their files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unstated {
    /// Interfaces without a count of their frames.
    Frames(usize),
    /// Interfaces without a count of their losses.
    Dropped(usize),
    /// The file's totals.
    Account,
}

impl Unstated {
    /// A word for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Frames(_) => "frames",
            Self::Dropped(_) => "dropped",
            Self::Account => "account",
        }
    }
}

impl fmt::Display for Unstated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count| if count == 1 { "" } else { "s" };
        match *self {
            Self::Frames(count) => write!(
                f,
                "the number of frames of {count} interface{} (isb_usrdeliv)",
                plural(count)
            ),
            Self::Dropped(count) => write!(
                f,
                "the losses of {count} interface{} (isb_ifdrop)",
                plural(count)
            ),
            Self::Account => f.write_str("what became of every frame (skbcap's account)"),
        }
    }
}

/// One interface in all sections: a device of one namespace under one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row<'a> {
    /// `if_name`.
    pub name: &'a str,
    /// `if_description`.
    pub description: &'a str,
    /// Frames in the file.
    pub frames: u64,
    /// Frames lost, by the statistics; [`None`] where some don't say.
    pub dropped: Option<u64>,
    /// Frames lost, by the frames behind them.
    pub dropped_between: u64,
}

/// A file's account and what it comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// What the file holds, and its faults.
    pub report: Report,
    /// What is not stated.
    pub unstated: Vec<Unstated>,
    /// What it comes to.
    pub verdict: Verdict,
}

/// The file is no pcapng: its first four bytes, or fewer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotPcapng(pub Vec<u8>);

impl std::error::Error for NotPcapng {}

impl fmt::Display for NotPcapng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("it is empty");
        }
        write!(f, "no pcapng file: it begins with {:02x?}", self.0)
    }
}

impl Verification {
    /// Checks a whole file.
    ///
    /// # Errors
    ///
    /// If its first bytes are no pcapng's. Whatever is wrong later is a fault.
    pub fn of(bytes: &[u8]) -> Result<Self, NotPcapng> {
        if bytes.get(..4) != Some(&SECTION_HEADER.to_be_bytes()) {
            return Err(NotPcapng(bytes[..bytes.len().min(4)].to_vec()));
        }
        let report = crate::pcapng::check::verify(bytes);
        let unstated = unstated(&report);
        let verdict = if !report.faults.is_empty() {
            Verdict::DoesNotAddUp
        } else if unstated
            .iter()
            .any(|unstated| *unstated != Unstated::Account)
            || report.interfaces.is_empty()
        {
            Verdict::CannotTell
        } else {
            Verdict::AddsUp
        };
        Ok(Self {
            report,
            unstated,
            verdict,
        })
    }

    /// Where the file ends in the middle of a block, if it does: where that begins, and how many
    /// bytes it lacks.
    #[must_use]
    pub fn cut(&self) -> Option<(u64, u64)> {
        self.report
            .faults
            .iter()
            .find_map(|fault| match fault.what {
                FaultKind::Broken(BrokenKind::Truncated { missing }) => {
                    Some((fault.offset, missing))
                }
                _ => None,
            })
    }

    /// The interfaces, in the order of their first descriptions.
    #[must_use]
    pub fn rows(&self) -> Vec<Row<'_>> {
        let mut rows: Vec<Row<'_>> = Vec::new();
        let mut places = HashMap::new();
        for interface in &self.report.interfaces {
            let key = (interface.name.as_str(), interface.description.as_str());
            let place = *places.entry(key).or_insert_with(|| {
                rows.push(Row {
                    name: key.0,
                    description: key.1,
                    dropped: Some(0),
                    ..Row::default()
                });
                rows.len() - 1
            });
            let row = &mut rows[place];
            row.frames += interface.packets;
            row.dropped = row
                .dropped
                .zip(interface.dropped)
                .map(|(sum, dropped)| sum.saturating_add(dropped));
            row.dropped_between = row
                .dropped_between
                .saturating_add(interface.dropped_between);
        }
        rows
    }
}

fn unstated(report: &Report) -> Vec<Unstated> {
    // What skbcap's own files lack is a fault.
    if report.is_ours() {
        return Vec::new();
    }
    let interfaces = || report.interfaces.iter();
    let frames = interfaces().filter(|interface| interface.counted.is_none());
    let dropped = interfaces().filter(|interface| interface.dropped.is_none());
    let (frames, dropped) = (frames.count(), dropped.count());
    let mut unstated = Vec::new();
    if frames > 0 {
        unstated.push(Unstated::Frames(frames));
    }
    if dropped > 0 {
        unstated.push(Unstated::Dropped(dropped));
    }
    unstated.push(Unstated::Account);
    unstated
}

#[cfg(test)]
mod tests;
