//! Which of a capture's frames a file holds, and whether tcpdump reads them all.

use crate::pcapng::LinkType;

/// Which interfaces' frames a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// All.
    All,
    /// Those of one link type.
    Only(LinkType),
    /// Those of one link type; and it tells of losses whose link type nobody knows.
    First(LinkType),
}

impl Holds {
    pub(super) fn holds(self, link_type: Option<LinkType>) -> bool {
        match self {
            Self::All => true,
            Self::Only(kind) => link_type == Some(kind),
            Self::First(kind) => link_type.is_none_or(|link_type| link_type == kind),
        }
    }
}

/// Why libpcap, and so tcpdump, does not read the whole file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It has two link types.
    TwoLinkTypes,
    /// It describes two interfaces of raw IP, or one anew in another section. libpcap compares the
    /// first one's link type as the number that it has in memory (`DLT_RAW`, 12) with the others'
    /// as they are in the file (101): `pcap_ng_next_packet` in `sf-pcapng.c`, 1.10.
    RawTwice,
}
