//! One capture file: its sections, the interfaces described in them, their counts.
//!
//! Knows which of an interface's frames it holds, and nothing of the other files of a capture.

use std::io;

use super::{
    FileOutput, Origin,
    form::Form,
    holds::{Holds, Unreadable},
    wording::{section, statistics, why_without_frames},
};
use crate::account::{Account, Losses, Part};
use crate::interface::{Index, Interfaces, Seen};
use crate::pcapng::{self, InterfaceId, LinkType, Packet, Statistics, Writer};

/// The description of what losses stand under whose interface nobody knows.
pub(super) const UNKNOWN: &str = "interface not known";

/// A capture file, or a pipe that is one.
#[derive(Debug)]
pub(super) struct CaptureFile {
    writer: Writer<FileOutput>,
    origin: Origin,
    holds: Holds,
    /// What stands in the file for each interface.
    told: Vec<Told>,
    /// The link type of the first interface in the file.
    first: Option<LinkType>,
    unreadable: Option<Unreadable>,
    /// Whether a thread of its own writes to the output.
    writes_aside: bool,
    packets: u64,
    /// Files of the capture before this one.
    before: u64,
    /// Frames lost that the file's statistics so far tell of.
    dropped: u64,
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

/// How a capture ended, as a file's last statistics tell it.
#[derive(Clone, Copy, Debug)]
pub(super) struct End<'a> {
    pub(super) account: &'a Account,
    /// Frames lost whose interface is known.
    pub(super) listed: u64,
    pub(super) time_ns: u64,
    /// What no file holds, in words.
    pub(super) comments: &'a [String],
}

impl CaptureFile {
    /// Begins a file. Nothing is written to `output` yet.
    ///
    /// # Errors
    ///
    /// When the snapshot length or a name in `origin` doesn't fit the format.
    pub(super) fn new(
        output: FileOutput,
        origin: Origin,
        snaplen: u32,
        holds: Holds,
    ) -> io::Result<Self> {
        Self::behind(0, output, origin, snaplen, holds)
    }

    /// Begins a file behind so many others.
    fn behind(
        before: u64,
        output: FileOutput,
        origin: Origin,
        snaplen: u32,
        holds: Holds,
    ) -> io::Result<Self> {
        let writer = Writer::new(output, &section(&origin, before, None), snaplen);
        Ok(Self {
            writer: writer.map_err(io_error)?,
            origin,
            holds,
            told: Vec::new(),
            first: None,
            unreadable: None,
            writes_aside: false,
            packets: 0,
            before,
            dropped: 0,
            last_ns: 0,
            has_failed: false,
        })
    }

    /// Begins the file that comes behind this one, which has ended: the frames up to now are in
    /// files before it.
    ///
    /// # Errors
    ///
    /// As [`CaptureFile::new`].
    pub(super) fn next(
        &self,
        output: FileOutput,
        snaplen: u32,
        interfaces: &Interfaces,
    ) -> io::Result<Self> {
        let (before, origin) = (self.before + 1, self.origin.clone());
        let mut next = Self::behind(before, output, origin, snaplen, self.holds)?;
        let told = interfaces.iter().map(|(_, interface)| Told {
            captured: interface.captured,
            dropped: interface.dropped,
            ..Told::default()
        });
        next.told = told.collect();
        if self.writes_aside {
            next.write_aside();
        }
        Ok(next)
    }

    /// Has a thread of its own write to the output from here on; unless somebody waits there for each
    /// frame, or there can be no other thread: then all goes on as before.
    pub(super) fn write_aside(&mut self) {
        let output = self.writer.get_ref();
        if self.writes_aside || output.is_live() {
            return;
        }
        let started = output
            .second()
            .and_then(|output| self.writer.write_aside(output));
        self.writes_aside = started.is_ok();
    }

    /// Whether it does.
    pub(super) fn writes_aside(&self) -> bool {
        self.writes_aside
    }

    /// Ends the file with its own statistics; the capture goes on in another.
    pub(super) fn end_part(
        &mut self,
        interfaces: &Interfaces,
        form: &Form,
        time_ns: u64,
    ) -> io::Result<()> {
        let end_ns = time_ns.max(self.last_ns);
        self.describe_lost(interfaces, form, end_ns)?;
        let mut all = self.end_section(interfaces, form, end_ns);
        if all.is_empty() {
            all.push(self.nothing(end_ns, 0)?);
        }
        let part = Part {
            number: self.before + 1,
            captured: self.packets,
            dropped: self.dropped + all.iter().map(|one| one.dropped).sum::<u64>(),
        };
        if let Some(last) = all.last_mut() {
            last.comments.push(part.to_string());
        }
        self.write_statistics(&all)?;
        self.flush()
    }

    /// The statistics of an interface that nobody knows, which begins here: for losses without one,
    /// and for a section without any.
    fn nothing(&mut self, end_ns: u64, unlisted: u64) -> io::Result<Statistics> {
        let comment = if unlisted > 0 {
            "frames lost before their interface was known, or of more interfaces than a CPU's \
             table of losses holds"
        } else if self.packets > 0 {
            "no frame was captured since the clock was set"
        } else if self.before > 0 {
            "no frame was captured since the file before"
        } else {
            "no frame was captured"
        };
        let kind = self.any_link_type();
        let id = self.write_description(String::new(), UNKNOWN.into(), kind, comment)?;
        let losses = Losses {
            between: 0,
            after: unlisted,
        };
        Ok(statistics(id, end_ns..end_ns, 0, losses))
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
        let slot = seen.index.as_usize();
        let id = match self.told.get(slot) {
            Some(Told {
                described: Some((id, _)),
                ..
            }) => *id,
            _ => self.describe(interfaces, seen.index, link_type, start_ns, "")?,
        };
        if seen.dropped != 0 {
            self.told[slot].between += seen.dropped;
        }
        Ok(id)
    }

