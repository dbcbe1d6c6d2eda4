//! The walk through a frame whose bytes lie in many places: the linear part, fragments, and the skbs of
//! a `frag_list`. Where it is stands in the control block, so that its steps can be functions.

use core::{mem::offset_of, ptr::read_volatile};

use skbcap_common::{
    Control, Flags,
    config::{Layout, MOST_PARTS},
    control::{FRAGS_ROOM, MAX_FRAGS, Walk},
    head::HEAD_HEADER_LEN,
    record::HEADER_LEN,
};

use crate::{
    config::config,
    copy::{Bounds, Plan, VLAN_OFFSET, VLAN_TAG_LEN},
    maps::{CONTROL, HEADS, SEGMENTS},
    memory::opaque,
    skb::{SharedInfo, Skb},
    source::{ByAddress, Source, field, read},
};

const PAGE_SHIFT: u64 = 12;
/// `sizeof(skb_frag_t)`, which the loader has checked.
const FRAG_LEN: u64 = 16;

/// Parts that [`skbcap_follow_some`] copies at once, and how often it is called. Two loops, each of a
/// function that the verifier has gone through by itself: one loop of the same length, with the copy in
/// it, was three quarters of what it had to go through.
const SOME: u64 = 64;
const TIMES: u64 = MOST_PARTS as u64 / SOME;

/// Stands for the head in place of a segment's number.
const HEAD: u32 = u32::MAX;

/// Sets the walk to the frame's start, a VLAN tag already written.
///
/// # Safety
///
/// As [`copy::copy`](crate::copy::copy).
#[inline(always)]
pub(crate) unsafe fn begin(
    to: *mut u8,
    skb: &Skb,
    shared_info: SharedInfo,
    plan: &Plan,
    control: *mut Control,
) {
    let mut walk = Walk {
        want: plan.want,
        copied: 0,
        source: skb.data(),
        // Never below zero but in an skb that is none; then nothing is read.
        remaining: u64::from(skb.len.saturating_sub(skb.data_len)),
        next_frag: 0,
        nr_frags: 0,
        next_skb: 0,
        flags: 0,
        flag_behind: Flags::CUT_UNREADABLE.0.into(),
    };
    if let Some(tag) = plan.tag {
        // The tag stands behind the two addresses: they are copied first and by themselves. A
        // snapshot length that ends before or within the tag cuts it afterwards.
        // SAFETY: the loader gives a record room for 16 bytes at the least. Addresses that can't
        // be read end the walk, which begins anew at the same place and fails there too.
        unsafe {
            if read(to, VLAN_OFFSET, walk.source) {
                to.add(VLAN_OFFSET as usize).cast::<u32>().write(tag);
                walk.flags = Flags::VLAN_INSERTED.0.into();
                walk.source += VLAN_OFFSET;
                walk.remaining -= VLAN_OFFSET;
                walk.copied = plan.want.min(VLAN_OFFSET + VLAN_TAG_LEN);
            }
        }
    }
    if skb.data_len != 0 {
        // SAFETY: the caller's promise.
        walk.nr_frags = unsafe { read_frags(control, skb.shared_info(), shared_info) };
        // What is behind a fragment that is not followed would stand in its place.
        if walk.nr_frags == u64::from(shared_info.nr_frags()) {
            walk.next_skb = shared_info.frag_list();
        }
        if shared_info.nr_frags() as usize > MAX_FRAGS {
            walk.flag_behind = Flags::CUT_BOUND.0.into();
        }
    }
    // SAFETY: this CPU's own, as the caller promises.
    unsafe { (&raw mut (*control).walk).write_volatile(walk) }
}

/// Copies part after part to `offset` of a segment, and returns whether it came to the end of what it
/// follows: not if a part could not be read.
///
/// This and what it calls are functions of their own, which the verifier goes through once and not for
/// each way that leads there: global functions, of numbers (Linux 5.6,
/// kernel/bpf/verifier.c:do_check_subprogs).
///
/// # Safety
///
/// `index` is that of a control block of this CPU, whose busy mark is set; a frame's bytes may be
/// written to the segment from `offset` on.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn skbcap_follow(index: u32, segment: u32, offset: u64) -> u64 {
    let mut time = 0;
    while time < TIMES && time * SOME < u64::from(config!(most_parts)) {
        time += 1;
        // SAFETY: the caller's promise, handed on.
        let next = unsafe { skbcap_follow_some(index, segment, offset) };
        if next != Next::Part as u64 {
            return (next == Next::End as u64).into();
        }
    }
    // More parts than a frame has: as good as too many fragments.
    if let Some(control) = CONTROL.get_ptr_mut(index) {
        // SAFETY: this CPU's own, as the caller promises.
        unsafe { (&raw mut (*control).walk.flag_behind).write_volatile(Flags::CUT_BOUND.0.into()) };
    }
    1
}

