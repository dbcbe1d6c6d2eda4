//! Frames of a file become lines, as those of a capture do.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

use super::Sink;
use crate::annotation::Annotation;
use crate::pcapng::epb_flags;
use crate::print::{Direction, Line, Printer, Sender, Style};
use crate::process::words;
use crate::read::{Interface, Packet};

/// Lines for a person.
pub(super) struct Lines<W: Write> {
    out: BufWriter<W>,
    printer: Printer,
}

impl<W: Write> Lines<W> {
    pub(super) fn new(out: W, style: Style) -> Self {
        Self {
            out: BufWriter::new(out),
            printer: Printer::new(style),
        }
    }
}

impl<W: Write> Sink<'_> for Lines<W> {
    fn packet(
        &mut self,
        packet: &Packet<'_>,
        interface: &Interface,
    ) -> io::Result<ControlFlow<()>> {
        let frame = &packet.frame;
        let annotation = frame
            .comment
            .and_then(|comment| Annotation::parse(comment).ok());
        let more = match (&annotation, frame.comment) {
            (Some(_), Some(comment)) => words::of_fields(comment),
            _ => String::new(),
        };
        let line = Line {
            wall_time_ns: frame.time_ns,
            interface: interface.name.as_ref().map(String::as_bytes),
            direction: direction(packet.flags),
            sender: annotation.as_ref().map(Sender::from),
            more: &more,
            data: frame.data,
            wire_len: frame.len,
            link_type: interface.link_type,
        };
        self.printer.write(&mut self.out, &line)?;
        Ok(ControlFlow::Continue(()))
    }

    fn other(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn direction(flags: u32) -> Option<Direction> {
    match flags & epb_flags::DIRECTION {
        epb_flags::INBOUND => Some(Direction::In),
        epb_flags::OUTBOUND => Some(Direction::Out),
        _ => None,
    }
}
