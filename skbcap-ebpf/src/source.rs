//! How programs get at the kernel's structures: by addresses, or by pointers whose types the
//! verifier knows.
//!
//! Where a field lies in a structure is written into the load itself: see [`Fields::get`].
//!
//! No access can fault: each is a `bpf_probe_read_kernel`, or a load that the verifier watches over
//! and that reads zeros where nothing is mapped (`BPF_PROBE_MEM`).

use core::{
    arch::asm,
    mem::{MaybeUninit, offset_of},
};

use aya_ebpf::helpers::generated::{
    bpf_dynptr_read, bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_task_btf,
    bpf_probe_read_kernel,
};
use skbcap_common::{
    Control,
    config::{Layout, SHARED_INFO_WINDOW, SKB_WINDOW},
    load,
};

use crate::{config::config, identity::Current, kfunc, last, owners};

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

/// How a program gets at what it was handed.
pub(crate) trait Source {
    /// Whether [`Source::copy`] can work.
    const COPIES: bool = false;
    /// Whether the kprobe may leave frames to the tracepoint.
    const DEFERS: bool = false;

    /// The fields of the skb that the program was handed.
    ///
    /// # Safety
    ///
    /// `control` is this CPU's own, with its busy mark set.
    unsafe fn skb(control: *mut Control, skb: u64) -> Option<Fields>;

    /// The fields before the fragments of the `skb_shared_info` at `address`.
    ///
    /// # Safety
    ///
    /// As [`Source::skb`].
    unsafe fn shared_info(control: *mut Control, address: u64) -> Option<Fields>;

    /// A field of the structure at `address`; a failure is added to `failed` as its highest bit,
    /// and reads zeros. Without a branch: the verifier would follow all that comes behind once more
    /// for each, with the zeros known. Of a typed pointer it is a plain load, which can't fail.
    ///
    /// # Safety
    ///
    /// `address` came from this source.
    #[inline(always)]
    unsafe fn load<T: Word, const FIELD: usize>(address: u64, _failed: &mut u64) -> T {
        Fields::typed(address).get::<T, FIELD>()
    }

    /// The integer at `address + offset`, an offset from the configuration; else as
    /// [`Source::load`].
    ///
    /// # Safety
    ///
    /// As [`Source::load`].
    #[inline(always)]
    unsafe fn at<T: Copy>(address: u64, offset: u32, _failed: &mut u64) -> T {
        Fields::typed(address).at(offset)
    }

    /// The device of the skb that the program was handed.
    ///
    /// # Safety
    ///
    /// `skb` is that.
    unsafe fn device(skb: u64) -> u64 {
        // SAFETY: the caller's promise.
        unsafe { Self::load::<u64, { offset_of!(Layout, skb_dev) }>(skb, &mut 0) }
    }

    /// As [`Source::load`], whether the eight bytes at `offset` are not zero.
    ///
    /// # Safety
    ///
    /// `address` came from this source.
    #[inline(always)]
    unsafe fn is_set(address: u64, offset: u32) -> bool {
        Fields::typed(address).at::<u64>(offset) != 0
    }

    /// The four bytes at an address of the kernel's; zeros where it is 0 or can't be read.
    fn word32(address: u64) -> u32;

    /// As [`Source::word32`], whether any of eight bytes is not zero.
    fn is_word64_set(address: u64) -> bool;

    /// The current task.
    fn current() -> Current;

    /// The address of the `struct sock` of a `struct socket` that a program was handed, as a number; 0
    /// while it has none.
    fn sk_address(socket: *const u8) -> u64;

    /// Copies `len` bytes of the skb that the program was handed, from `offset` on and wherever
    /// they lie. Whether all of them could be read.
    ///
    /// # Safety
    ///
    /// `to` has room for `len` bytes.
    unsafe fn copy(_skb: u64, _offset: u32, _to: *mut u8, _len: u64) -> bool {
        false
    }
}

