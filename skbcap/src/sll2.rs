//! `LINKTYPE_LINUX_SLL2`: one header in place of each device's own, so that frames of all devices
//! fit one link type.
//!
//! Pure: knows no files. Source: <https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html>.

use crate::decode::Frame;
use crate::link_type;
use crate::pcapng::LinkType;

/// Bytes of the header.
pub const HEADER_LEN: usize = 20;

/// The least snapshot length: the header and a byte, as in libpcap.
pub const MIN_SNAPLEN: u32 = HEADER_LEN as u32 + 1;

/// `PACKET_OUTGOING`: nothing else is captured.
const OUTGOING: u8 = 4;

const ETHERNET_HEADER_LEN: usize = 14;

/// Ethernet's type field holds a length below this: an 802.3 frame.
const LEAST_ETHERTYPE: u16 = 0x600;

/// Protocols of the header that are no EtherTypes (`ETH_P_*`, Linux `include/uapi/linux/if_ether.h`).
const RAW_802_3: u16 = 0x0001;
const LLC: u16 = 0x0004;
const CAN: u16 = 0x000c;
const CAN_FD: u16 = 0x000d;
const CAN_XL: u16 = 0x000e;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// `ARPHRD_FRAD` and `ARPHRD_IEEE80211_RADIOTAP`: by the specification the protocol means nothing,
/// and the whole frame follows.
const WHOLE: [u16; 2] = [770, 803];

/// How the frames of a device begin, as far as the header has to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beginning {
    Ethernet,
    Ip,
    Can,
    Whole,
}

fn beginning(dev_type: u16) -> Option<Beginning> {
    Some(match link_type::of_device(dev_type)? {
        LinkType::ETHERNET => Beginning::Ethernet,
        LinkType::RAW => Beginning::Ip,
        LinkType::CAN_SOCKETCAN => Beginning::Can,
        _ if WHOLE.contains(&dev_type) => Beginning::Whole,
        _ => return None,
    })
}

/// Whether frames of such a device can stand behind this header: it is known where their network
/// layer begins, or the header has a rule of its own for them.
///
/// `dev_type` is `dev->type`, an `ARPHRD_*` number.
#[must_use]
pub fn holds(dev_type: u16) -> bool {
    beginning(dev_type).is_some()
}

/// What of a frame goes into the header, and how many of its bytes that replaces.
struct Head {
    protocol: u16,
    /// The sender's link-layer address.
    address: Option<[u8; 6]>,
    replaced: usize,
}

impl Head {
    /// Of a frame whose protocol is not to be had: all of it stands behind the header.
    const UNKNOWN: Self = Self::of(0);

    const fn of(protocol: u16) -> Self {
        Self {
            protocol,
            address: None,
            replaced: 0,
        }
    }

    fn ethernet(data: &[u8]) -> Self {
        let Some((header, payload)) = data.split_first_chunk::<ETHERNET_HEADER_LEN>() else {
            return Self::UNKNOWN;
        };
        let [_, _, _, _, _, _, address @ .., high, low] = *header;
        let protocol = match u16::from_be_bytes([high, low]) {
            ether_type @ LEAST_ETHERTYPE.. => ether_type,
            // As Linux tells them apart (eth_type_trans).
            _ if payload.starts_with(&[0xff, 0xff]) => RAW_802_3,
            _ => LLC,
        };
        Self {
            protocol,
            address: Some(address),
            replaced: ETHERNET_HEADER_LEN,
        }
    }

    fn ip(data: &[u8]) -> Self {
        match data.first().map(|byte| byte >> 4) {
            Some(4) => Self::of(IPV4),
            Some(6) => Self::of(IPV6),
            _ => Self::UNKNOWN,
        }
    }

    fn can(data: &[u8], len: u32) -> Self {
        Self::of(match data.get(4) {
            None => 0,
            // CANXL_XLF, where the others have a length of at most 64.
            Some(flags) if flags & 0x80 != 0 => CAN_XL,
            // CANFD_MTU.
            Some(_) if len == 72 => CAN_FD,
            Some(_) => CAN,
        })
    }
}

