//! What userspace tells the programs, once, before they are loaded: a read-only global, which the
//! verifier folds into constants.

use crate::{devices::Devices, owner::Sockets, process::Tasks, sender::Senders};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The most interface names that the kernel side compares with.
pub const MAX_INTERFACES: usize = 16;

/// Bytes of the skb that are read at once: every field below must lie within.
pub const SKB_WINDOW: usize = 256;

/// Bytes of `skb_shared_info` that are read at once, up to the array of fragments.
pub const SHARED_INFO_WINDOW: usize = 64;

/// The most parts of one frame that are copied where it is copied part after part: the linear parts and
/// fragments of an skb and of those in its `frag_list`, some in more than one chunk. GRO lists 64 skbs at
/// the most (`UDP_GRO_CNT_MAX`, net/ipv4/udp_offload.c@6.12; `NAPI_POLL_WEIGHT`,
/// include/linux/netdevice.h@6.12), each of which has at most 45 fragments and a linear part.
pub const MOST_PARTS: u32 = 4096;

/// The object's read-only global `CONFIG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Config {
    /// [`crate::VERSION`].
    pub version: u32,
    /// Possible CPUs: there are two control blocks for each.
    pub cpus: u32,
    /// Bytes of a frame that the filter expression may look at, its [`crate::head`]; at least 16,
    /// or 0 where there is no expression.
    pub head_len: u32,
    /// Nominal bytes of a segment: a record begins below this.
    pub segment_len: u32,
    /// The most bytes of a frame to capture: at least 1, at most [`crate::MAX_SNAPLEN`].
    pub snaplen: u32,
    /// The most bytes that are read from one address at once: at most `snaplen`.
    pub chunk_len: u32,
    /// The inode number of the network namespace to capture in, 0 for all.
    pub netns: u32,
    /// How many of `interfaces` are to be captured on, 0 for all.
    pub interface_count: u32,
    /// Names of the interfaces to capture on, each ended by NUL bytes.
    pub interfaces: [[u8; 16]; MAX_INTERFACES],
    /// Where things lie in this kernel's structures.
    pub layout: Layout,
    /// Which numbers its types have.
    pub types: Types,
    /// Where things lie in its sockets.
    pub sockets: Sockets,
    /// Which senders are wanted.
    pub senders: Senders,
    /// Where things lie in its tasks.
    pub tasks: Tasks,
    /// Which devices are captured on, if it takes more than the names above.
    pub devices: Devices,
    /// What is done with each frame besides: bits of [`extra`]. 0: nothing.
    pub extras: u32,
    /// What each CPU's `__preempt_count` says by which bits.
    pub preempt: PreemptBits,
    /// The most parts of one frame that are copied where it is copied part after part, in 64s: at most
    /// [`MOST_PARTS`].
    pub most_parts: u32,
    /// Zero.
    pub reserved: u32,
}

/// The bits of the lower half of a CPU's `__preempt_count` by which it says that it serves an interrupt.
/// Its lowest 16 are the same in all kernels: 8 for preemption, 8 for softirqs.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct PreemptBits {
    /// `HARDIRQ_MASK`.
    pub hardirq_mask: u32,
    /// `NMI_MASK`.
    pub nmi_mask: u32,
    /// What one NMI adds: `NMI_OFFSET + HARDIRQ_OFFSET`.
    pub nmi_adds: u32,
}

/// What a capture asks for beyond the frames: [`Config::extras`].
pub mod extra {
    /// Only some senders' frames are wanted: [`crate::sender::Senders`] is not all zero.
    pub const SENDERS: u32 = 1 << 0;
    /// A [`crate::CurrentTask`] at the end of each record.
    pub const CURRENT: u32 = 1 << 1;
}

/// Numbers of types in the running kernel's BTF. All zero where there is no use for them: before
/// Linux 6.2.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Types {
    /// `struct sk_buff`.
    pub sk_buff: u32,
    /// `struct skb_shared_info`.
    pub skb_shared_info: u32,
    /// Any structure whose first field is an integer of four bytes.
    pub word32: u32,
    /// Any structure whose first field is an integer of eight bytes.
    pub word64: u32,
    /// Zero.
    pub reserved: [u32; 2],
}

