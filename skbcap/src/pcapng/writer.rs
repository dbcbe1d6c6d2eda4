//! The writer: blocks are made in a buffer of its own and leave it whole.

mod aside;
mod blocks;
mod chunk;
mod packet;

pub use packet::PacketOptions;

use self::blocks::Blocks;

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::Duration;

use pcap_file::pcapng::blocks::Block;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
};
use pcap_file::pcapng::blocks::interface_statistics::{
    InterfaceStatisticsBlock, InterfaceStatisticsOption,
};
use pcap_file::pcapng::blocks::opt_common::CommonOption;
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness};

use super::{Error, Interface, InterfaceId, MAX_SNAPLEN, Packet, Section, Statistics};

/// Writes pcapng, little-endian, times in nanoseconds, one snapshot length for all interfaces.
///
/// Blocks gather in a buffer that is written out when it is full, on [`Writer::flush`] and on
/// [`Writer::into_inner`]; **not on drop**, where an error could not be told.
#[derive(Debug)]
pub struct Writer<W: Write> {
    blocks: Blocks,
    out: W,
    snaplen: u32,
    /// Interfaces of the current section.
    interfaces: u32,
}

impl<W: Write> Writer<W> {
    /// Begins a capture on `out` with a section.
    ///
    /// `snaplen` holds for every interface: libpcap refuses a file in which they differ. Nothing is
    /// written to `out` yet.
    ///
    /// # Errors
    ///
    /// If the snapshot length is 0 or above [`MAX_SNAPLEN`], or a string is over 65,535 bytes.
    pub fn new(out: W, section: &Section, snaplen: u32) -> Result<Self, Error> {
        if snaplen == 0 || snaplen > MAX_SNAPLEN {
            return Err(Error::Snaplen(snaplen));
        }
        let blocks = Blocks::new(section_header(section))?;
        Ok(Self {
            blocks,
            out,
            snaplen,
            interfaces: 0,
        })
    }

    /// Begins another section. Its interfaces count from 0 again; those before are forgotten.
    ///
    /// # Errors
    ///
    /// If the output fails, or a string is over 65,535 bytes.
    pub fn new_section(&mut self, section: &Section) -> Result<(), Error> {
        self.make_room()?;
        self.blocks.push(
            &Block::SectionHeader(section_header(section)),
            "section header",
        )?;
        self.interfaces = 0;
        Ok(())
    }

    /// Describes an interface, which packets may name from now on.
    ///
    /// # Errors
    ///
    /// If the output fails, or a string is over 65,535 bytes.
    pub fn interface(&mut self, interface: &Interface) -> Result<InterfaceId, Error> {
        self.make_room()?;
        let Interface {
            name,
            description,
            link_type,
            os,
            filter,
            comment,
        } = interface;
        let mut options = Vec::with_capacity(6);
        if !comment.is_empty() {
            let comment = CommonOption::Comment(comment.into());
            options.push(InterfaceDescriptionOption::Common(comment));
        }
        if !name.is_empty() {
            options.push(InterfaceDescriptionOption::IfName(name.into()));
        }
        if !description.is_empty() {
            options.push(InterfaceDescriptionOption::IfDescription(
                description.into(),
            ));
        }
        options.push(InterfaceDescriptionOption::IfTsResol(
            InterfaceTsResolution::NANO,
        ));
        if let Some(filter) = filter {
            // The first byte says in which form the filter is given: 0, libpcap's language.
            let value = [&[0], filter.as_bytes()].concat();
            options.push(InterfaceDescriptionOption::IfFilter(value.into()));
        }
        if !os.is_empty() {
            options.push(InterfaceDescriptionOption::IfOs(os.into()));
        }
        let block = InterfaceDescriptionBlock {
            linktype: DataLink::from(u32::from(link_type.0)),
            snaplen: self.snaplen,
            options,
        };
        self.blocks
            .push(&Block::InterfaceDescription(block), "interface description")?;
        let id = InterfaceId(self.interfaces);
        self.interfaces += 1;
        Ok(id)
    }

    /// Writes a packet. Its bytes are copied once, into the buffer that the output is given.
    ///
    /// # Errors
    ///
    /// If the output fails (then the packet was not taken), or the packet names an interface of no
    /// description, or its lengths contradict each other or the snapshot length.
    #[inline]
    pub fn packet(&mut self, packet: &Packet<'_>) -> Result<(), Error> {
        self.make_room()?;
        if packet.interface.0 < self.interfaces
            && packet.data.len() <= packet.len as usize
            && packet.data.len() <= self.snaplen as usize
        {
            self.blocks.push_packet(packet);
            return Ok(());
        }
        self.refuse(packet)
    }

