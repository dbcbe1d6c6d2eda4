//! The socket -> process map, and those who fill it: programs at the functions by which sockets are
//! created, accepted, connected, written to and released.
//!
//! Owns [`OWNERS`]. A socket's entry goes when the socket does, before its address can be another's.
//! Its [`writers`] are changed under a lock, and read without one.

use core::ptr::read_volatile;

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::generated::{bpf_get_current_task, bpf_probe_read_kernel},
    macros::map,
    maps::LruHashMap,
};
use skbcap_common::{
    owner::{Owner, kind},
    process::what,
};

use crate::{
    config::config,
    emit::this_cpu,
    identity::{self, Current},
    last,
    maps::CONTROL,
    process, sender,
    source::{ByAddress, Fields, Source},
    writers,
};

/// What is known of a socket, by its address. The loader sets the number of entries.
#[map]
pub(crate) static OWNERS: LruHashMap<u64, Owner> = LruHashMap::with_max_entries(1, 0);

/// include/linux/socket.h
const AF_UNIX: u16 = 1;
/// include/linux/net.h
const SOCK_DGRAM: u16 = 2;
const SOCK_RAW: u16 = 3;
const SOCK_PACKET: u16 = 10;
/// include/linux/sched.h
const PF_KTHREAD: u32 = 0x0020_0000;
/// Works for an io_uring of some process; up to 5.11 as a kernel thread.
const PF_IO_WORKER: u32 = 0x10;
/// include/uapi/linux/stat.h
const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;

/// The `struct sock` of a `struct socket`, 0 while it has none: the kernel makes some of its own
/// sockets in two steps (`sock_create_lite`). A field of none must not be asked for: the load would
/// fault, and kernels before 6.4 do not survive that in a program with functions of its own.
#[inline(always)]
pub(crate) fn sk(socket: *const u8) -> u64 {
    Fields::typed(socket as u64).at(config!(sockets.socket_sk))
}

/// The bits of [`kind`] that a socket of this `sk_type` has.
#[inline(always)]
fn kind_of(socket_type: u16) -> u32 {
    match socket_type {
        SOCK_DGRAM | SOCK_RAW | SOCK_PACKET => 0,
        _ => kind::STREAM,
    }
}

/// Which of two programs at one place is at work, where there are two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Time {
    First,
    /// What is found put down just so is the other one's work.
    Again,
}

/// Whether the current call has been put down in a socket's entry, by which nobody has written yet.
///
/// # Safety
///
/// `owner` is a whole map value.
#[inline(always)]
unsafe fn is_put_down(owner: *const Owner, tgid: u32, pid: u32, kind: u32) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        (*owner).tgid == tgid
            && (*owner).pid == pid
            && (*owner).kind == kind
            && (*owner).writers[0] == 0
    }
}

/// Whether the current task is a kernel thread.
#[inline(always)]
pub(crate) fn is_kernel_thread<S: Source>() -> bool {
    current_flags::<S>() & PF_KTHREAD != 0
}

/// `current->flags`.
#[inline(always)]
fn current_flags<S: Source>() -> u32 {
    // SAFETY: none is needed for the helper.
    let task = unsafe { bpf_get_current_task() };
    S::word32(task + u64::from(config!(sockets.task_flags)))
}

/// A task's name, to `to`.
///
/// # Safety
///
/// `to` can be written to.
#[inline(always)]
unsafe fn comm(to: *mut [u64; 2], task: u64) {
    // SAFETY: the caller's promise; 16 bytes are written, zeros on a fault.
    unsafe {
        let from = task + u64::from(config!(layout.task_comm));
        bpf_probe_read_kernel(to.cast(), 16, from as *const _);
    }
}

/// A socket's entry with the current thread as its owner, nobody having written yet.
#[inline(always)]
fn current(kind: u32) -> Owner {
    let ids = identity::pid_tgid();
    let mut owner = Owner {
        tgid: (ids >> 32) as u32,
        pid: ids as u32,
        kind,
        ..Owner::default()
    };
    // SAFETY: `owner` is this program's; none is needed for the helper.
    unsafe { comm(&raw mut owner.comm, bpf_get_current_task()) };
    owner
}

/// The socket at `sk` is new, by the current task: created, or accepted.
#[inline(always)]
pub(crate) fn created(sk: u64, by_kernel: bool, time: Time) {
    if sk == 0 {
        return;
    }
    let fields = Fields::typed(sk);
    if fields.at::<u16>(config!(sockets.family)) == AF_UNIX {
        return;
    }
    sender::note_process();
    let mut kind = kind::KNOWN | kind_of(fields.at(config!(sockets.kind)));
    let flags = current_flags::<ByAddress>();
    if by_kernel {
        kind |= kind::KERNEL;
    } else if flags & PF_KTHREAD != 0 {
        kind |= if flags & PF_IO_WORKER == 0 {
            kind::KERNEL
        } else {
            kind::BY_THREAD
        };
    }
    let ids = identity::pid_tgid();
    if time == Time::Again
        && let Some(owner) = OWNERS.get_ptr(sk)
        // SAFETY: a whole map value.
        && unsafe { is_put_down(owner, (ids >> 32) as u32, ids as u32, kind) }
    {
        return;
    }
    process::tell_current(what::CREATED, sk);
    let _ = OWNERS.insert(sk, current(kind), 0);
    last::end_generation(last::address(sk));
}