/// By addresses: nothing is known of them, so every access is a helper's call. Every kernel.
pub(crate) struct ByAddress;

impl Source for ByAddress {
    #[inline(always)]
    unsafe fn skb(control: *mut Control, skb: u64) -> Option<Fields> {
        let (begin, len) = (config!(layout.skb_begin), config!(layout.skb_window));
        // SAFETY: the caller's promise.
        let window = unsafe {
            let words = &raw mut (*control).skb;
            Window::read::<{ SKB_WINDOW / 8 }>(words, len, skb + u64::from(begin))?
        };
        // As far before the window as the window is behind the skb's start.
        Some(Fields(window.wrapping_sub(begin as usize)))
    }

    #[inline(always)]
    unsafe fn shared_info(control: *mut Control, address: u64) -> Option<Fields> {
        let len = config!(layout.shared_info_frags);
        // SAFETY: the caller's promise.
        let window = unsafe {
            let words = &raw mut (*control).shared_info;
            Window::read::<{ SHARED_INFO_WINDOW / 8 }>(words, len, address)?
        };
        Some(Fields(window))
    }

    #[inline(always)]
    unsafe fn load<T: Word, const FIELD: usize>(address: u64, failed: &mut u64) -> T {
        // SAFETY: a word is an integer.
        unsafe { read_value(address + u64::from(offset_of_field(FIELD)), failed) }
    }

    #[inline(always)]
    unsafe fn at<T: Copy>(address: u64, offset: u32, failed: &mut u64) -> T {
        // SAFETY: the caller's promise.
        unsafe { read_value(address + u64::from(offset), failed) }
    }

    #[inline(always)]
    unsafe fn is_set(address: u64, offset: u32) -> bool {
        // SAFETY: any bytes are an integer.
        unsafe { read_value::<u64>(address + u64::from(offset), &mut 0) != 0 }
    }

    #[inline(always)]
    fn word32(address: u64) -> u32 {
        // SAFETY: any bytes are an integer.
        unsafe { read_value(address, &mut 0) }
    }

    #[inline(always)]
    fn is_word64_set(address: u64) -> bool {
        // SAFETY: any bytes are an integer.
        unsafe { read_value::<u64>(address, &mut 0) != 0 }
    }

    #[inline(always)]
    fn current() -> Current {
        let mut comm = MaybeUninit::<[u64; 2]>::uninit();
        // Half of what `bpf_get_current_comm` costs.
        // SAFETY: the helper writes the 16 bytes that it is told; the others take nothing.
        unsafe {
            let pid_tgid = bpf_get_current_pid_tgid();
            let from = bpf_get_current_task() + u64::from(config!(layout.task_comm));
            bpf_probe_read_kernel(comm.as_mut_ptr().cast(), 16, from as *const _);
            Current {
                ids: pid_tgid.rotate_left(32),
                comm: comm.assume_init(),
            }
        }
    }

    #[inline(always)]
    fn sk_address(socket: *const u8) -> u64 {
        last::address(owners::sk(socket))
    }
}

/// By the typed pointer that a BTF tracepoint is given, and what can be reached from there by plain
/// loads; the rest by addresses. Every kernel.
pub(crate) struct ByType;

impl Source for ByType {
    #[inline(always)]
    unsafe fn skb(_control: *mut Control, skb: u64) -> Option<Fields> {
        Some(Fields(skb as *const u8))
    }

    #[inline(always)]
    unsafe fn shared_info(control: *mut Control, address: u64) -> Option<Fields> {
        // SAFETY: the caller's promise.
        unsafe { ByAddress::shared_info(control, address) }
    }

    #[inline(always)]
    fn word32(address: u64) -> u32 {
        ByAddress::word32(address)
    }

    #[inline(always)]
    fn is_word64_set(address: u64) -> bool {
        ByAddress::is_word64_set(address)
    }

    #[inline(always)]
    fn current() -> Current {
        ByAddress::current()
    }

