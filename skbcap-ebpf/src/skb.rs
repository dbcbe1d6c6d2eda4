//! An skb's fields and its device's, by way of the kernel's own pointers.
//!
//! Every offset comes from the running kernel's BTF by way of the configuration.

use core::mem::offset_of;

use skbcap_common::{Control, Flags, config::Layout};

use crate::{
    config::config,
    source::{Fields, Source, field},
};

/// A `struct sk_buff`: what decides about it, read at once, and the rest for whoever asks.
pub(crate) struct Skb {
    pub(crate) address: u64,
    pub(crate) len: u32,
    pub(crate) data_len: u32,
    /// `vlan_proto` (as it lies in the frame) in the low half, `vlan_tci` (likewise) in the high.
    pub(crate) vlan_tag: Option<u32>,
    fields: Fields,
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
        let fields = unsafe { S::skb(control, address)? };
        let proto = field!(fields.skb_vlan_proto: u16);
        let tci = field!(fields.skb_vlan_tci: u16);
        let present_mask = config!(layout.skb_vlan_present_mask) as u8;
        let present = if present_mask == 0 {
            (proto | tci) != 0
        } else {
            field!(fields.skb_vlan_present: u8) & present_mask != 0
        };
        Some(Self {
            address,
            len: field!(fields.skb_len: u32),
            data_len: field!(fields.skb_data_len: u32),
            vlan_tag: present.then(|| u32::from(proto) | u32::from(tci.swap_bytes()) << 16),
            fields,
        })
    }

    #[inline(always)]
    pub(crate) fn socket(&self) -> u64 {
        let fields = self.fields;
        field!(fields.skb_sk: u64)
    }

    #[inline(always)]
    pub(crate) fn head(&self) -> u64 {
        let fields = self.fields;
        field!(fields.skb_head: u64)
    }

    #[inline(always)]
    pub(crate) fn data(&self) -> u64 {
        let fields = self.fields;
        field!(fields.skb_data: u64)
    }

    /// Where its `skb_shared_info` lies.
    #[inline(always)]
    pub(crate) fn shared_info(&self) -> u64 {
        let fields = self.fields;
        self.head() + u64::from(field!(fields.skb_end: u32))
    }

    #[inline(always)]
    pub(crate) fn ip_summed(&self) -> u8 {
        let fields = self.fields;
        field!(fields.skb_ip_summed: u8) >> config!(layout.skb_ip_summed_shift) & 3
    }

    /// In host order.
    #[inline(always)]
    pub(crate) fn protocol(&self) -> u16 {
        let fields = self.fields;
        field!(fields.skb_protocol: u16).swap_bytes()
    }

    /// From `data` on; wraps if it lies outside of the frame.
    #[inline(always)]
    pub(crate) fn network_offset(&self) -> u16 {
        let fields = self.fields;
        let headroom = self.data().wrapping_sub(self.head()) as u16;
        field!(fields.skb_network_header: u16).wrapping_sub(headroom)
    }
}

/// A `struct net_device`, likewise.
pub(crate) struct Device {
    pub(crate) ifindex: u32,
    pub(crate) netns: u32,
    pub(crate) kind: u16,
    /// Has its highest bit set where a field could not be read.
    failed: u64,
    address: u64,
}

impl Device {
    /// Reads the skb's device.
    #[inline(always)]
    pub(crate) fn read<S: Source>(skb: &Skb) -> Self {
        let fields = skb.fields;
        let address = field!(fields.skb_dev: u64);
        let mut failed = 0;
        // SAFETY: both addresses came from this source.
        let (ifindex, kind, netns) = unsafe {
            let net = S::load::<u64, { offset_of!(Layout, dev_net) }>(address, &mut failed);
            (
                S::load::<u32, { offset_of!(Layout, dev_ifindex) }>(address, &mut failed),
                S::load::<u16, { offset_of!(Layout, dev_type) }>(address, &mut failed),
                S::load::<u32, { offset_of!(Layout, net_inum) }>(net, &mut failed),
            )
        };
        Self {
            ifindex,
            netns,
            kind,
            failed,
            address,
        }
    }

    /// Its name, and what is to be said about it all.
    #[inline(always)]
    pub(crate) fn name<S: Source>(&self) -> ([u64; 2], Flags) {
        let mut failed = self.failed;
        // SAFETY: the address came from this source.
        let name = unsafe {
            S::load::<[u64; 2], { offset_of!(Layout, dev_name) }>(self.address, &mut failed)
        };
        (
            name,
            Flags((failed >> 63) as u32 * Flags::DEVICE_UNREADABLE.0),
        )
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
        let fields = self.0;
        field!(fields.shared_info_gso_size: u16)
    }

    #[inline(always)]
    pub(crate) fn nr_frags(self) -> u8 {
        let fields = self.0;
        field!(fields.shared_info_nr_frags: u8)
    }

    #[inline(always)]
    pub(crate) fn frag_list(self) -> u64 {
        let fields = self.0;
        field!(fields.shared_info_frag_list: u64)
    }
}
