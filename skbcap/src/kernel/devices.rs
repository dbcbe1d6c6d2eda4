//! The devices of a network namespace, for `-D`: what the kernel says of each.
//!
//! Knows the kernel's numbers; nothing of link types, nor of how it is shown.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;

use super::netns::{self, Interface};

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

/// The devices of the calling thread's namespace, by number; one that goes meanwhile may be missing.
///
/// # Errors
///
/// What the system says.
pub fn all() -> io::Result<Vec<Device>> {
    // Any socket of the namespace will do.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let there = netns::name_index()?.into_iter();
    Ok(there
        .filter_map(|Interface { index, name }| {
            Some(Device {
                index,
                dev_type: dev_type(&socket, &name)?,
                flags: flags(&socket, &name)?,
                name,
            })
        })
        .collect())
}

#[expect(unsafe_code, reason = "reads a union")]
fn dev_type(socket: &UdpSocket, name: &str) -> Option<u16> {
    let request = asked(socket, name, libc::SIOCGIFHWADDR)?;
    // SAFETY: the kernel has filled this member; a device without an address has a family too.
    Some(unsafe { request.ifr_ifru.ifru_hwaddr.sa_family })
}

#[expect(unsafe_code, reason = "reads a union")]
fn flags(socket: &UdpSocket, name: &str) -> Option<u32> {
    let request = asked(socket, name, libc::SIOCGIFFLAGS)?;
    // SAFETY: the kernel has filled this member: the lower half of the flags, which has all that
    // is asked of them.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Some(u32::from(flags.cast_unsigned()))
}

/// What the kernel fills a request for this device with; [`None`] if it is gone.
#[expect(unsafe_code, reason = "an ioctl that fills a structure of libc's")]
fn asked(socket: &UdpSocket, name: &str, request: libc::Ioctl) -> Option<libc::ifreq> {
    // SAFETY: integers and arrays of them, of which all zeros is a value.
    let mut answer: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays 0.
    let room = answer.ifr_name.len() - 1;
    for (to, from) in answer.ifr_name[..room].iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: the descriptor is open; both requests read the name, which ends with 0, and write
    // within the structure.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), request, &raw mut answer) };
    (status == 0).then_some(answer)
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
