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
pub const OUTGOING: u8 = 4;

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

/// Puts the frame into `out`, which is emptied, behind the header in place of its own, and cuts
/// both to `snaplen` bytes. Returns the bytes that it would have uncut.
///
/// Of Ethernet, only the destination is left out, and an 802.3 frame's length field; of a frame
/// without a header, nothing.
pub fn encode(out: &mut Vec<u8>, frame: &Frame<'_>, snaplen: u32) -> u32 {
    let (header, data) = (frame.header, frame.data);
    let head = Head::of(frame);
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
    header.len - head.replaced as u32 + HEADER_LEN as u32
}

/// What of a frame goes into the header, and how many of its bytes that replaces.
struct Head {
    protocol: u16,
    /// The sender's link-layer address.
    address: Option<[u8; 6]>,
    replaced: usize,
}

impl Head {
    fn of(frame: &Frame<'_>) -> Self {
        let (header, data) = (frame.header, frame.data);
        match link_type::of_device(header.dev_type) {
            Some(LinkType::ETHERNET) => Self::ethernet(data),
            Some(LinkType::RAW) => Self::whole(ip_protocol(data, header.protocol)),
            Some(LinkType::CAN_SOCKETCAN) => Self::whole(can_protocol(data, header.len)),
            _ if WHOLE.contains(&header.dev_type) => Self::whole(header.protocol),
            _ => Self::network(frame),
        }
    }

    /// All of the frame stands behind the header.
    fn whole(protocol: u16) -> Self {
        Self {
            protocol,
            address: None,
            replaced: 0,
        }
    }

