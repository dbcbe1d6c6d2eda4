//! Frames become lines on standard output.

use std::io::{self, BufWriter, Write};

use skbcap_common::InterfaceDrops;

use super::{Outcome, Sink};
use crate::{
    decode::Frame,
    link_type,
    pcapng::LinkType,
    print::{Line, Printer, Style},
    process::{self, Fields, News, Processes},
    stats::Stats,
};

/// Lines for a person.
#[derive(Debug)]
pub struct Lines<W: Write> {
    out: BufWriter<W>,
    printer: Printer,
    /// What is to be told of processes, and what is known of them.
    more: Option<(Fields, Box<Processes>)>,
    /// The same of a frame, in words.
    words: String,
}

impl<W: Write> Lines<W> {
    /// Writes lines to `out`.
    pub fn new(out: W, style: Style) -> Self {
        Self {
            out: BufWriter::new(out),
            printer: Printer::new(style),
            more: None,
            words: String::new(),
        }
    }

    /// Says more of each frame's process.
    #[must_use]
    pub fn telling(mut self, fields: Fields) -> Self {
        self.more = (!fields.is_empty()).then(|| (fields, Box::new(Processes::default())));
        self
    }
}

/// A line of a frame that no capture file could hold shows its length: it starts with nothing that
/// could be decoded. `LINKTYPE_USER0` is nobody's.
const UNKNOWN_LINK_TYPE: LinkType = LinkType(147);

impl<W: Write> Sink for Lines<W> {
    fn frame(&mut self, frame: &Frame<'_>, wall_ns: u64) -> io::Result<Outcome> {
        let link_type = link_type::of_device(frame.header.dev_type).unwrap_or(UNKNOWN_LINK_TYPE);
        if let Some((fields, processes)) = &self.more {
            self.words.clear();
            let known = processes.of(frame.header);
            process::append(&mut self.words, *fields, frame.current, known, processes);
        }
        let line = Line {
            more: self.words.trim_start(),
            ..Line::of(frame, link_type, wall_ns)
        };
        self.printer.write(&mut self.out, &line)?;
        Ok(Outcome::Written)
    }

    fn learn(&mut self, news: Option<&News>) {
        if let Some((_, processes)) = &mut self.more {
            processes.learn(news);
        }
    }

    fn clock_was_set(&mut self, _by_ns: i64) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(&mut self, _drops: &[InterfaceDrops], _stats: &Stats, _end: u64) -> io::Result<()> {
        self.out.flush()
    }

    fn lost(&self) -> u64 {
        // Whoever closed a terminal or a pipe has read as much as it wanted.
        0
    }

    fn is_live(&self) -> bool {
        true
    }

    fn notices(&mut self) -> Vec<String> {
        Vec::new()
    }
}
