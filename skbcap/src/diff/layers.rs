//! Where a frame's headers lie, as far as its bytes go.

use std::borrow::Cow;
use std::ops::Range;

use super::Frame;
use crate::pcapng::LinkType;

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMP: u8 = 1;
pub(super) const ICMP6: u8 = 58;
pub(super) const SCTP: u8 = 132;

pub(super) const IPV4: u16 = 0x0800;
pub(super) const IPV6: u16 = 0x86dd;
pub(super) const ARP: u16 = 0x0806;

/// VLAN tags that are followed; the kernel itself stops at 8 (`MAX_VLAN_DEPTH`).
const MAX_TAGS: usize = 8;
/// Ethernet's type field holds a length below this: an 802.3 frame.
const LEAST_ETHERTYPE: u16 = 0x600;
/// IPv6 extension headers that are followed.
const MAX_EXTENSIONS: usize = 16;

/// How frames begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Header {
    Ethernet,
    /// `LINKTYPE_LINUX_SLL`.
    Sll,
    /// `LINKTYPE_LINUX_SLL2`.
    Sll2,
    /// None: an IP header comes first.
    Ip,
    /// A link type that is not looked into.
    Other(u16),
}

impl Header {
    pub(super) fn of(LinkType(number): LinkType) -> Self {
        match number {
            1 => Self::Ethernet,
            113 => Self::Sll,
            276 => Self::Sll2,
            // LINKTYPE_RAW, what BSDs write for it, LINKTYPE_IPV4, LINKTYPE_IPV6.
            12 | 14 | 101 | 228 | 229 => Self::Ip,
            other => Self::Other(other),
        }
    }
}

/// The layers of one frame. Offsets may lie beyond the bytes that were kept.
#[derive(Clone, Debug)]
pub(super) struct Layers {
    pub(super) header: Header,
    /// The VLAN tags, each with the type before it; in SLL2, whose type does not stand there, each
    /// with the type behind it.
    pub(super) tags: Range<usize>,
    /// What the network layer is.
    pub(super) ether_type: Option<u16>,
    /// Where it begins.
    pub(super) network: usize,
    pub(super) ip: Option<Ip>,
}

/// An IP packet.
#[derive(Clone, Debug)]
pub(super) struct Ip {
    pub(super) is_v6: bool,
    /// Both addresses.
    pub(super) addresses: Range<usize>,
    pub(super) protocol: u8,
    /// IPv4's identification, or that of IPv6's fragment header.
    pub(super) id: Option<u32>,
    /// A fragment, but the first: no transport header.
    pub(super) is_later_fragment: bool,
    pub(super) is_fragment: bool,
    /// Behind all IP headers.
    pub(super) transport: usize,
    /// Where the packet ends; what follows is padding.
    pub(super) end: usize,
}

fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*data.get(at..)?.first_chunk()?))
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*data.get(at..)?.first_chunk()?))
}

impl Layers {
    pub(super) fn of(frame: &Frame<'_>, link_type: LinkType) -> Self {
        let (data, header) = (frame.data, Header::of(link_type));
        let (type_at, mut network): (usize, usize) = match header {
            Header::Ethernet => (12, 14),
            Header::Sll => (14, 16),
            Header::Sll2 => (0, 20),
            Header::Ip | Header::Other(_) => (0, 0),
        };
        let mut ether_type = match header {
            Header::Ip => match data.first().map(|byte| byte >> 4) {
                Some(4) => Some(IPV4),
                Some(6) => Some(IPV6),
                _ => None,
            },
            Header::Other(_) => None,
            _ => u16_at(data, type_at),
        };
        if matches!(header, Header::Ethernet)
            && let Some(0..LEAST_ETHERTYPE) = ether_type
        {
            // A length: cooked headers have these instead, as Linux tells them apart.
            let is_raw = data.get(14..16) == Some(&[0xff, 0xff]);
            ether_type = Some(if is_raw { 1 } else { 4 });
        }
        let tags_at = match header {
            Header::Sll2 => network,
            _ => network.saturating_sub(2),
        };
        if matches!(header, Header::Ethernet | Header::Sll | Header::Sll2) {
            for _ in 0..MAX_TAGS {
                let is_tag = matches!(ether_type, Some(0x8100 | 0x88a8 | 0x9100));
                let Some(inner) = u16_at(data, network + 2).filter(|_| is_tag) else {
                    break;
                };
                ether_type = Some(inner);
                network += 4;
            }
        }
        let tags_end = match header {
            Header::Sll2 => network,
            _ => network.saturating_sub(2),
        };
        let tags = tags_at..tags_end.max(tags_at);
        let frame_end = (frame.len as usize).max(data.len());
        let ip = match ether_type {
            Some(IPV4) => Ip::v4(data, network, frame_end),
            Some(IPV6) => Ip::v6(data, network, frame_end),
            _ => None,
        };
        Self {
            header,
            tags,
            ether_type,
            network,
            ip,
        }
    }

