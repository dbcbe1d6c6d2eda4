//! Frames become blocks of a capture file.
//!
//! Owns what is said about a frame in the file: its interface, its comment, its flags. The blocks
//! themselves are [`crate::pcapng`]'s.

use std::io;

use skbcap_common::InterfaceDrops;

use super::{FileOutput, Origin, Outcome, Sink, senders::Senders};
use crate::{
    decode::Frame,
    interface::{Interfaces, Key, Seen},
    pcapng::{self, InterfaceId, LinkType, Packet, Section, Statistics, Writer},
};

/// A capture file, or a pipe that is one.
#[derive(Debug)]
pub struct PcapngFile {
    writer: Writer<FileOutput>,
    origin: Origin,
    interfaces: Interfaces,
    /// What stands in the current section for each interface; `None` where nothing does yet.
    described: Vec<Option<Described>>,
    /// The first link type in the file: another one makes it unreadable for libpcap.
    link_type: Option<LinkType>,
    has_two_link_types: bool,
    notices: Vec<String>,
    senders: Senders,
    last_ns: u64,
    has_failed: bool,
}

/// An interface in the current section.
#[derive(Clone, Copy, Debug)]
struct Described {
    id: InterfaceId,
    start_ns: u64,
    /// The interface's counts where the section began.
    captured: u64,
    dropped: u64,
}

impl PcapngFile {
    /// Begins a file. Nothing is written to `output` yet.
    ///
    /// # Errors
    ///
    /// When the snapshot length or a name in `origin` doesn't fit the format.
    pub fn new(output: FileOutput, origin: Origin, snaplen: u32) -> io::Result<Self> {
        let writer = Writer::new(output, &section(&origin, None), snaplen).map_err(io_error)?;
        Ok(Self {
            writer,
            origin,
            interfaces: Interfaces::new(),
            described: Vec::new(),
            link_type: None,
            has_two_link_types: false,
            notices: Vec::new(),
            senders: Senders::new(),
            last_ns: 0,
            has_failed: false,
        })
    }

    /// Writes the interface's description in this section.
    fn describe(
        &mut self,
        seen: &Seen,
        link_type: LinkType,
        start_ns: u64,
    ) -> io::Result<Described> {
        let slot = seen.index.as_usize();
        if slot >= self.described.len() {
            self.described.resize(slot + 1, None);
        }
        let interface = self.interfaces.get(seen.index);
        if *self.link_type.get_or_insert(link_type) != link_type && !self.has_two_link_types {
            self.has_two_link_types = true;
            self.notices.push(format!(
                "{} has another link type than the interfaces before: Wireshark opens this file, \
                 tcpdump does not (capture with -i on interfaces of one link type for it)",
                interface.name
            ));
        }
        let id = self
            .writer
            .interface(&pcapng::Interface {
                name: interface.name.clone(),
                description: interface.description(),
                link_type,
                os: self.origin.os.clone(),
                filter: None,
            })
            .map_err(io_error)?;
        let described = Described {
            id,
            start_ns,
            // This frame is counted already, with the drops before it, which it tells of itself:
            // both belong to this section.
            captured: interface.captured - 1,
            dropped: interface.dropped - seen.dropped,
        };
        self.described[slot] = Some(described);
        Ok(described)
    }

    /// Writes every interface's counts in this section.
    fn end_section(&mut self, end_ns: u64) -> io::Result<()> {
        for (index, interface) in self.interfaces.iter() {
            let Some(Some(described)) = self.described.get(index.as_usize()) else {
                continue;
            };
            let delivered = interface.captured - described.captured;
            let dropped = interface.dropped - described.dropped;
            self.writer
                .statistics(&Statistics {
                    interface: described.id,
                    start_ns: described.start_ns,
                    end_ns,
                    received: delivered + dropped,
                    dropped,
                    delivered,
                })
                .map_err(io_error)?;
        }
        Ok(())
    }

