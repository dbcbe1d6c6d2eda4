//! The filter expression: the frame's first bytes are put together as its record would have them,
//! and the expression says whether the rest is wanted.
//!
//! Nothing of this is left in a program whose capture has no expression.

use core::ptr::read_volatile;

use skbcap_common::{
    Control, MAX_SNAPLEN,
    head::{HEAD_HEADER_LEN, Head},
};

use crate::{
    config::config,
    copy::{self, Bounds, Plan},
    maps::HEADS,
    skb::{Device, SharedInfo, Skb},
    source::Source,
    walk,
};

/// Whether the expression selects the frame; [`None`] if the frame can't be read.
///
/// # Safety
///
/// `control` is this CPU's control block number `index`, and its busy mark is set by this very
/// program. What it holds of the skb is not to be read any more.
#[inline(always)]
pub(crate) unsafe fn selects<S: Source>(
    skb: &Skb,
    device: &Device,
    control: *mut Control,
    index: u32,
) -> Option<bool> {
    // SAFETY: the caller's promise. A value has room for its header, the head, and a chunk of it.
    unsafe {
        let shared_info = SharedInfo::read::<S>(skb.shared_info(), control)?;
        let head = HEADS.get_ptr_mut(index)?.cast::<Head>();
        let to = head.cast::<u8>().add(HEAD_HEADER_LEN as usize);
        let bounds = Bounds::head();
        let plan = Plan::new(skb, device, config!(head_len));
        let copied = copy::copy::<S>(to, skb, shared_info, &plan, control, &bounds, || {
            walk::follow_to_head(index)
        });
        (*head).len = plan.len;
        (*head).visible = if copied.len < plan.want {
            copied.len
        } else {
            plan.len.min(MAX_SNAPLEN.into())
        };
        Some(skbcap_expression(index, device.kind.into()) != 0)
    }
}

/// Stands where the expression will: a function of the index of a head, and of the device's type,
/// that returns 0 for a frame that is not wanted. The loader writes the expression over it and
/// keeps the reference to the map, which therefore must be the only one here.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text.expression")]
#[inline(never)]
extern "C" fn skbcap_expression(index: u32, kind: u32) -> u64 {
    let Some(head) = HEADS.get_ptr(index) else {
        return 0;
    };
    // SAFETY: a whole, aligned map value. Volatile, so that the call is worth the compiler's while.
    unsafe { read_volatile(head.cast::<u64>()) & u64::from(kind) }
}
