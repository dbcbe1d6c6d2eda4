//! skbcap's kernel side: entry points only.
//!
//! Each program hands its skb to the one copy core ([`emit::take`]) and always lets the kernel go
//! on: nothing here changes a frame or what becomes of it.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod config;
mod copy;
mod drops;
mod emit;
mod expression;
mod filter;
mod glob;
mod identity;
mod kfunc;
mod last;
mod maps;
mod marks;
mod memory;
mod net;
mod notes;
mod owners;
mod peek;
mod process;
mod sender;
mod skb;
mod source;
mod walk;
mod who;
mod writers;

use aya_ebpf::{
    macros::{btf_tracepoint, fentry, kprobe, raw_tracepoint},
    programs::{BtfTracePointContext, FEntryContext, ProbeContext, RawTracePointContext},
};
use skbcap_common::Hook;

use crate::{
    config::config,
    owners::Time,
    source::{ByAddress, ByCast, ByTrust, ByType, Fields},
};

/// At the entry of `__dev_queue_xmit(skb, sb_dev)`: `skb->data` is the start of the frame.
#[kprobe]
#[inline(always)]
fn dev_queue_xmit(ctx: ProbeContext) -> u32 {
    if let Some(skb) = ctx.arg::<*const u8>(0) {
        net::take_and_mark::<ByAddress>(skb as u64);
    }
    0
}

/// The same from Linux 6.2 on.
#[kprobe]
#[inline(always)]
fn dev_queue_xmit_cast(ctx: ProbeContext) -> u32 {
    if let Some(skb) = ctx.arg::<*const u8>(0) {
        net::take_and_mark::<ByCast>(skb as u64);
    }
    0
}

/// At `trace_net_dev_queue(skb)`, inside the same function, after egress tc and nft.
#[btf_tracepoint(function = "net_dev_queue")]
#[inline(always)]
fn net_dev_queue(ctx: BtfTracePointContext) -> i32 {
    let skb: *const u8 = ctx.arg(0);
    emit::take::<ByType>(skb as u64, Hook::Queue);
    0
}

/// The same from Linux 6.11 on.
#[btf_tracepoint(function = "net_dev_queue")]
#[inline(always)]
fn net_dev_queue_trust(ctx: BtfTracePointContext) -> i32 {
    let skb: *const u8 = ctx.arg(0);
    emit::take::<ByTrust>(skb as u64, Hook::Queue);
    0
}

/// At the same tracepoint, but only what the kprobe has missed.
#[btf_tracepoint(function = "net_dev_queue")]
#[inline(always)]
fn net(ctx: BtfTracePointContext) -> i32 {
    let skb: *const u8 = ctx.arg(0);
    net::take_missed::<ByType>(skb as u64);
    0
}

/// The same from Linux 6.11 on.
#[btf_tracepoint(function = "net_dev_queue")]
#[inline(always)]
fn net_trust(ctx: BtfTracePointContext) -> i32 {
    let skb: *const u8 = ctx.arg(0);
    net::take_missed::<ByTrust>(skb as u64);
    0
}

/// At `trace_net_dev_start_xmit(skb, dev)`, where the driver gets the frame: tcpdump's place.
#[btf_tracepoint(function = "net_dev_start_xmit")]
#[inline(always)]
fn start_xmit(ctx: BtfTracePointContext) -> i32 {
    let skb: *const u8 = ctx.arg(0);
    emit::take::<ByType>(skb as u64, Hook::Xmit);
    0
}

/// The same from Linux 6.11 on.
#[btf_tracepoint(function = "net_dev_start_xmit")]
#[inline(always)]
fn start_xmit_trust(ctx: BtfTracePointContext) -> i32 {
    let skb: *const u8 = ctx.arg(0);
    emit::take::<ByTrust>(skb as u64, Hook::Xmit);
    0
}

/// At `net_dev_queue`, for the two above: who sends.
#[btf_tracepoint(function = "net_dev_queue")]
#[inline(always)]
fn note(ctx: BtfTracePointContext) -> i32 {
    let skb: *const u8 = ctx.arg(0);
    notes::write::<ByType>(skb as u64);
    0
}

/// The same from Linux 6.11 on.
#[btf_tracepoint(function = "net_dev_queue")]
#[inline(always)]
fn note_trust(ctx: BtfTracePointContext) -> i32 {
    let skb: *const u8 = ctx.arg(0);
    notes::write::<ByTrust>(skb as u64);
    0
}