    #[inline(always)]
    fn sk_address(socket: *const u8) -> u64 {
        ByAddress::sk_address(socket)
    }
}

/// By addresses that are cast to typed pointers, so that plain loads will do. Linux 6.2.
pub(crate) struct ByCast;

impl Source for ByCast {
    const DEFERS: bool = true;

    #[inline(always)]
    unsafe fn device(skb: u64) -> u64 {
        let fields = Fields::cast(skb, config!(types.sk_buff));
        field!(fields.skb_dev: u64)
    }

    #[inline(always)]
    unsafe fn skb(_control: *mut Control, skb: u64) -> Option<Fields> {
        Some(Fields::cast(skb, config!(types.sk_buff)))
    }

    #[inline(always)]
    unsafe fn shared_info(_control: *mut Control, address: u64) -> Option<Fields> {
        Some(Fields::cast(address, config!(types.skb_shared_info)))
    }

    #[inline(always)]
    fn word32(address: u64) -> u32 {
        Fields::cast(address, config!(types.word32)).at(0)
    }

    #[inline(always)]
    fn is_word64_set(address: u64) -> bool {
        Fields::cast(address, config!(types.word64)).at::<u64>(0) != 0
    }

    #[inline(always)]
    fn current() -> Current {
        // Since 6.2 the kernel trusts this pointer: loads from it are not guarded.
        // SAFETY: none is needed for the helper.
        let task = Fields::typed(unsafe { bpf_get_current_task_btf() } as u64);
        let (tgid, pid) = (field!(task.task_tgid: u32), field!(task.task_pid: u32));
        Current {
            ids: u64::from(tgid) | u64::from(pid) << 32,
            comm: field!(task.task_comm: [u64; 2]),
        }
    }

    #[inline(always)]
    fn sk_address(socket: *const u8) -> u64 {
        // Of a type whose first field is a number, so that what is read is one.
        let place = socket as u64 + u64::from(config!(sockets.socket_sk));
        Fields::cast(place, config!(types.word64)).at(0)
    }
}

/// As [`ByCast`], from the typed pointer that a BTF tracepoint is given, which the kernel trusts so
/// far as to copy the frame's bytes itself. Linux 6.11.
pub(crate) struct ByTrust;

impl Source for ByTrust {
    const COPIES: bool = true;

    #[inline(always)]
    unsafe fn skb(_control: *mut Control, skb: u64) -> Option<Fields> {
        Some(Fields(skb as *const u8))
    }

    #[inline(always)]
    unsafe fn shared_info(control: *mut Control, address: u64) -> Option<Fields> {
        // SAFETY: the caller's promise.
        unsafe { ByCast::shared_info(control, address) }
    }

    #[inline(always)]
    fn word32(address: u64) -> u32 {
        ByCast::word32(address)
    }

    #[inline(always)]
    fn is_word64_set(address: u64) -> bool {
        ByCast::is_word64_set(address)
    }

    #[inline(always)]
    fn current() -> Current {
        ByCast::current()
    }

    #[inline(always)]
    fn sk_address(socket: *const u8) -> u64 {
        ByCast::sk_address(socket)
    }

    #[inline(always)]
    unsafe fn copy(skb: u64, offset: u32, to: *mut u8, len: u64) -> bool {
        let mut dynptr = MaybeUninit::<kfunc::Dynptr>::uninit();
        // SAFETY: `dynptr` is written by the first call, as the verifier demands, or the second one
        // fails; and the caller's promise.
        unsafe {
            kfunc::dynptr_from_skb(skb, dynptr.as_mut_ptr());
            bpf_dynptr_read(to.cast(), len as u32, dynptr.as_ptr().cast(), offset, 0) == 0
        }
    }
}

/// The fields of a structure, wherever they lie.
#[derive(Clone, Copy)]
pub(crate) struct Fields(*const u8);

