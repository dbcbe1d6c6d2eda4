//! A strict checker of the files that skbcap writes.
//!
//! It sees what readers pass over (padding, options repeated or without an end, times that go
//! back, sums that don't add up) and what one of them refuses (unequal snapshot lengths, packets
//! that are too long). It shares no code with the writer, so that neither hides the other's
//! mistakes. Stricter than the draft: times are nanoseconds, and texts a single line.

mod options;

use super::raw::{
    Broken, BrokenKind, ByteOrder, ENHANCED_PACKET, INTERFACE_DESCRIPTION, INTERFACE_STATISTICS,
    RawBlock, RawBlocks, SECTION_HEADER,
};
use super::{LinkType, MAX_SNAPLEN};

/// Faults that are kept: a file with more is beyond being told about.
const MAX_FAULTS: usize = 100;
/// Bits 12 to 15 of `epb_flags`, which the draft wants to be 0.
const RESERVED_FLAGS: u32 = 0xf000;

/// What a file holds, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Sections.
    pub sections: u32,
    /// Interfaces of all sections, in the file's order.
    pub interfaces: Vec<InterfaceReport>,
    /// Packets.
    pub packets: u64,
    /// The first hundred faults.
    pub faults: Vec<Fault>,
    /// Faults beyond those.
    pub more_faults: u64,
}

/// One interface of one section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceReport {
    /// Its section, counted from 0.
    pub section: u32,
    /// `if_name`.
    pub name: String,
    /// `if_description`.
    pub description: String,
    /// How its packets begin.
    pub link_type: LinkType,
    /// Its snapshot length.
    pub snaplen: u32,
    /// Packets.
    pub packets: u64,
    /// Bytes of packets that were kept.
    pub captured_bytes: u64,
    /// Packets lost, as the packets behind them say (`epb_dropcount`).
    pub dropped_between: u64,
    /// Packets lost, as the last statistics say (`isb_ifdrop`).
    pub dropped: Option<u64>,
    /// The time of the first and the last packet, ns since 1970.
    pub times_ns: Option<(u64, u64)>,
}

/// Something wrong, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {what}")]
pub struct Fault {
    /// Where the block, the option or the field begins.
    pub offset: u64,
    /// What is wrong.
    pub what: FaultKind,
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message is its description")]
pub enum FaultKind {
    #[error("{0}")]
    Broken(BrokenKind),
    #[error("a block of type {0:#010x} that skbcap does not write")]
    UnknownBlock(u32),
    #[error("a block too short for its fields")]
    ShortBlock,
    #[error("padding that is not zero")]
    Padding,
    #[error("option {0} is unknown in this block")]
    UnknownOption(u16),
    #[error("option {0} stands more than once")]
    RepeatedOption(u16),
    #[error("option {code} has {len} bytes")]
    OptionLength { code: u16, len: usize },
    #[error("option {0} is not UTF-8")]
    NotUtf8(u16),
    #[error("option {0} holds a control character")]
    NotOneLine(u16),
    #[error("version {0}.{1}, not 1.0")]
    Version(u16, u16),
    #[error("a reserved field that is not zero")]
    Reserved,
    #[error("a snapshot length of {0}")]
    Snaplen(u32),
    #[error("a snapshot length of {found}, where other interfaces have {first}")]
    UnequalSnaplen { found: u32, first: u32 },
    #[error("times are not in nanoseconds")]
    Resolution,
    #[error("interface {0} has no description")]
    UndefinedInterface(u32),
    #[error("{captured} bytes of a packet of {len}")]
    CapturedOverLen { captured: u32, len: u32 },
    #[error("{captured} bytes of a packet, where the snapshot length is {snaplen}")]
    CapturedOverSnaplen { captured: u32, snaplen: u32 },
    #[error("packet data goes on behind its block's end")]
    Data,
    #[error("time goes back by {0} ns")]
    TimeGoesBack(u64),
    #[error("the statistics' start is after their end")]
    StatisticsTimes,
    #[error("the statistics' times leave out a packet")]
    StatisticsLeaveOut,
    #[error("the statistics count {counted} packets, there are {packets}")]
    StatisticsCount { counted: u64, packets: u64 },
    #[error("{received} packets received are not {delivered} delivered and {dropped} dropped")]
    StatisticsSum {
        received: u64,
        delivered: u64,
        dropped: u64,
    },
    #[error("the statistics count {counted} packets dropped, the packets {between}")]
    StatisticsDropped { counted: u64, between: u64 },
}

/// Checks a whole file.
#[must_use]
pub fn check(bytes: &[u8]) -> Report {
    let mut checker = Checker::default();
    if bytes.is_empty() {
        checker.fault(0, FaultKind::Broken(BrokenKind::Truncated { missing: 28 }));
    }
    for block in RawBlocks::new(bytes) {
        match block {
            Ok(block) => checker.block(&block),
            Err(broken) => checker.broken(broken),
        }
    }
    checker.report
}

#[derive(Default)]
struct Checker {
    report: Report,
    /// Where the current section's interfaces begin in the report's.
    section_start: usize,
    last_time_ns: u64,
    /// The codes of the options of a block so far.
    codes: Vec<u16>,
}

/// The values of a block's options that are looked at again.
type Values<'a> = Vec<(u16, &'a [u8])>;

