//! A strict checker of the files that skbcap writes, and of anybody's as far as it goes.
//!
//! It sees what readers pass over (padding, options repeated or without an end, times that go
//! back, sums that don't add up) and what one of them refuses (unequal snapshot lengths, packets
//! that are too long). It shares no code with the writer but the comments' grammars, so that
//! neither hides the other's mistakes. Stricter than the draft: times are nanoseconds, and texts a single line.

mod fault;
mod options;
mod report;
mod totals;

use self::report::Statistics;
use self::totals::Capture;
use super::raw::{
    Broken, BrokenKind, ByteOrder, ENHANCED_PACKET, INTERFACE_DESCRIPTION, INTERFACE_STATISTICS,
    OBSOLETE_PACKET, RawBlock, RawBlocks, SECTION_HEADER, SIMPLE_PACKET,
};
use super::time::{IF_TSOFFSET, IF_TSRESOL, Ticks};
use super::{LinkType, MAX_SNAPLEN};
use crate::account::{Account, Losses, Part};
use crate::annotation::Annotation;

pub use fault::{Fault, FaultKind};
pub use report::{InterfaceReport, Report};

/// Bits 12 to 15 of `epb_flags`, which the draft wants to be 0.
const RESERVED_FLAGS: u32 = 0xf000;
/// `opt_comment`.
const OPT_COMMENT: u16 = 1;

/// What is asked of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Scope {
    /// Every block as skbcap writes them, whoever did.
    #[default]
    Blocks,
    /// That it adds up: all that skbcap promises in its own sections, and in those of others what
    /// must hold in anybody's.
    Account,
}

/// Checks a whole file, each block as strictly as if it were skbcap's.
#[must_use]
pub fn check(bytes: &[u8]) -> Report {
    let checker = Checker {
        is_ours: true,
        ..Checker::default()
    };
    checker.run(bytes)
}

/// Checks whether a whole file adds up, whoever wrote it.
#[must_use]
pub fn verify(bytes: &[u8]) -> Report {
    let checker = Checker {
        scope: Scope::Account,
        ..Checker::default()
    };
    checker.run(bytes)
}

#[derive(Default)]
struct Checker {
    report: Report,
    scope: Scope,
    /// Whether the current section is held to what skbcap promises.
    is_ours: bool,
    /// Where the current section begins in the file.
    section_offset: u64,
    /// Where the current section's interfaces begin in the report's.
    section_start: usize,
    /// How the current section's interfaces count time.
    ticks: Vec<Ticks>,
    capture: Capture,
    last_time_ns: u64,
    /// The codes of the options of a block so far.
    codes: Vec<u16>,
}

/// The values of a block's options that are looked at again.
type Values<'a> = Vec<(u16, &'a [u8])>;

impl Checker {
    fn run(mut self, bytes: &[u8]) -> Report {
        if bytes.is_empty() {
            self.fault(0, FaultKind::Broken(BrokenKind::Truncated { missing: 28 }));
        }
        for block in RawBlocks::new(bytes) {
            match block {
                Ok(block) => self.block(&block),
                Err(broken) => self.broken(broken),
            }
        }
        self.end_section();
        self.end_capture(bytes.len() as u64);
        self.report.faults.sort_by_key(|fault| fault.offset);
        self.report
    }

    fn fault(&mut self, offset: u64, what: FaultKind) {
        if self.is_ours || what.is_anybodys() {
            self.report.fault(offset, what);
        }
    }

    fn broken(&mut self, broken: Broken) {
        self.fault(broken.offset, FaultKind::Broken(broken.what));
    }

