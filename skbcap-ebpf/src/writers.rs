//! The processes that wrote to a socket: put down one after the other, though they may write at once.
//!
//! Owns the lock of a socket's entry, and what is counted where that could not be had.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    macros::map,
    maps::{HashMap, LruHashMap},
};
use skbcap_common::owner::{Owner, kind};

use crate::memory::locked_add;

/// Sockets whose writers are being changed.
#[map]
static LOCKS: HashMap<u64, u32> = HashMap::with_max_entries(1024, 0);

/// Writes that [`Owner::unlisted`] counts, by the socket's address and the process. What a socket that
/// is no more left behind here, or was driven out, leaves another's writers unknown, and never makes
/// known what is not.
#[map]
static UNLISTED: LruHashMap<[u64; 2], u64> = LruHashMap::with_max_entries(1024, 0);

/// Puts a process among the writers of a socket, and does what else is to be done with its entry,
/// while nobody else does; returns whether that was done. Where the lock can't be had, as its holder
/// was interrupted or its virtual CPU stands still, not all of the writers are known until this one
/// writes again.
///
/// # Safety
///
/// `owner` is a whole map value, that of the socket at `sk`.
#[inline(always)]
pub(crate) unsafe fn put(sk: u64, owner: *mut Owner, tgid: u32, change: impl FnOnce()) -> bool {
    // SAFETY: the caller's promise, for all of this function.
    unsafe {
        let writers = &raw mut (*owner).writers;
        let at = |place: usize| writers.cast::<u32>().add(place);
        if !lock(sk) {
            let stands_at = |place| read_volatile(at(place)) == tgid;
            if !(stands_at(0) || stands_at(1) || stands_at(2) || stands_at(3)) {
                leave_unlisted(sk, owner, tgid);
            }
            return false;
        }
        let put_at = |place| {
            let there = read_volatile(at(place));
            if there == 0 {
                write_volatile(at(place), tgid);
            }
            there == 0 || there == tgid
        };
        if !(put_at(0) || put_at(1) || put_at(2) || put_at(3)) {
            (*owner).kind |= kind::CROWD;
        }
        if read_volatile(&raw const (*owner).unlisted) != 0 {
            make_listed(sk, owner, tgid);
        }
        change();
        unlock(sk);
    }
    true
}

/// A write of a process that is not among the socket's writers, though it should be.
///
/// # Safety
///
/// `owner` is a whole map value, that of the socket at `sk`.
#[inline(always)]
unsafe fn leave_unlisted(sk: u64, owner: *mut Owner, tgid: u32) {
    let key = [sk, tgid.into()];
    // SAFETY: whole map values.
    unsafe {
        locked_add(&raw mut (*owner).unlisted, 1);
        if let Some(writes) = UNLISTED.get_ptr_mut(key) {
            locked_add(writes, 1);
        } else {
            let _ = UNLISTED.insert(key, 1, 0);
        }
    }
}

/// The process is among the socket's writers now.
///
/// # Safety
///
/// As [`leave_unlisted`].
#[inline(always)]
unsafe fn make_listed(sk: u64, owner: *mut Owner, tgid: u32) {
    let key = [sk, tgid.into()];
    let Some(writes) = UNLISTED.get_ptr(key) else {
        return;
    };
    // SAFETY: whole map values. Of two threads of the process, one takes the writes out.
    unsafe {
        let writes = read_volatile(writes);
        if UNLISTED.remove(key).is_ok() {
            locked_add(&raw mut (*owner).unlisted, writes.wrapping_neg());
        }
    }
}

/// Tries to lock a socket's entry. Linux 5.10 has neither a compare-and-exchange nor spin locks for
/// these programs, but its maps take a key only once.
#[inline(always)]
fn lock(sk: u64) -> bool {
    const TRIES: u32 = 32;
    for _ in 0..TRIES {
        if LOCKS.insert(sk, 0, BPF_NOEXIST.into()).is_ok() {
            return true;
        }
    }
    false
}

#[inline(always)]
fn unlock(sk: u64) {
    let _ = LOCKS.remove(sk);
}
