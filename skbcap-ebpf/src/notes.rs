//! Notes from `net_dev_queue` for `net_dev_start_xmit`: who was current when the frame was sent.
//!
//! Between the two lies the queueing discipline, which may hand a frame on much later, in a softirq
//! on top of any task. The frame is found again by its skb's address, if the skb still has the same
//! socket and buffer; its note is then taken out. The segments that software made of a super-frame
//! are new skbs, and are found by their socket.
//!
//! A note by skb may be left over, of a frame that was dropped by the queueing discipline. Every skb
//! comes by `net_dev_queue` before it is transmitted, and so has a note of its own, but for those
//! segments; one of them would have to get the same address, buffer and socket to find that note.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::maps::Array;
use skbcap_common::{
    Context, Flags, RecordHeader,
    note::{Note, SHARED, WAYS, note_slot},
};

use crate::{
    emit::this_cpu,
    identity, last,
    maps::{CONTROL, NOTES, SOCKETS},
    skb::Skb,
    source::Source,
};

/// Notes the frame at `skb`, for its skb and its socket.
#[inline(always)]
pub(crate) fn write<S: Source>(skb: u64) {
    let Some(control) = CONTROL.get_ptr_mut(this_cpu()) else {
        return;
    };
    // SAFETY: `control` is this CPU's own. A source that knows types leaves it alone.
    let Some(skb) = (unsafe { Skb::read::<S>(skb, control) }) else {
        return;
    };
    let current = S::current();
    // SAFETY: `control` is a whole map value.
    let context =
        identity::context::<S>(unsafe { read_volatile(&raw const (*control).preempt_count_addr) });
    let address = last::address(skb.address);
    let socket = last::address(skb.socket());
    let head = last::address(skb.head());
    let mut note = Note {
        key: address,
        socket,
        head,
        comm: current.comm,
        tgid: current.tgid(),
        pid: current.pid(),
        context: context as u32,
        reserved: 0,
        sum: 0,
    };
    put(&NOTES, &mut note);
    if socket == 0 || !matches!(context, Context::Task) {
        return;
    }
    note.key = socket;
    if let Some(before) = get(&SOCKETS, socket)
        && (before.tgid != note.tgid || before.context == SHARED)
    {
        note.context = SHARED;
    }
    put(&SOCKETS, &mut note);
}

/// Writes what was noted of the frame into its record, in place of what is current now. Returns how
/// it was found.
///
/// # Safety
///
/// `header` points to a whole record header in a map's value.
#[inline(always)]
pub(crate) unsafe fn apply(header: *mut RecordHeader, skb: &Skb) -> Flags {
    let address = last::address(skb.address);
    let socket = last::address(skb.socket());
    let head = last::address(skb.head());
    let (note, found) = match get(&NOTES, address) {
        Some(note) if note.socket == socket && note.head == head => {
            remove(&NOTES, address);
            (note, Flags::NOTED_SKB)
        }
        _ if socket == 0 => return Flags::default(),
        _ => match get(&SOCKETS, socket) {
            Some(note) if note.context != SHARED => (note, Flags::NOTED_SOCKET),
            _ => return Flags::default(),
        },
    };
    // SAFETY: the caller's promise.
    unsafe {
        (*header).tgid = note.tgid;
        (*header).pid = note.pid;
        (&raw mut (*header).comm)
            .cast::<[u64; 2]>()
            .write(note.comm);
        (*header).context = note.context as u8;
    }
    found
}

/// The note of `key`, if there is one that adds up.
#[inline(always)]
fn get(table: &Array<Note>, key: u64) -> Option<Note> {
    let entry = find(table, note_slot(key), key)?;
    // SAFETY: a whole map value. Volatile: another CPU may be writing there, which the sum shows.
    let note = unsafe { read_volatile(entry) };
    (note.key == key && note.sum == note.sum()).then_some(note)
}

/// Keeps a note by its key: in place of the one before, or where there is none, or of any.
#[inline(always)]
fn put(table: &Array<Note>, note: &mut Note) {
    note.sum = note.sum();
    let slot = note_slot(note.key);
    let entry = find(table, slot, note.key)
        .or_else(|| find(table, slot, 0))
        .or_else(|| table.get_ptr_mut(slot));
    if let Some(entry) = entry {
        // SAFETY: a whole map value; who reads it half written sees that it does not add up.
        unsafe { write_volatile(entry, *note) };
    }
}

/// Takes the note of `key` out.
#[inline(always)]
fn remove(table: &Array<Note>, key: u64) {
    if let Some(entry) = find(table, note_slot(key), key) {
        // SAFETY: a whole map value.
        unsafe { write_volatile(&raw mut (*entry).key, 0) };
    }
}

/// The first entry with that key of those that belong to `slot`; key 0: one that is empty.
#[inline(always)]
fn find(table: &Array<Note>, slot: u32, key: u64) -> Option<*mut Note> {
    for way in 0..WAYS {
        let entry = table.get_ptr_mut(slot ^ way)?;
        // SAFETY: a whole map value. Volatile, as other CPUs write there.
        if unsafe { read_volatile(&raw const (*entry).key) } == key {
            return Some(entry);
        }
    }
    None
}
