//! Who sent a frame: what was current, held against what is known of the frame's socket.
//!
//! A claim is made only where it can be shown; `current` under a softirq shows nothing.

use core::ptr::read_volatile;

use skbcap_common::{
    By, Context, Control, Flags, Hook, RecordHeader,
    owner::{Owner, kind},
};

use crate::{
    config::config,
    last,
    memory::add,
    owners::{self, OWNERS},
    skb::Skb,
    source::Source,
};

/// States of sockets that are no whole ones (include/net/tcp_states.h).
const TCP_TIME_WAIT: u8 = 6;
const TCP_NEW_SYN_RECV: u8 = 12;

/// Puts into a record who sent its frame, in place of what was current, and returns how it is known.
/// `noted` are [`Flags`] that say whether what stands there was noted when the frame was sent.
///
/// # Safety
///
/// `header` points to a whole record header in a map's value, in which `current` and the context
/// stand, and `control` is this CPU's control block, with its busy mark set.
#[inline(always)]
pub(crate) unsafe fn claim<S: Source>(
    header: *mut RecordHeader,
    skb: &Skb,
    noted: Flags,
    control: *mut Control,
) -> Flags {
    // SAFETY: the caller's promise, as for all of this function.
    let (context, hook) = unsafe {
        (
            read_volatile(&raw const (*header).context),
            read_volatile(&raw const (*header).hook),
        )
    };
    let in_task = context == Context::Task as u8;
    if config!(sockets.known) == 0 {
        return Flags::default();
    }
    let is_later = hook == Hook::Xmit as u8;
    let mut socket = skb.socket();
    if socket == 0 {
        // What a process sends has its socket when it is handed to a device. Behind the queueing
        // discipline it may have lost it.
        // SAFETY: as above.
        return unsafe {
            if is_later && !noted.contains(Flags::NOTED_SKB) {
                unknown(header, in_task)
            } else {
                kernel::<S>(header, in_task && !is_later)
            }
        };
    }
    // SAFETY: as above.
    let is_watched = unsafe { read_volatile(&raw const (*control).watched) } != 0;
    // The socket's only writer, at work. A datagram is sent by the call that wrote it.
    // SAFETY: as above.
    if in_task && is_watched && unsafe { last::is(control, fingerprint(header)) } {
        return Flags::of_by(By::Task);
    }
    let failed = &mut 0;
    // SAFETY: one byte, which is there in mini-sockets too.
    let state: u8 = unsafe { S::at(socket, config!(sockets.state), failed) };
    if state == TCP_TIME_WAIT {
        // The connection is over, and its socket gone: the kernel answers for it.
        // SAFETY: as above.
        return unsafe { kernel::<S>(header, false) };
    }
    let mut is_request = false;
    if state == TCP_NEW_SYN_RECV {
        is_request = true;
        // SAFETY: an address. A request has all of a `struct request_sock`.
        socket = unsafe { S::at(socket, config!(sockets.listener), failed) };
        if config!(tasks.known) != 0 {
            // Processes are told of by sockets that live, and a request goes with its answer.
            // SAFETY: as above.
            unsafe { (*header).socket = socket };
        }
    }
    let owner = if is_watched {
        OWNERS.get_ptr(socket)
    } else {
        None
    };
    let Some(owner) = owner else {
        if is_request {
            // Nothing is known of its listener, of which the verifier does not even know the type.
            // SAFETY: as above.
            return unsafe {
                add(&raw mut (*control).owners_missed, 1);
                unknown(header, false)
            };
        }
        // SAFETY: one byte of a whole socket.
        let bits: u8 = unsafe { S::at(socket, config!(sockets.kernel), failed) };
        // SAFETY: as above.
        return unsafe {
            if bits & config!(sockets.kernel_mask) as u8 != 0 {
                kernel::<S>(header, in_task && !is_later)
            } else {
                add(&raw mut (*control).owners_missed, 1);
                unknown(header, in_task)
            }
        };
    };
    // SAFETY: as above; `owner` is a whole map value.
    unsafe { of_owner::<S>(header, owner, in_task && !is_request, in_task && !is_later) }
}

