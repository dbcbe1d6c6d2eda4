//! A capture of any kind becomes frames.

mod pcap;
mod pcapng;

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

impl<'a> Capture<'a> {
    /// Reads a pcap (times in micro- or nanoseconds) or a pcapng file, of either byte order.
    ///
    /// # Errors
    ///
    /// If the file's first bytes are no capture's. Whatever is wrong later is
    /// [`Capture::trouble`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, NotACapture> {
        let mut capture = Self::default();
        if pcapng::read(bytes, &mut capture) || pcap::read(bytes, &mut capture) {
            return Ok(capture);
        }
        Err(NotACapture(bytes[..bytes.len().min(4)].to_vec()))
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

    fn found(&mut self, offset: u64, what: TroubleKind) {
        self.trouble.get_or_insert(Trouble { offset, what });
    }

    fn push(&mut self, frame: Frame<'a>) {
        let number = self.frames.len() as u64 + 1;
        self.frames.push(Frame { number, ..frame });
    }
}

/// A snapshot length as files write it: 0 is no limit.
fn snaplen(field: u32) -> u32 {
    if field == 0 { u32::MAX } else { field }
}

#[cfg(test)]
mod tests;
