//! Interfaces as frames show them: (namespace, ifindex) to name, link type and counts.
//!
//! Everything is learnt from the frames' own records, so nothing is looked up in a namespace that
//! may be another's or gone. It must not know how interfaces are written to a file.

use std::collections::HashMap;

use skbcap_common::{Flags, RecordHeader};

use crate::escape::escape_into;
use crate::link_type;
use crate::pcapng::LinkType;

#[cfg(test)]
mod tests;

/// The most CPUs that a kernel can be built for (`NR_CPUS`): a bound on what a record may claim.
const MAX_CPUS: usize = 8192;

/// Places for interfaces that frames are recognised by at a glance.
const RECENT: usize = 64;

/// An interface's place in [`Interfaces`], for the length of the capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Index(usize);

/// A device, as the kernel tells devices apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The inode number of the network namespace.
    pub netns: u32,
    /// `dev->ifindex`, unique in it.
    pub ifindex: u32,
}

/// One interface: a device under one name and of one type.
#[derive(Clone, Debug)]
pub struct Interface {
    /// The device.
    pub key: Key,
    /// `dev->name`, printable: other bytes as `\xNN`. Empty if it was never readable.
    pub name: String,
    /// `dev->type`, an `ARPHRD_*` number.
    pub dev_type: u16,
    /// Whether all of the above could be read: else the type is nobody's.
    pub is_readable: bool,
    /// How its frames begin; [`None`] if frames of such a device can't be written, or none was seen.
    pub link_type: Option<LinkType>,
    /// Frames captured.
    pub captured: u64,
    /// Frames dropped, as far as is known.
    pub dropped: u64,
    raw_name: [u8; 16],
}

impl Interface {
    /// `netns=<inode> ifindex=<n>`: what a name alone does not tell.
    #[must_use]
    pub fn description(&self) -> String {
        let Key { netns, ifindex } = self.key;
        format!("netns={netns} ifindex={ifindex}")
    }
}

/// What a frame tells about its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which interface it is.
    pub index: Index,
    /// Whether this is its first frame.
    pub is_new: bool,
    /// Frames of the interface that were dropped between this frame and the one before.
    pub dropped: u64,
}

/// A device, through all its names.
#[derive(Debug)]
struct Device {
    current: Index,
    /// For each CPU's two rings, `dropped` of its last frame: the counts grow on their own.
    last_dropped: Vec<[u32; 2]>,
    /// Drops counted to any of the device's interfaces.
    dropped: u64,
}

/// Every interface that frames were captured on, or lost.
#[derive(Debug)]
pub struct Interfaces {
    table: Vec<Interface>,
    devices: Vec<Device>,
    /// Places in `devices`.
    by_key: HashMap<Key, usize>,
    /// The last frames' interfaces, of those that share a place the latest.
    recent: [Option<Recent>; RECENT],
}

/// What a record said of its interface, and where that stands.
#[derive(Clone, Copy, Debug)]
struct Recent {
    key: Key,
    name: u128,
    dev_type: u16,
    device: usize,
    index: Index,
}

impl Recent {
    /// Its place among the others. Indices count up within a namespace, namespaces among
    /// themselves.
    #[inline]
    fn place(header: &RecordHeader) -> usize {
        header.ifindex.wrapping_add(header.netns) as usize % RECENT
    }

    #[inline]
    fn is_of(&self, header: &RecordHeader) -> bool {
        self.key.ifindex == header.ifindex
            && self.key.netns == header.netns
            && self.name == u128::from_ne_bytes(header.ifname)
            && self.dev_type == header.dev_type
            && !is_unreadable(header)
    }
}

fn is_unreadable(header: &RecordHeader) -> bool {
    Flags(header.flags).contains(Flags::DEVICE_UNREADABLE)
}

impl Default for Interfaces {
    fn default() -> Self {
        Self::new()
    }
}