/// That of what is current in a record, and of the frame's socket.
///
/// # Safety
///
/// As [`claim`].
#[inline(always)]
unsafe fn fingerprint(header: *const RecordHeader) -> u64 {
    // SAFETY: the caller's promise; a name is two words.
    unsafe {
        let ids = read_volatile((&raw const (*header).tgid).cast::<u64>());
        let name = read_volatile((&raw const (*header).comm).cast::<[u64; 2]>());
        // As a number, from the record.
        let address = read_volatile(&raw const (*header).socket);
        last::fingerprint(address, ids, name, last::generation(address))
    }
}

/// The claim for a frame of a socket of which something is known.
///
/// # Safety
///
/// As [`claim`]; `owner` is a whole map value.
#[inline(always)]
unsafe fn of_owner<S: Source>(
    header: *mut RecordHeader,
    owner: *const Owner,
    in_task: bool,
    may_name: bool,
) -> Flags {
    // SAFETY: the caller's promise. Other CPUs may write to the owner, so each field is read once.
    unsafe {
        let kind = read_volatile(&raw const (*owner).kind);
        if kind & kind::KERNEL != 0 {
            return kernel::<S>(header, may_name);
        }
        let (tgid, pid) = (
            read_volatile(&raw const (*owner).tgid),
            read_volatile(&raw const (*owner).pid),
        );
        // A datagram is sent by the call that wrote it, and this is it.
        let is_whole = kind & kind::STREAM == 0
            && read_volatile(&raw const (*owner).task) != 0
            && pid == read_volatile(&raw const (*header).pid);
        if in_task && is_whole {
            return Flags::of_by(By::Task);
        }
        let are_known = kind & kind::KNOWN != 0
            && kind & kind::BY_THREAD == 0
            && read_volatile(&raw const (*owner).unlisted) == 0;
        if !are_known {
            return unknown(header, in_task);
        }
        let first = read_volatile(&raw const (*owner).writers[0]);
        if read_volatile(&raw const (*owner).writers[1]) != 0 {
            (&raw mut (*header).comm)
                .cast::<[u32; 4]>()
                .write(read_volatile(&raw const (*owner).writers));
            (*header).tgid = 0;
            (*header).pid = 0;
            return Flags::of_by(By::Shared);
        }
        let whose = if first == 0 { tgid } else { first };
        if in_task && whose == read_volatile(&raw const (*header).tgid) {
            return Flags::of_by(By::Task);
        }
        (*header).tgid = tgid;
        (*header).pid = pid;
        (&raw mut (*header).comm)
            .cast::<[u64; 2]>()
            .write(read_volatile(&raw const (*owner).comm));
        Flags::of_by(By::Socket)
    }
}

/// No process sent the frame; a kernel thread is named.
///
/// # Safety
///
/// As [`claim`].
#[inline(always)]
unsafe fn kernel<S: Source>(header: *mut RecordHeader, may_name: bool) -> Flags {
    // SAFETY: the caller's promise.
    unsafe {
        if !(may_name && owners::is_kernel_thread::<S>()) {
            nobody(header);
        }
    }
    Flags::of_by(By::Kernel)
}

/// It is not known who sent the frame. A task's own system call is worth telling, an interrupted
/// task is not.
///
/// # Safety
///
/// As [`claim`].
#[inline(always)]
unsafe fn unknown(header: *mut RecordHeader, in_task: bool) -> Flags {
    if !in_task {
        // SAFETY: the caller's promise.
        unsafe { nobody(header) };
    }
    Flags::of_by(By::Unknown)
}

/// Takes out what was current.
///
/// # Safety
///
/// As [`claim`].
#[inline(always)]
unsafe fn nobody(header: *mut RecordHeader) {
    // SAFETY: the caller's promise.
    unsafe {
        (*header).tgid = 0;
        (*header).pid = 0;
        (&raw mut (*header).comm).cast::<[u64; 2]>().write([0; 2]);
    }
}