/// As [`skbcap_follow`], to the head of this index.
///
/// # Safety
///
/// `index` is that of a control block of this CPU, whose busy mark is set.
#[inline(always)]
pub(crate) unsafe fn follow_to_head(index: u32) -> u64 {
    // SAFETY: the caller's promise. Behind its header a value has room for the head and a chunk.
    unsafe { skbcap_follow(index, HEAD, HEAD_HEADER_LEN.into()) }
}

/// Copies some parts, and returns what is [`Next`].
///
/// # Safety
///
/// As [`skbcap_follow`].
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn skbcap_follow_some(index: u32, segment: u32, offset: u64) -> u64 {
    let mut part = 0;
    while part < SOME {
        part += 1;
        // SAFETY: the caller's promise, handed on.
        let next = unsafe { skbcap_follow_one(index, segment, offset) };
        if next != Next::Part as u64 {
            return next;
        }
    }
    Next::Part as u64
}

/// Copies a part, or as much of it as one read takes, and returns what is [`Next`].
///
/// # Safety
///
/// As [`skbcap_follow`].
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn skbcap_follow_one(index: u32, segment: u32, offset: u64) -> u64 {
    let Some(control) = CONTROL.get_ptr_mut(index) else {
        return Next::Unreadable as u64;
    };
    if segment == HEAD {
        let Some(head) = HEADS.get_ptr_mut(index) else {
            return Next::Unreadable as u64;
        };
        if config!(head_len) == 0 {
            return Next::Unreadable as u64;
        }
        // SAFETY: the caller's promise, handed on.
        return unsafe {
            let to = head.cast::<u8>().add(HEAD_HEADER_LEN as usize);
            follow_one(to, control, &Bounds::head()) as u64
        };
    }
    let Some(segment) = SEGMENTS.get_ptr_mut(segment) else {
        return Next::Unreadable as u64;
    };
    let segment_len = u64::from(config!(segment_len));
    let offset = opaque(offset);
    if offset >= segment_len + u64::from(HEADER_LEN) {
        return Next::Unreadable as u64;
    }
    // SAFETY: the caller's promise, handed on. The slack behind a segment holds a header, a snapshot
    // length and a chunk.
    unsafe {
        let to = segment.cast::<u8>().add(offset as usize);
        follow_one(to, control, &Bounds::record()) as u64
    }
}

/// What is behind the part that was copied.
enum Next {
    /// Another part.
    Part,
    /// The end of all that is followed.
    End,
    /// A part that can't be read.
    Unreadable,
}

/// As [`skbcap_follow_one`], to `to`.
///
/// # Safety
///
/// As [`copy::copy`](crate::copy::copy).
#[inline(always)]
unsafe fn follow_one(to: *mut u8, control: *mut Control, bounds: &Bounds) -> Next {
    let Bounds { most, chunk_len } = *bounds;
    // SAFETY: for all of it: `control` is this CPU's own, as the caller promises.
    unsafe {
        let walk = &raw mut (*control).walk;
        if (&raw const (*walk).remaining).read_volatile() == 0 {
            let next = next_part(control);
            if !matches!(next, Next::Part) {
                return next;
            }
        }
        // Volatile, so that it comes from memory.
        let Walk {
            want,
            copied,
            source,
            remaining,
            ..
        } = walk.read_volatile();
        // Both bounds are looked at last and on opaque values: 5.10 forgets what it knew of a
        // register that was spilled, and the compiler thinks the second one superfluous.
        let len = opaque(remaining.min(want.wrapping_sub(copied)).min(chunk_len));
        let at = opaque(copied);
        if len > chunk_len || at > most || copied >= want {
            return Next::End;
        }
        if len == 0 {
            // An empty part.
            return Next::Part;
        }
        // `at` is within the bounds and `len` at most a chunk.
        if !read(to.add(at as usize), len, source) {
            return Next::Unreadable;
        }
        (&raw mut (*walk).copied).write_volatile(copied + len);
        (&raw mut (*walk).source).write_volatile(source + len);
        (&raw mut (*walk).remaining).write_volatile(remaining - len);
    }
    Next::Part
}

/// Goes on to the next fragment, or to the next skb of the `frag_list`.
///
/// # Safety
///
/// `control` is this CPU's own, with its busy mark set.
#[inline(always)]
unsafe fn next_part(control: *mut Control) -> Next {
    // SAFETY: as the caller promises; fragment `next_frag` was copied.
    unsafe {
        let walk = &raw mut (*control).walk;
        let Walk {
            next_frag,
            nr_frags,
            next_skb,
            ..
        } = walk.read_volatile();
        if next_frag < nr_frags {
            let (source, remaining) = fragment(control, next_frag);
            if source == 0 {
                return Next::Unreadable;
            }
            (&raw mut (*walk).source).write_volatile(source);
            (&raw mut (*walk).remaining).write_volatile(remaining);
            (&raw mut (*walk).next_frag).write_volatile(next_frag + 1);
            return Next::Part;
        }
        if next_skb == 0 {
            return Next::End;
        }
        next_in_list(control, next_skb)
    }
}

