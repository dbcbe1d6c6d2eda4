//! What a person reads on standard error: a line that lives while frames are written, and the
//! counts at the end.
//!
//! Says what the counters say. Knows nothing of where they come from.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use skbcap_common::Hook;

use crate::stats::Stats;

/// The live line changes at most this often.
const INTERVAL: Duration = Duration::from_secs(1);

/// What the live line shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Frames written.
    pub frames: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Frames dropped.
    pub dropped: u64,
    /// How full the fullest ring has been since the last time, in hundredths.
    pub fill: u64,
    /// Who sent most since the last time, and how many of a hundred frames.
    pub senders: Vec<(String, u64)>,
}

/// A line on a terminal that is written over again and again.
#[derive(Debug)]
pub struct StatusLine<W: Write> {
    /// The terminal, or nothing.
    terminal: Option<W>,
    next: Option<Instant>,
    /// When it was shown last, and the frames it told of.
    last: Option<(Instant, u64)>,
    is_shown: bool,
}

impl<W: Write> StatusLine<W> {
    /// A line on `terminal`; without one, nothing is ever shown.
    #[must_use]
    pub fn new(terminal: Option<W>) -> Self {
        Self {
            terminal,
            next: None,
            last: None,
            is_shown: false,
        }
    }

    /// Shows `progress`, unless that was done less than a second ago.
    ///
    /// A terminal that can't be written to gets no more lines: it is not why we are here.
    pub fn update(&mut self, now: Instant, progress: impl FnOnce() -> Progress) {
        if self.next.is_some_and(|next| now < next) {
            return;
        }
        let Some(terminal) = &mut self.terminal else {
            return;
        };
        self.next = Some(now + INTERVAL);
        let Progress {
            frames,
            bytes,
            dropped,
            fill,
            senders,
        } = progress();
        let mut line = format!("{frames} frame{}, {}", plural(frames), Size(bytes));
        if let Some((then, before)) = self.last.replace((now, frames)) {
            let seconds = now.saturating_duration_since(then).as_secs_f64();
            let rate = frames.saturating_sub(before) as f64 / seconds.max(1e-3);
            line.push_str(&format!(", {rate:.0}/s"));
        }
        line.push_str(&format!(", {dropped} dropped, ring {fill} %"));
        for (number, (sender, share)) in senders.iter().enumerate() {
            let separator = if number == 0 { ";" } else { "," };
            line.push_str(&format!("{separator} {sender} {share} %"));
        }
        // Without wrapping: the rest of a long line is not shown.
        let result =
            write!(terminal, "\r\x1b[?7l{line}\x1b[K\x1b[?7h").and_then(|()| terminal.flush());
        self.is_shown = true;
        if result.is_err() {
            self.terminal = None;
        }
    }

    /// When the line wants to be shown again; nothing if it never does.
    #[must_use]
    pub fn next_update(&self) -> Option<Instant> {
        self.terminal.as_ref().and(self.next)
    }

    /// Takes the line away: before anything else is written, and at the end.
    pub fn clear(&mut self) {
        if let Some(terminal) = &mut self.terminal
            && std::mem::take(&mut self.is_shown)
        {
            let _ = terminal
                .write_all(b"\r\x1b[K")
                .and_then(|()| terminal.flush());
        }
    }
}

impl<W: Write> Drop for StatusLine<W> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Writes the counts of a capture that is over, a line each.
///
/// Always the first six (five or four for the tracepoint, which has no net); a line for
/// anything else that became of a frame only where there was one. What was seen and is in none of
/// the lines does not exist.
///
/// # Errors
///
/// What `out` says.
pub fn write_summary(out: &mut impl Write, stats: &Stats, hook: Hook) -> io::Result<()> {
    let Stats {
        written,
        seen,
        dropped_ring_full,
        cut_short,
        ..
    } = *stats;
    writeln!(out, "{written} frame{} captured", plural(written))?;
    writeln!(out, "{seen} frame{} seen", plural(seen))?;
    writeln!(out, "{dropped_ring_full} dropped: ring full")?;
    match (hook, stats.never_seen()) {
        (Hook::Kprobe | Hook::Net, never_seen) => {
            let caught = stats.seen_by_net;
            writeln!(out, "{caught} missed by the kprobe and seen by its net")?;
            match never_seen {
                Some(never_seen) => writeln!(out, "{never_seen} missed by both")?,
                None => writeln!(out, "frames missed by both: this kernel can't tell")?,
            }
        }
        (Hook::Queue | Hook::Xmit, Some(missed)) => {
            writeln!(out, "{missed} missed by the tracepoint")?;
        }
        (Hook::Queue | Hook::Xmit, None) => {}
    }
    writeln!(out, "{cut_short} cut short")?;
    let rest = [
        (
            stats
                .filtered
                .saturating_sub(stats.not_selected + stats.other_sender),
            "filtered: another namespace or interface",
        ),
        (stats.other_sender, "filtered: another sender"),
        (
            stats.not_selected,
            if stats.leaves_out_own {
                "filtered: not what the expression selects, or the output's own traffic"
            } else {
                "filtered: not what the expression selects"
            },
        ),
        (stats.doubtful, "in doubt: perhaps missing, perhaps twice"),
        (stats.dropped_busy, "dropped: busy"),
        (stats.dropped_no_ring, "dropped: no ring"),
        (stats.dropped_unreadable, "dropped: unreadable"),
        (
            stats.unsupported_link_type,
            "not written: unsupported link type",
        ),
        (stats.beyond_count, "not written: beyond -c or -W"),
        (stats.output_failed, "not written: the output ended"),
        (
            stats.owners_missed,
            "frames of sockets that are not known, or not any more",
        ),
        (
            stats.socket_calls_missed,
            "calls on sockets not seen, at most: a socket may have a writer that is not known",
        ),
        (
            stats.forks_missed,
            "forks not seen, at most: what came of them is filtered as another sender",
        ),
    ];
    for (count, what) in rest {
        if count > 0 {
            writeln!(out, "{count} {what}")?;
        }
    }
    Ok(())
}

fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// Bytes in the largest unit that leaves a number of at least one.
struct Size(u64);

impl std::fmt::Display for Size {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const UNITS: [&str; 6] = ["KB", "MB", "GB", "TB", "PB", "EB"];
        if self.0 < 1000 {
            return write!(out, "{} B", self.0);
        }
        let (mut tenths, mut unit) = (self.0 / 100, 0);
        while tenths >= 10_000 && unit + 1 < UNITS.len() {
            tenths /= 1000;
            unit += 1;
        }
        write!(out, "{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(stats: &Stats, hook: Hook) -> String {
        let mut out = Vec::new();
        write_summary(&mut out, stats, hook).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_counts_are_a_line_each() {
        assert_eq!(
            summary(
                &Stats {
                    written: 1,
                    seen: 2,
                    missed: Some(3),
                    seen_by_net: 2,
                    left_to_net: 1,
                    ..Stats::default()
                },
                Hook::Kprobe
            ),
            "1 frame captured\n2 frames seen\n0 dropped: ring full\n\
             2 missed by the kprobe and seen by its net\n2 missed by both\n0 cut short\n"
        );
        let stats = Stats {
            seen: 1,
            filtered: 10,
            not_selected: 9,
            dropped_ring_full: 2,
            dropped_busy: 3,
            dropped_no_ring: 4,
            unsupported_link_type: 5,
            beyond_count: 6,
            cut_short: 7,
            owners_missed: 8,
            socket_calls_missed: 9,
            forks_missed: 10,
            ..Stats::default()
        };
        assert_eq!(
            summary(&stats, Hook::Kprobe),
            "0 frames captured\n1 frame seen\n2 dropped: ring full\n\
             0 missed by the kprobe and seen by its net\nframes missed by both: \
             this kernel can't tell\n7 cut short\n\
             1 filtered: another namespace or interface\n\
             9 filtered: not what the expression selects\n3 dropped: busy\n4 dropped: no ring\n\
             5 not written: unsupported link type\n6 not written: beyond -c or -W\n\
             8 frames of sockets that are not known, or not any more\n\
             9 calls on sockets not seen, at most: a socket may have a writer that is not known\n\
             10 forks not seen, at most: what came of them is filtered as another sender\n"
        );
    }

    #[test]
    fn what_the_output_causes_is_told_of_where_it_is_left_out() {
        let stats = Stats {
            filtered: 1,
            not_selected: 1,
            leaves_out_own: true,
            ..Stats::default()
        };
        let line = "\n1 filtered: not what the expression selects, or the output's own traffic\n";
        let said = summary(&stats, Hook::Kprobe);
        assert!(said.ends_with(line), "{said}");
    }

    #[test]
    fn the_tracepoint_is_no_kprobe() {
        let lines = summary(&Stats::default(), Hook::Queue);
        assert_eq!(
            lines,
            "0 frames captured\n0 frames seen\n0 dropped: ring full\n0 cut short\n"
        );
    }

    #[test]
    fn the_line_is_shown_once_a_second_and_taken_away() {
        let mut shown = Vec::new();
        let mut line = StatusLine::new(Some(&mut shown));
        let start = Instant::now();
        let progress = |frames| {
            move || Progress {
                frames,
                bytes: 1_234_567,
                dropped: 0,
                fill: 7,
                senders: vec![("curl[12]".into(), 90), ("sh[3]".into(), 5)],
            }
        };
        line.update(start, progress(1));
        line.update(start + Duration::from_millis(999), progress(2));
        assert_eq!(line.next_update(), Some(start + INTERVAL));
        line.update(start + INTERVAL, progress(3));
        drop(line);
        assert_eq!(
            String::from_utf8(shown).unwrap(),
            "\r\x1b[?7l1 frame, 1.2 MB, 0 dropped, ring 7 %; curl[12] 90 %, sh[3] 5 %\x1b[K\x1b[?7h\
             \r\x1b[?7l3 frames, 1.2 MB, 2/s, 0 dropped, ring 7 %; curl[12] 90 %, sh[3] 5 %\
             \x1b[K\x1b[?7h\r\x1b[K"
        );
    }

    #[test]
    fn without_a_terminal_nothing_is_shown() {
        let mut line = StatusLine::<Vec<u8>>::new(None);
        line.update(Instant::now(), || unreachable!());
        assert_eq!(line.next_update(), None);
    }

    #[test]
    fn sizes_have_one_place_behind_the_point() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 KB"),
            (999_999, "999.9 KB"),
            (1_000_000, "1.0 MB"),
            (u64::MAX, "18.4 EB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }
}