    fn block(&mut self, block: &RawBlock<'_>) {
        if block.kind != SECTION_HEADER && self.capture.end().is_some_and(|at| at < block.offset) {
            self.fault(block.offset, FaultKind::BehindAccount);
        }
        let fields = match block.kind {
            SECTION_HEADER => self.section(block),
            INTERFACE_DESCRIPTION => self.interface(block),
            ENHANCED_PACKET => self.packet(block),
            INTERFACE_STATISTICS => self.statistics(block),
            kind => {
                self.fault(block.offset, FaultKind::UnknownBlock(kind));
                if !self.is_ours {
                    self.packet_without_time(block);
                }
                return;
            }
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

    /// Ends the section before, and the capture before if there is one that ended.
    fn begin_section(&mut self, block: &RawBlock<'_>) {
        self.end_section();
        let is_ours = match self.scope {
            Scope::Blocks => true,
            Scope::Account => block
                .options(16)
                .flatten()
                .filter(|option| option.code == 4)
                .any(|option| report::is_ours(&String::from_utf8_lossy(option.value))),
        };
        if self.report.sections > 0 && (self.capture.end().is_some() || is_ours != self.is_ours) {
            self.end_capture(block.offset);
        }
        self.is_ours = is_ours;
        self.report.sections += 1;
        self.section_offset = block.offset;
        self.section_start = self.report.interfaces.len();
        self.ticks.clear();
        self.last_time_ns = 0;
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
        self.begin_section(block);
        let values = self.options(block, 16);
        let writer = text(&values, 4);
        if !self.report.writers.contains(&writer) {
            self.report.writers.push(writer);
        }
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
        let first_byte = |code| value(&values, code).and_then(|value| value.first().copied());
        self.ticks.push(Ticks {
            resolution: first_byte(IF_TSRESOL).unwrap_or(Ticks::default().resolution),
            offset_s: number(block.order, &values, IF_TSOFFSET).unwrap_or(0) as i64,
        });
        self.report.interfaces.push(InterfaceReport {
            section: self.report.sections.saturating_sub(1),
            name: text(&values, 2),
            description: text(&values, 3),
            link_type,
            snaplen,
            packets: 0,
            captured_bytes: 0,
            dropped_between: 0,
            counted: None,
            dropped: None,
            times_ns: None,
            statistics: None,
        });
        Some(())
    }

    fn packet(&mut self, block: &RawBlock<'_>) -> Option<()> {
        let RawBlock { order, body, .. } = *block;
        let id = order.u32(body, 0)?;
        let ticks = self.ticks.get(id as usize).copied().unwrap_or_default();
        let time_ns = ticks.time_ns(order.time(body, 4)?);
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
            if !self.is_ours {
                let (first, times) = self.report.time_goes_back.unwrap_or((block.offset, 0));
                self.report.time_goes_back = Some((first, times + 1));
            }
        }
        self.last_time_ns = self.last_time_ns.max(time_ns);
        self.report.packets += 1;
        self.capture.packets += 1;

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
        if captured > snaplen && (snaplen != 0 || self.is_ours) {
            let what = FaultKind::CapturedOverSnaplen { captured, snaplen };
            self.fault(block.offset_of(12), what);
        }
        if self.scope == Scope::Account && self.is_ours {
            self.comment(
                block.offset,
                &text(&values, OPT_COMMENT),
                captured,
                len.min(snaplen),
                len,
            );
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
        let time = |code| value(&values, code).and_then(|value| order.time(value, 0));
        let mut statistics = Statistics {
            offset,
            start_ns: time(2),
            end_ns: time(3),
            received: number(order, &values, 4),
            dropped: number(order, &values, 5),
            dropped_by_os: number(order, &values, 7),
            delivered: number(order, &values, 8),
            losses: None,
        };
        for (_, value) in values.iter().filter(|(code, _)| *code == OPT_COMMENT) {
            let comment = String::from_utf8_lossy(value);
            if let Some(losses) = Losses::parse(&comment) {
                statistics.losses = Some(losses);
            }
            if let Some(account) = Account::parse(&comment) {
                self.capture.account = Some((offset, account));
            }
            if let Some(part) = Part::parse(&comment) {
                self.capture.part = Some((offset, part));
            }
        }
        let Some(interface) = self.defined(id) else {
            self.fault(block.offset_of(0), FaultKind::UndefinedInterface(id));
            return Some(());
        };
        interface.counted = statistics.delivered;
        interface.dropped = statistics.dropped;
        interface.statistics = Some(statistics);
        Some(())
    }

    /// What a frame's comment says, against its lengths: it has lost bytes if it has fewer than
    /// `wanted`.
    fn comment(&mut self, offset: u64, comment: &str, captured: u32, wanted: u32, len: u32) {
        let annotation = match Annotation::parse(comment) {
            Ok(annotation) => annotation,
            Err(error) => return self.fault(offset, FaultKind::Comment { key: error.key }),
        };
        match annotation.cut {
            Some(_) => {
                self.capture.cut += 1;
                if captured >= wanted {
                    self.fault(offset, FaultKind::CutButWhole);
                }
            }
            None if captured < wanted => {
                self.fault(offset, FaultKind::CutUnexplained { captured, len });
            }
            None => {}
        }
    }

    /// Counts what other programs write.
    fn packet_without_time(&mut self, block: &RawBlock<'_>) {
        let id = match block.kind {
            SIMPLE_PACKET => Some(0),
            OBSOLETE_PACKET => block.order.u16(block.body, 0).map(u32::from),
            _ => return,
        };
        self.report.packets += 1;
        if let Some(interface) = id.and_then(|id| self.defined(id)) {
            interface.packets += 1;
        }
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

fn text(values: &Values<'_>, code: u16) -> String {
    String::from_utf8_lossy(value(values, code).unwrap_or_default()).into_owned()
}

fn number(order: ByteOrder, values: &Values<'_>, code: u16) -> Option<u64> {
    value(values, code).and_then(|value| order.u64(value, 0))
}

#[cfg(test)]
mod tests;
