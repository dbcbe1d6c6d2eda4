//! Frames become blocks of a capture file.
//!
//! Owns what is said about a frame in the file: its interface, its comment, its flags. The blocks
//! themselves are [`crate::pcapng`]'s.

use std::io;

use skbcap_common::InterfaceDrops;

use super::{FileOutput, Origin, Outcome, Sink};
use crate::{
    account::{Account, Losses},
    annotation::Comments,
    decode::Frame,
    interface::{Index, Interface, Interfaces, Key},
    pcapng::{self, InterfaceId, LinkType, Packet, Section, Statistics, Writer, epb_flags},
    stats::Stats,
};

/// The description of what losses stand under whose interface nobody knows.
const UNKNOWN: &str = "interface not known";

/// `CHECKSUM_PARTIAL`: the checksum is filled in later (include/linux/skbuff.h).
const CHECKSUM_PARTIAL: u8 = 3;

/// A capture file, or a pipe that is one.
#[derive(Debug)]
pub struct PcapngFile {
    writer: Writer<FileOutput>,
    origin: Origin,
    interfaces: Interfaces,
    /// What stands in the file for each interface.
    told: Vec<Told>,
    /// The first link type in the file: another one makes it unreadable for libpcap.
    link_type: Option<LinkType>,
    has_two_link_types: bool,
    notices: Vec<String>,
    comments: Comments,
    last_ns: u64,
    has_failed: bool,
}

