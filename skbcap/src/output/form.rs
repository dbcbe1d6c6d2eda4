//! In which form frames are written: with their own link-layer headers, or with one for all.

use crate::config::LinkTypes;
use crate::decode::Frame;
use crate::interface::Interface;
use crate::pcapng::LinkType;
use crate::sll2;

/// Bytes of `canid_t`.
const CAN_ID_LEN: usize = 4;
/// `CANFD_MTU`: what tells a CAN FD frame, but for the flag that marks a CAN XL frame.
const CAN_FD_LEN: usize = 72;
const CAN_XL_FLAG: u8 = 0x80;
/// `CANFD_FDF`.
const CAN_FD_FLAG: u8 = 0x04;

/// How frames are written.
#[derive(Debug)]
pub(super) struct Form {
    is_sll2: bool,
    snaplen: u32,
    /// Where a frame is put together that is not written as it was sent.
    scratch: Vec<u8>,
}

impl Form {
    /// `snaplen` is what was captured of each frame.
    pub(super) fn new(link_types: LinkTypes, snaplen: u32) -> Self {
        let is_sll2 = link_types == LinkTypes::Sll2;
        let least = if is_sll2 { sll2::MIN_SNAPLEN } else { 0 };
        Self {
            is_sll2,
            snaplen: snaplen.max(least),
            scratch: Vec::new(),
        }
    }

    /// The most bytes of a packet.
    pub(super) fn snaplen(&self) -> u32 {
        self.snaplen
    }

    /// The link type of an interface's frames; [`None`] if they can't be written.
    pub(super) fn link_type(&self, interface: &Interface) -> Option<LinkType> {
        let own = interface.link_type?;
        if self.is_sll2 {
            sll2::holds(interface.dev_type).then_some(LinkType::LINUX_SLL2)
        } else {
            Some(own)
        }
    }

    /// What a device has not whose frames can't be written.
    pub(super) fn lacking(&self) -> &'static str {
        if self.is_sll2 {
            "place behind an SLL2 header"
        } else {
            "link type in a capture file"
        }
    }

    /// What a reader of the file must know of its frames.
    pub(super) fn comment(&self) -> Option<String> {
        self.is_sll2.then(|| {
            "linktype=sll2: a LINUX_SLL2 header stands in place of each device's own; Ethernet \
             destination addresses are left out"
                .into()
        })
    }

    /// The frame's bytes as a file of that link type has them, and how many they were uncut.
    pub(super) fn bytes<'a>(
        &'a mut self,
        frame: &Frame<'a>,
        link_type: LinkType,
    ) -> (&'a [u8], u32) {
        let len = frame.header.len;
        match link_type {
            LinkType::LINUX_SLL2 => match sll2::encode(&mut self.scratch, frame, self.snaplen) {
                Some(len) => (&self.scratch, len),
                // Not reached: such an interface has no link type here.
                None => (frame.data, len),
            },
            LinkType::CAN_SOCKETCAN => {
                self.scratch.clear();
                self.scratch.extend_from_slice(frame.data);
                portable_can(&mut self.scratch, len as usize);
                (&self.scratch, len)
            }
            _ => (frame.data, len),
        }
    }
}

/// Makes the kernel's own form of a CAN frame the one that `LINKTYPE_CAN_SOCKETCAN` asks for, as
/// libpcap does: the identifier big-endian, and the flag of CAN FD set, which senders may leave out.
fn portable_can(bytes: &mut [u8], len: usize) {
    if let Some(id) = bytes.first_chunk_mut::<CAN_ID_LEN>() {
        id.reverse();
    }
    if let [_, _, _, _, length, flags, ..] = bytes
        && *length & CAN_XL_FLAG == 0
        && len == CAN_FD_LEN
    {
        *flags |= CAN_FD_FLAG;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn can_identifiers_are_big_endian_and_fd_is_marked() {
        let portable = |length: u8, len: usize| {
            let mut bytes = vec![0x23, 0x01, 0, 0x80, length, 0, 0, 0, 9];
            bytes.resize(len, 0);
            portable_can(&mut bytes, len);
            bytes[..9].to_vec()
        };
        assert_eq!(portable(1, 16), [0x80, 0, 0x01, 0x23, 1, 0, 0, 0, 9]);
        assert_eq!(portable(1, 72), [0x80, 0, 0x01, 0x23, 1, 4, 0, 0, 9]);
        assert_eq!(portable(0x80, 72), [0x80, 0, 0x01, 0x23, 0x80, 0, 0, 0, 9]);
        let mut short = [1, 2, 3];
        portable_can(&mut short, 3);
        assert_eq!(short, [1, 2, 3]);
    }
}