/// The socket at `sk` is new, by a peer's connecting to the one at `listener`.
#[inline(always)]
pub(crate) fn cloned(sk: u64, listener: u64, time: Time) {
    let Some(of_listener) = OWNERS.get_ptr(listener) else {
        // What was known of a socket at this address is not true of this one.
        released(sk);
        return;
    };
    // SAFETY: a whole map value.
    let mut owner = unsafe { *of_listener };
    owner.kind |= kind::KNOWN;
    owner.writers = [0; 4];
    owner.task = 0;
    if time == Time::Again
        && let Some(there) = OWNERS.get_ptr(sk)
        // SAFETY: a whole map value.
        && unsafe { is_put_down(there, owner.tgid, owner.pid, owner.kind) }
    {
        return;
    }
    process::tell_cloned(sk, listener);
    let _ = OWNERS.insert(sk, owner, 0);
    last::end_generation(last::address(sk));
}

/// The current task connects the socket at `sk`.
#[inline(always)]
pub(crate) fn connects(sk: u64, time: Time) {
    if sk == 0 || Fields::typed(sk).at::<u16>(config!(sockets.family)) == AF_UNIX {
        return;
    }
    sender::note_process();
    let Some(owner) = OWNERS.get_ptr_mut(sk) else {
        return;
    };
    let new = current(0);
    // SAFETY: a whole map value.
    unsafe {
        let is_known = time == Time::Again && is_put_down(owner, new.tgid, new.pid, (*owner).kind);
        if (*owner).writers[0] == 0 && (*owner).kind & kind::KERNEL == 0 && !is_known {
            process::tell_current(what::USED, sk);
            (*owner).comm = new.comm;
            (*owner).tgid = new.tgid;
            (*owner).pid = new.pid;
        }
    }
}

/// The current task writes to a `struct socket`.
#[inline(always)]
pub(crate) fn written<S: Source>(socket: *const u8) {
    let address = S::sk_address(socket);
    let current = S::current();
    let generation = last::generation(address);
    let fingerprint =
        |generation| last::fingerprint(address, current.ids, current.comm, generation);
    // There is a control block for each possible CPU, so this never returns.
    let Some(control) = CONTROL.get_ptr_mut(this_cpu()) else {
        return;
    };
    // A name does not tell one program from another, and where programs are told of, that matters.
    // SAFETY: a whole map value.
    if config!(tasks.known) == 0 && unsafe { last::is(control, fingerprint(generation)) } {
        sender::note_process();
        return;
    }
    let sk = sk(socket);
    if sk == 0 || Fields::typed(sk).at::<u16>(config!(sockets.family)) == AF_UNIX {
        return;
    }
    sender::note_process();
    let Write { is_news, is_sole } = put_write(sk, &current);
    if is_news {
        last::end_generation(address);
    }
    // Unless another CPU had something to say at the same time.
    let next = generation + u64::from(is_news);
    if is_sole && last::generation(address) == next {
        // SAFETY: this CPU's: programs stay where they began.
        unsafe { last::remember(control, fingerprint(next)) };
    }
}

/// What became of a write that was put down.
struct Write {
    /// It changed what was known of the socket.
    is_news: bool,
    /// What this thread now sends by this socket is its process's.
    is_sole: bool,
}

impl Write {
    const NEWS: Self = Self {
        is_news: true,
        is_sole: false,
    };
    const NO_NEWS: Self = Self {
        is_news: false,
        is_sole: false,
    };
}