    /// The tags as Ethernet has them: each with the type before it.
    pub(super) fn tags<'a>(&self, data: &'a [u8]) -> Cow<'a, [u8]> {
        let tags = data.get(self.tags.clone()).unwrap_or_default();
        match (self.header, tags) {
            // Tags that were found lie behind a whole header.
            (Header::Sll2, [inner @ .., _, _]) => [&data[..2], inner].concat().into(),
            _ => tags.into(),
        }
    }

    /// Where the byte at an offset in [`Layers::tags`] lies.
    pub(super) fn tag_byte(&self, offset: usize) -> usize {
        match self.header {
            Header::Sll2 if offset < 2 => offset,
            Header::Sll2 => self.tags.start + offset - 2,
            _ => self.tags.start + offset,
        }
    }

    /// The bytes up to the network layer but for its type and what belongs to the tags.
    pub(super) fn addresses(&self) -> Range<usize> {
        match self.header {
            Header::Sll2 => 2..self.tags.start,
            _ => 0..self.tags.start,
        }
    }

    /// The bytes up to the network layer, in two parts: the tags lie between them.
    pub(super) fn link<'a>(&self, data: &'a [u8]) -> [&'a [u8]; 2] {
        let end = self.network.min(data.len());
        if self.header == Header::Sll2 {
            // The network layer's type comes first, or with the last tag.
            let type_at = if self.tags.is_empty() {
                0
            } else {
                self.network - 2
            };
            let part = |range: Range<usize>| &data[range.start.min(end)..range.end.min(end)];
            return [part(self.addresses()), part(type_at..type_at + 2)];
        }
        let (start, stop) = (self.tags.start.min(end), self.tags.end.min(end));
        [&data[..start], &data[stop..end]]
    }

    /// Where checksums lie.
    pub(super) fn checksums(&self) -> [Range<usize>; 2] {
        let Some(ip) = &self.ip else {
            return [0..0, 0..0];
        };
        let header = match ip.is_v6 {
            true => 0..0,
            false => self.network + 10..self.network + 12,
        };
        [header, ip.checksum()]
    }
}

impl Ip {
    fn v4(data: &[u8], at: usize, frame_end: usize) -> Option<Self> {
        let header = data.get(at..at.checked_add(20)?)?;
        let header_len = usize::from(header[0] & 15) * 4;
        if header[0] >> 4 != 4 || header_len < 20 {
            return None;
        }
        let fragment = u16_at(header, 6)?;
        // 0 where the length of a super-frame is more than 16 bits hold.
        let end = match usize::from(u16_at(header, 2)?) {
            0 => frame_end,
            len => (at + len).min(frame_end),
        };
        Some(Self {
            is_v6: false,
            addresses: at + 12..at + 20,
            protocol: header[9],
            id: u16_at(header, 4).map(u32::from),
            is_later_fragment: fragment & 0x1fff != 0,
            is_fragment: fragment & 0x3fff != 0,
            transport: at + header_len,
            end,
        })
    }

    fn v6(data: &[u8], at: usize, frame_end: usize) -> Option<Self> {
        let header = data.get(at..at.checked_add(40)?)?;
        if header[0] >> 4 != 6 {
            return None;
        }
        let end = match usize::from(u16_at(header, 4)?) {
            0 => frame_end,
            len => (at + 40 + len).min(frame_end),
        };
        let mut ip = Self {
            is_v6: true,
            addresses: at + 8..at + 40,
            protocol: header[6],
            id: None,
            is_later_fragment: false,
            is_fragment: false,
            transport: at + 40,
            end,
        };
        for _ in 0..MAX_EXTENSIONS {
            let Some(&[next, len, ..]) =
                data.get(ip.transport..).and_then(<[u8]>::first_chunk::<2>)
            else {
                break;
            };
            let len = match ip.protocol {
                0 | 43 | 60 => (usize::from(len) + 1) * 8,
                44 => {
                    let offset = u16_at(data, ip.transport + 2).unwrap_or_default();
                    ip.is_later_fragment = offset & 0xfff8 != 0;
                    ip.is_fragment = true;
                    ip.id = u32_at(data, ip.transport + 4);
                    8
                }
                _ => break,
            };
            ip.protocol = next;
            ip.transport += len;
            if ip.is_later_fragment {
                break;
            }
        }
        Some(ip)
    }

    /// Where the transport's checksum lies; nowhere if there is none.
    pub(super) fn checksum(&self) -> Range<usize> {
        let (at, len) = match self.protocol {
            _ if self.is_later_fragment => return 0..0,
            TCP => (16, 2),
            UDP => (6, 2),
            SCTP => (8, 4),
            ICMP | ICMP6 => (2, 2),
            _ => return 0..0,
        };
        self.transport + at..self.transport + at + len
    }

    /// Source and destination port, where there are some.
    pub(super) fn ports<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        match self.protocol {
            TCP | UDP | SCTP if !self.is_later_fragment => data
                .get(self.transport..self.transport + 4)
                .unwrap_or_default(),
            _ => &[],
        }
    }

    /// TCP's sequence number.
    pub(super) fn sequence(&self, data: &[u8]) -> Option<u32> {
        let is_tcp = self.protocol == TCP && !self.is_later_fragment;
        u32_at(data, self.transport + 4).filter(|_| is_tcp)
    }

    /// Where the payload of TCP or UDP begins.
    pub(super) fn payload(&self, data: &[u8]) -> Option<usize> {
        match self.protocol {
            _ if self.is_later_fragment => None,
            TCP => Some(self.transport + usize::from(data.get(self.transport + 12)? >> 4) * 4),
            UDP => Some(self.transport + 8),
            _ => None,
        }
    }
}