    /// After an error, leaves a file of whole blocks behind.
    fn guard<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() && !self.has_failed {
            self.has_failed = true;
            let whole_len = self.writer.whole_len();
            // That the file is not whole any more is worse than why.
            self.writer.get_mut().keep(whole_len)?;
        }
        result
    }

    /// The number in this section of a frame's interface that has no description there yet; `None`
    /// where frames like it can't be written.
    #[cold]
    fn introduce(&mut self, seen: &Seen, wall_ns: u64) -> io::Result<Option<InterfaceId>> {
        let interface = self.interfaces.get(seen.index);
        let Some(link_type) = interface.link_type else {
            if seen.is_new {
                self.notices.push(format!(
                    "frames of {} are not written: its device type {} has no link type in a \
                     capture file",
                    interface.name, interface.dev_type
                ));
            }
            return Ok(None);
        };
        let described = self.describe(seen, link_type, wall_ns);
        self.guard(described).map(|described| Some(described.id))
    }

    #[cold]
    fn fail(&mut self, error: pcapng::Error) -> io::Result<Outcome> {
        self.guard(Err(io_error(error)))
    }
}

impl Sink for PcapngFile {
    #[inline]
    fn frame(&mut self, frame: &Frame<'_>, wall_ns: u64) -> io::Result<Outcome> {
        let seen = self.interfaces.see(frame.header);
        let interface = match self.described.get(seen.index.as_usize()) {
            Some(Some(described)) => described.id,
            _ => match self.introduce(&seen, wall_ns)? {
                Some(id) => id,
                None => return Ok(Outcome::UnsupportedLinkType),
            },
        };
        let written = self.writer.packet(&Packet {
            interface,
            time_ns: wall_ns,
            data: frame.data,
            len: frame.header.len,
            options: self.senders.options(frame),
            dropped: seen.dropped,
        });
        if let Err(error) = written {
            return self.fail(error);
        }
        self.last_ns = wall_ns;
        Ok(Outcome::Written)
    }

    fn clock_was_set(&mut self, by_ns: i64) -> io::Result<()> {
        let result = self.end_section(self.last_ns).and_then(|()| {
            self.described.clear();
            self.writer
                .new_section(&section(&self.origin, Some(by_ns)))
                .map_err(io_error)
        });
        self.guard(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.writer.flush().map_err(io_error);
        self.guard(result)
    }

    fn finish(&mut self, drops: &[InterfaceDrops], end_ns: u64) -> io::Result<()> {
        if self.has_failed {
            return Ok(());
        }
        for drop in drops {
            let key = Key {
                netns: drop.netns,
                ifindex: drop.ifindex,
            };
            // An interface of which every frame was dropped has no description to count them to;
            // the end summary has them.
            self.interfaces.settle(key, drop.dropped);
        }
        let result = self.end_section(end_ns.max(self.last_ns));
        self.guard(result)?;
        self.flush()
    }

    fn lost(&self) -> u64 {
        self.writer.unwritten_packets()
    }

    fn is_live(&self) -> bool {
        self.writer.get_ref().is_live()
    }

    fn notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }
}

/// A section's header. `clock_set_by_ns` tells why it is not the first.
fn section(origin: &Origin, clock_set_by_ns: Option<i64>) -> Section {
    let mut comments = origin.comments.clone();
    if let Some(by_ns) = clock_set_by_ns {
        let (sign, magnitude) = if by_ns < 0 {
            ('-', by_ns.unsigned_abs())
        } else {
            ('+', by_ns as u64)
        };
        comments.push(format!(
            "the wall clock was set during the capture, by {sign}{}.{:09} s: this section's times \
             are the new clock's, and go on from there",
            magnitude / 1_000_000_000,
            magnitude % 1_000_000_000,
        ));
    }
    Section {
        hardware: origin.hardware.clone(),
        os: origin.os.clone(),
        application: origin.application.clone(),
        comments,
    }
}

fn io_error(error: pcapng::Error) -> io::Error {
    match error {
        pcapng::Error::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}

#[cfg(test)]
mod tests;