/// Puts the frame into `out`, which is emptied, behind the header in place of its own, and cuts
/// both to `snaplen` bytes. Returns the bytes that it would have uncut; [`None`] where
/// [`holds`] says so.
///
/// The one thing left out is an Ethernet header's destination, and an 802.3 frame's length field.
pub fn encode(out: &mut Vec<u8>, frame: &Frame<'_>, snaplen: u32) -> Option<u32> {
    let (header, data) = (frame.header, frame.data);
    let head = match beginning(header.dev_type)? {
        Beginning::Ethernet => Head::ethernet(data),
        Beginning::Ip => Head::ip(data),
        Beginning::Can => Head::can(data, header.len),
        Beginning::Whole => Head::UNKNOWN,
    };
    out.clear();
    out.extend_from_slice(&head.protocol.to_be_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&header.ifindex.to_be_bytes());
    out.extend_from_slice(&header.dev_type.to_be_bytes());
    out.extend_from_slice(&[
        OUTGOING,
        head.address.map_or(0, |address| address.len() as u8),
    ]);
    out.extend_from_slice(&head.address.unwrap_or_default());
    out.extend_from_slice(&[0; 2]);
    debug_assert_eq!(out.len(), HEADER_LEN);
    let room = (snaplen as usize).saturating_sub(HEADER_LEN);
    let behind = &data[head.replaced..];
    out.extend_from_slice(&behind[..behind.len().min(room)]);
    Some(header.len - head.replaced as u32 + HEADER_LEN as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skbcap_common::RecordHeader;
    use zerocopy::FromZeros;

    const SNAPLEN: u32 = 262_144;

    fn encoded(dev_type: u16, data: &[u8], snaplen: u32) -> Option<(Vec<u8>, u32)> {
        let mut header = RecordHeader::new_zeroed();
        (header.dev_type, header.ifindex) = (dev_type, 0x0102);
        (header.len, header.captured_len) = (data.len() as u32, data.len() as u32);
        let frame = Frame {
            header: &header,
            data,
        };
        let mut out = vec![9; 3];
        let len = encode(&mut out, &frame, snaplen)?;
        Some((out, len))
    }

    /// The destination is left out, and nothing else: not a tag, not padding.
    #[test]
    fn all_of_an_ethernet_frame_but_its_destination_is_there() {
        let frame = b"DESTINsource\x81\x00\x20\x07\x08\x00\x45rest";
        let (bytes, len) = encoded(1, frame, SNAPLEN).unwrap();
        let wanted = [
            b"\x81\x00\0\0\0\0\x01\x02\0\x01\x04\x06source\0\0",
            &frame[14..],
        ];
        assert_eq!(bytes, wanted.concat());
        assert_eq!(len as usize, frame.len() + 6);
    }

    #[test]
    fn a_length_field_is_no_protocol() {
        let protocol = |behind: &[u8]| {
            let frame = [b"DESTINsource\x00\x26", behind].concat();
            let (bytes, _) = encoded(1, &frame, SNAPLEN).unwrap();
            [bytes[0], bytes[1]]
        };
        assert_eq!(protocol(b"\x42\x42\x03"), [0, 4]);
        assert_eq!(protocol(b"\xff\xff\x00"), [0, 1]);
        assert_eq!(protocol(b""), [0, 4]);
    }

    #[test]
    fn ip_tells_itself_and_has_no_address() {
        for (first, protocol) in [(0x45, [8, 0]), (0x60, [0x86, 0xdd]), (0, [0, 0])] {
            let (bytes, len) = encoded(0xfffe, &[first, 1, 2], SNAPLEN).unwrap();
            let header = [&protocol, &b"\0\0\0\0\x01\x02\xff\xfe\x04\0"[..], &[0; 8]].concat();
            assert_eq!(bytes, [&header[..], &[first, 1, 2]].concat());
            assert_eq!(len, 23);
        }
    }

    #[test]
    fn can_frames_tell_their_kind_by_length_and_flag() {
        let protocol = |len: usize, flags: u8| {
            let mut frame = vec![0; len];
            frame[4] = flags;
            encoded(280, &frame, SNAPLEN).unwrap().0[1]
        };
        assert_eq!(protocol(16, 8), 0x0c);
        assert_eq!(protocol(72, 64), 0x0d);
        assert_eq!(protocol(72, 0x80), 0x0e);
    }

    #[test]
    fn whatever_is_too_short_is_kept_whole() {
        for len in 0..14 {
            let frame = vec![7; len];
            let (bytes, true_len) = encoded(1, &frame, SNAPLEN).unwrap();
            assert_eq!((bytes[..2].to_vec(), bytes[11]), (vec![0, 0], 0));
            assert_eq!((&bytes[20..], true_len as usize), (&frame[..], len + 20));
        }
    }

    #[test]
    fn the_snapshot_length_holds_for_header_and_frame() {
        let (bytes, len) = encoded(1, &[8; 100], MIN_SNAPLEN).unwrap();
        assert_eq!((bytes.len(), len), (21, 106));
        let (bytes, len) = encoded(0xfffe, &[0x45; 100], 60).unwrap();
        assert_eq!((bytes.len(), len), (60, 120));
    }

    #[test]
    fn what_is_of_no_known_shape_is_refused() {
        for dev_type in [0, 32, 774, 804, 826] {
            assert!(!holds(dev_type), "{dev_type}");
            assert_eq!(encoded(dev_type, &[0; 60], SNAPLEN), None);
        }
        for dev_type in [1, 772, 512, 778, 280, 770, 803] {
            assert!(holds(dev_type), "{dev_type}");
        }
    }
}
