//! A record: what the kernel side writes into a ring for each frame.
//!
//! A record is a [`RecordHeader`], the captured bytes, padding to [`ALIGNMENT`], and where
//! [`Flags::CURRENT`] says so a [`CurrentTask`]. It is written in place, in full, before the ring's head
//! moves past it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Records begin at multiples of this many bytes.
pub const ALIGNMENT: u32 = 8;

/// Where a frame was taken. The value of [`RecordHeader::hook`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Hook {
    /// The kprobe at the entry of `__dev_queue_xmit`.
    Kprobe = 1,
    /// The tracepoint `net_dev_queue`, inside the same function, after egress tc and nft.
    Queue = 2,
    /// The same tracepoint as a net under the kprobe: the frame is one that the kprobe missed.
    Net = 3,
    /// The tracepoint `net_dev_start_xmit`, when the driver gets the frame: where tcpdump listens.
    Xmit = 4,
}

impl Hook {
    /// The hook that a record's byte names, if this version knows it.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Kprobe),
            2 => Some(Self::Queue),
            3 => Some(Self::Net),
            4 => Some(Self::Xmit),
            _ => None,
        }
    }
}

/// What the CPU was doing when the frame was taken. The value of [`RecordHeader::context`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Context {
    /// This kernel could not be asked.
    Unknown = 0,
    /// A task's own system call, or a kernel thread.
    Task = 1,
    /// A softirq, on top of whatever task it interrupted.
    Softirq = 2,
    /// A hardware interrupt.
    Hardirq = 3,
}

impl Context {
    /// The context that a record's byte names; anything else is [`Context::Unknown`].
    #[must_use]
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Task,
            2 => Self::Softirq,
            3 => Self::Hardirq,
            _ => Self::Unknown,
        }
    }
}

/// Who sent a frame, as far as that could be shown: [`Flags::by`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum By {
    /// The task that was current: its own system call sent, by a socket that it writes to.
    Task = 1,
    /// The process that the frame's socket belongs to, whoever was current.
    Socket = 2,
    /// No process.
    Kernel = 3,
    /// One of several processes that write to the frame's socket.
    Shared = 4,
    /// That is not known.
    Unknown = 5,
}

/// Facts about a record, one bit each but for [`Flags::by`], in [`RecordHeader::flags`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u32);

impl Flags {
    /// The skb belongs to a socket (`skb->sk` is set).
    pub const HAS_SOCKET: Self = Self(1 << 0);
    /// A VLAN tag was held in the skb's metadata; it stands in the bytes, at offset 12.
    pub const VLAN_INSERTED: Self = Self(1 << 1);
    /// The bytes end early: a fragment could not be read (device memory, no page bases, a fault).
    pub const CUT_UNREADABLE: Self = Self(1 << 2);
    /// The bytes end early: the skb has more parts, or deeper lists of them, than the walk follows.
    pub const CUT_BOUND: Self = Self(1 << 3);
    /// The bytes end at the snapshot length: asked for, and so not a fault.
    pub const CUT_SNAPLEN: Self = Self(1 << 4);
    /// A fact of the device (name, type, namespace) could not be read and is zero.
    pub const DEVICE_UNREADABLE: Self = Self(1 << 5);
    /// The record was written to its CPU's second ring: the CPU was in the middle of another frame.
    pub const SECOND_RING: Self = Self(1 << 6);
    /// Who was current, and in which context, was noted when this very skb passed `net_dev_queue`.
    pub const NOTED_SKB: Self = Self(1 << 7);
    /// The same of the last frame of this frame's socket that passed there.
    pub const NOTED_SOCKET: Self = Self(1 << 8);

    /// A [`CurrentTask`] stands at the record's end.
    pub const CURRENT: Self = Self(1 << 12);

    /// The lowest of three bits that hold a [`By`].
    const BY_SHIFT: u32 = 9;

    /// The bits that say who sent the frame.
    #[must_use]
    pub const fn of_by(by: By) -> Self {
        Self((by as u32) << Self::BY_SHIFT)
    }

    /// All bits that [`Flags::of_by`] may set.
    pub const BY: Self = Self(7 << Self::BY_SHIFT);

    /// Who sent the frame; `None` in a record that does not say.
    #[must_use]
    pub const fn by(self) -> Option<By> {
        match self.0 >> Self::BY_SHIFT & 7 {
            1 => Some(By::Task),
            2 => Some(By::Socket),
            3 => Some(By::Kernel),
            4 => Some(By::Shared),
            5 => Some(By::Unknown),
            _ => None,
        }
    }

    /// Whether every bit of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the frame lost bytes to anything but the snapshot length.
    #[must_use]
    pub const fn is_cut_short(self) -> bool {
        self.0 & (Self::CUT_UNREADABLE.0 | Self::CUT_BOUND.0) != 0
    }

