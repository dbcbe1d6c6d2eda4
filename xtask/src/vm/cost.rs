//! The committed figures of what a captured frame costs (docs/cost.tsv), and
//! what a measurement says about them: a rise is a failure, not a note.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result, bail};

/// Where the figures are committed.
pub(crate) const FILE: &str = "docs/cost.tsv";

/// The kernel that they are of.
pub(crate) const KERNEL: &str = "6.12";

/// A figure may rise by this share, in percent.
const MOST_RISE: u64 = 5;

const HEADER: &str = "# Instructions for each captured frame, Linux 6.12: written by \
                      `cargo xtask icount --bless`, see performance.md.\n\
                      # hook\tbytes of a frame\tinstructions\n";

/// Instructions for a frame, by hook and bytes of the frame.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Figures(BTreeMap<(String, u32), u64>);

impl Figures {
    /// Reads the committed file.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self::collect(lines)
    }

    /// Finds what a measurement printed for this: lines that begin with `cost`.
    pub(crate) fn of_log(log: &str) -> Result<Self> {
        Self::collect(log.lines().filter_map(|line| line.strip_prefix("cost\t")))
    }

    fn collect<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Self> {
        let figure = |line: &str| {
            let words: Vec<_> = line.split('\t').collect();
            let [hook, length, instructions] = words[..] else {
                bail!("three columns are wanted");
            };
            Ok((
                (hook.to_owned(), length.parse()?),
                instructions.parse::<u64>()?,
            ))
        };
        lines
            .map(|line| figure(line).with_context(|| format!("not a figure: {line:?}")))
            .collect::<Result<_>>()
            .map(Self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes over all of `others`.
    pub(crate) fn update(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// The file.
    pub(crate) fn text(&self) -> String {
        let mut text = HEADER.to_owned();
        for ((hook, length), instructions) in &self.0 {
            writeln!(text, "{hook}\t{length}\t{instructions}").expect("writing to a string");
        }
        text
    }

    /// Holds a measurement against the committed figures. Each that has no counterpart or has
    /// risen too far is a failure.
    pub(crate) fn judge(&self, measured: &Self) -> Judgement {
        let mut judgement = Judgement::default();
        for (key @ (hook, length), &now) in &measured.0 {
            let what = format!("--hook {hook}, {length} bytes: {now} instructions a frame");
            let Some(&committed) = self.0.get(key) else {
                judgement.fail(format!("{what}, and {FILE} has no figure"));
                continue;
            };
            let change = (now as f64 / committed as f64 - 1.0) * 100.0;
            let line = format!("{what}, committed {committed} ({change:+.1} %)");
            if now * 100 > committed * (100 + MOST_RISE) {
                judgement.fail(format!("{line}: more than {MOST_RISE} % above"));
            } else {
                judgement.lines.push(line);
            }
        }
        judgement
    }
}

/// What is to be told of a measurement.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    pub(crate) lines: Vec<String>,
    pub(crate) failed: bool,
}

impl Judgement {
    fn fail(&mut self, line: String) {
        self.lines.push(format!("FAILED: {line}"));
        self.failed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::{FILE, Figures};
    use crate::repository;

    fn figures(text: &str) -> Figures {
        Figures::parse(text).unwrap()
    }

    #[test]
    fn a_rise_by_more_than_a_twentieth_fails() {
        let committed = figures("queue\t64\t1000\nkprobe\t64\t2000\n");
        for (log, failed) in [
            ("cost\tqueue\t64\t1050\n", false),
            ("cost\tqueue\t64\t1051\n", true),
            ("cost\tqueue\t64\t500\n", false),
            ("cost\tqueue\t64\t900\ncost\tkprobe\t64\t2101\n", true),
            ("cost\tqueue\t1514\t1\n", true),
        ] {
            let judgement = committed.judge(&Figures::of_log(log).unwrap());
            assert_eq!(judgement.failed, failed, "{judgement:?}");
        }
    }

    #[test]
    fn only_figures_are_read_from_a_log() {
        let log = "cost of nothing\ncost\tqueue\t64\t7\n\n";
        assert_eq!(Figures::of_log(log).unwrap(), figures("queue\t64\t7"));
        assert!(Figures::of_log("cost\tqueue\t64\n").is_err());
        assert!(Figures::of_log("cost\tqueue\t64\tmany\n").is_err());
    }

    #[test]
    fn the_committed_figures_are_as_they_are_written() {
        let text = std::fs::read_to_string(repository().join(FILE)).unwrap();
        let figures = figures(&text);
        assert_eq!(figures.text(), text);
        assert!(!figures.is_empty());
    }
}