/// Goes on to the skb at `address`, a member of the `frag_list`: its linear part first. What lies
/// in a list of its own is not followed; the walk ends behind it.
///
/// # Safety
///
/// `control` is this CPU's own, with its busy mark set.
#[inline(always)]
unsafe fn next_in_list(control: *mut Control, address: u64) -> Next {
    // SAFETY: as the caller promises; the skb that was read into the window before is not needed
    // any more.
    unsafe {
        let Some(member) = ByAddress::skb(control, address) else {
            return Next::Unreadable;
        };
        let (len, data_len) = (
            field!(member.skb_len: u32),
            field!(member.skb_data_len: u32),
        );
        let shared_info = field!(member.skb_head: u64) + u64::from(field!(member.skb_end: u32));
        let source = field!(member.skb_data: u64);
        let failed = &mut 0;
        let mut next = ByAddress::load::<u64, { offset_of!(Layout, skb_next) }>(address, failed);
        let mut nr_frags = 0;
        let walk = &raw mut (*control).walk;
        if data_len != 0 {
            let Some(info) = SharedInfo::read::<ByAddress>(shared_info, control) else {
                return Next::Unreadable;
            };
            nr_frags = read_frags(control, shared_info, info);
            if nr_frags != u64::from(info.nr_frags()) {
                next = 0;
            }
            if info.frag_list() != 0 || info.nr_frags() as usize > MAX_FRAGS {
                next = 0;
                (&raw mut (*walk).flag_behind).write_volatile(Flags::CUT_BOUND.0.into());
            }
        }
        (&raw mut (*walk).source).write_volatile(source);
        (&raw mut (*walk).remaining).write_volatile(u64::from(len.saturating_sub(data_len)));
        (&raw mut (*walk).next_frag).write_volatile(0);
        (&raw mut (*walk).nr_frags).write_volatile(nr_frags);
        (&raw mut (*walk).next_skb).write_volatile(next);
        if *failed >> 63 != 0 || data_len > len {
            return Next::Unreadable;
        }
        Next::Part
    }
}

/// Copies an array of fragments into the control block, and returns how many can be walked.
/// `address` is that of its `skb_shared_info`.
///
/// # Safety
///
/// `control` is this CPU's own, with its busy mark set.
#[inline(always)]
unsafe fn read_frags(control: *mut Control, address: u64, shared_info: SharedInfo) -> u64 {
    let nr_frags = u64::from(shared_info.nr_frags()).min(MAX_FRAGS as u64);
    let len = opaque(nr_frags * FRAG_LEN);
    if len == 0 || len > size_of::<[u64; 2 * FRAGS_ROOM]>() as u64 {
        return 0;
    }
    let from = address + u64::from(config!(layout.shared_info_frags));
    // SAFETY: `frags` is at least as long as `len`.
    let is_read = unsafe { read((&raw mut (*control).frags).cast(), len, from) };
    if is_read { nr_frags } else { 0 }
}

/// The address and length of a fragment, from the copy in the control block. The address is 0 if
/// the fragment is not in the direct map.
///
/// # Safety
///
/// `control` is this CPU's own, and fragment `index` was copied.
#[inline(always)]
unsafe fn fragment(control: *mut Control, index: u64) -> (u64, u64) {
    // A mask, not a comparison: on 5.10 a bound is lost where the register is spilled in between.
    let offset = (opaque(index) as usize & (FRAGS_ROOM - 1)) * FRAG_LEN as usize;
    // SAFETY: masked to lie within the copy; the loader has checked that the fields lie in 16 bytes.
    let (page, offset, len) = unsafe {
        let frag = (&raw const (*control).frags).cast::<u8>().add(offset);
        let field = |offset: u32| frag.add(offset as usize);
        (
            read_volatile(field(config!(layout.frag_page)).cast::<u64>()),
            read_volatile(field(config!(layout.frag_offset)).cast::<u32>()),
            read_volatile(field(config!(layout.frag_len)).cast::<u32>()),
        )
    };
    let page_offset_base = config!(layout.page_offset_base);
    let vmemmap_base = config!(layout.vmemmap_base);
    let page_size_of = u64::from(config!(layout.page_size_of));
    // Bit 0 marks a `net_iov`: memory of a device (include/net/netmem.h@6.10).
    if page_offset_base == 0 || page < vmemmap_base || page & 1 != 0 || page_size_of == 0 {
        return (0, len.into());
    }
    let frame_number = (page - vmemmap_base) / page_size_of;
    (
        page_offset_base + (frame_number << PAGE_SHIFT) + u64::from(offset),
        len.into(),
    )
}
