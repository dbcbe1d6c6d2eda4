//! The devices of a network namespace, for `-D`: what the kernel says of each.
//!
//! Knows the kernel's numbers; nothing of link types, nor of how it is shown.

use std::ffi::CStr;
use std::io;

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// `dev->ifindex`.
    pub index: u32,
    /// `dev->name`.
    pub name: String,
    /// `dev->type`, an `ARPHRD_*` number.
    pub dev_type: u16,
    /// `dev->flags`: `IFF_UP`, `IFF_RUNNING` and so on.
    pub flags: u32,
}

impl Device {
    /// Whether it is switched on (`IFF_UP`).
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.flags & libc::IFF_UP as u32 != 0
    }

    /// Whether it could send: it is up and has a carrier (`IFF_RUNNING`).
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.flags & libc::IFF_RUNNING as u32 != 0
    }

    /// Whether what it sends comes back (`IFF_LOOPBACK`).
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.flags & libc::IFF_LOOPBACK as u32 != 0
    }
}

/// The devices of the calling thread's namespace, by number.
///
/// # Errors
///
/// What the system says.
#[expect(unsafe_code, reason = "libc hands out a list of its own")]
pub fn all() -> io::Result<Vec<Device>> {
    let mut list = std::ptr::null_mut();
    // SAFETY: writes a pointer to a live place: to a list that is freed below, or null for none.
    if unsafe { libc::getifaddrs(&raw mut list) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut devices = Vec::new();
    let mut entry = list;
    // SAFETY: each entry is live until the list is freed, once, after the last use; its name ends
    // with NUL. The address, if there is one, is of the family that it says, and so as long; its
    // alignment is the allocator's, but read as if it were not.
    unsafe {
        while let Some(found) = entry.as_ref() {
            entry = found.ifa_next;
            let is_packet = !found.ifa_addr.is_null()
                && i32::from((*found.ifa_addr).sa_family) == libc::AF_PACKET;
            // The others are addresses of the same devices.
            if !is_packet {
                continue;
            }
            let address = found.ifa_addr.cast::<libc::sockaddr_ll>().read_unaligned();
            devices.push(Device {
                index: address.sll_ifindex.unsigned_abs(),
                name: CStr::from_ptr(found.ifa_name)
                    .to_string_lossy()
                    .into_owned(),
                dev_type: address.sll_hatype,
                flags: found.ifa_flags,
            });
        }
        libc::freeifaddrs(list);
    }
    devices.sort_by_key(|device| device.index);
    Ok(devices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_number_is_there() {
        let devices = all().unwrap();
        let own = super::super::netns::Namespace::own().unwrap();
        let interfaces = own.interfaces().unwrap();
        let named = |device: &Device| (device.index, device.name.clone());
        let known: Vec<_> = devices.iter().map(named).collect();
        let wanted: Vec<_> = interfaces
            .into_iter()
            .map(|interface| (interface.index, interface.name))
            .collect();
        assert_eq!(known, wanted);
        for device in devices {
            assert_eq!(device.is_loopback(), device.name == "lo");
        }
    }
}