    fn ethernet(data: &[u8]) -> Self {
        let Some((header, payload)) = data.split_first_chunk::<ETHERNET_HEADER_LEN>() else {
            return Self::whole(0);
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

    /// Of a header that is nothing like this one, what the kernel says of the frame: what comes
    /// before the network layer is left out, as in any cooked capture.
    fn network(frame: &Frame<'_>) -> Self {
        let offset = usize::from(frame.header.network_offset);
        Self {
            // Beyond the frame, the kernel itself takes the frame's start (dev_queue_xmit_nit).
            replaced: if offset > frame.header.len as usize {
                0
            } else {
                offset.min(frame.data.len())
            },
            ..Self::whole(frame.header.protocol)
        }
    }
}

/// The protocol of a frame without a header. An IP packet says itself what it is, also where the
/// kernel's word is for what is inside of it (GRE without a remote address).
fn ip_protocol(data: &[u8], told: u16) -> u16 {
    match (data.first().map(|byte| byte >> 4), told) {
        (Some(4), 0 | IPV4 | IPV6) => IPV4,
        (Some(6), 0 | IPV4 | IPV6) => IPV6,
        _ => told,
    }
}

fn can_protocol(data: &[u8], len: u32) -> u16 {
    match data.get(4) {
        None => 0,
        // CANXL_XLF, where the others have a length of at most 64.
        Some(flags) if flags & 0x80 != 0 => CAN_XL,
        // CANFD_MTU.
        Some(_) if len == 72 => CAN_FD,
        Some(_) => CAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skbcap_common::RecordHeader;
    use zerocopy::FromZeros;

    const SNAPLEN: u32 = 262_144;

    fn encoded_of(mut header: RecordHeader, data: &[u8], snaplen: u32) -> (Vec<u8>, u32) {
        header.ifindex = 0x0102;
        (header.len, header.captured_len) = (data.len() as u32, data.len() as u32);
        let frame = Frame {
            header: &header,
            data,
            current: None,
        };
        let mut out = vec![9; 3];
        let len = encode(&mut out, &frame, snaplen);
        (out, len)
    }

    fn header(dev_type: u16, protocol: u16, network_offset: u16) -> RecordHeader {
        let mut header = RecordHeader::new_zeroed();
        (header.dev_type, header.protocol) = (dev_type, protocol);
        header.network_offset = network_offset;
        header
    }

    fn encoded(dev_type: u16, data: &[u8], snaplen: u32) -> (Vec<u8>, u32) {
        encoded_of(header(dev_type, 0, 0), data, snaplen)
    }

    /// The destination is left out, and nothing else: not a tag, not padding.
    #[test]
    fn all_of_an_ethernet_frame_but_its_destination_is_there() {
        let frame = b"DESTINsource\x81\x00\x20\x07\x08\x00\x45rest";
        let (bytes, len) = encoded(1, frame, SNAPLEN);
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
            let (bytes, _) = encoded(1, &frame, SNAPLEN);
            [bytes[0], bytes[1]]
        };
        assert_eq!(protocol(b"\x42\x42\x03"), [0, 4]);
        assert_eq!(protocol(b"\xff\xff\x00"), [0, 1]);
        assert_eq!(protocol(b""), [0, 4]);
    }

    #[test]
    fn ip_tells_itself_and_has_no_address() {
        for (first, protocol) in [(0x45, [8, 0]), (0x60, [0x86, 0xdd]), (0, [0, 0])] {
            let (bytes, len) = encoded(0xfffe, &[first, 1, 2], SNAPLEN);
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
            encoded(280, &frame, SNAPLEN).0[1]
        };
        assert_eq!(protocol(16, 8), 0x0c);
        assert_eq!(protocol(72, 64), 0x0d);
        assert_eq!(protocol(72, 0x80), 0x0e);
    }

    #[test]
    fn whatever_is_too_short_is_kept_whole() {
        for len in 0..14 {
            let frame = vec![7; len];
            let (bytes, true_len) = encoded(1, &frame, SNAPLEN);
            assert_eq!((bytes[..2].to_vec(), bytes[11]), (vec![0, 0], 0));
            assert_eq!((&bytes[20..], true_len as usize), (&frame[..], len + 20));
        }
    }

    #[test]
    fn the_snapshot_length_holds_for_header_and_frame() {
        let (bytes, len) = encoded(1, &[8; 100], MIN_SNAPLEN);
        assert_eq!((bytes.len(), len), (21, 106));
        let (bytes, len) = encoded(0xfffe, &[0x45; 100], 60);
        assert_eq!((bytes.len(), len), (60, 120));
    }

    /// MPLS over GRE is no IP, whatever its first bits look like; and what is inside of an IP packet
    /// is not what it begins with.
    #[test]
    fn the_kernels_word_counts_where_it_is_no_ip() {
        let protocol = |told: u16, first: u8| {
            let (bytes, _) = encoded_of(header(778, told, 0), &[first; 40], SNAPLEN);
            u16::from_be_bytes([bytes[0], bytes[1]])
        };
        assert_eq!(protocol(0x8847, 0x45), 0x8847);
        assert_eq!(protocol(IPV6, 0x45), IPV4);
        assert_eq!(protocol(IPV4, 0x45), IPV4);
        assert_eq!(protocol(IPV4, 0x15), IPV4);
    }

    #[test]
    fn another_header_is_left_out() {
        let fddi = header(774, IPV4, 21);
        let (bytes, len) = encoded_of(fddi, &[0x45; 61], SNAPLEN);
        assert_eq!((&bytes[..2], &bytes[20..]), (&[8, 0][..], &[0x45; 40][..]));
        assert_eq!(len, 60);
        let (bytes, len) = encoded_of(fddi, &[1; 21], SNAPLEN);
        assert_eq!((bytes.len(), len), (20, 20));
        // Unset, or before the frame.
        for offset in [62, 0xffff] {
            let (bytes, _) = encoded_of(header(774, IPV4, offset), &[0x45; 61], SNAPLEN);
            assert_eq!(bytes.len(), 81, "{offset}");
        }
        let radiotap = encoded_of(header(803, 0, 30), &[7; 40], SNAPLEN);
        assert_eq!(radiotap.1, 60);
    }
}
