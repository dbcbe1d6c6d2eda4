//! A capture file, and a line for each frame in it.

use std::io::{self, Write};

use skbcap_common::InterfaceDrops;

use super::{Lines, Outcome, Pcapng, Sink};
use crate::{decode::Frame, process::News, stats::Stats};

/// `-w FILE --print`.
#[derive(Debug)]
pub struct Tee<W: Write> {
    file: Pcapng,
    lines: Lines<W>,
    /// Why a line could not be printed of a frame that the file has: that one is not lost, and ends the
    /// capture all the same.
    failed: Option<io::Error>,
}

impl<W: Write> Tee<W> {
    /// Writes to both; what they say of frames is what the file says.
    pub fn new(file: Pcapng, lines: Lines<W>) -> Self {
        Self {
            file,
            lines,
            failed: None,
        }
    }
}

impl<W: Write> Sink for Tee<W> {
    fn frame(&mut self, frame: &Frame<'_>, wall_ns: u64) -> io::Result<Outcome> {
        self.failed.take().map_or(Ok(()), Err)?;
        let outcome = self.file.frame(frame, wall_ns)?;
        if outcome == Outcome::Written {
            self.failed = self.lines.frame(frame, wall_ns).err();
        }
        Ok(outcome)
    }

    fn learn(&mut self, news: Option<&News>) {
        self.file.learn(news);
        self.lines.learn(news);
    }

    fn clock_was_set(&mut self, by_ns: i64) -> io::Result<()> {
        self.file.clock_was_set(by_ns)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.failed.take().map_or(Ok(()), Err)?;
        self.lines.flush()
    }

    fn finish(&mut self, drops: &[InterfaceDrops], stats: &Stats, end_ns: u64) -> io::Result<()> {
        let lines = self.lines.finish(drops, stats, end_ns);
        self.file.finish(drops, stats, end_ns)?;
        self.failed.take().map_or(lines, Err)
    }

    fn rotate(&mut self, wall_ns: u64) -> io::Result<bool> {
        self.file.rotate(wall_ns)
    }

    fn hurry(&mut self) {
        self.file.hurry();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LinkTypes, Output};
    use crate::output::{FileOutput, Origin};
    use crate::pcapng::check;
    use crate::print::Style;
    use skbcap_common::RecordHeader;
    use zerocopy::FromZeros;

    #[derive(Debug)]
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_the_file_has_is_not_told_to_be_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tee.pcapng");
        let output = FileOutput::open(&Output::File(path.clone()))
            .unwrap()
            .unwrap();
        let file = Pcapng::new(output, Origin::default(), 262_144, LinkTypes::Mixed).unwrap();
        let mut tee = Tee::new(file, Lines::new(Closed, Style::default()));
        let mut header = RecordHeader::new_zeroed();
        (header.dev_type, header.len, header.captured_len) = (1, 60, 60);
        let frame = Frame {
            header: &header,
            data: &[0x45; 60],
            current: None,
        };
        // Lines are printed when there are some thousand bytes of them.
        let taken = (0..1000)
            .take_while(|_| tee.frame(&frame, 1).is_ok())
            .count();
        assert!((2..1000).contains(&taken), "{taken}");
        let _ = tee.finish(&[], &Stats::default(), 1);
        let report = check::check(&std::fs::read(&path).unwrap());
        assert_eq!(report.interfaces[0].packets, taken as u64);
    }
}
