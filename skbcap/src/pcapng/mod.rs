//! pcapng: blocks out over `W: Write`, and blocks back in from bytes.
//!
//! Owns the format: which blocks and options are written, their order, and the promise that a file
//! always ends with a whole block ([`Writer::whole_len`]). It must not know processes, kernels or
//! rings: a packet's comment and its two numbers arrive as plain values.
//!
//! Source: draft-ietf-opsawg-pcapng, "PCAP Now Generic (pcapng) Capture File Format". What the
//! files hold is told in `docs/format.md`.

pub mod check;
pub mod raw;
pub mod time;
mod writer;

pub use writer::{PacketOptions, Writer};

use std::io;

use pcap_file::pcapng::PcapNgWriteError;

/// The longest snapshot length that every reader accepts.
pub const MAX_SNAPLEN: u32 = skbcap_common::MAX_SNAPLEN;

/// A `LINKTYPE_*` number: how a packet's first bytes are to be read.
///
/// Source: <https://www.tcpdump.org/linktypes.html>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkType(pub u16);

impl LinkType {
    /// `LINKTYPE_ETHERNET`.
    pub const ETHERNET: Self = Self(1);
    /// `LINKTYPE_RAW`: begins with an IPv4 or IPv6 header.
    pub const RAW: Self = Self(101);
    /// `LINKTYPE_CAN_SOCKETCAN`: the kernel's CAN frame, its identifier big-endian.
    pub const CAN_SOCKETCAN: Self = Self(227);
    /// `LINKTYPE_NETLINK`: a netlink message behind a `LINKTYPE_LINUX_SLL` header.
    pub const NETLINK: Self = Self(253);
    /// `LINKTYPE_LINUX_SLL2`: Linux's "cooked" header, the same for all devices.
    pub const LINUX_SLL2: Self = Self(276);
}

/// The number of an interface within its section, in the order of the description blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceId(pub u32);

/// What a section says of itself. An empty string is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// `shb_hardware`: the machine's processor.
    pub hardware: String,
    /// `shb_os`: the kernel and its release.
    pub os: String,
    /// `shb_userappl`: the program that writes, with its version.
    pub application: String,
    /// `opt_comment`, one for each.
    pub comments: Vec<String>,
}

/// One interface of a section. An empty string is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// `if_name`.
    pub name: String,
    /// `if_description`.
    pub description: String,
    /// How its packets begin.
    pub link_type: LinkType,
    /// `if_os`.
    pub os: String,
    /// `if_filter`: the capture filter in libpcap's language.
    pub filter: Option<String>,
    /// `opt_comment`.
    pub comment: String,
}

/// Bits of `epb_flags` (the draft's section 4.3.1, bit 0 the least significant).
pub mod epb_flags {
    /// Bits 0 and 1 together: which way the packet went, if that is known.
    pub const DIRECTION: u32 = 0b11;
    /// Bits 0 and 1: the packet came to the host.
    pub const INBOUND: u32 = 0b01;
    /// Bits 0 and 1: the packet left the host.
    pub const OUTBOUND: u32 = 0b10;
    /// Bit 9: the checksum is still to be filled in, by the device or by software after it.
    pub const CHECKSUM_NOT_READY: u32 = 1 << 9;
    /// Bit 11: one packet here, several on the wire.
    pub const SEGMENTATION_OFFLOADED: u32 = 1 << 11;
}

/// One packet, borrowed until it is in the writer's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// An interface of the current section.
    pub interface: InterfaceId,
    /// Nanoseconds since 1970-01-01 00:00 UTC.
    pub time_ns: u64,
    /// The bytes kept, from the link-layer header on: at most the snapshot length.
    pub data: &'a [u8],
    /// Bytes that the packet had: at least those kept.
    pub len: u32,
    /// What else is said of it.
    pub options: &'a PacketOptions,
    /// `epb_dropcount`: packets of this interface lost between this one and the one before; left
    /// out when 0.
    pub dropped: u64,
}

/// What became of one interface's packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// An interface of the current section.
    pub interface: InterfaceId,
    /// `isb_starttime`, ns since 1970-01-01 00:00 UTC.
    pub start_ns: u64,
    /// `isb_endtime`, and the time of the block itself, in the same unit.
    pub end_ns: u64,
    /// `isb_ifrecv`: packets that were to be captured: `delivered + dropped`.
    pub received: u64,
    /// `isb_ifdrop`: packets lost for want of room. The option in which dumpcap puts them and
    /// Wireshark's "dropped" looks for them.
    pub dropped: u64,
    /// `isb_usrdeliv`: packets in this section.
    pub delivered: u64,
    /// `opt_comment`, one for each.
    pub comments: Vec<String>,
}

/// Why a block was not taken. Nothing of it is then in the file, and all blocks before it are whole
/// or still to come.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The output failed. The kind is the system's own: a closed pipe is
    /// [`io::ErrorKind::BrokenPipe`], a full disk [`io::ErrorKind::StorageFull`].
    #[error("writing the capture: {0}")]
    Io(#[source] io::Error),
    /// A snapshot length that readers refuse.
    #[error("a snapshot length of {0}: it must be from 1 to {MAX_SNAPLEN}")]
    Snaplen(u32),
    /// More bytes of a packet than the interfaces promise.
    #[error("{len} bytes of a packet, where the snapshot length is {snaplen}")]
    DataTooLong {
        /// Bytes of the packet.
        len: usize,
        /// The snapshot length.
        snaplen: u32,
    },
    /// A packet's comment does not fit an option: over 65,535 bytes.
    #[error("a comment of {len} bytes")]
    CommentTooLong {
        /// Bytes of the comment.
        len: usize,
    },
    /// A block that can't be expressed: an interface of no description, an option over 65,535
    /// bytes, a length under the captured length.
    #[error("the {block} can't be written")]
    Block {
        /// The block's name.
        block: &'static str,
        /// What is wrong with it.
        source: Box<PcapNgWriteError>,
    },
}

impl Error {
    /// The kind of an output's failure; [`None`] if the block itself was at fault.
    #[must_use]
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io(error) => Some(error.kind()),
            _ => None,
        }
    }
}