    /// Describes an interface. A `comment` tells why, where there is no frame of it.
    #[cold]
    fn describe(
        &mut self,
        interfaces: &Interfaces,
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
        let interface = interfaces.get(index);
        let (name, description) = (interface.name.clone(), interface.description());
        let id = self.write_description(name, description, link_type, comment)?;
        match self.first {
            Some(first) if first != link_type => {
                self.unreadable = Some(Unreadable::TwoLinkTypes);
            }
            Some(LinkType::RAW) => self.unreadable = Some(Unreadable::RawTwice),
            _ => self.first = Some(link_type),
        }
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
        let result = self.writer.interface(&pcapng::Interface {
            name,
            description,
            link_type,
            os: self.origin.os.clone(),
            filter: None,
            comment: comment.to_owned(),
        });
        self.guard(result)
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
    pub(super) fn clock_was_set(
        &mut self,
        interfaces: &Interfaces,
        form: &Form,
        by_ns: i64,
    ) -> io::Result<()> {
        let all = self.end_section(interfaces, form, self.last_ns);
        self.write_statistics(&all)?;
        let result = self
            .writer
            .new_section(&section(&self.origin, self.before, Some(by_ns)));
        self.guard(result)
    }

    /// The counts of every interface that is described in this section, to be written.
    fn end_section(
        &mut self,
        interfaces: &Interfaces,
        form: &Form,
        end_ns: u64,
    ) -> Vec<Statistics> {
        let mut all = Vec::new();
        for (told, (_, interface)) in self.told.iter_mut().zip(interfaces.iter()) {
            let Some((id, start_ns)) = told.described.take() else {
                continue;
            };
            // Without a link type none of them was written.
            let delivered = match form.link_type(interface) {
                Some(_) => interface.captured - told.captured,
                None => 0,
            };
            let dropped = interface.dropped - told.dropped;
            let losses = Losses {
                between: told.between,
                after: dropped - told.between,
            };
            all.push(statistics(id, start_ns..end_ns, delivered, losses));
            told.between = 0;
            (told.captured, told.dropped) = (interface.captured, interface.dropped);
        }
        all
    }

    fn write_statistics(&mut self, all: &[Statistics]) -> io::Result<()> {
        for statistics in all {
            let result = self.writer.statistics(statistics);
            self.guard(result)?;
            self.dropped += statistics.dropped;
        }
        Ok(())
    }

    /// Describes the interfaces with losses that this section does not tell of yet: none of their
    /// frames is in it.
    fn describe_lost(
        &mut self,
        interfaces: &Interfaces,
        form: &Form,
        end_ns: u64,
    ) -> io::Result<()> {
        for (index, interface) in interfaces.iter() {
            let link_type = form.link_type(interface);
            let told = self.told.get(index.as_usize());
            if self.holds.holds(link_type)
                && interface.dropped > told.map_or(0, |told| told.dropped)
            {
                let why = why_without_frames(interface, link_type);
                let link_type = link_type.unwrap_or_else(|| self.any_link_type());
                self.describe(interfaces, index, link_type, end_ns, why)?;
            }
        }
        Ok(())
    }

    /// For an interface whose own is not known, and no frame's: one that makes the file no harder
    /// to read.
    fn any_link_type(&self) -> LinkType {
        match self.holds {
            Holds::All => self.first.unwrap_or(LinkType::ETHERNET),
            Holds::Only(kind) | Holds::First(kind) => kind,
        }
    }

    /// Writes out what there is.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let result = self.writer.flush();
        self.guard(result)
    }

    /// Ends the file with its last statistics, and with them the account of the capture; unless it
    /// has failed: then it ends where it could still be written.
    pub(super) fn finish(
        &mut self,
        interfaces: &Interfaces,
        form: &Form,
        end: &End<'_>,
    ) -> io::Result<()> {
        if self.has_failed {
            return Ok(());
        }
        let end_ns = end.time_ns.max(self.last_ns);
        self.describe_lost(interfaces, form, end_ns)?;
        let mut all = self.end_section(interfaces, form, end_ns);
        let dropped = end.account.dropped().unwrap_or(u64::MAX);
        let unlisted = match self.holds {
            Holds::Only(_) => 0,
            Holds::All | Holds::First(_) => dropped.saturating_sub(end.listed),
        };
        if unlisted > 0 || all.is_empty() {
            all.push(self.nothing(end_ns, unlisted)?);
        }
        let told = self.dropped + all.iter().map(|one| one.dropped).sum::<u64>();
        let account = Account {
            captured: self.packets,
            captured_elsewhere: end.account.captured.saturating_sub(self.packets),
            dropped_elsewhere: dropped.saturating_sub(told),
            ..*end.account
        };
        if let Some(first) = all.first_mut() {
            first.comments.extend_from_slice(end.comments);
        }
        if let Some(last) = all.last_mut() {
            last.comments.push(account.to_string());
        }
        self.write_statistics(&all)?;
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
            if !matches!(error, pcapng::Error::Io(_)) {
                // What was taken before is as good as ever; and nobody else is to write meanwhile.
                let _ = self.writer.flush();
            }
            let whole_len = self.writer.whole_len();
            // That the file is not whole any more is worse than why.
            if let Err(worse) = self.writer.get_mut().keep(whole_len) {
                return worse;
            }
        }
        io_error(error)
    }

    /// Bytes that it has, once all are written out.
    #[inline]
    pub(super) fn len(&self) -> u64 {
        self.writer.encoded_len()
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

fn io_error(error: pcapng::Error) -> io::Error {
    match error {
        pcapng::Error::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}
