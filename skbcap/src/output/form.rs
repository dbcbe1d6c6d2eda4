//! In which form frames are written: with their own link-layer headers, or with one for all.

use skbcap_common::RecordHeader;

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
    #[inline]
    pub(super) fn link_type(&self, interface: &Interface) -> Option<LinkType> {
        if self.is_sll2 {
            // The header tells the device's type, which must be a fact.
            interface.is_readable.then_some(LinkType::LINUX_SLL2)
        } else {
            interface.link_type
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
    #[inline]
    pub(super) fn bytes<'a>(
        &'a mut self,
        frame: &Frame<'a>,
        link_type: LinkType,
    ) -> (&'a [u8], u32) {
        match link_type {
            LinkType::LINUX_SLL2 | LinkType::CAN_SOCKETCAN | LinkType::NETLINK => {
                self.rewritten(frame, link_type)
            }
            _ => (frame.data, frame.header.len),
        }
    }

    #[inline(never)]
    fn rewritten<'a>(&'a mut self, frame: &Frame<'a>, link_type: LinkType) -> (&'a [u8], u32) {
        let (header, scratch) = (frame.header, &mut self.scratch);
        let len = header.len;
        match link_type {
            LinkType::LINUX_SLL2 => {
                let len = sll2::encode(scratch, frame, self.snaplen);
                (scratch, len)
            }
            LinkType::CAN_SOCKETCAN => {
                scratch.clear();
                scratch.extend_from_slice(frame.data);
                portable_can(scratch, len as usize);
                (scratch, len)
            }
            LinkType::NETLINK => {
                let head = netlink_head(header);
                scratch.clear();
                scratch.extend_from_slice(&head);
                scratch.extend_from_slice(frame.data);
                scratch.truncate(self.snaplen as usize);
                (scratch, len + head.len() as u32)
            }
            _ => (frame.data, len),
        }
    }
}

/// The header that `LINKTYPE_NETLINK` has before the message: that of `LINKTYPE_LINUX_SLL`, with the
/// netlink family (`NETLINK_ROUTE` and so on) for a protocol. A message has none of its own.
fn netlink_head(header: &RecordHeader) -> [u8; 16] {
    let mut head = [0; 16];
    head[..2].copy_from_slice(&u16::from(sll2::OUTGOING).to_be_bytes());
    head[2..4].copy_from_slice(&header.dev_type.to_be_bytes());
    head[14..].copy_from_slice(&header.protocol.to_be_bytes());
    head
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
    use zerocopy::FromZeros;

    #[test]
    fn a_netlink_message_gets_its_family() {
        let mut header = RecordHeader::new_zeroed();
        (header.dev_type, header.protocol, header.len) = (824, 16, 40);
        let data = [7; 40];
        let frame = Frame {
            header: &header,
            data: &data,
            current: None,
        };
        let mut form = Form::new(LinkTypes::Mixed, 50);
        let (bytes, len) = form.bytes(&frame, LinkType::NETLINK);
        assert_eq!(bytes[..16], *b"\0\x04\x03\x38\0\0\0\0\0\0\0\0\0\0\0\x10");
        assert_eq!((&bytes[16..], len), (&data[..34], 56));
    }

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
