//! An skb's fields and its device's, by way of the kernel's own pointers.
//!
//! Every offset comes from the running kernel's BTF by way of the configuration.

use skbcap_common::{Control, Flags};

use crate::{
    config::config,
    source::{Fields, Source},
};

/// The fields of a `struct sk_buff` that matter here.
pub(crate) struct Skb {
    pub(crate) address: u64,
    pub(crate) socket: u64,
    pub(crate) ip_summed: u8,
    /// In host order.
    pub(crate) protocol: u16,
    /// From `data` on; wraps if it lies outside of the frame.
    pub(crate) network_offset: u16,
    device: u64,
    pub(crate) len: u32,
    pub(crate) data_len: u32,
    pub(crate) data: u64,
    pub(crate) head: u64,
    pub(crate) shared_info: u64,
    /// `vlan_proto` (as it lies in the frame) in the low half, `vlan_tci` (likewise) in the high.
    pub(crate) vlan_tag: Option<u32>,
}

impl Skb {
    /// Reads the skb at `address`.
    ///
    /// # Safety
    ///
    /// `control` is this CPU's own, with its busy mark set.
    #[inline(always)]
    pub(crate) unsafe fn read<S: Source>(address: u64, control: *mut Control) -> Option<Self> {
        // SAFETY: the caller's promise.
        let window = unsafe { S::skb(control, address)? };
        let head: u64 = window.get(config!(layout.skb_head));
        let end: u32 = window.get(config!(layout.skb_end));
        let proto: u16 = window.get(config!(layout.skb_vlan_proto));
        let tci: u16 = window.get(config!(layout.skb_vlan_tci));
        let present_mask = config!(layout.skb_vlan_present_mask) as u8;
        let present = if present_mask == 0 {
            (proto | tci) != 0
        } else {
            window.get::<u8>(config!(layout.skb_vlan_present)) & present_mask != 0
        };
        let ip_summed: u8 = window.get(config!(layout.skb_ip_summed));
        let data: u64 = window.get(config!(layout.skb_data));
        let network_header: u16 = window.get(config!(layout.skb_network_header));
        let headroom = data.wrapping_sub(head) as u16;
        Some(Self {
            address,
            socket: window.get(config!(layout.skb_sk)),
            ip_summed: ip_summed >> config!(layout.skb_ip_summed_shift) & 3,
            protocol: window.get::<u16>(config!(layout.skb_protocol)).swap_bytes(),
            network_offset: network_header.wrapping_sub(headroom),
            device: window.get(config!(layout.skb_dev)),
            len: window.get(config!(layout.skb_len)),
            data_len: window.get(config!(layout.skb_data_len)),
            head,
            data,
            shared_info: head + u64::from(end),
            vlan_tag: present.then(|| u32::from(proto) | u32::from(tci.swap_bytes()) << 16),
        })
    }
}

/// The facts of a `struct net_device` that go into each record.
pub(crate) struct Device {
    pub(crate) name: [u64; 2],
    pub(crate) ifindex: u32,
    pub(crate) netns: u32,
    pub(crate) kind: u16,
    pub(crate) flags: Flags,
}

impl Device {
    /// Reads the skb's device.
    #[inline(always)]
    pub(crate) fn read<S: Source>(skb: &Skb) -> Self {
        let failed = &mut 0;
        // SAFETY: all of these are integers, or an array of them.
        unsafe {
            let ifindex = S::load(skb.device, config!(layout.dev_ifindex), failed);
            let kind = S::load(skb.device, config!(layout.dev_type), failed);
            let name = S::load(skb.device, config!(layout.dev_name), failed);
            let net: u64 = S::load(skb.device, config!(layout.dev_net), failed);
            let netns = S::load(net, config!(layout.net_inum), failed);
            Self {
                name,
                ifindex,
                netns,
                kind,
                flags: Flags((*failed >> 63) as u32 * Flags::DEVICE_UNREADABLE.0),
            }
        }
    }
}

/// The fields of a `struct skb_shared_info` that matter here.
#[derive(Clone, Copy)]
pub(crate) struct SharedInfo(Fields);

impl SharedInfo {
    /// Looks at the one at `address`.
    ///
    /// # Safety
    ///
    /// `control` is this CPU's own, with its busy mark set.
    #[inline(always)]
    pub(crate) unsafe fn read<S: Source>(address: u64, control: *mut Control) -> Option<Self> {
        // SAFETY: the caller's promise.
        unsafe { S::shared_info(control, address).map(Self) }
    }

    #[inline(always)]
    pub(crate) fn gso_size(self) -> u16 {
        self.0.get(config!(layout.shared_info_gso_size))
    }

    #[inline(always)]
    pub(crate) fn gso_type(self) -> u32 {
        self.0.get(config!(layout.shared_info_gso_type))
    }

    #[inline(always)]
    pub(crate) fn nr_frags(self) -> u8 {
        self.0.get(config!(layout.shared_info_nr_frags))
    }

    #[inline(always)]
    pub(crate) fn frag_list(self) -> u64 {
        self.0.get(config!(layout.shared_info_frag_list))
    }
}
