//! Which link type a device's frames have: `ARPHRD_*` to `LINKTYPE_*`, as libpcap maps them.
//!
//! Source: `map_arphrd_to_dlt` in libpcap's `pcap-linux.c`; the numbers, Linux
//! `include/uapi/linux/if_arp.h`.

use crate::pcapng::LinkType;

/// One device type and how its frames begin.
struct Row {
    /// `ARPHRD_*`, the value of `dev->type`.
    device: u16,
    link_type: LinkType,
}

const fn row(device: u16, link_type: LinkType) -> Row {
    Row { device, link_type }
}

/// Device types whose frames are written. A device of any other is named to the user.
///
/// Left out where libpcap reads a frame with a header of its own making (`DLT_LINUX_SLL`): PPP,
/// ATM, GRE, and all that it does not know.
const TABLE: &[Row] = &[
    row(1, LinkType::ETHERNET),   // ARPHRD_ETHER
    row(23, LinkType::ETHERNET),  // ARPHRD_METRICOM
    row(772, LinkType::ETHERNET), // ARPHRD_LOOPBACK
    // No header: what is sent begins with IP.
    row(519, LinkType::RAW),    // ARPHRD_RAWIP, which libpcap does not know
    row(768, LinkType::RAW),    // ARPHRD_TUNNEL, IPv4 in IPv4
    row(769, LinkType::RAW),    // ARPHRD_TUNNEL6, which libpcap does not know
    row(776, LinkType::RAW),    // ARPHRD_SIT, IPv6 in IPv4
    row(0xfffe, LinkType::RAW), // ARPHRD_NONE: tun, WireGuard
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_type_stands_once() {
        for (index, row) in TABLE.iter().enumerate() {
            assert!(
                TABLE[..index]
                    .iter()
                    .all(|before| before.device != row.device)
            );
        }
    }

    #[test]
    fn common_devices_have_libpcaps_type() {
        for (device, link_type) in [
            (libc::ARPHRD_ETHER, Some(LinkType::ETHERNET)),
            (libc::ARPHRD_LOOPBACK, Some(LinkType::ETHERNET)),
            (libc::ARPHRD_METRICOM, Some(LinkType::ETHERNET)),
            (libc::ARPHRD_NONE, Some(LinkType::RAW)),
            (libc::ARPHRD_TUNNEL, Some(LinkType::RAW)),
            (libc::ARPHRD_TUNNEL6, Some(LinkType::RAW)),
            (libc::ARPHRD_SIT, Some(LinkType::RAW)),
            (libc::ARPHRD_PPP, None),
            (libc::ARPHRD_IPGRE, None),
            (libc::ARPHRD_INFINIBAND, None),
        ] {
            assert_eq!(of_device(device), link_type, "ARPHRD {device}");
        }
    }
}