impl Checker {
    fn fault(&mut self, offset: u64, what: FaultKind) {
        if self.report.faults.len() < MAX_FAULTS {
            self.report.faults.push(Fault { offset, what });
        } else {
            self.report.more_faults += 1;
        }
    }

    fn broken(&mut self, broken: Broken) {
        self.fault(broken.offset, FaultKind::Broken(broken.what));
    }

    fn block(&mut self, block: &RawBlock<'_>) {
        let fields = match block.kind {
            SECTION_HEADER => self.section(block),
            INTERFACE_DESCRIPTION => self.interface(block),
            ENHANCED_PACKET => self.packet(block),
            INTERFACE_STATISTICS => self.statistics(block),
            kind => return self.fault(block.offset, FaultKind::UnknownBlock(kind)),
        };
        if fields.is_none() {
            self.fault(block.offset, FaultKind::ShortBlock);
        }
    }

    fn options<'a>(&mut self, block: &RawBlock<'a>, at: usize) -> Values<'a> {
        let mut values = Values::new();
        self.codes.clear();
        for option in block.options(at) {
            let option = match option {
                Ok(option) => option,
                Err(broken) => {
                    self.broken(broken);
                    break;
                }
            };
            let codes = std::mem::take(&mut self.codes);
            options::check(block.kind, &option, &codes, |what| {
                self.fault(option.offset, what);
            });
            self.codes = codes;
            self.codes.push(option.code);
            values.push((option.code, option.value));
        }
        values
    }

    fn section(&mut self, block: &RawBlock<'_>) -> Option<()> {
        let (major, minor) = (
            block.order.u16(block.body, 4)?,
            block.order.u16(block.body, 6)?,
        );
        if (major, minor) != (1, 0) {
            self.fault(block.offset_of(4), FaultKind::Version(major, minor));
        }
        block.order.u64(block.body, 8)?;
        self.options(block, 16);
        self.report.sections += 1;
        self.section_start = self.report.interfaces.len();
        self.last_time_ns = 0;
        Some(())
    }

    fn interface(&mut self, block: &RawBlock<'_>) -> Option<()> {
        let link_type = LinkType(block.order.u16(block.body, 0)?);
        if block.order.u16(block.body, 2)? != 0 {
            self.fault(block.offset_of(2), FaultKind::Reserved);
        }
        let snaplen = block.order.u32(block.body, 4)?;
        let first = self
            .report
            .interfaces
            .first()
            .map_or(snaplen, |interface| interface.snaplen);
        if snaplen == 0 || snaplen > MAX_SNAPLEN {
            self.fault(block.offset_of(4), FaultKind::Snaplen(snaplen));
        }
        if snaplen != first {
            self.fault(
                block.offset_of(4),
                FaultKind::UnequalSnaplen {
                    found: snaplen,
                    first,
                },
            );
        }
        let values = self.options(block, 8);
        if value(&values, 9) != Some(&[9]) {
            self.fault(block.offset, FaultKind::Resolution);
        }
        let text = |code| String::from_utf8_lossy(value(&values, code).unwrap_or_default()).into();
        self.report.interfaces.push(InterfaceReport {
            section: self.report.sections.saturating_sub(1),
            name: text(2),
            description: text(3),
            link_type,
            snaplen,
            packets: 0,
            captured_bytes: 0,
            dropped_between: 0,
            dropped: None,
            times_ns: None,
        });
        Some(())
    }

    fn packet(&mut self, block: &RawBlock<'_>) -> Option<()> {
        let RawBlock { order, body, .. } = *block;
        let id = order.u32(body, 0)?;
        let time_ns = order.time(body, 4)?;
        let captured = order.u32(body, 12)?;
        let len = order.u32(body, 16)?;
        if captured > len {
            self.fault(
                block.offset_of(12),
                FaultKind::CapturedOverLen { captured, len },
            );
        }
        if time_ns < self.last_time_ns {
            let back = self.last_time_ns - time_ns;
            self.fault(block.offset_of(4), FaultKind::TimeGoesBack(back));
        }
        self.last_time_ns = self.last_time_ns.max(time_ns);
        self.report.packets += 1;

        let end = 20 + captured as usize;
        let Some(padding) = body.get(end..end.next_multiple_of(4)) else {
            self.fault(block.offset_of(12), FaultKind::Data);
            return Some(());
        };
        if padding.iter().any(|&byte| byte != 0) {
            self.fault(block.offset_of(end), FaultKind::Padding);
        }
        let values = self.options(block, end.next_multiple_of(4));
        let flags = value(&values, 2)
            .and_then(|value| order.u32(value, 0))
            .unwrap_or_default();
        if flags & RESERVED_FLAGS != 0 {
            self.fault(block.offset, FaultKind::Reserved);
        }
        let dropped = number(order, &values, 4).unwrap_or_default();

        let Some(interface) = self.defined(id) else {
            self.fault(block.offset_of(0), FaultKind::UndefinedInterface(id));
            return Some(());
        };
        let snaplen = interface.snaplen;
        interface.packets += 1;
        interface.captured_bytes += u64::from(captured);
        interface.dropped_between = interface.dropped_between.saturating_add(dropped);
        let first = interface.times_ns.map_or(time_ns, |(first, _)| first);
        interface.times_ns = Some((first, time_ns));
        if captured > snaplen {
            let what = FaultKind::CapturedOverSnaplen { captured, snaplen };
            self.fault(block.offset_of(12), what);
        }
        Some(())
    }

    fn statistics(&mut self, block: &RawBlock<'_>) -> Option<()> {
        let RawBlock {
            order,
            body,
            offset,
            ..
        } = *block;
        let id = order.u32(body, 0)?;
        order.time(body, 4)?;
        let values = self.options(block, 12);
        let Some(interface) = self.defined(id) else {
            self.fault(block.offset_of(0), FaultKind::UndefinedInterface(id));
            return Some(());
        };
        let (packets, between) = (interface.packets, interface.dropped_between);
        let times_ns = interface.times_ns;
        interface.dropped = number(order, &values, 5);

        let time = |code| value(&values, code).and_then(|value| order.time(value, 0));
        if let (Some(start), Some(end)) = (time(2), time(3)) {
            if start > end {
                self.fault(offset, FaultKind::StatisticsTimes);
            } else if times_ns.is_some_and(|(first, last)| first < start || last > end) {
                self.fault(offset, FaultKind::StatisticsLeaveOut);
            }
        }
        let delivered = number(order, &values, 8);
        if let Some(counted) = delivered.filter(|&counted| counted != packets) {
            self.fault(offset, FaultKind::StatisticsCount { counted, packets });
        }
        let dropped = number(order, &values, 5);
        if let Some(counted) = dropped.filter(|&counted| counted < between) {
            self.fault(offset, FaultKind::StatisticsDropped { counted, between });
        }
        if let (Some(received), Some(delivered), Some(dropped)) =
            (number(order, &values, 4), delivered, dropped)
            && delivered.checked_add(dropped) != Some(received)
        {
            self.fault(
                offset,
                FaultKind::StatisticsSum {
                    received,
                    delivered,
                    dropped,
                },
            );
        }
        Some(())
    }

    /// An interface of the current section.
    fn defined(&mut self, id: u32) -> Option<&mut InterfaceReport> {
        self.report
            .interfaces
            .get_mut(self.section_start..)?
            .get_mut(id as usize)
    }
}

fn value<'a>(values: &Values<'a>, code: u16) -> Option<&'a [u8]> {
    values
        .iter()
        .find(|(other, _)| *other == code)
        .map(|(_, value)| *value)
}

fn number(order: ByteOrder, values: &Values<'_>, code: u16) -> Option<u64> {
    value(values, code).and_then(|value| order.u64(value, 0))
}

#[cfg(test)]
mod tests;
