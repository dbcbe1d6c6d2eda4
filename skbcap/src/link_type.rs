//! Which link type a device's frames have: `ARPHRD_*` to `LINKTYPE_*`, as libpcap maps them.
//!
//! Source: `map_arphrd_to_dlt` and `setup_socket` in libpcap's `pcap-linux.c`; the numbers, Linux
//! `include/uapi/linux/if_arp.h`.

use std::borrow::Cow;

use crate::pcapng::LinkType;

/// One device type and how its frames begin.
struct Row {
    /// `ARPHRD_*`, the value of `dev->type`.
    device: u16,
    link_type: LinkType,
}

const fn row(device: u16, link_type: u16) -> Row {
    Row {
        device,
        link_type: LinkType(link_type),
    }
}

const ETHERNET: u16 = LinkType::ETHERNET.0;
const RAW: u16 = LinkType::RAW.0;

/// Device types whose frames are written. A device of any other is named to the user.
///
/// libpcap reads some with a header of its own making ("cooked"), where it does not know how their
/// frames begin. They stand here where Linux makes that certain, and else are left out: ATM (with
/// an LLC header or without), InfiniBand (a pseudo-header that no link type has), and whatever has
/// no link type at all. Left out as well are IrDA (783) and LAPD (8445), whose link types begin
/// with such a header, and which no Linux since 5.10 has.
const TABLE: &[Row] = &[
    row(1, ETHERNET),   // ARPHRD_ETHER
    row(23, ETHERNET),  // ARPHRD_METRICOM
    row(772, ETHERNET), // ARPHRD_LOOPBACK
    // No header: what is handed to the device begins with IP, as libpcap has it.
    row(15, RAW),     // ARPHRD_DLCI
    row(256, RAW),    // ARPHRD_SLIP
    row(257, RAW),    // ARPHRD_CSLIP
    row(258, RAW),    // ARPHRD_SLIP6
    row(259, RAW),    // ARPHRD_CSLIP6
    row(264, RAW),    // ARPHRD_ADAPT
    row(518, RAW),    // ARPHRD_RAWHDLC
    row(768, RAW),    // ARPHRD_TUNNEL, IPv4 in IPv4
    row(776, RAW),    // ARPHRD_SIT, IPv6 in IPv4
    row(0xfffe, RAW), // ARPHRD_NONE: tun, WireGuard
    // The same, where libpcap makes a header.
    row(512, RAW), // ARPHRD_PPP: ppp_generic adds the protocol later, in its ndo_start_xmit
    row(519, RAW), // ARPHRD_RAWIP
    row(769, RAW), // ARPHRD_TUNNEL6
    row(778, RAW), // ARPHRD_IPGRE: one without a remote address begins with the outer IP header
    row(779, RAW), // ARPHRD_PIMREG
    row(823, RAW), // ARPHRD_IP6GRE, as ARPHRD_IPGRE
    row(825, RAW), // ARPHRD_6LOWPAN: IPv6, compressed later
    // Headers of their own.
    row(2, 2),     // ARPHRD_EETHER: LINKTYPE_EXP_ETHERNET
    row(3, 202),   // ARPHRD_AX25: LINKTYPE_AX25_KISS
    row(4, 4),     // ARPHRD_PRONET
    row(5, 5),     // ARPHRD_CHAOS
    row(6, 6),     // ARPHRD_IEEE802: LINKTYPE_IEEE802_5
    row(7, 129),   // ARPHRD_ARCNET: LINKTYPE_ARCNET_LINUX
    row(18, 122),  // RFC 4338's number, which Linux has no name for: LINKTYPE_IP_OVER_FC
    row(280, 227), // ARPHRD_CAN: LINKTYPE_CAN_SOCKETCAN
    row(513, 104), // ARPHRD_HDLC: LINKTYPE_C_HDLC
    row(770, 107), // ARPHRD_FRAD: LINKTYPE_FRELAY
    row(773, 114), // ARPHRD_LOCALTLK: LINKTYPE_LTALK
    row(774, 10),  // ARPHRD_FDDI
    row(784, 224), // ARPHRD_FCPP: LINKTYPE_FC_2
    row(785, 224), // ARPHRD_FCAL
    row(786, 224), // ARPHRD_FCPL
    row(787, 224), // ARPHRD_FCFABRIC
    row(800, 6),   // ARPHRD_IEEE802_TR
    row(801, 105), // ARPHRD_IEEE80211: LINKTYPE_IEEE802_11
    row(802, 119), // ARPHRD_IEEE80211_PRISM
    row(803, 127), // ARPHRD_IEEE80211_RADIOTAP
    row(804, 230), // ARPHRD_IEEE802154: LINKTYPE_IEEE802_15_4_NOFCS
    row(824, 253), // ARPHRD_NETLINK: a header that is put before the message
    row(826, 271), // ARPHRD_VSOCKMON: LINKTYPE_VSOCK
];

