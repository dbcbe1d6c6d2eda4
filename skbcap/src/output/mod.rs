//! Where frames go: a capture file or pipe, or lines for a person.
//!
//! Owns the one seam between the pipeline and every format ([`Sink`]). Knows no kernel.

mod any;
mod capture_file;
mod file;
mod form;
mod holds;
mod lines;
mod pcapng;
pub(crate) mod rotation;
mod senders;
mod split;
mod strftime;
mod tee;
mod wording;

use std::io;

use skbcap_common::InterfaceDrops;

pub use self::{
    any::{AnySink, Console},
    file::{FileOutput, OpenError},
    lines::Lines,
    pcapng::Pcapng,
    tee::Tee,
};
use crate::{decode::Frame, process::News, stats::Stats};

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was written.
    Written,
    /// Its device's type has no link type in a capture file.
    UnsupportedLinkType,
    /// It comes after the last file that there may be: neither it nor any later one is written.
    Beyond,
}

/// The machine and the program, as a capture file names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The processor's architecture, such as `x86_64`.
    pub hardware: String,
    /// The operating system with its release, such as `Linux 6.12.1`.
    pub os: String,
    /// This program with its version.
    pub application: String,
    /// Facts about the capture that a reader of the file needs, a line each.
    pub comments: Vec<String>,
}

/// A place for frames.
pub trait Sink {
    /// Takes one frame, sent at `wall_ns` (nanoseconds since 1970 UTC). Frames come in time order.
    ///
    /// # Errors
    ///
    /// What the output says: `StorageFull` for a full disk, `BrokenPipe` for a closed pipe.
    fn frame(&mut self, frame: &Frame<'_>, wall_ns: u64) -> io::Result<Outcome>;

    /// Takes something that became known of a socket or a process before the next frame; `None`:
    /// something did not become known.
    fn learn(&mut self, _news: Option<&News>) {}

    /// The wall clock was set, by so many nanoseconds; the frames from here on are dated by the
    /// new one.
    ///
    /// # Errors
    ///
    /// As [`Sink::frame`].
    fn clock_was_set(&mut self, by_ns: i64) -> io::Result<()>;

    /// Passes on what was taken so far.
    ///
    /// # Errors
    ///
    /// As [`Sink::frame`].
    fn flush(&mut self) -> io::Result<()>;

    /// Ends the output. `drops` is what the kernel side dropped, by interface, over all CPUs, as far
    /// as the interface is known; `stats` what became of every frame; `end_ns` the wall clock's time.
    ///
    /// # Errors
    ///
    /// As [`Sink::frame`].
    fn finish(&mut self, drops: &[InterfaceDrops], stats: &Stats, end_ns: u64) -> io::Result<()>;

    /// Goes on in another file from here on, at `wall_ns`, if it writes one. Returns whether it does.
    ///
    /// # Errors
    ///
    /// As [`Sink::frame`]; not where the other file can't be opened: then it goes on as before and
    /// has a notice of it.
    fn rotate(&mut self, _wall_ns: u64) -> io::Result<bool> {
        Ok(false)
    }

    /// Frames come faster than they are taken: whatever can be done about it is to be done from here on.
    fn hurry(&mut self) {}

    /// After an error: frames that were taken and are not in the output after all.
    fn lost(&self) -> u64;

    /// Whether somebody waits for what is written: a pipe or a terminal, not a file.
    fn is_live(&self) -> bool;

    /// What the user should be told about the output, once each.
    fn notices(&mut self) -> Vec<String>;

    /// Lines for the end, after the counts: where frames are, if in more than one place.
    fn summary(&self) -> Vec<String> {
        Vec::new()
    }
}