    /// Both sets of bits.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The fixed part of a record.
///
/// Enumerations are plain bytes here: memory that another program writes is checked before it
/// becomes a Rust `enum`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RecordHeader {
    /// Bytes of the whole record: header, data, padding, and a [`CurrentTask`] if there is one; a
    /// multiple of [`ALIGNMENT`].
    pub record_len: u32,
    /// [`crate::VERSION`].
    pub version: u8,
    /// [`Hook`].
    pub hook: u8,
    /// [`Context`].
    pub context: u8,
    /// `skb->ip_summed`: 0 none, 1 unnecessary, 2 complete, 3 partial (checksum still to be filled).
    pub ip_summed: u8,
    /// `CLOCK_MONOTONIC` in nanoseconds (`bpf_ktime_get_ns`), read when the hook was entered.
    pub time_ns: u64,
    /// Counts the frames that were wanted on this ring (captured or dropped), from 0: a gap is a drop.
    pub sequence: u64,
    /// [`Flags`].
    pub flags: u32,
    /// The CPU that ran the hook.
    pub cpu: u32,
    /// The process (tgid in the initial pid namespace) that [`Flags::by`] names: under [`By::Task`],
    /// [`By::Socket`], and [`By::Kernel`] if that is a kernel thread. Under [`By::Unknown`] in task
    /// context, and in a record that does not say, `current`'s. 0: none, or the idle task.
    pub tgid: u32,
    /// Likewise the thread.
    pub pid: u32,
    /// Likewise its name, ended by a NUL byte; what stands behind it means nothing. Under
    /// [`By::Shared`] the tgids of up to four processes, 0 where there are fewer.
    pub comm: [u8; 16],
    /// The address of `skb->sk`, 0 if there is none: an identity, never followed by userspace. Where
    /// events are sent ([`crate::process`]) and that is a request for a connection, the listener's.
    pub socket: u64,
    /// The address of the skb: an identity, never followed by userspace.
    pub skb: u64,
    /// The inode number of the device's network namespace.
    pub netns: u32,
    /// `dev->ifindex`: unique within the namespace.
    pub ifindex: u32,
    /// `dev->name`, ended by a NUL byte.
    pub ifname: [u8; 16],
    /// `dev->type`, an `ARPHRD_*` number.
    pub dev_type: u16,
    /// `skb_shared_info.gso_size`: bytes of payload in each segment of a super-frame, else 0.
    pub gso_size: u16,
    /// Bytes of the frame as sent: `skb->len`, and 4 more where a VLAN tag was inserted.
    pub len: u32,
    /// Bytes of the frame that follow this header.
    pub captured_len: u32,
    /// Frames of this interface that had been dropped on this ring before this one, wrapping.
    pub dropped: u32,
    /// Zero. (`skb_shared_info.gso_type` in older recordings.)
    pub reserved: u32,
    /// `skb->protocol`: an EtherType, or what `ETH_P_*` has besides; 0 where the sender gave none.
    pub protocol: u16,
    /// Where the network layer begins, by `skb->network_header`: bytes from the frame's start,
    /// before any VLAN tag was inserted. Wraps if that lies outside of the frame.
    pub network_offset: u16,
}

const _: () = {
    use core::mem::{align_of, offset_of, size_of};
    assert!(size_of::<RecordHeader>() == 120);
    assert!(align_of::<RecordHeader>() == 8);
    assert!(offset_of!(RecordHeader, time_ns) == 8);
    assert!(offset_of!(RecordHeader, sequence) == 16);
    assert!(offset_of!(RecordHeader, flags) == 24);
    assert!(offset_of!(RecordHeader, cpu) == 28);
    assert!(offset_of!(RecordHeader, tgid) == 32);
    assert!(offset_of!(RecordHeader, pid) == 36);
    assert!(offset_of!(RecordHeader, comm) == 40);
    assert!(offset_of!(RecordHeader, socket) == 56);
    assert!(offset_of!(RecordHeader, skb) == 64);
    assert!(offset_of!(RecordHeader, netns) == 72);
    assert!(offset_of!(RecordHeader, ifindex) == 76);
    assert!(offset_of!(RecordHeader, ifname) == 80);
    assert!(offset_of!(RecordHeader, dev_type) == 96);
    assert!(offset_of!(RecordHeader, gso_size) == 98);
    assert!(offset_of!(RecordHeader, len) == 100);
    assert!(offset_of!(RecordHeader, captured_len) == 104);
    assert!(offset_of!(RecordHeader, dropped) == 108);
    assert!(offset_of!(RecordHeader, reserved) == 112);
    assert!(offset_of!(RecordHeader, protocol) == 116);
    assert!(offset_of!(RecordHeader, network_offset) == 118);
};

/// Bytes of a record's header.
pub const HEADER_LEN: u32 = size_of::<RecordHeader>() as u32;

/// The task that was current when the hook was entered, whoever sent the frame: not an answer to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CurrentTask {
    /// Its process (tgid in the initial pid namespace); 0: the idle task.
    pub tgid: u32,
    /// Its thread.
    pub pid: u32,
    /// Its name, ended by a NUL byte; what stands behind it means nothing.
    pub comm: [u8; 16],
}

/// Bytes of a [`CurrentTask`].
pub const CURRENT_LEN: u32 = size_of::<CurrentTask>() as u32;

const _: () = {
    assert!(CURRENT_LEN == 24 && CURRENT_LEN.is_multiple_of(ALIGNMENT));
    assert!(core::mem::offset_of!(CurrentTask, comm) == 8);
};

/// Bytes of the record, but for a [`CurrentTask`], that holds `captured_len` bytes of a frame.
#[must_use]
pub const fn record_len(captured_len: u32) -> u32 {
    (HEADER_LEN + captured_len).next_multiple_of(ALIGNMENT)
}
