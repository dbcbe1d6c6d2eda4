//! What can only be judged at the end of a section, a capture or the file: sums.

use super::report::{InterfaceReport, Report, Statistics};
use super::{Checker, FaultKind, Scope};
use crate::account::{Account, Part};

/// One capture of skbcap's, which ends with its account.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Capture {
    /// Packets.
    pub(super) packets: u64,
    /// Packets that are said to be cut short.
    pub(super) cut: u64,
    /// Its account, and where the block begins that holds it.
    pub(super) account: Option<(u64, Account)>,
    /// What stands there instead where it went on in another file.
    pub(super) part: Option<(u64, Part)>,
    /// The place of its first interface in the report.
    first_interface: usize,
}

impl Capture {
    /// Where the block begins that is its last.
    pub(super) fn end(&self) -> Option<u64> {
        let account = self.account.map(|(offset, _)| offset);
        account.or(self.part.map(|(offset, _)| offset))
    }
}

impl Checker {
    /// Judges the interfaces of the section that ends here.
    pub(super) fn end_section(&mut self) {
        let start = self.section_start;
        let section = start..self.report.interfaces.len();
        for (id, place) in (0u32..).zip(section) {
            let interface = self.report.interfaces[place].clone();
            match interface.statistics {
                Some(statistics) => self.statistics_hold(&interface, &statistics),
                // A capture that did not come to its end has none, and is told of once.
                None if self.scope == Scope::Account && self.capture.end().is_some() => {
                    self.fault(self.section_offset, FaultKind::NoStatistics(id));
                }
                None => {}
            }
        }
    }

    fn statistics_hold(&mut self, interface: &InterfaceReport, statistics: &Statistics) {
        let offset = statistics.offset;
        let (packets, between) = (interface.packets, interface.dropped_between);
        if let (Some(start), Some(end)) = (statistics.start_ns, statistics.end_ns) {
            let times = interface.times_ns;
            if start > end {
                self.fault(offset, FaultKind::StatisticsTimes);
            } else if times.is_some_and(|(first, last)| first < start || last > end) {
                self.fault(offset, FaultKind::StatisticsLeaveOut);
            }
        }
        let delivered = statistics.delivered;
        if let Some(counted) = delivered.filter(|&counted| counted != packets) {
            self.fault(offset, FaultKind::StatisticsCount { counted, packets });
        }
        let by_os = statistics.dropped_by_os.unwrap_or(0);
        let dropped = statistics
            .dropped
            .map(|dropped| dropped.saturating_add(by_os));
        if let Some(counted) = dropped.filter(|&counted| counted < between) {
            self.fault(offset, FaultKind::StatisticsDropped { counted, between });
        }
        if let (Some(received), Some(delivered), Some(dropped)) =
            (statistics.received, delivered, dropped)
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
        if self.scope == Scope::Account {
            self.losses_hold(interface, statistics, dropped.unwrap_or(0));
        }
    }

    fn losses_hold(&mut self, interface: &InterfaceReport, statistics: &Statistics, dropped: u64) {
        let offset = statistics.offset;
        let told = interface.dropped_between;
        let Some(losses) = statistics.losses else {
            if dropped > 0 || told > 0 {
                self.fault(offset, FaultKind::NoLosses);
            }
            return;
        };
        let (between, after) = (losses.between, losses.after);
        if between != told {
            self.fault(offset, FaultKind::LossesBetween { between, told });
        }
        if between.checked_add(after) != Some(dropped) {
            self.fault(
                offset,
                FaultKind::LossesSum {
                    between,
                    after,
                    dropped,
                },
            );
        }
    }

    /// Judges the capture that ends before `offset`, and begins another.
    pub(super) fn end_capture(&mut self, offset: u64) {
        let capture = std::mem::take(&mut self.capture);
        self.capture.first_interface = self.report.interfaces.len();
        if self.scope != Scope::Account || !self.is_ours {
            return;
        }
        let told = lost(&self.report, capture.first_interface);
        let (offset, account) = match (capture.account, capture.part) {
            (Some(account), _) => account,
            (None, Some((offset, part))) => return self.part_holds(offset, &part, &capture, told),
            (None, None) => return self.fault(offset, FaultKind::NoAccount),
        };
        self.report.accounts.push(account);
        let seen = account.seen;
        // A sum beyond 64 bits is no sum of frames.
        let sum = account.sum().unwrap_or(u64::MAX);
        if seen != sum {
            self.fault(offset, FaultKind::AccountSeen { seen, sum });
        }
        let (said, packets) = (account.captured, capture.packets);
        if said != packets {
            self.fault(offset, FaultKind::AccountCaptured { said, packets });
        }
        let said = account.dropped_here().unwrap_or(u64::MAX);
        if said != told {
            self.fault(offset, FaultKind::AccountDropped { said, told });
        }
        let (said, cut) = (account.cut_short, capture.cut);
        // Of the frames that are not in the file, some may have been cut, too.
        let others = account
            .not_written
            .saturating_add(account.captured_elsewhere);
        if cut > said || said - cut > others {
            self.fault(offset, FaultKind::AccountCutShort { said, cut });
        }
    }
}

impl Checker {
    fn part_holds(&mut self, offset: u64, part: &Part, capture: &Capture, told: u64) {
        self.report.parts.push(*part);
        let (said, packets) = (part.captured, capture.packets);
        if said != packets {
            self.fault(offset, FaultKind::AccountCaptured { said, packets });
        }
        let said = part.dropped;
        if said != told {
            self.fault(offset, FaultKind::AccountDropped { said, told });
        }
    }
}

/// Packets dropped by the statistics of the interfaces from this one on.
fn lost(report: &Report, first: usize) -> u64 {
    let interfaces = report.interfaces.get(first..).unwrap_or_default();
    interfaces.iter().fold(0, |sum, interface| {
        sum.saturating_add(interface.dropped.unwrap_or(0))
    })
}
