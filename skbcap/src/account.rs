//! What a capture file says of its own completeness, in the comments of its interfaces' statistics:
//! both directions of that grammar.
//!
//! Knows numbers and words; nothing of the blocks that they stand in.

use std::fmt;

use crate::stats::Stats;

/// What became of every frame that came by the hook: the last comment of a file's last statistics.
///
/// [`fmt::Display`] writes it, [`Account::parse`] reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Frames that came by the hook.
    pub seen: u64,
    /// Frames of other namespaces, interfaces or senders than were asked for, or that the expression
    /// turned away.
    pub filtered: u64,
    /// Frames in the file.
    pub captured: u64,
    /// Frames dropped because a ring was full.
    pub dropped_ring_full: u64,
    /// Frames dropped because their CPU was already taking one.
    pub dropped_busy: u64,
    /// Frames dropped because their CPU had no ring.
    pub dropped_no_ring: u64,
    /// Frames dropped because their skb could not be read.
    pub dropped_unreadable: u64,
    /// Frames that were taken and could not be written, or were more than were asked for.
    pub not_written: u64,
    /// Frames taken that lost bytes to anything but the snapshot length.
    pub cut_short: u64,
    /// Frames that never came by the hook, where the kernel counts them.
    pub missed: Option<u64>,
    /// Frames of the same capture in other files beside this one.
    pub captured_elsewhere: u64,
    /// Frames dropped that the statistics of those files tell of.
    pub dropped_elsewhere: u64,
}

/// The number of [`Account`]'s keys.
const KEYS: usize = 10;

impl Account {
    /// The account of a capture whose counters are complete.
    #[must_use]
    pub fn of(stats: &Stats) -> Self {
        Self {
            seen: stats.seen,
            filtered: stats.filtered,
            captured: stats.written,
            dropped_ring_full: stats.dropped_ring_full,
            dropped_busy: stats.dropped_busy,
            dropped_no_ring: stats.dropped_no_ring,
            dropped_unreadable: stats.dropped_unreadable,
            not_written: stats.beyond_count + stats.output_failed + stats.unsupported_link_type,
            cut_short: stats.cut_short,
            missed: stats.never_seen(),
            captured_elsewhere: 0,
            dropped_elsewhere: 0,
        }
    }

    /// Frames lost that this file's statistics tell of; [`None`] where the numbers contradict each
    /// other.
    #[must_use]
    pub fn dropped_here(&self) -> Option<u64> {
        self.dropped()?.checked_sub(self.dropped_elsewhere)
    }

    /// Frames that were wanted and are lost; [`None`] beyond 64 bits.
    #[must_use]
    pub fn dropped(&self) -> Option<u64> {
        self.dropped_ring_full
            .checked_add(self.dropped_busy)?
            .checked_add(self.dropped_no_ring)?
            .checked_add(self.dropped_unreadable)
    }

    /// What [`Account::seen`] must be; [`None`] beyond 64 bits.
    #[must_use]
    pub fn sum(&self) -> Option<u64> {
        self.filtered
            .checked_add(self.captured)?
            .checked_add(self.captured_elsewhere)?
            .checked_add(self.dropped()?)?
            .checked_add(self.not_written)
    }

    /// The keys in their order; a value that is not known is [`None`].
    fn keys(&self) -> [(&'static str, Option<u64>); KEYS] {
        [
            ("seen", Some(self.seen)),
            ("filtered", Some(self.filtered)),
            ("captured", Some(self.captured)),
            ("dropped_ring_full", Some(self.dropped_ring_full)),
            ("dropped_busy", Some(self.dropped_busy)),
            ("dropped_no_ring", Some(self.dropped_no_ring)),
            ("dropped_unreadable", Some(self.dropped_unreadable)),
            ("not_written", Some(self.not_written)),
            ("cut_short", Some(self.cut_short)),
            ("missed", self.missed),
        ]
    }

    /// Reads an account; [`None`] of a comment that is none. Keys behind those that are known are
    /// passed over.
    #[must_use]
    pub fn parse(comment: &str) -> Option<Self> {
        let mut words = comment.split(' ');
        let mut values = [None; KEYS];
        for (value, (key, known)) in values.iter_mut().zip(Self::default().keys()) {
            let text = words.next()?.strip_prefix(key)?.strip_prefix('=')?;
            *value = match number(text) {
                // Only what the default doesn't know may be unknown.
                None if text == "unknown" && known.is_none() => None,
                None => return None,
                found => found,
            };
        }
        // Only where a capture has more than one file.
        let mut rest = words;
        let mut elsewhere = |key| match rest.clone().next().and_then(|word| word.strip_prefix(key))
        {
            Some(text) => {
                rest.next();
                number(text)
            }
            None => Some(0),
        };
        let [
            seen,
            filtered,
            captured,
            ring_full,
            busy,
            no_ring,
            unreadable,
            not_written,
            cut,
            missed,
        ] = values;
        Some(Self {
            seen: seen?,
            filtered: filtered?,
            captured: captured?,
            dropped_ring_full: ring_full?,
            dropped_busy: busy?,
            dropped_no_ring: no_ring?,
            dropped_unreadable: unreadable?,
            not_written: not_written?,
            cut_short: cut?,
            missed,
            captured_elsewhere: elsewhere("captured_elsewhere=")?,
            dropped_elsewhere: elsewhere("dropped_elsewhere=")?,
        })
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (key, value)) in self.keys().into_iter().enumerate() {
            let space = if at == 0 { "" } else { " " };
            match value {
                Some(value) => write!(f, "{space}{key}={value}")?,
                None => write!(f, "{space}{key}=unknown")?,
            }
        }
        if self.captured_elsewhere > 0 {
            write!(f, " captured_elsewhere={}", self.captured_elsewhere)?;
        }
        if self.dropped_elsewhere > 0 {
            write!(f, " dropped_elsewhere={}", self.dropped_elsewhere)?;
        }
        Ok(())
    }
}

