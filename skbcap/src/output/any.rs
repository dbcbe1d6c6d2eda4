//! Whichever output was asked for.

use std::io::{self, IsTerminal, Stderr, Stdout, Write};

use skbcap_common::InterfaceDrops;

use super::{Lines, Outcome, Pcapng, Sink, Tee};
use crate::{decode::Frame, process::News, stats::Stats};

/// Where lines go.
#[derive(Debug)]
pub enum Console {
    /// Standard output.
    Out(Stdout),
    /// Standard error: the other is somebody else's.
    Err(Stderr),
}

impl Console {
    /// Whether a person looks on.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Out(out) => out.is_terminal(),
            Self::Err(err) => err.is_terminal(),
        }
    }
}

impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Out(out) => out.write(bytes),
            Self::Err(err) => err.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Out(out) => out.flush(),
            Self::Err(err) => err.flush(),
        }
    }
}

/// One of the outputs. A choice that the compiler sees through, where a `dyn Sink` would end its
/// view at each frame.
#[derive(Debug)]
pub enum AnySink {
    /// `-w`.
    Pcapng(Box<Pcapng>),
    /// Without it.
    Lines(Lines<Console>),
    /// `-w` with `--print`.
    Tee(Box<Tee<Console>>),
}

macro_rules! each {
    ($self:ident, $sink:ident => $result:expr) => {
        match $self {
            Self::Pcapng($sink) => $result,
            Self::Lines($sink) => $result,
            Self::Tee($sink) => $result,
        }
    };
}

impl Sink for AnySink {
    #[inline]
    fn frame(&mut self, frame: &Frame<'_>, wall_ns: u64) -> io::Result<Outcome> {
        each!(self, sink => sink.frame(frame, wall_ns))
    }

    fn learn(&mut self, news: Option<&News>) {
        each!(self, sink => sink.learn(news));
    }

    fn clock_was_set(&mut self, by_ns: i64) -> io::Result<()> {
        each!(self, sink => sink.clock_was_set(by_ns))
    }

    fn flush(&mut self) -> io::Result<()> {
        each!(self, sink => sink.flush())
    }

    fn finish(&mut self, drops: &[InterfaceDrops], stats: &Stats, end_ns: u64) -> io::Result<()> {
        each!(self, sink => sink.finish(drops, stats, end_ns))
    }

    fn rotate(&mut self, wall_ns: u64) -> io::Result<bool> {
        each!(self, sink => sink.rotate(wall_ns))
    }

    fn hurry(&mut self) {
        each!(self, sink => sink.hurry());
    }

    fn lost(&self) -> u64 {
        each!(self, sink => sink.lost())
    }

    fn is_live(&self) -> bool {
        each!(self, sink => sink.is_live())
    }

    fn notices(&mut self) -> Vec<String> {
        each!(self, sink => sink.notices())
    }

    fn summary(&self) -> Vec<String> {
        each!(self, sink => sink.summary())
    }
}
