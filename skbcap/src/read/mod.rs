//! A capture file of any program becomes frames: one after the other ([`walk`]), or all together
//! ([`Capture`]).
//!
//! Borrows everything from the file's bytes. Knows formats, and nothing of what frames are wanted
//! for.

mod pcap;
mod pcapng;

use std::ops::ControlFlow;

use crate::pcapng::LinkType;
use crate::pcapng::raw::BrokenKind;

/// A capture, borrowed from the bytes of its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capture<'a> {
    /// In the file's order.
    pub frames: Vec<Frame<'a>>,
    /// The interfaces of all sections.
    pub interfaces: Vec<Interface>,
    /// The first thing in the file that could not be read. Frames are whatever was whole, also
    /// behind it where the way on could be found.
    pub trouble: Option<Trouble>,
}

/// One captured frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Counts from 1, as in Wireshark.
    pub number: u64,
    /// Nanoseconds since 1970-01-01 00:00 UTC, whatever the file's resolution.
    pub time_ns: u64,
    /// Which of [`Capture::interfaces`].
    pub interface: usize,
    /// Bytes of the frame as sent.
    pub len: u32,
    /// The bytes kept.
    pub data: &'a [u8],
    /// The first comment, if there is one in UTF-8.
    pub comment: Option<&'a str>,
}

/// Where frames were captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// [`None`] if the file doesn't say; a pcap never does.
    pub name: Option<String>,
    /// How its frames begin.
    pub link_type: LinkType,
    /// The most bytes kept of a frame; [`u32::MAX`] if there is no limit.
    pub snaplen: u32,
}

/// Something in a file that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {what}")]
pub struct Trouble {
    /// Where it begins.
    pub offset: u64,
    /// What it is.
    pub what: TroubleKind,
}

/// What can keep a part of a file from being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TroubleKind {
    /// A broken block: the rest of the file can't be read, or a broken option: its block's other
    /// options can't be.
    #[error("{0}")]
    Broken(BrokenKind),
    /// The file ends inside a frame.
    #[error("the file ends {missing} bytes before the frame does")]
    Truncated {
        /// Bytes that are missing, as far as can be told.
        missing: u64,
    },
    /// A frame of a length that no capture has: the rest of the file can't be read.
    #[error("a frame of {0} bytes")]
    FrameLength(u32),
    /// A frame in a block that is too short for it.
    #[error("a block too short for the frame in it")]
    ShortBlock,
    /// A frame of an interface that was never described.
    #[error("a frame of interface {0}, which has no description")]
    UndefinedInterface(u32),
    /// An obsolete or simple packet block, which has no time: passed over.
    #[error("a packet block of type {0}, which is not read")]
    PacketBlock(u32),
}

/// The file is neither pcap nor pcapng.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither a pcap nor a pcapng file: it begins with {0:02x?}")]
pub struct NotACapture(pub Vec<u8>);

/// A frame with what else its file says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The frame.
    pub frame: Frame<'a>,
    /// Its [`epb_flags`](crate::pcapng::epb_flags); 0 if the file doesn't say, as a pcap never does.
    pub flags: u32,
    /// The block, or the record, that it lies in, whole.
    pub block: &'a [u8],
}

/// Takes what is in a file, in the file's order.
pub trait Visitor<'a> {
    /// A frame; [`ControlFlow::Break`] if no more are wanted.
    fn packet(&mut self, packet: Packet<'a>) -> ControlFlow<()>;

    /// An interface, which a later [`Frame::interface`] counts from 0 over all sections.
    fn interface(&mut self, interface: Interface);

    /// The bytes of what is no frame: a pcap's header, a pcapng's other blocks. An interface's
    /// description comes here, and then to [`Visitor::interface`].
    fn other(&mut self, _block: &'a [u8]) {}

    /// Something that could not be read.
    fn trouble(&mut self, trouble: Trouble);
}

/// Walks over a pcap (times in micro- or nanoseconds) or a pcapng file, of either byte order.
///
/// # Errors
///
/// If the file's first bytes are no capture's. Whatever is wrong later goes to
/// [`Visitor::trouble`].
pub fn walk<'a, V: Visitor<'a>>(bytes: &'a [u8], visitor: &mut V) -> Result<(), NotACapture> {
    let mut walk = Walk {
        visitor,
        interfaces: 0,
        frames: 0,
    };
    if pcapng::read(bytes, &mut walk) || pcap::read(bytes, &mut walk) {
        return Ok(());
    }
    Err(NotACapture(bytes[..bytes.len().min(4)].to_vec()))
}

/// A visitor, and how far the file was walked.
struct Walk<'v, V> {
    visitor: &'v mut V,
    interfaces: usize,
    frames: u64,
}

impl<'a, V: Visitor<'a>> Walk<'_, V> {
    fn found(&mut self, offset: u64, what: TroubleKind) {
        self.visitor.trouble(Trouble { offset, what });
    }

    fn interface(&mut self, interface: Interface) {
        self.interfaces += 1;
        self.visitor.interface(interface);
    }

    /// Hands on a packet, numbered.
    fn packet(&mut self, mut packet: Packet<'a>) -> ControlFlow<()> {
        self.frames += 1;
        packet.frame.number = self.frames;
        self.visitor.packet(packet)
    }
}

impl<'a> Visitor<'a> for Capture<'a> {
    fn packet(&mut self, packet: Packet<'a>) -> ControlFlow<()> {
        self.frames.push(packet.frame);
        ControlFlow::Continue(())
    }

    fn interface(&mut self, interface: Interface) {
        self.interfaces.push(interface);
    }

    fn trouble(&mut self, trouble: Trouble) {
        self.trouble.get_or_insert(trouble);
    }
}

impl<'a> Capture<'a> {
    /// Reads a pcap (times in micro- or nanoseconds) or a pcapng file, of either byte order.
    ///
    /// # Errors
    ///
    /// If the file's first bytes are no capture's. Whatever is wrong later is
    /// [`Capture::trouble`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, NotACapture> {
        let mut capture = Self::default();
        walk(bytes, &mut capture)?;
        Ok(capture)
    }

    /// The interface of a frame of this capture.
    #[must_use]
    pub fn interface(&self, frame: &Frame<'_>) -> &Interface {
        &self.interfaces[frame.interface]
    }

    /// The smallest snapshot length of its interfaces.
    #[must_use]
    pub fn snaplen(&self) -> u32 {
        self.interfaces
            .iter()
            .map(|interface| interface.snaplen)
            .min()
            .unwrap_or(u32::MAX)
    }
}

/// A snapshot length as files write it: 0 is no limit.
fn snaplen(field: u32) -> u32 {
    if field == 0 { u32::MAX } else { field }
}

#[cfg(test)]
mod tests;