/// What stands in an account's place in a file after which the capture went on in another: the last
/// comment of its last statistics. What became of every frame stands in the capture's last file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Which of the capture's files it is, counted from 1.
    pub number: u64,
    /// Frames in the file.
    pub captured: u64,
    /// Frames dropped that its statistics tell of.
    pub dropped: u64,
}

impl Part {
    /// Reads such a comment; [`None`] of any other.
    #[must_use]
    pub fn parse(comment: &str) -> Option<Self> {
        let mut words = comment.split(' ');
        let mut value = |key: &str| number(words.next()?.strip_prefix(key)?.strip_prefix('=')?);
        Some(Self {
            number: value("part")?,
            captured: value("captured")?,
            dropped: value("dropped")?,
        })
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            number,
            captured,
            dropped,
        } = self;
        write!(f, "part={number} captured={captured} dropped={dropped}")
    }
}

/// Where an interface's lost frames were lost: a comment of its statistics, where any were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Told by the frames behind them (`epb_dropcount`).
    pub between: u64,
    /// Behind the section's last frame of the interface.
    pub after: u64,
}

impl Losses {
    /// Reads such a comment; [`None`] of any other.
    #[must_use]
    pub fn parse(comment: &str) -> Option<Self> {
        let (between, after) = comment.split_once(' ')?;
        Some(Self {
            between: number(between.strip_prefix("dropped_between=")?)?,
            after: number(after.strip_prefix("dropped_after=")?)?,
        })
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { between, after } = self;
        write!(f, "dropped_between={between} dropped_after={after}")
    }
}

/// Digits only: Rust's own parser takes a sign, too.
fn number(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_account_is_a_line_of_keys() {
        let stats = Stats {
            seen: 15,
            filtered: 1,
            captured: 10,
            dropped_ring_full: 2,
            dropped_busy: 1,
            written: 8,
            beyond_count: 2,
            unsupported_link_type: 1,
            ..Stats::default()
        };
        let account = Account::of(&stats);
        assert_eq!(
            account.to_string(),
            "seen=15 filtered=1 captured=8 dropped_ring_full=2 dropped_busy=1 dropped_no_ring=0 \
             dropped_unreadable=0 not_written=3 cut_short=0 missed=unknown"
        );
        assert_eq!(account.sum(), Some(15));
    }

    #[test]
    fn what_is_no_account_is_none() {
        let account = Account::default().to_string();
        assert!(Account::parse(&account).is_some());
        assert!(Account::parse(&format!("{account} more=1")).is_some());
        for wrong in [
            account.replace("seen=0", "seen=+1"),
            account.replace("seen=0", "seen=unknown"),
            account.replace("seen=0", "seen="),
            account.replace("seen=0 ", ""),
            account.replace("=unknown", "=18446744073709551616"),
            "comm=x pid=1 tgid=1 ctx=task".into(),
        ] {
            assert_eq!(Account::parse(&wrong), None, "{wrong}");
        }
        assert_eq!(Losses::parse("dropped_between=1"), None);
        assert_eq!(Losses::parse("dropped_between=1 dropped_after=-1"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            values: [u64; 11], missed: Option<u64>, between: u64, after: u64, part: u64,
        ) {
            let [seen, filtered, captured, dropped_ring_full, dropped_busy, dropped_no_ring,
                dropped_unreadable, not_written, cut_short, captured_elsewhere,
                dropped_elsewhere] = values;
            let account = Account {
                seen, filtered, captured, dropped_ring_full, dropped_busy, dropped_no_ring,
                dropped_unreadable, not_written, cut_short, missed,
                captured_elsewhere, dropped_elsewhere,
            };
            prop_assert_eq!(Account::parse(&account.to_string()), Some(account));
            let losses = Losses { between, after };
            prop_assert_eq!(Losses::parse(&losses.to_string()), Some(losses));
            let part = Part { number: part, captured: seen, dropped: filtered };
            prop_assert_eq!(Part::parse(&part.to_string()), Some(part));
            prop_assert_eq!(Part::parse(&account.to_string()), None);
        }
    }
}
