//! skbcap's kernel side: entry points only.
//!
//! Each program hands its skb to the one copy core ([`emit::take`]) and always lets the kernel go
//! on: nothing here changes a frame or what becomes of it.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod config;
mod copy;
mod emit;
mod expression;
mod filter;
mod identity;
mod kfunc;
mod maps;
mod marks;
mod memory;
mod net;
mod notes;
mod peek;
mod skb;
mod source;

use aya_ebpf::{
    macros::{btf_tracepoint, kprobe, raw_tracepoint},
    programs::{BtfTracePointContext, ProbeContext, RawTracePointContext},
};
use skbcap_common::Hook;

use crate::source::{ByAddress, ByCast, ByTrust, ByType};

/// At the entry of `__dev_queue_xmit(skb, sb_dev)`: `skb->data` is the start of the frame.
#[kprobe]
fn dev_queue_xmit(ctx: ProbeContext) -> u32 {
    if let Some(skb) = ctx.arg::<*const u8>(0) {
        net::take_and_mark::<ByAddress>(skb as u64);
    }
    0
}

/// The same from Linux 6.2 on.
#[kprobe]
fn dev_queue_xmit_cast(ctx: ProbeContext) -> u32 {
    if let Some(skb) = ctx.arg::<*const u8>(0) {
        net::take_and_mark::<ByCast>(skb as u64);
    }
    0
}

/// At `trace_net_dev_queue(skb)`, inside the same function, after egress tc and nft.
#[btf_tracepoint(function = "net_dev_queue")]
fn net_dev_queue(ctx: BtfTracePointContext) -> i32 {
    let skb: *const u8 = ctx.arg(0);
    emit::take::<ByType>(skb as u64, Hook::Queue);
    0
}

/// The same from Linux 6.11 on.
#[btf_tracepoint(function = "net_dev_queue")]
fn net_dev_queue_trust(ctx: BtfTracePointContext) -> i32 {
    let skb: *const u8 = ctx.arg(0);
    emit::take::<ByTrust>(skb as u64, Hook::Queue);
    0
}

/// At the same tracepoint, but only what the kprobe has missed.
#[btf_tracepoint(function = "net_dev_queue")]
fn net(ctx: BtfTracePointContext) -> i32 {
    let skb: *const u8 = ctx.arg(0);
    net::take_missed::<ByType>(skb as u64);
    0
}

/// The same from Linux 6.11 on.
#[btf_tracepoint(function = "net_dev_queue")]
fn net_trust(ctx: BtfTracePointContext) -> i32 {
    let skb: *const u8 = ctx.arg(0);
    net::take_missed::<ByTrust>(skb as u64);
    0
}

/// At `trace_net_dev_start_xmit(skb, dev)`, where the driver gets the frame: tcpdump's place.
#[btf_tracepoint(function = "net_dev_start_xmit")]
fn start_xmit(ctx: BtfTracePointContext) -> i32 {
    let skb: *const u8 = ctx.arg(0);
    emit::take::<ByType>(skb as u64, Hook::Xmit);
    0
}

/// The same from Linux 6.11 on.
#[btf_tracepoint(function = "net_dev_start_xmit")]
fn start_xmit_trust(ctx: BtfTracePointContext) -> i32 {
    let skb: *const u8 = ctx.arg(0);
    emit::take::<ByTrust>(skb as u64, Hook::Xmit);
    0
}

/// At `net_dev_queue`, for the two above: who sends.
#[btf_tracepoint(function = "net_dev_queue")]
fn note(ctx: BtfTracePointContext) -> i32 {
    let skb: *const u8 = ctx.arg(0);
    notes::write::<ByType>(skb as u64);
    0
}

/// The same from Linux 6.11 on.
#[btf_tracepoint(function = "net_dev_queue")]
fn note_trust(ctx: BtfTracePointContext) -> i32 {
    let skb: *const u8 = ctx.arg(0);
    notes::write::<ByTrust>(skb as u64);
    0
}

/// Run by hand before anything is attached; never attached itself.
#[raw_tracepoint]
fn peek(_ctx: RawTracePointContext) -> i32 {
    peek::answer();
    0
}

/// `bpf_probe_read_kernel` and its like are offered to GPL-compatible programs only.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}