impl Fields {
    /// The structure that a typed pointer of the verifier's points to.
    #[inline(always)]
    pub(crate) fn typed(pointer: u64) -> Self {
        Self(pointer as *const u8)
    }

    /// The structure at `address`, of a type that the kernel's BTF has under that number.
    #[inline(always)]
    fn cast(address: u64, type_id: u32) -> Self {
        // SAFETY: such a pointer is only ever loaded from, under the verifier's eyes.
        Self(unsafe { kfunc::rdonly_cast(address, type_id) } as *const u8)
    }

    /// A field, by its place in [`Layout`]: one load, into which the loader writes the offset. It has
    /// checked that the field lies within the structure and is aligned for its type.
    #[inline(always)]
    pub(crate) fn get<T: Word, const FIELD: usize>(self) -> T {
        // SAFETY: within and aligned, as above; the verifier proves it once more.
        unsafe { T::load::<FIELD>(self.0) }
    }

    /// The integer at `offset`, which comes from the configuration.
    #[inline(always)]
    pub(crate) fn at<T: Copy>(self, offset: u32) -> T {
        // SAFETY: as for `get`.
        unsafe { core::ptr::read_volatile(self.0.add(offset as usize).cast()) }
    }
}

/// A field of [`Fields`] by its name in [`Layout`], and its type: `field!(fields.skb_len: u32)`.
macro_rules! field {
    ($fields:ident . $field:ident : $type:ty) => {
        $fields.get::<$type, { ::core::mem::offset_of!(::skbcap_common::config::Layout, $field) }>()
    };
}
pub(crate) use field;

/// The offset of a field, for calculating with.
#[inline(always)]
fn offset_of_field(field: usize) -> u32 {
    let layout = (&raw const crate::config::global().layout).cast::<u8>();
    // SAFETY: `field` is the place of a `u32` in `Layout`. Volatile, as in `config::load`.
    unsafe { core::ptr::read_volatile(layout.add(field).cast()) }
}

/// What can be loaded: an integer, or two of them.
pub(crate) trait Word: Copy {
    /// The word at the field with that place in [`Layout`].
    ///
    /// # Safety
    ///
    /// The field lies in the structure at `base`, and the verifier sees that it does.
    unsafe fn load<const FIELD: usize>(base: *const u8) -> Self;
}

macro_rules! word {
    ($type:ty, $size:literal) => {
        impl Word for $type {
            #[inline(always)]
            unsafe fn load<const FIELD: usize>(base: *const u8) -> Self {
                let word: u64;
                // SAFETY: the caller's promise; it reads and writes nothing else.
                unsafe {
                    asm!(
                        concat!("{word} = *(", $size, " *)({base} + {field})"),
                        word = lateout(reg) word,
                        base = in(reg) base,
                        field = const load::stand_in(FIELD),
                        options(nostack, pure, readonly),
                    );
                }
                word as Self
            }
        }
    };
}
word!(u8, "u8");
word!(u16, "u16");
word!(u32, "u32");
word!(u64, "u64");

impl Word for [u64; 2] {
    #[inline(always)]
    unsafe fn load<const FIELD: usize>(base: *const u8) -> Self {
        // SAFETY: the caller's promise.
        unsafe { [u64::load::<FIELD>(base), u64::load::<FIELD>(base.add(8))] }
    }
}

/// A copy of a structure's first bytes, in the control block: together they would not fit the
/// stack's 512 bytes, and here nothing has to be cleared first.
struct Window;

impl Window {
    /// Copies `len` bytes from `from`, unless they are more than the window has.
    ///
    /// # Safety
    ///
    /// `words` is a field of this CPU's control block, whose busy mark is set.
    #[inline(always)]
    unsafe fn read<const N: usize>(words: *mut [u64; N], len: u32, from: u64) -> Option<*const u8> {
        if len as usize > N * 8 {
            return None;
        }
        // SAFETY: `len` is at most the window's length.
        unsafe { read(words.cast(), len.into(), from) }.then_some(words.cast())
    }
}
