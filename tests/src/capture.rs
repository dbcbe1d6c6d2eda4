//! Packets out of capture files, skbcap's and tcpdump's, with all that a test asks about them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use etherparse::{SlicedPacket, TransportSlice};
use skbcap::annotation::Annotation;
use skbcap::pcapng::check;
use skbcap::pcapng::raw::{
    ENHANCED_PACKET, INTERFACE_DESCRIPTION, RawBlock, RawBlocks, SECTION_HEADER,
};

/// `opt_comment`.
const COMMENT: u16 = 1;
/// `if_name`.
const IF_NAME: u16 = 2;
/// `if_description`.
const IF_DESCRIPTION: u16 = 3;
/// `epb_dropcount`.
const EPB_DROPCOUNT: u16 = 4;
/// `epb_processid_threadid`.
const EPB_PROCESS: u16 = 8;

/// One packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    /// Bytes that it had.
    pub len: u32,
    /// Bytes that were kept.
    pub data: Vec<u8>,
    /// What only skbcap's files say.
    pub more: Option<More>,
}

/// What skbcap says of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct More {
    /// The section, counted from 0.
    pub section: usize,
    /// The interface's name.
    pub device: String,
    /// The interface's description: `netns=INODE ifindex=N`.
    pub description: String,
    /// The comment as it stands there.
    pub comment: String,
    /// The comment, read.
    pub who: Annotation<Vec<u8>>,
    /// Option 8: process, then thread.
    pub process: (u32, u32),
    /// `epb_dropcount`.
    pub dropped: u64,
}

impl Packet {
    /// What skbcap says of it.
    ///
    /// # Panics
    ///
    /// For a packet of tcpdump's.
    #[must_use]
    pub fn more(&self) -> &More {
        self.more.as_ref().expect("a packet of skbcap's")
    }

    /// The payload of a UDP datagram that is one frame, behind an Ethernet header.
    #[must_use]
    pub fn udp(&self) -> Option<(u16, &[u8])> {
        match SlicedPacket::from_ethernet(&self.data).ok()?.transport? {
            TransportSlice::Udp(udp) => Some((udp.destination_port(), udp.payload())),
            _ => None,
        }
    }

    /// A TCP segment, behind an Ethernet header.
    #[must_use]
    pub fn tcp(&self) -> Option<Segment<'_>> {
        match SlicedPacket::from_ethernet(&self.data).ok()?.transport? {
            TransportSlice::Tcp(tcp) => Some(Segment {
                ports: (tcp.source_port(), tcp.destination_port()),
                sequence: tcp.sequence_number(),
                payload: tcp.payload(),
                fin: tcp.fin(),
            }),
            _ => None,
        }
    }

    /// A TCP segment over IPv4 of a device without a link-layer header: all that is behind its
    /// header, whatever length that tells. One over 64 KiB has no room for its own.
    #[must_use]
    pub fn raw_tcp(&self) -> Option<Segment<'_>> {
        let version = *self.data.first()?;
        if version >> 4 != 4 || *self.data.get(9)? != 6 {
            return None;
        }
        let tcp = self.data.get(usize::from(version & 15) * 4..)?;
        let port = |at: usize| Some(u16::from_be_bytes([*tcp.get(at)?, *tcp.get(at + 1)?]));
        Some(Segment {
            ports: (port(0)?, port(2)?),
            sequence: u32::from_be_bytes(*tcp.get(4..)?.first_chunk()?),
            payload: tcp.get(usize::from(*tcp.get(12)? >> 4) * 4..)?,
            fin: *tcp.get(13)? & 1 != 0,
        })
    }
}

/// A piece of a TCP stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// The ports, from and to.
    pub ports: (u16, u16),
    /// The number of its first byte.
    pub sequence: u32,
    /// Its bytes.
    pub payload: &'a [u8],
    /// Whether it ends the stream.
    pub fin: bool,
}

