//! An skb's fields and its device's, by way of the kernel's own pointers.
//!
//! No access can fault: each is a `bpf_probe_read_kernel`, or, where the program was handed an skb
//! whose type the verifier knows, a load that it watches over ([`Source`]). Every offset comes from
//! the running kernel's BTF by way of the configuration.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use skbcap_common::{Control, Flags, config::SKB_WINDOW};

use crate::config::config;

const SKB_WORDS: usize = SKB_WINDOW / 8;

/// Reads `len` bytes of kernel memory to `to`.
///
/// # Safety
///
/// `to` is writable for `len` bytes.
#[inline(always)]
pub(crate) unsafe fn read(to: *mut u8, len: u64, from: u64) -> bool {
    // SAFETY: the caller's promise; an address that is not mapped makes the helper fail.
    unsafe { bpf_probe_read_kernel(to.cast(), len as u32, from as *const _) == 0 }
}

/// Reads one plain integer, or an array of them: zeros where it can't be read. Then `failed` gets
/// its highest bit, without a branch: the verifier would follow all that comes behind once more for
/// each, with the zeros known.
///
/// # Safety
///
/// Any bytes are a `T`.
#[inline(always)]
unsafe fn read_value<T: Copy>(from: u64, failed: &mut u64) -> T {
    // Not zeroed: that would be a call to `memset`.
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: `value` is as long as its type says. The helper writes all of it, zeros when it
    // fails (`bpf_probe_read_kernel_common`, kernel/trace/bpf_trace.c@5.10).
    unsafe {
        let len = size_of::<T>() as u32;
        let error = bpf_probe_read_kernel(value.as_mut_ptr().cast(), len, from as *const _);
        *failed |= error as u64;
        value.assume_init()
    }
}

/// How a program gets at the fields of the structures that it was handed.
pub(crate) trait Source {
    /// A structure's fields, its first bytes perhaps copied to `words` before.
    ///
    /// # Safety
    ///
    /// `words` is a field of this CPU's control block, whose busy mark is set.
    unsafe fn fields(words: *mut [u64; SKB_WORDS], len: u32, address: u64) -> Option<Fields>;

    /// The integer at `address + offset`, or an array of them; a failure is added to `failed` as
    /// its highest bit, and reads zeros. Without a branch: the verifier would follow all that
    /// comes behind once more for each, with the zeros known.
    ///
    /// # Safety
    ///
    /// Any bytes are a `T`, and `address` came from this source.
    unsafe fn load<T: Copy>(address: u64, offset: u32, failed: &mut u64) -> T;
}

/// By addresses: nothing is known of them, so every access is a helper's call.
pub(crate) struct ByAddress;

impl Source for ByAddress {
    #[inline(always)]
    unsafe fn fields(words: *mut [u64; SKB_WORDS], len: u32, address: u64) -> Option<Fields> {
        let begin = config!(layout.skb_begin);
        // SAFETY: the caller's promise.
        let window = unsafe { Window::read(words, len, address + u64::from(begin))? };
        // As far before the window as the window is behind the skb's start.
        Some(Fields(window.0.wrapping_sub(begin as usize)))
    }

    #[inline(always)]
    unsafe fn load<T: Copy>(address: u64, offset: u32, failed: &mut u64) -> T {
        // SAFETY: the caller's promise.
        unsafe { read_value(address + u64::from(offset), failed) }
    }
}

/// By pointers whose types the verifier knows, as a BTF tracepoint is given them: it takes plain
/// loads at known offsets, and a load that fails after all reads zeros (`BPF_PROBE_MEM`).
pub(crate) struct ByType;

impl Source for ByType {
    #[inline(always)]
    unsafe fn fields(_words: *mut [u64; SKB_WORDS], _len: u32, address: u64) -> Option<Fields> {
        Some(Fields(address as *const u8))
    }

    #[inline(always)]
    unsafe fn load<T: Copy>(address: u64, offset: u32, _failed: &mut u64) -> T {
        // SAFETY: the verifier has the last word on each of these loads.
        unsafe { core::ptr::read_volatile((address as *const u8).add(offset as usize).cast()) }
    }
}

/// The fields of a structure, wherever they lie.
pub(crate) struct Fields(*const u8);

impl Fields {
    /// The integer at `offset`, which comes from the configuration: the loader has checked that it
    /// lies within the structure and is aligned for its type.
    #[inline(always)]
    pub(crate) fn get<T: Copy>(&self, offset: u32) -> T {
        // SAFETY: within and aligned, as above; the verifier proves it once more.
        unsafe { core::ptr::read_volatile(self.0.add(offset as usize).cast()) }
    }
}

/// A copy of a structure's first bytes, in the control block: together they would not fit the
/// stack's 512 bytes, and here nothing has to be cleared first.
struct Window(*const u8);

impl Window {
    /// Copies `len` bytes from `from`, unless they are more than the window has.
    ///
    /// # Safety
    ///
    /// `words` is a field of this CPU's control block, whose busy mark is set.
    #[inline(always)]
    unsafe fn read<const N: usize>(words: *mut [u64; N], len: u32, from: u64) -> Option<Self> {
        if len as usize > N * 8 {
            return None;
        }
        // SAFETY: `len` is at most the window's length.
        unsafe { read(words.cast(), len.into(), from) }.then_some(Self(words.cast()))
    }

    /// The integer at `offset`, which comes from the configuration: the loader has checked that it
    /// lies within the window and is aligned for its type.
    #[inline(always)]
    fn get<T: Copy>(&self, offset: u32) -> T {
        // SAFETY: within and aligned, as above; the verifier proves it once more.
        unsafe { core::ptr::read_volatile(self.0.add(offset as usize).cast()) }
    }
}

/// The fields of a `struct sk_buff` that matter here.
pub(crate) struct Skb {
    pub(crate) address: u64,
    pub(crate) socket: u64,
    pub(crate) ip_summed: u8,
    device: u64,
    pub(crate) len: u32,
    pub(crate) data_len: u32,
    pub(crate) data: u64,
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
        let len = config!(layout.skb_window);
        // SAFETY: the caller's promise.
        let window = unsafe { S::fields(&raw mut (*control).skb, len, address)? };
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
        Some(Self {
            address,
            socket: window.get(config!(layout.skb_sk)),
            ip_summed: ip_summed >> config!(layout.skb_ip_summed_shift) & 3,
            device: window.get(config!(layout.skb_dev)),
            len: window.get(config!(layout.skb_len)),
            data_len: window.get(config!(layout.skb_data_len)),
            data: window.get(config!(layout.skb_data)),
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
pub(crate) struct SharedInfo {
    pub(crate) gso_size: u16,
    pub(crate) gso_type: u32,
    pub(crate) nr_frags: u8,
    pub(crate) frag_list: u64,
}

impl SharedInfo {
    /// Reads what stands before the array of fragments, of the `skb_shared_info` at `address`.
    ///
    /// # Safety
    ///
    /// `control` is this CPU's own, with its busy mark set.
    #[inline(always)]
    pub(crate) unsafe fn read(address: u64, control: *mut Control) -> Option<Self> {
        let len = config!(layout.shared_info_frags);
        // SAFETY: the caller's promise.
        let window = unsafe { Window::read(&raw mut (*control).shared_info, len, address)? };
        Some(Self {
            gso_size: window.get(config!(layout.shared_info_gso_size)),
            gso_type: window.get(config!(layout.shared_info_gso_type)),
            nr_frags: window.get(config!(layout.shared_info_nr_frags)),
            frag_list: window.get(config!(layout.shared_info_frag_list)),
        })
    }
}