/// Puts down that the current thread writes to the socket at `sk`.
#[inline(always)]
fn put_write(sk: u64, thread: &Current) -> Write {
    // SAFETY: none is needed for the helper.
    let task = unsafe { bpf_get_current_task() };
    let (tgid, pid, name) = (thread.tgid(), thread.pid(), thread.comm);
    let mut owner = OWNERS.get_ptr_mut(sk);
    if owner.is_none() {
        // Older than the capture, and not found at its start.
        let mut new = current(kind_of(Fields::typed(sk).at(config!(sockets.kind))));
        if is_kernel_thread::<ByAddress>() {
            new.kind |= kind::BY_THREAD;
        } else {
            new.writers[0] = tgid;
            new.task = task;
            new.exec_id = process::exec_id(task);
        }
        process::tell_current(what::USED, sk);
        if OWNERS.insert(sk, new, BPF_NOEXIST.into()).is_ok() {
            return Write::NEWS;
        }
        // Found or written to meanwhile.
        owner = OWNERS.get_ptr_mut(sk);
    }
    let Some(owner) = owner else {
        return Write::NEWS;
    };
    // SAFETY: a whole map value, for all of this block.
    unsafe {
        let exec_id = process::exec_id(task);
        let is_last = (*owner).task == task
            && (*owner).pid == pid
            && (*owner).exec_id == exec_id
            && (*owner).comm == name;
        if !is_last {
            if (*owner).kind & kind::KERNEL != 0 {
                return Write::NO_NEWS;
            }
            if is_kernel_thread::<ByAddress>() {
                (*owner).kind |= kind::BY_THREAD;
                return Write::NEWS;
            }
            process::tell_current(what::USED, sk);
            let is_put = writers::put(sk, owner, tgid, || {
                (*owner).exec_id = exec_id;
                (*owner).comm = name;
                (*owner).tgid = tgid;
                (*owner).pid = pid;
                (*owner).task = task;
            });
            // Not to be remembered: the entry still names another thread as the last.
            if !is_put {
                return Write::NEWS;
            }
        }
        // A datagram is its writer's, whoever else may write to the socket.
        let kind = (*owner).kind;
        let is_sole = kind & kind::STREAM == 0
            || kind & kind::KNOWN != 0
                && (*owner).writers[0] == tgid
                && read_volatile(&raw const (*owner).writers[1]) == 0
                && read_volatile(&raw const (*owner).unlisted) == 0;
        Write {
            is_news: !is_last,
            is_sole: is_sole && kind & (kind::KERNEL | kind::BY_THREAD) == 0,
        }
    }
}

/// The socket at `sk` is no more.
#[inline(always)]
pub(crate) fn released(sk: u64) {
    let _ = OWNERS.remove(sk);
    last::end_generation(last::address(sk));
}

/// `struct bpf_iter__task_file` (kernel/bpf/task_iter.c@5.10).
#[repr(C)]
pub(crate) struct TaskFile {
    _meta: *const u8,
    task: *const u8,
    _fd: u32,
    file: *const u8,
}

/// A task has a file: if that is a socket, the task holds it, and may have written to it.
///
/// # Safety
///
/// `context` is what the kernel's iterator gave.
#[inline(always)]
pub(crate) unsafe fn holds(context: *const TaskFile) {
    // SAFETY: the caller's promise; the verifier wants both to be asked for null.
    let (task, file) = unsafe {
        (
            read_volatile(&raw const (*context).task),
            read_volatile(&raw const (*context).file),
        )
    };
    if task.is_null() || file.is_null() {
        return;
    }
    let task_address = task as u64;
    let (task, file) = (Fields::typed(task_address), Fields::typed(file as u64));
    let inode: u64 = file.at(config!(sockets.file_inode));
    if Fields::typed(inode).at::<u16>(config!(sockets.inode_mode)) & S_IFMT != S_IFSOCK {
        return;
    }
    let failed = &mut 0;
    let socket: u64 = file.at(config!(sockets.file_private));
    // SAFETY: all of these are integers.
    let (sk, family, socket_type, flags) = unsafe {
        let sk: u64 = ByAddress::at(socket, config!(sockets.socket_sk), failed);
        let family: u16 = ByAddress::at(sk, config!(sockets.family), failed);
        let socket_type: u16 = ByAddress::at(sk, config!(sockets.kind), failed);
        let flags: u32 = task.at(config!(sockets.task_flags));
        (sk, family, socket_type, flags)
    };
    if *failed != 0 || sk == 0 || family == AF_UNIX || flags & PF_KTHREAD != 0 {
        return;
    }
    let tgid: u32 = task.at(config!(sockets.task_tgid));
    process::tell(what::HELD, sk, task_address);
    let mut known = OWNERS.get_ptr_mut(sk);
    if known.is_none() {
        let leader = Fields::typed(task.at(config!(sockets.task_leader)));
        let owner = Owner {
            writers: [tgid, 0, 0, 0],
            comm: leader.at(config!(layout.task_comm)),
            tgid,
            pid: tgid,
            task: 0,
            kind: kind::KNOWN | kind::FOUND | kind_of(socket_type),
            exec_id: 0,
            unlisted: 0,
        };
        if OWNERS.insert(sk, owner, BPF_NOEXIST.into()).is_ok() {
            return;
        }
        // Written to meanwhile.
        known = OWNERS.get_ptr_mut(sk);
    }
    if let Some(owner) = known {
        // SAFETY: a whole map value.
        unsafe {
            // Who holds one that was born under our eyes will be seen when it writes.
            if (*owner).kind & (kind::KNOWN | kind::FOUND) != kind::KNOWN {
                (*owner).kind |= kind::KNOWN | kind::FOUND;
                writers::put(sk, owner, tgid, || {});
                last::end_generation(last::address(sk));
            }
        }
    }
}
