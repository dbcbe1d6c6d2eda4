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
    Context, Control, Flags, RecordHeader,
    note::{Note, SHARED, note_slot},
};

use crate::{
    emit::this_cpu,
    identity,
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
    // SAFETY: the control block's scratch, which no other program of this hook uses meanwhile.
    let [address, socket, head] =
        unsafe { [skb.address, skb.socket(), skb.head()].map(|pointer| number(control, pointer)) };
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
/// `header` points to a whole record header in a map's value, and `control` is this CPU's own, with
/// its busy mark set.
#[inline(always)]
pub(crate) unsafe fn apply(header: *mut RecordHeader, skb: &Skb, control: *mut Control) -> Flags {
    // SAFETY: the caller's promise.
    let [address, socket, head] =
        unsafe { [skb.address, skb.socket(), skb.head()].map(|pointer| number(control, pointer)) };
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

/// A pointer's address as a number: the verifier allows no calculation with pointers whose types it
/// knows, but what comes back from memory has no type.
///
/// # Safety
///
/// `control` is this CPU's own, and nothing that interrupts writes to its scratch.
#[inline(always)]
unsafe fn number(control: *mut Control, pointer: u64) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        write_volatile(&raw mut (*control).skb_addr, pointer);
        read_volatile(&raw const (*control).skb_addr)
    }
}

/// The note of `key`, if there is one that adds up.
#[inline(always)]
fn get(table: &Array<Note>, key: u64) -> Option<Note> {
    let entry = table.get_ptr(note_slot(key))?;
    // SAFETY: a whole map value. Volatile: another CPU may be writing there, which the sum shows.
    let note = unsafe { read_volatile(entry) };
    (note.key == key && note.sum == note.sum()).then_some(note)
}

/// Keeps a note by its key.
#[inline(always)]
fn put(table: &Array<Note>, note: &mut Note) {
    note.sum = note.sum();
    if let Some(entry) = table.get_ptr_mut(note_slot(note.key)) {
        // SAFETY: a whole map value; who reads it half written sees that it does not add up.
        unsafe { write_volatile(entry, *note) };
    }
}

/// Takes the note of `key` out.
#[inline(always)]
fn remove(table: &Array<Note>, key: u64) {
    if let Some(entry) = table.get_ptr_mut(note_slot(key)) {
        // SAFETY: a whole map value.
        unsafe { write_volatile(&raw mut (*entry).key, 0) };
    }
}
