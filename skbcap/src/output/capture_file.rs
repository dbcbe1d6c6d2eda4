//! One capture file: its sections, the interfaces described in them, their counts.
//!
//! Knows which of an interface's frames it holds, and nothing of the other files of a capture.

use std::io;

use super::{FileOutput, Origin};
use crate::interface::{Interfaces, Seen};
use crate::pcapng::{self, InterfaceId, LinkType, Packet, Section, Statistics, Writer};

/// A capture file, or a pipe that is one.
#[derive(Debug)]
pub(super) struct CaptureFile {
    writer: Writer<FileOutput>,
    origin: Origin,
    /// What stands in the current section for each interface; `None` where nothing does yet.
    described: Vec<Option<Described>>,
    /// The link type of the first interface in the file.
    first: Option<LinkType>,
    unreadable: Option<Unreadable>,
    packets: u64,
    last_ns: u64,
    has_failed: bool,
}

/// Why libpcap, and so tcpdump, does not read the whole file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It has two link types.
    TwoLinkTypes,
    /// It describes two interfaces of raw IP, or one anew in another section. libpcap compares the
    /// first one's link type as the number that it has in memory (`DLT_RAW`, 12) with the others'
    /// as they are in the file (101): `pcap_ng_next_packet` in `sf-pcapng.c`, 1.10.
    RawTwice,
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

impl CaptureFile {
    /// Begins a file. Nothing is written to `output` yet.
    ///
    /// # Errors
    ///
    /// When the snapshot length or a name in `origin` doesn't fit the format.
    pub(super) fn new(output: FileOutput, origin: Origin, snaplen: u32) -> io::Result<Self> {
        let writer = Writer::new(output, &section(&origin, None), snaplen).map_err(io_error)?;
        Ok(Self {
            writer,
            origin,
            described: Vec::new(),
            first: None,
            unreadable: None,
            packets: 0,
            last_ns: 0,
            has_failed: false,
        })
    }

    /// The number of the interface that a frame was just seen on, which is described now if it
    /// wasn't yet in this section. All frames of an interface go into one file.
    #[inline]
    pub(super) fn interface(
        &mut self,
        interfaces: &Interfaces,
        seen: &Seen,
        link_type: LinkType,
        start_ns: u64,
    ) -> io::Result<InterfaceId> {
        match self.described.get(seen.index.as_usize()) {
            Some(Some(described)) => Ok(described.id),
            _ => self.describe(interfaces, seen, link_type, start_ns),
        }
    }

    #[cold]
    fn describe(
        &mut self,
        interfaces: &Interfaces,
        seen: &Seen,
        link_type: LinkType,
        start_ns: u64,
    ) -> io::Result<InterfaceId> {
        let slot = seen.index.as_usize();
        if slot >= self.described.len() {
            self.described.resize(slot + 1, None);
        }
        let interface = interfaces.get(seen.index);
        let result = self.writer.interface(&pcapng::Interface {
            name: interface.name.clone(),
            description: interface.description(),
            link_type,
            os: self.origin.os.clone(),
            filter: None,
        });
        let id = self.guard(result)?;
        match self.first {
            Some(first) if first != link_type => {
                self.unreadable = Some(Unreadable::TwoLinkTypes);
            }
            Some(LinkType::RAW) => self.unreadable = Some(Unreadable::RawTwice),
            _ => self.first = Some(link_type),
        }
        self.described[slot] = Some(Described {
            id,
            start_ns,
            // This frame is counted already, with the drops before it, which it tells of itself:
            // both belong to this section.
            captured: interface.captured - 1,
            dropped: interface.dropped - seen.dropped,
        });
        Ok(id)
    }

    /// Writes a packet.
    #[inline]
    pub(super) fn packet(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        let result = self.writer.packet(packet);
        self.guard(result)?;
        self.packets += 1;
        self.last_ns = packet.time_ns;
        Ok(())
    }

    /// Begins another section, because the wall clock was set.
    pub(super) fn clock_was_set(&mut self, interfaces: &Interfaces, by_ns: i64) -> io::Result<()> {
        self.end_section(interfaces, self.last_ns, Vec::new())?;
        self.described.clear();
        let result = self.writer.new_section(&section(&self.origin, Some(by_ns)));
        self.guard(result)
    }

    /// Writes every interface's counts in this section; `comments` stand with the first.
    fn end_section(
        &mut self,
        interfaces: &Interfaces,
        end_ns: u64,
        mut comments: Vec<String>,
    ) -> io::Result<()> {
        for (index, interface) in interfaces.iter() {
            let Some(Some(described)) = self.described.get(index.as_usize()) else {
                continue;
            };
            let delivered = interface.captured - described.captured;
            let dropped = interface.dropped - described.dropped;
            let result = self.writer.statistics(&Statistics {
                interface: described.id,
                start_ns: described.start_ns,
                end_ns,
                received: delivered + dropped,
                dropped,
                delivered,
                comments: std::mem::take(&mut comments),
            });
            self.guard(result)?;
        }
        Ok(())
    }

    /// Writes out what there is.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let result = self.writer.flush();
        self.guard(result)
    }

    /// Ends the file, unless it has failed: then it ends where it could still be written.
    pub(super) fn finish(
        &mut self,
        interfaces: &Interfaces,
        end_ns: u64,
        comments: Vec<String>,
    ) -> io::Result<()> {
        if self.has_failed {
            return Ok(());
        }
        self.end_section(interfaces, end_ns.max(self.last_ns), comments)?;
        self.flush()
    }

    /// After an error, leaves a file of whole blocks behind.
    #[inline]
    fn guard<T>(&mut self, result: Result<T, pcapng::Error>) -> io::Result<T> {
        result.map_err(|error| self.failed(error))
    }

    #[cold]
    fn failed(&mut self, error: pcapng::Error) -> io::Error {
        if !self.has_failed {
            self.has_failed = true;
            let whole_len = self.writer.whole_len();
            // That the file is not whole any more is worse than why.
            if let Err(worse) = self.writer.get_mut().keep(whole_len) {
                return worse;
            }
        }
        io_error(error)
    }

    /// Whether there is something in the file that keeps tcpdump from reading it.
    pub(super) fn unreadable(&self) -> Option<Unreadable> {
        self.unreadable
    }

    /// Packets that were taken. After an error some of them are [lost](Self::lost).
    pub(super) fn packets(&self) -> u64 {
        self.packets
    }

    /// After an error: packets that were taken and are not in the file after all.
    pub(super) fn lost(&self) -> u64 {
        self.writer.unwritten_packets()
    }

    /// What is written to.
    pub(super) fn output(&self) -> &FileOutput {
        self.writer.get_ref()
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