impl Interfaces {
    /// No interface yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            table: Vec::new(),
            devices: Vec::new(),
            by_key: HashMap::new(),
            recent: [None; RECENT],
        }
    }

    /// Counts a frame to its interface, which begins here if this is its first frame, or the first
    /// since the device got another name or type.
    ///
    /// Frames of one ring must come in the order in which they were taken.
    #[inline]
    pub fn see(&mut self, header: &RecordHeader) -> Seen {
        let (device, index, is_new) = match &self.recent[Recent::place(header)] {
            Some(recent) if recent.is_of(header) => (recent.device, recent.index, false),
            _ => self.look_up(header),
        };
        let dropped = self.devices[device].dropped_before(header);
        let interface = &mut self.table[index.0];
        interface.captured += 1;
        if dropped != 0 {
            interface.dropped += dropped;
        }
        Seen {
            index,
            is_new,
            dropped,
        }
    }

    /// The place of a frame's device, that of its interface, and whether that begins here.
    #[cold]
    fn look_up(&mut self, header: &RecordHeader) -> (usize, Index, bool) {
        let key = Key {
            netns: header.netns,
            ifindex: header.ifindex,
        };
        let next = Index(self.table.len());
        let mut is_new = false;
        let place = *self.by_key.entry(key).or_insert_with(|| {
            is_new = true;
            self.devices.push(Device {
                current: next,
                last_dropped: Vec::new(),
                dropped: 0,
            });
            self.devices.len() - 1
        });
        let device = &mut self.devices[place];
        // What could not be read is no new name.
        let unreadable = is_unreadable(header);
        if !is_new && !unreadable {
            let known = &self.table[device.current.0];
            is_new = known.raw_name != header.ifname || known.dev_type != header.dev_type;
        }
        if is_new {
            device.current = next;
            self.table.push(describe(key, header, unreadable));
        }
        let known = &self.table[device.current.0];
        self.recent[Recent::place(header)] = Some(Recent {
            key,
            name: u128::from_ne_bytes(known.raw_name),
            dev_type: known.dev_type,
            device: place,
            index: device.current,
        });
        (place, device.current, is_new)
    }

    /// Takes over the kernel's own total of a device's drops, summed over CPUs and hooks: it knows
    /// those after the last frame. A device of which no frame was seen becomes an interface here,
    /// without a name or a type.
    pub fn settle(&mut self, key: Key, dropped: u64) {
        let next = Index(self.table.len());
        let place = *self.by_key.entry(key).or_insert_with(|| {
            self.table.push(Interface {
                key,
                name: String::new(),
                dev_type: 0,
                is_readable: false,
                link_type: None,
                captured: 0,
                dropped: 0,
                raw_name: [0; 16],
            });
            self.devices.push(Device {
                current: next,
                last_dropped: Vec::new(),
                dropped: 0,
            });
            self.devices.len() - 1
        });
        let device = &mut self.devices[place];
        let more = dropped.saturating_sub(device.dropped);
        device.dropped += more;
        self.table[device.current.0].dropped += more;
    }

    /// The interface at an index, which [`Interfaces::see`] has returned.
    #[must_use]
    pub fn get(&self, index: Index) -> &Interface {
        &self.table[index.0]
    }

    /// All interfaces, in the order of their first frames; those of no frame come last.
    pub fn iter(&self) -> impl Iterator<Item = (Index, &Interface)> {
        self.table
            .iter()
            .enumerate()
            .map(|(index, interface)| (Index(index), interface))
    }
}

impl Index {
    /// Counts from 0, in the order of first frames.
    #[must_use]
    pub fn as_usize(self) -> usize {
        self.0
    }
}

impl Device {
    /// Frames that were dropped on this ring since its last frame here.
    #[inline]
    fn dropped_before(&mut self, header: &RecordHeader) -> u64 {
        let ring = usize::from(Flags(header.flags).contains(Flags::SECOND_RING));
        match self.last_dropped.get(header.cpu as usize) {
            Some(last) if last[ring] == header.dropped => 0,
            _ => self.count_dropped(header, ring),
        }
    }

    #[cold]
    fn count_dropped(&mut self, header: &RecordHeader, ring: usize) -> u64 {
        let cpu = header.cpu as usize;
        if cpu >= MAX_CPUS {
            return 0;
        }
        if cpu >= self.last_dropped.len() {
            self.last_dropped.resize(cpu + 1, [0; 2]);
        }
        let last = &mut self.last_dropped[cpu][ring];
        let since = u64::from(header.dropped.wrapping_sub(*last));
        *last = header.dropped;
        self.dropped += since;
        since
    }
}

fn describe(key: Key, header: &RecordHeader, unreadable: bool) -> Interface {
    let bytes = header
        .ifname
        .split(|&byte| byte == 0)
        .next()
        .unwrap_or_default();
    let mut name = String::new();
    escape_into(&mut name, bytes, b"");
    Interface {
        key,
        name,
        dev_type: header.dev_type,
        is_readable: !unreadable,
        // Type 0 is a device type of its own (ARPHRD_NETROM), and not what this device has.
        link_type: if unreadable {
            None
        } else {
            link_type::of_device(header.dev_type)
        },
        captured: 0,
        dropped: 0,
        raw_name: header.ifname,
    }
}