/// Offsets in bytes and sizes in the running kernel, from its BTF.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Layout {
    /// The kernel's `page_offset_base`: the direct map's first address. 0: fragments unreadable.
    pub page_offset_base: u64,
    /// The kernel's `vmemmap_base`: `struct page` of frame number 0. 0: fragments unreadable.
    pub vmemmap_base: u64,
    /// `sizeof(struct page)`.
    pub page_size_of: u32,
    /// Bytes of the skb to read at once: from `skb_begin` up to the last field below, at most
    /// [`SKB_WINDOW`].
    pub skb_window: u32,
    /// `sk_buff.dev`.
    pub skb_dev: u32,
    /// `sk_buff.sk`.
    pub skb_sk: u32,
    /// `sk_buff.len`.
    pub skb_len: u32,
    /// `sk_buff.data_len`.
    pub skb_data_len: u32,
    /// `sk_buff.head`.
    pub skb_head: u32,
    /// `sk_buff.data`.
    pub skb_data: u32,
    /// `sk_buff.end`, an offset from `head`.
    pub skb_end: u32,
    /// `sk_buff.vlan_proto`, big-endian.
    pub skb_vlan_proto: u32,
    /// `sk_buff.vlan_tci`, host order.
    pub skb_vlan_tci: u32,
    /// The byte that holds the bit `vlan_present` (up to Linux 6.1).
    pub skb_vlan_present: u32,
    /// That bit's mask; 0 where a tag is present if its `vlan_proto` or `vlan_tci` is not zero.
    pub skb_vlan_present_mask: u32,
    /// The byte that holds `ip_summed`.
    pub skb_ip_summed: u32,
    /// How far `ip_summed` (two bits) is shifted in that byte.
    pub skb_ip_summed_shift: u32,
    /// `skb_shared_info.nr_frags`, one byte.
    pub shared_info_nr_frags: u32,
    /// `skb_shared_info.gso_size`.
    pub shared_info_gso_size: u32,
    /// `skb_shared_info.frag_list`.
    pub shared_info_frag_list: u32,
    /// `skb_shared_info.frags`.
    pub shared_info_frags: u32,
    /// `skb_frag_t`: its page (or netmem), 8 bytes; the type is 16 bytes long.
    pub frag_page: u32,
    /// `skb_frag_t`: its length.
    pub frag_len: u32,
    /// `skb_frag_t`: its offset in the page.
    pub frag_offset: u32,
    /// `net_device.name`.
    pub dev_name: u32,
    /// `net_device.ifindex`.
    pub dev_ifindex: u32,
    /// `net_device.type`.
    pub dev_type: u32,
    /// `net_device.nd_net.net`.
    pub dev_net: u32,
    /// `net.ns.inum`.
    pub net_inum: u32,
    /// Where in the skb the first field above begins, or before, a multiple of 8.
    pub skb_begin: u32,
    /// `task_struct.comm`.
    pub task_comm: u32,
    /// `net_device`'s pointers to what egress does to its frames, tc's and nft's; 0 where this kernel
    /// has none.
    pub dev_egress: [u32; 2],
    /// `sk_buff.next`: the skb after this one in a `frag_list`.
    pub skb_next: u32,
    /// `sk_buff.protocol`, big-endian.
    pub skb_protocol: u32,
    /// `sk_buff.network_header`, 2 bytes, an offset from `head`.
    pub skb_network_header: u32,
    /// `task_struct.pid`: the thread's.
    pub task_pid: u32,
    /// `task_struct.tgid`.
    pub task_tgid: u32,
}

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<Layout>() == 160);
    assert!(offset_of!(Layout, page_size_of) == 16);
    assert!(offset_of!(Layout, net_inum) == 120);
    assert!(offset_of!(Config, interfaces) == 32);
    assert!(offset_of!(Config, layout) == 288);
    assert!(size_of::<Types>() == 24);
    assert!(size_of::<Config>() == 728);
};
