//! A frame's bytes into its record: how many, the VLAN tag among them, and what is missing. By the
//! kernel's own copy or in one read where that will do, else part after part ([`walk`]).

use skbcap_common::{Control, Flags, head::MAX_HEAD_CHUNK};

use crate::{
    config::config,
    memory::opaque,
    skb::{Device, SharedInfo, Skb},
    source::{Source, read},
    walk,
};

pub(crate) const VLAN_TAG_LEN: u64 = 4;
/// Where libpcap re-inserts a tag: behind the two addresses.
pub(crate) const VLAN_OFFSET: u64 = 12;

/// `ARPHRD_ETHER`: the devices whose frames can bear a VLAN tag.
const ARPHRD_ETHER: u16 = 1;

/// What of an skb is to be copied.
pub(crate) struct Plan {
    /// Bytes of the frame as sent, an inserted VLAN tag included.
    pub(crate) len: u64,
    /// Bytes of it to copy.
    pub(crate) want: u64,
    /// The VLAN tag that the metadata bears, as it stands in a frame.
    pub(crate) tag: Option<u32>,
}

impl Plan {
    /// Plans the copy of the first `most` bytes of `skb`, sent through `device`.
    #[inline(always)]
    pub(crate) fn new(skb: &Skb, device: &Device, most: u32) -> Self {
        let linear = skb.len.wrapping_sub(skb.data_len);
        let tag = match skb.vlan_tag {
            Some(tag) if device.kind == ARPHRD_ETHER && u64::from(linear) >= VLAN_OFFSET => {
                Some(tag)
            }
            _ => None,
        };
        let len = u64::from(skb.len) + if tag.is_some() { VLAN_TAG_LEN } else { 0 };
        let most = u64::from(most);
        Self {
            len,
            want: if len < most { len } else { most },
            tag,
        }
    }
}

/// What was copied.
pub(crate) struct Copied {
    pub(crate) len: u64,
    pub(crate) flags: Flags,
}

/// Where a frame's bytes go.
pub(crate) struct Place {
    /// Its segment's number.
    pub(crate) segment: u32,
    /// From the segment's start on.
    pub(crate) offset: u64,
    /// The same as a pointer.
    pub(crate) to: *mut u8,
}

/// How much is copied at the most, as the verifier has to be told: constants of the configuration.
pub(crate) struct Bounds {
    /// Bytes in all.
    pub(crate) most: u64,
    /// Bytes from one address.
    pub(crate) chunk_len: u64,
}

impl Bounds {
    /// Those of a record.
    #[inline(always)]
    pub(crate) fn record() -> Self {
        Self {
            most: config!(snaplen).into(),
            chunk_len: config!(chunk_len).into(),
        }
    }

    /// Those of a head.
    #[inline(always)]
    pub(crate) fn head() -> Self {
        let most = u64::from(config!(head_len));
        Self {
            most,
            chunk_len: most.min(MAX_HEAD_CHUNK),
        }
    }
}

/// Copies the frame's bytes to `to`, and says how many and what is missing. `follow` goes on with the
/// walk that lies in the control block: [`walk::skbcap_follow`] to the same place.
///
/// # Safety
///
/// `to` has room for the most bytes of `bounds` and a chunk more, and `control` is this CPU's own,
/// with its busy mark set.
#[inline(always)]
pub(crate) unsafe fn copy<S: Source>(
    to: *mut u8,
    skb: &Skb,
    shared_info: SharedInfo,
    plan: &Plan,
    control: *mut Control,
    bounds: &Bounds,
    follow: impl FnOnce() -> u64,
) -> Copied {
    if S::COPIES {
        // SAFETY: the caller's promise.
        let copied = unsafe { copy_whole::<S>(to, skb, plan, bounds.most) };
        // What can't be read whole is copied as far as it can.
        if let Some(copied) = copied {
            return copied;
        }
    }
    let chunk_len = bounds.chunk_len;
    if plan.tag.is_none()
        && skb.data_len <= skb.len
        && plan.want <= u64::from(skb.len - skb.data_len)
        && plan.want <= chunk_len
    {
        // SAFETY: a chunk at most.
        return unsafe { copy_linear(to, skb, plan, chunk_len) };
    }
    // SAFETY: the caller's promise, handed on.
    unsafe {
        walk::begin(to, skb, shared_info, plan, control);
        let is_through = follow() != 0;
        let walk = (&raw const (*control).walk).read_volatile();
        // For the verifier: a record's length is made of it.
        let len = opaque(walk.copied).min(bounds.most);
        let mut flags = walk.flags as u32;
        if len < walk.want {
            flags |= if is_through {
                walk.flag_behind as u32
            } else {
                Flags::CUT_UNREADABLE.0
            };
        } else if plan.want < plan.len {
            flags |= Flags::CUT_SNAPLEN.0;
        }
        Copied {
            len,
            flags: Flags(flags),
        }
    }
}

/// As [`copy`], of a frame that the kernel can copy by itself, wherever its bytes lie.
///
/// # Safety
///
/// As [`copy`].
#[inline(always)]
unsafe fn copy_whole<S: Source>(to: *mut u8, skb: &Skb, plan: &Plan, most: u64) -> Option<Copied> {
    let mut flags = Flags::default();
    let (mut from, mut at) = (0, 0);
    if let Some(tag) = plan.tag {
        // SAFETY: the loader gives a record room for 16 bytes at the least.
        unsafe {
            if !S::copy(skb.address, 0, to, VLAN_OFFSET) {
                return None;
            }
            to.add(VLAN_OFFSET as usize).cast::<u32>().write(tag);
        }
        (from, at) = (VLAN_OFFSET, VLAN_OFFSET + VLAN_TAG_LEN);
        flags = Flags::VLAN_INSERTED;
    }
    let len = opaque(plan.want.saturating_sub(at));
    if len > most {
        return None;
    }
    // SAFETY: at most as many as are copied at all, behind at most 16 bytes: a chunk is as long as that,
    // unless the snapshot length is shorter, and then nothing is left to copy behind a tag.
    if len != 0 && !unsafe { S::copy(skb.address, from as u32, to.add(at as usize), len) } {
        return None;
    }
    if plan.want < plan.len {
        flags = flags.union(Flags::CUT_SNAPLEN);
    }
    Some(Copied {
        len: plan.want,
        flags,
    })
}

/// As [`copy`], of a frame of which the linear part holds all that is wanted: one read.
///
/// # Safety
///
/// `to` has room for a chunk.
#[inline(always)]
unsafe fn copy_linear(to: *mut u8, skb: &Skb, plan: &Plan, chunk_len: u64) -> Copied {
    let unreadable = Copied {
        len: 0,
        flags: Flags::CUT_UNREADABLE,
    };
    let len = opaque(plan.want);
    // SAFETY: at most a chunk.
    if len > chunk_len || !unsafe { read(to, len, skb.data()) } {
        return unreadable;
    }
    Copied {
        len,
        flags: if len < plan.len {
            Flags::CUT_SNAPLEN
        } else {
            Flags::default()
        },
    }
}