/// What link types are called in names of files, after their `LINKTYPE_*` names.
const NAMES: &[(u16, &str)] = &[
    (1, "ethernet"),
    (2, "exp-ethernet"),
    (4, "pronet"),
    (5, "chaos"),
    (6, "ieee802-5"),
    (10, "fddi"),
    (101, "raw"),
    (104, "c-hdlc"),
    (105, "ieee802-11"),
    (107, "frelay"),
    (114, "ltalk"),
    (119, "ieee802-11-prism"),
    (122, "ip-over-fc"),
    (127, "ieee802-11-radiotap"),
    (129, "arcnet-linux"),
    (202, "ax25-kiss"),
    (224, "fc-2"),
    (227, "can-socketcan"),
    (230, "ieee802-15-4-nofcs"),
    (253, "netlink"),
    (271, "vsock"),
    (276, "linux-sll2"),
];

/// How the frames of a device of this type begin; [`None`] if they can't be written.
///
/// `dev_type` is `dev->type`, an `ARPHRD_*` number.
#[must_use]
pub fn of_device(dev_type: u16) -> Option<LinkType> {
    TABLE
        .iter()
        .find(|row| row.device == dev_type)
        .map(|row| row.link_type)
}

/// The device types whose frames begin so.
pub fn devices(link_type: LinkType) -> impl Iterator<Item = u16> {
    TABLE
        .iter()
        .filter(move |row| row.link_type == link_type)
        .map(|row| row.device)
}

/// What a link type is called: lower case letters, digits and hyphens.
#[must_use]
pub fn name(LinkType(number): LinkType) -> Cow<'static, str> {
    NAMES
        .iter()
        .find(|(named, _)| *named == number)
        .map_or_else(
            || format!("linktype-{number}").into(),
            |(_, name)| (*name).into(),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_type_stands_once_and_its_link_type_has_a_name() {
        for (index, row) in TABLE.iter().enumerate() {
            assert!(
                TABLE[..index]
                    .iter()
                    .all(|before| before.device != row.device),
                "{}",
                row.device
            );
            let name = name(row.link_type);
            assert!(!name.starts_with("linktype-"), "{}", row.device);
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || b"0123456789-".contains(&byte);
            assert!(name.bytes().all(is_plain), "{name}");
        }
    }

    /// What libpcap 1.11's `map_arphrd_to_dlt` gives a live capture: `LINKTYPE_*`, or nothing where
    /// it makes a header of its own.
    #[test]
    fn devices_have_libpcaps_type_unless_it_makes_a_header() {
        let libpcaps = [
            (libc::ARPHRD_ETHER, 1),
            (libc::ARPHRD_EETHER, 2),
            (libc::ARPHRD_AX25, 202),
            (libc::ARPHRD_PRONET, 4),
            (libc::ARPHRD_CHAOS, 5),
            (libc::ARPHRD_IEEE802, 6),
            (libc::ARPHRD_ARCNET, 129),
            (libc::ARPHRD_DLCI, 101),
            (18, 122),
            (libc::ARPHRD_METRICOM, 1),
            (libc::ARPHRD_SLIP, 101),
            (libc::ARPHRD_CSLIP, 101),
            (libc::ARPHRD_SLIP6, 101),
            (libc::ARPHRD_CSLIP6, 101),
            (libc::ARPHRD_ADAPT, 101),
            (280, 227), // ARPHRD_CAN
            (libc::ARPHRD_HDLC, 104),
            (libc::ARPHRD_RAWHDLC, 101),
            (libc::ARPHRD_TUNNEL, 101),
            (libc::ARPHRD_FRAD, 107),
            (libc::ARPHRD_LOOPBACK, 1),
            (libc::ARPHRD_LOCALTLK, 114),
            (libc::ARPHRD_FDDI, 10),
            (libc::ARPHRD_SIT, 101),
            (libc::ARPHRD_FCPP, 224),
            (libc::ARPHRD_FCAL, 224),
            (libc::ARPHRD_FCPL, 224),
            (libc::ARPHRD_FCFABRIC, 224),
            (libc::ARPHRD_IEEE802_TR, 6),
            (libc::ARPHRD_IEEE80211, 105),
            (libc::ARPHRD_IEEE80211_PRISM, 119),
            (libc::ARPHRD_IEEE80211_RADIOTAP, 127),
            (libc::ARPHRD_IEEE802154, 230),
            (824, 253), // ARPHRD_NETLINK
            (826, 271), // ARPHRD_VSOCKMON
            (libc::ARPHRD_NONE, 101),
        ];
        for (device, link_type) in libpcaps {
            assert_eq!(of_device(device), Some(LinkType(link_type)), "{device}");
        }
        let cooked_there = [
            libc::ARPHRD_PPP,
            519, // ARPHRD_RAWIP
            libc::ARPHRD_TUNNEL6,
            libc::ARPHRD_IPGRE,
            libc::ARPHRD_PIMREG,
            823, // ARPHRD_IP6GRE
            825, // ARPHRD_6LOWPAN
        ];
        for device in cooked_there {
            assert_eq!(of_device(device), Some(LinkType::RAW), "{device}");
        }
        // And there are no more.
        assert_eq!(TABLE.len(), libpcaps.len() + cooked_there.len());
        for device in [libc::ARPHRD_ATM, libc::ARPHRD_INFINIBAND, libc::ARPHRD_VOID] {
            assert_eq!(of_device(device), None, "{device}");
        }
    }
}