    /// Says what is wrong with a packet.
    #[cold]
    fn refuse(&mut self, packet: &Packet<'_>) -> Result<(), Error> {
        if packet.data.len() > self.snaplen as usize {
            return Err(Error::DataTooLong {
                len: packet.data.len(),
                snaplen: self.snaplen,
            });
        }
        let block = EnhancedPacketBlock {
            interface_id: packet.interface.0,
            timestamp: Duration::from_nanos(packet.time_ns),
            original_len: packet.len,
            data: Cow::Borrowed(packet.data),
            options: vec![],
        };
        self.blocks.push(&Block::EnhancedPacket(block), "packet")
    }

    /// Writes an interface's counts.
    ///
    /// # Errors
    ///
    /// If the output fails, the interface has no description in this section, or a string is over
    /// 65,535 bytes.
    pub fn statistics(&mut self, statistics: &Statistics) -> Result<(), Error> {
        self.make_room()?;
        let Statistics {
            interface,
            start_ns,
            end_ns,
            received,
            dropped,
            delivered,
            ref comments,
        } = *statistics;
        let mut options: Vec<_> = comments
            .iter()
            .map(|comment| CommonOption::Comment(comment.into()))
            .map(InterfaceStatisticsOption::Common)
            .collect();
        options.extend([
            InterfaceStatisticsOption::IsbStartTime(Duration::from_nanos(start_ns)),
            InterfaceStatisticsOption::IsbEndTime(Duration::from_nanos(end_ns)),
            InterfaceStatisticsOption::IsbIfRecv(received),
            InterfaceStatisticsOption::IsbIfDrop(dropped),
            InterfaceStatisticsOption::IsbUsrDeliv(delivered),
        ]);
        let block = InterfaceStatisticsBlock {
            interface_id: interface.0,
            timestamp: Duration::from_nanos(end_ns),
            options,
        };
        self.blocks
            .push(&Block::InterfaceStatistics(block), "interface statistics")
    }

    /// From here on has a thread of its own write to the output, which `out` is by another handle:
    /// where making blocks and writing them is more than one thread can do. An error of the output is
    /// told by a later call then, at the latest by [`Writer::flush`].
    ///
    /// # Errors
    ///
    /// If there can be no other thread; then all goes on as before.
    pub fn write_aside(&mut self, out: impl Write + Send + 'static) -> io::Result<()> {
        self.blocks.write_aside(out)
    }

    /// Writes out every block so far, and flushes the output.
    ///
    /// # Errors
    ///
    /// If the output fails. What it did not take is kept, and tried again the next time.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.blocks
            .write_all(&mut self.out)
            .and_then(|()| self.out.flush())
            .map_err(Error::Io)
    }

    /// Bytes of whole blocks that the output has taken.
    ///
    /// After an error it may have taken a part of one more block: a file cut back to this length
    /// (counted from where the capture began) is well formed and lacks nothing that it could hold.
    #[must_use]
    pub fn whole_len(&self) -> u64 {
        self.blocks.whole_len()
    }

    /// Packets that were taken and are not among the whole blocks that the output has.
    ///
    /// Meant for after an error: until then it counts those that wait in the buffer.
    #[must_use]
    pub fn unwritten_packets(&self) -> u64 {
        self.blocks.unwritten_packets()
    }

    /// Bytes of all blocks, of which some may not have been written out yet.
    #[must_use]
    pub fn encoded_len(&self) -> u64 {
        self.blocks.encoded_len()
    }

    /// The output.
    pub fn get_ref(&self) -> &W {
        &self.out
    }

    /// The output, e.g. to cut it back to [`Writer::whole_len`].
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Writes out every block and gives back the output.
    ///
    /// # Errors
    ///
    /// If the output fails. Call [`Writer::flush`] first where it is still needed then.
    pub fn into_inner(mut self) -> Result<W, Error> {
        self.flush()?;
        Ok(self.out)
    }

    /// Writes the buffer out if it is full. Done before a block is made, so that an error means
    /// that the block was not taken.
    #[inline]
    fn make_room(&mut self) -> Result<(), Error> {
        if self.blocks.is_full() {
            self.hand_on()
        } else {
            Ok(())
        }
    }

    #[cold]
    fn hand_on(&mut self) -> Result<(), Error> {
        self.blocks.hand_on(&mut self.out).map_err(Error::Io)
    }
}

fn section_header(section: &Section) -> SectionHeaderBlock<'static> {
    let Section {
        hardware,
        os,
        application,
        comments,
    } = section.clone();
    let mut options: Vec<SectionHeaderOption<'static>> = comments
        .into_iter()
        .map(|comment| SectionHeaderOption::Common(CommonOption::Comment(comment.into())))
        .collect();
    if !hardware.is_empty() {
        options.push(SectionHeaderOption::Hardware(hardware.into()));
    }
    if !os.is_empty() {
        options.push(SectionHeaderOption::OS(os.into()));
    }
    if !application.is_empty() {
        options.push(SectionHeaderOption::UserApplication(application.into()));
    }
    SectionHeaderBlock {
        endianness: Endianness::Little,
        major_version: 1,
        minor_version: 0,
        section_length: -1,
        options,
    }
}

#[cfg(test)]
mod tests;