/// What stands in the file for an interface.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    /// Its number in the current section, and the time from which it counts; `None` where it has no
    /// description yet.
    described: Option<(InterfaceId, u64)>,
    /// Frames lost that the current section's frames tell of.
    between: u64,
    /// The interface's counts where the current section began.
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
            told: Vec::new(),
            link_type: None,
            has_two_link_types: false,
            notices: Vec::new(),
            comments: Comments::new(),
            last_ns: 0,
            has_failed: false,
        })
    }

    /// The interface's number in this section, described now if it wasn't yet. A `comment` tells
    /// why it is described without a frame.
    fn describe(
        &mut self,
        index: Index,
        link_type: LinkType,
        start_ns: u64,
        comment: &str,
    ) -> io::Result<InterfaceId> {
        let slot = index.as_usize();
        if slot >= self.told.len() {
            self.told.resize(slot + 1, Told::default());
        }
        if let Some((id, _)) = self.told[slot].described {
            return Ok(id);
        }
        let interface = self.interfaces.get(index);
        if *self.link_type.get_or_insert(link_type) != link_type && !self.has_two_link_types {
            self.has_two_link_types = true;
            self.notices.push(format!(
                "{} has another link type than the interfaces before: Wireshark opens this file, \
                 tcpdump does not (capture with -i on interfaces of one link type for it)",
                interface.name
            ));
        }
        let (name, description) = (interface.name.clone(), interface.description());
        let id = self.write_description(name, description, link_type, comment)?;
        self.told[slot].described = Some((id, start_ns));
        Ok(id)
    }

    fn write_description(
        &mut self,
        name: String,
        description: String,
        link_type: LinkType,
        comment: &str,
    ) -> io::Result<InterfaceId> {
        let interface = pcapng::Interface {
            name,
            description,
            link_type,
            os: self.origin.os.clone(),
            filter: None,
            comment: comment.to_owned(),
        };
        self.writer.interface(&interface).map_err(io_error)
    }

    /// The counts of every interface that is described in this section, to be written.
    fn end_section(&mut self, end_ns: u64) -> Vec<Statistics> {
        let mut all = Vec::new();
        for (told, (_, interface)) in self.told.iter_mut().zip(self.interfaces.iter()) {
            let Some((id, start_ns)) = told.described.take() else {
                continue;
            };
            // Without a link type none of them was written.
            let delivered = match interface.link_type {
                Some(_) => interface.captured - told.captured,
                None => 0,
            };
            let dropped = interface.dropped - told.dropped;
            let losses = Losses {
                between: told.between,
                after: dropped - told.between,
            };
            all.push(Statistics {
                interface: id,
                start_ns,
                end_ns,
                received: delivered + dropped,
                dropped,
                delivered,
                comments: (dropped > 0)
                    .then(|| losses.to_string())
                    .into_iter()
                    .collect(),
            });
            told.between = 0;
            (told.captured, told.dropped) = (interface.captured, interface.dropped);
        }
        all
    }

    fn write_statistics(&mut self, all: &[Statistics]) -> io::Result<()> {
        all.iter()
            .try_for_each(|statistics| self.writer.statistics(statistics))
            .map_err(io_error)
    }

    /// Describes the interfaces with losses that this section does not tell of yet: none of their
    /// frames is in it.
    fn describe_lost(&mut self, end_ns: u64) -> io::Result<()> {
        let lost: Vec<_> = self
            .interfaces
            .iter()
            .filter(|(index, interface)| {
                let told = self.told.get(index.as_usize());
                interface.dropped > told.map_or(0, |told| told.dropped)
            })
            .map(|(index, interface)| (index, interface.link_type, why_without_frames(interface)))
            .collect();
        for (index, link_type, comment) in lost {
            let link_type = link_type.unwrap_or_else(|| self.any_link_type());
            self.describe(index, link_type, end_ns, comment)?;
        }
        Ok(())
    }

    /// For an interface whose own is not known, and no frame's: one that makes the file no harder
    /// to read.
    fn any_link_type(&self) -> LinkType {
        self.link_type.unwrap_or(LinkType::ETHERNET)
    }

    /// The last statistics of the file, and with them the account of all of it.
    fn write_account(&mut self, stats: &Stats, listed: u64, end_ns: u64) -> io::Result<()> {
        self.describe_lost(end_ns)?;
        let mut all = self.end_section(end_ns);
        let dropped = stats.dropped().saturating_sub(listed);
        if dropped > 0 || all.is_empty() {
            let comment = if dropped > 0 {
                "frames lost before their interface was known, or of more interfaces than a CPU's \
                 table of losses holds"
            } else {
                "no frame was captured"
            };
            let interface = self.write_description(
                String::new(),
                UNKNOWN.into(),
                self.any_link_type(),
                comment,
            )?;
            let losses = Losses {
                between: 0,
                after: dropped,
            };
            all.push(Statistics {
                interface,
                start_ns: end_ns,
                end_ns,
                received: dropped,
                dropped,
                delivered: 0,
                comments: (dropped > 0)
                    .then(|| losses.to_string())
                    .into_iter()
                    .collect(),
            });
        }
        if let Some(last) = all.last_mut() {
            last.comments.push(Account::of(stats).to_string());
        }
        self.write_statistics(&all)
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

    fn write(&mut self, frame: &Frame<'_>, wall_ns: u64) -> io::Result<Outcome> {
        let header = frame.header;
        let seen = self.interfaces.see(header);
        let Some(link_type) = self.interfaces.get(seen.index).link_type else {
            if seen.is_new {
                let interface = self.interfaces.get(seen.index);
                self.notices.push(format!(
                    "frames of {} are not written: its device type {} has no link type in a \
                     capture file",
                    interface.name, interface.dev_type
                ));
            }
            return Ok(Outcome::UnsupportedLinkType);
        };
        let id = self.describe(seen.index, link_type, wall_ns, "")?;
        let mut flags = epb_flags::OUTBOUND;
        if header.ip_summed == CHECKSUM_PARTIAL {
            flags |= epb_flags::CHECKSUM_NOT_READY;
        }
        if header.gso_size != 0 {
            flags |= epb_flags::SEGMENTATION_OFFLOADED;
        }
        self.writer
            .packet(&Packet {
                interface: id,
                time_ns: wall_ns,
                data: frame.data,
                len: header.len,
                comment: self.comments.of(frame),
                flags,
                process: Some((header.tgid, header.pid)),
                dropped: seen.dropped,
            })
            .map_err(io_error)?;
        self.told[seen.index.as_usize()].between += seen.dropped;
        self.last_ns = wall_ns;
        Ok(Outcome::Written)
    }
}

impl Sink for PcapngFile {
    fn frame(&mut self, frame: &Frame<'_>, wall_ns: u64) -> io::Result<Outcome> {
        let result = self.write(frame, wall_ns);
        self.guard(result)
    }

    fn clock_was_set(&mut self, by_ns: i64) -> io::Result<()> {
        let all = self.end_section(self.last_ns);
        let result = self.write_statistics(&all).and_then(|()| {
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

    fn finish(&mut self, drops: &[InterfaceDrops], stats: &Stats, end_ns: u64) -> io::Result<()> {
        if self.has_failed {
            return Ok(());
        }
        for drop in drops {
            let key = Key {
                netns: drop.netns,
                ifindex: drop.ifindex,
            };
            self.interfaces.settle(key, drop.dropped);
        }
        let listed = self
            .interfaces
            .iter()
            .map(|(_, interface)| interface.dropped);
        let listed = listed.sum();
        let result = self.write_account(stats, listed, end_ns.max(self.last_ns));
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

/// Why an interface is described that has no frame in the section.
fn why_without_frames(interface: &Interface) -> &'static str {
    match interface.link_type {
        Some(_) => "",
        None if interface.captured == 0 => {
            "every frame of it was lost: its name and its link type are not known"
        }
        None => "its frames have no link type in a capture file and were not written",
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