/// A file of skbcap's.
#[derive(Debug)]
pub struct Capture {
    /// Its packets, in its order.
    pub packets: Vec<Packet>,
    /// The comments of each section.
    pub sections: Vec<Vec<String>>,
    /// What the strict checker found, which is no fault.
    pub report: check::Report,
}

/// Reads a file of skbcap's, which must be faultless.
///
/// # Errors
///
/// When it can't be read, or the strict checker finds a fault.
pub fn read_pcapng(path: &Path) -> Result<Capture> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse_pcapng(&bytes).with_context(|| path.display().to_string())
}

/// As [`read_pcapng`], from bytes.
///
/// # Errors
///
/// When the strict checker finds a fault.
pub fn parse_pcapng(bytes: &[u8]) -> Result<Capture> {
    let report = check::check(bytes);
    if let Some(fault) = report.faults.first() {
        bail!("{} faults, the first at {fault}", report.faults.len());
    }
    let mut capture = Capture {
        packets: Vec::new(),
        sections: Vec::new(),
        report,
    };
    let mut interfaces = Vec::new();
    for block in RawBlocks::new(bytes) {
        let block = block?;
        match block.kind {
            SECTION_HEADER => {
                interfaces.clear();
                capture.sections.push(texts(&block, 16, COMMENT)?);
            }
            INTERFACE_DESCRIPTION => {
                let one = |code| Ok::<_, anyhow::Error>(texts(&block, 8, code)?.pop());
                interfaces.push((
                    one(IF_NAME)?.unwrap_or_default(),
                    one(IF_DESCRIPTION)?.unwrap_or_default(),
                ));
            }
            ENHANCED_PACKET => {
                let section = capture.sections.len() - 1;
                capture.packets.push(packet(&block, &interfaces, section)?);
            }
            _ => {}
        }
    }
    Ok(capture)
}

/// An enhanced packet block.
fn packet(block: &RawBlock<'_>, interfaces: &[(String, String)], section: usize) -> Result<Packet> {
    let field = |at| block.order.u32(block.body, at).context("a short block");
    let (device, description) = &interfaces[field(0)? as usize];
    let captured = field(12)? as usize;
    let data = block.body[20..20 + captured].to_vec();
    let options = 20 + captured.next_multiple_of(4);
    let comment = texts(block, options, COMMENT)?.pop();
    let comment = comment.context("a packet without a comment")?;
    let mut process = None;
    let mut dropped = 0;
    for option in block.options(options) {
        let option = option?;
        match option.code {
            EPB_PROCESS => {
                let id = |at| block.order.u32(option.value, at).context("option 8");
                process = Some((id(0)?, id(4)?));
            }
            EPB_DROPCOUNT => dropped = block.order.u64(option.value, 0).context("dropcount")?,
            _ => {}
        }
    }
    Ok(Packet {
        time_ns: block.order.time(block.body, 4).context("a short block")?,
        len: field(16)?,
        data,
        more: Some(More {
            section,
            device: device.clone(),
            description: description.clone(),
            who: Annotation::parse(&comment)?,
            comment,
            process: process.context("a packet without option 8")?,
            dropped,
        }),
    })
}

fn texts(block: &RawBlock<'_>, at: usize, code: u16) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for option in block.options(at) {
        let option = option?;
        if option.code == code {
            found.push(String::from_utf8(option.value.to_vec())?);
        }
    }
    Ok(found)
}

/// Reads a file of tcpdump's, as the library reads any capture.
///
/// # Errors
///
/// When it is none, or ends within a packet.
pub fn read_pcap(path: &Path) -> Result<Vec<Packet>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let capture = skbcap::diff::Capture::read(&bytes)
        .with_context(|| format!("cannot read {}", path.display()))?;
    if let Some(trouble) = &capture.trouble {
        bail!("{}: {trouble}", path.display());
    }
    let packet = |frame: &skbcap::diff::Frame<'_>| Packet {
        time_ns: frame.time_ns,
        len: frame.len,
        data: frame.data.to_vec(),
        more: None,
    };
    Ok(capture.frames.iter().map(packet).collect())
}
