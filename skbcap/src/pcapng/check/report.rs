//! What a check tells of a file.

use super::{Fault, FaultKind};
use crate::account::{Account, Losses, Part};
use crate::pcapng::LinkType;

/// Faults that are kept: a file with more is beyond being told about.
pub(super) const MAX_FAULTS: usize = 100;

/// What a file holds, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Sections.
    pub sections: u32,
    /// Who wrote them (`shb_userappl`), each once; an empty text for one that doesn't say.
    pub writers: Vec<String>,
    /// Interfaces of all sections, in the file's order.
    pub interfaces: Vec<InterfaceReport>,
    /// Packets.
    pub packets: u64,
    /// skbcap's own accounts: one, unless captures were put one behind another.
    pub accounts: Vec<Account>,
    /// What stands in their place where a capture went on in another file.
    pub parts: Vec<Part>,
    /// The first hundred faults, in the file's order.
    pub faults: Vec<Fault>,
    /// Faults beyond those.
    pub more_faults: u64,
    /// Where time goes back first and how often, in sections that do not promise that it doesn't.
    pub time_goes_back: Option<(u64, u64)>,
}

impl Report {
    /// The most that is known of the writer: whether every section is skbcap's.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        !self.writers.is_empty() && self.writers.iter().all(|writer| is_ours(writer))
    }

    pub(super) fn fault(&mut self, offset: u64, what: FaultKind) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(Fault { offset, what });
        } else {
            self.more_faults += 1;
        }
    }
}

/// Whether `shb_userappl` names skbcap.
pub(super) fn is_ours(writer: &str) -> bool {
    writer.split(' ').next() == Some("skbcap")
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
    /// Its snapshot length; 0 is no limit.
    pub snaplen: u32,
    /// Packets.
    pub packets: u64,
    /// Bytes of packets that were kept.
    pub captured_bytes: u64,
    /// Packets lost, as the packets behind them say (`epb_dropcount`).
    pub dropped_between: u64,
    /// Packets, as the last statistics say (`isb_usrdeliv`).
    pub counted: Option<u64>,
    /// Packets lost, as the last statistics say (`isb_ifdrop`).
    pub dropped: Option<u64>,
    /// The time of the first and the last packet, ns since 1970.
    pub times_ns: Option<(u64, u64)>,
    /// The last statistics.
    pub(super) statistics: Option<Statistics>,
}

/// An interface's statistics as they stand in a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Statistics {
    /// Where the block begins.
    pub(super) offset: u64,
    /// `isb_starttime`, `isb_endtime`.
    pub(super) start_ns: Option<u64>,
    pub(super) end_ns: Option<u64>,
    /// `isb_ifrecv`, `isb_ifdrop`, `isb_osdrop`, `isb_usrdeliv`.
    pub(super) received: Option<u64>,
    pub(super) dropped: Option<u64>,
    pub(super) dropped_by_os: Option<u64>,
    pub(super) delivered: Option<u64>,
    /// Where the losses were, in skbcap's files.
    pub(super) losses: Option<Losses>,
}
