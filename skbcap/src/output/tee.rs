//! A capture file, and a line for each frame in it.

use std::io::{self, Write};

use skbcap_common::{InterfaceDrops, process::Event};

use super::{Lines, Outcome, Pcapng, Sink};
use crate::{decode::Frame, stats::Stats};

/// `-w FILE --print`.
#[derive(Debug)]
pub struct Tee<W: Write> {
    file: Pcapng,
    lines: Lines<W>,
}

impl<W: Write> Tee<W> {
    /// Writes to both; what they say of frames is what the file says.
    pub fn new(file: Pcapng, lines: Lines<W>) -> Self {
        Self { file, lines }
    }
}

impl<W: Write> Sink for Tee<W> {
    fn frame(&mut self, frame: &Frame<'_>, wall_ns: u64) -> io::Result<Outcome> {
        let outcome = self.file.frame(frame, wall_ns)?;
        if outcome == Outcome::Written {
            self.lines.frame(frame, wall_ns)?;
        }
        Ok(outcome)
    }

    fn learn(&mut self, event: Option<&Event>) {
        self.file.learn(event);
    }

    fn clock_was_set(&mut self, by_ns: i64) -> io::Result<()> {
        self.file.clock_was_set(by_ns)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush().and(self.lines.flush())
    }

    fn finish(&mut self, drops: &[InterfaceDrops], stats: &Stats, end_ns: u64) -> io::Result<()> {
        let lines = self.lines.finish(drops, stats, end_ns);
        self.file.finish(drops, stats, end_ns).and(lines)
    }

    fn rotate(&mut self, wall_ns: u64) -> io::Result<bool> {
        self.file.rotate(wall_ns)
    }

    fn lost(&self) -> u64 {
        self.file.lost()
    }

    fn is_live(&self) -> bool {
        true
    }

    fn notices(&mut self) -> Vec<String> {
        self.file.notices()
    }

    fn summary(&self) -> Vec<String> {
        self.file.summary()
    }
}
