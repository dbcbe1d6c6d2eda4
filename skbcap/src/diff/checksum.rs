//! Whether two checksums are one that was filled in later.

use super::Frame;
use super::layers::{ICMP, Ip, Layers, SCTP, UDP};

/// Whether one frame's transport checksum is unfinished and the other's is right, as far as its
/// bytes tell.
///
/// Unfinished is the sum of the pseudo-header (`CHECKSUM_PARTIAL`), with or without the length, or
/// nothing where the protocol allows that.
pub(super) fn transport_is_filled_in(ours: Side<'_>, theirs: Side<'_>) -> bool {
    let one_way =
        |from: Side<'_>, to: Side<'_>| from.is_unfinished() && to.is_right() != Some(false);
    one_way(ours, theirs) || one_way(theirs, ours)
}

/// The same of IPv4's header, which is 0 before.
pub(super) fn header_is_filled_in(ours: Side<'_>, theirs: Side<'_>) -> bool {
    let is_right = |side: Side<'_>| {
        let transport = side.layers.ip.as_ref().map_or(0, |ip| ip.transport);
        let header = side.frame.data.get(side.layers.network..transport)?;
        Some(fold(sum(header)) == 0xffff)
    };
    // Of one header in 65,536, 0 is the right one.
    let is_unfinished = |side: Side<'_>| {
        side.stored(side.layers.network + 10) == Some(0) && is_right(side) != Some(true)
    };
    let one_way = |from: Side<'_>, to: Side<'_>| is_unfinished(from) && is_right(to) != Some(false);
    one_way(ours, theirs) || one_way(theirs, ours)
}

/// A frame with its layers.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) frame: &'a Frame<'a>,
    pub(super) layers: &'a Layers,
}

impl Side<'_> {
    /// Whether fewer bytes were kept than there were, and than at most `cut`.
    pub(super) fn is_short(&self, cut: usize) -> bool {
        self.frame.data.len() < cut.min(self.frame.len as usize)
    }

    fn stored(&self, at: usize) -> Option<u16> {
        let bytes = self.frame.data.get(at..)?.first_chunk()?;
        Some(u16::from_be_bytes(*bytes))
    }

    fn is_unfinished(&self) -> bool {
        let Some(ip) = &self.layers.ip else {
            return false;
        };
        let Some(stored) = self.stored(ip.checksum().start) else {
            return false;
        };
        let partial = || {
            let addresses = self.addresses(ip);
            let len = (ip.end.saturating_sub(ip.transport)) as u64;
            [len, 0].map(|len| fold(addresses + u64::from(ip.protocol) + len))
        };
        match ip.protocol {
            SCTP => stored == 0,
            // None was made: a right one that is 0 is sent as 0xffff.
            UDP if stored == 0 => true,
            ICMP => stored == 0 && self.is_right() != Some(true),
            _ => partial().contains(&stored) && self.is_right() != Some(true),
        }
    }

    /// `None`: too little of it is there to tell.
    fn is_right(&self) -> Option<bool> {
        let Some(ip) = &self.layers.ip else {
            return Some(false);
        };
        if ip.is_fragment || ip.protocol == SCTP {
            return None;
        }
        let bytes = self.frame.data.get(ip.transport..ip.end)?;
        let pseudo = match ip.protocol {
            ICMP => 0,
            _ => self.addresses(ip) + u64::from(ip.protocol) + bytes.len() as u64,
        };
        Some(fold(pseudo + sum(bytes)) == 0xffff)
    }

    fn addresses(&self, ip: &Ip) -> u64 {
        sum(self
            .frame
            .data
            .get(ip.addresses.clone())
            .unwrap_or_default())
    }
}

/// The sum of 16-bit words, an odd byte as the upper half of the last.
fn sum(bytes: &[u8]) -> u64 {
    let (words, odd) = bytes.as_chunks::<2>();
    let words: u64 = words
        .iter()
        .map(|word| u64::from(u16::from_be_bytes(*word)))
        .sum();
    words + odd.first().map_or(0, |&byte| u64::from(byte) << 8)
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}