/// A program that watches, and the same once more, for kernels that preempt their own code: on a CPU on
/// which a task was preempted in a tracing program, they leave that program out until the task goes on
/// (kernel/bpf/trampoline.c:__bpf_prog_enter_recur@6.12). There, the other one is run. Where both are,
/// the second finds everything put down.
macro_rules! watcher {
    ($(#[doc = $doc:literal])* $kind:ident($function:literal) $name:ident, $again:ident: $watch:expr) => {
        $(#[doc = $doc])*
        #[$kind(function = $function)]
        #[inline(always)]
        fn $name(ctx: watcher!($kind)) -> i32 {
            ($watch)(ctx, Time::First);
            0
        }

        /// The same once more.
        #[$kind(function = $function)]
        #[inline(always)]
        fn $again(ctx: watcher!($kind)) -> i32 {
            ($watch)(ctx, Time::Again);
            0
        }
    };
    (fentry) => { FEntryContext };
    (btf_tracepoint) => { BtfTracePointContext };
}

watcher! {
    /// At `security_socket_post_create(sock, family, type, protocol, kern)`.
    fentry("security_socket_post_create") socket_created, again_socket_created:
    |ctx: FEntryContext, time| {
        let socket: *const u8 = ctx.arg(0);
        let kern: i32 = ctx.arg(4);
        owners::created(owners::sk(socket), kern != 0, time);
    }
}

watcher! {
    /// At `security_sock_graft(sk, parent)`: a connection is accepted.
    fentry("security_sock_graft") socket_accepted, again_socket_accepted:
    |ctx: FEntryContext, time| {
        let sk: *const u8 = ctx.arg(0);
        owners::created(sk as u64, false, time);
    }
}

watcher! {
    /// At `security_inet_csk_clone(newsk, req)`: a connection can be accepted.
    fentry("security_inet_csk_clone") socket_cloned, again_socket_cloned:
    |ctx: FEntryContext, time| {
        let sk: *const u8 = ctx.arg(0);
        let request: *const u8 = ctx.arg(1);
        let listener = Fields::typed(request as u64).at(config!(sockets.listener));
        owners::cloned(sk as u64, listener, time);
    }
}

watcher! {
    /// At `security_socket_connect(sock, address, addrlen)`.
    fentry("security_socket_connect") socket_connects, again_socket_connects:
    |ctx: FEntryContext, time| {
        let socket: *const u8 = ctx.arg(0);
        owners::connects(owners::sk(socket), time);
    }
}

watcher! {
    /// At `security_socket_sendmsg(sock, msg, size)`, by which every write goes, whatever the call.
    fentry("security_socket_sendmsg") socket_written, again_socket_written:
    |ctx: FEntryContext, _| {
        let socket: *const u8 = ctx.arg(0);
        owners::written::<ByAddress>(socket);
    }
}

watcher! {
    /// The same from Linux 6.2 on.
    fentry("security_socket_sendmsg") socket_written_cast, again_socket_written_cast:
    |ctx: FEntryContext, _| {
        let socket: *const u8 = ctx.arg(0);
        owners::written::<ByCast>(socket);
    }
}

watcher! {
    /// At `inet_sendpage(sock, page, …)`, by which `sendfile` and `splice` went up to Linux 6.4.
    fentry("inet_sendpage") socket_paged, again_socket_paged:
    |ctx: FEntryContext, _| {
        let socket: *const u8 = ctx.arg(0);
        owners::written::<ByAddress>(socket);
    }
}

watcher! {
    /// At `security_sk_free(sk)`, the last that is heard of a socket.
    fentry("security_sk_free") socket_released, again_socket_released:
    |ctx: FEntryContext, _| {
        let sk: *const u8 = ctx.arg(0);
        owners::released(sk as u64);
    }
}

watcher! {
    /// At `trace_sched_process_fork(parent, child)`, before the child runs for the first time.
    btf_tracepoint("sched_process_fork") forked, again_forked:
    |ctx: BtfTracePointContext, _| {
        let child: *const u8 = ctx.arg(1);
        sender::forked(child);
    }
}

/// For each file of each task, when userspace reads the iterator.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
extern "C" fn socket_found(context: *const owners::TaskFile) -> i32 {
    // SAFETY: the kernel calls this with such a context.
    unsafe { owners::holds(context) };
    0
}

/// Run by hand before anything is attached; never attached itself.
#[raw_tracepoint]
#[inline(always)]
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
