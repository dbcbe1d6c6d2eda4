//! The one copy core: reserve, fill, publish; every frame that is not published is counted.
//!
//! A ring has one writer at a time, a program on its own CPU, kept alone by the busy mark: whatever
//! interrupts it and sends finds the mark, and takes the CPU's second ring ([`crate::net`]) or is
//! counted. The reader's side of the protocol, and
//! why the order of the stores matters, stands in skbcap's `ring` module.

use aya_ebpf::{
    bindings::BPF_RB_FORCE_WAKEUP,
    helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns},
};
use core::ptr::{read_volatile, write_volatile};
use skbcap_common::{
    Control, Flags, Hook, Position, RecordHeader, VERSION,
    config::extra,
    control::NO_RING,
    record::{ALIGNMENT, CURRENT_LEN, HEADER_LEN, record_len},
};

use crate::{
    config::config,
    copy::{self, Bounds, Place, Plan},
    drops, expression, filter, identity,
    maps::{CONTROL, DOORBELL, SEGMENTS},
    memory::{add, locked_add, opaque},
    notes, sender,
    skb::{Device, SharedInfo, Skb},
    source::Source,
    walk, who,
};

/// Takes the frame at `skb`, if it is wanted and there is room.
#[inline(always)]
pub(crate) fn take<S: Source>(skb: u64, hook: Hook) {
    let cpu = this_cpu();
    // There is a control block for each possible CPU, so this never returns.
    let Some(control) = CONTROL.get_ptr_mut(cpu) else {
        return;
    };
    // SAFETY: `control` is a whole, aligned map value for all of this block, and this CPU's own.
    unsafe {
        if read_volatile(&raw const (*control).over) != 0 {
            return;
        }
        if is_busy(control) {
            locked_add(&raw mut (*control).dropped_busy, 1);
            return;
        }
        take_into::<S>(skb, hook, cpu, cpu, control);
    }
}

/// The CPU that the program runs on.
#[inline(always)]
pub(crate) fn this_cpu() -> u32 {
    // SAFETY: none is needed for the helper; the binding is `unsafe` as all of them are.
    unsafe { bpf_get_smp_processor_id() as u32 }
}

/// Whether this CPU is in the middle of a frame for this ring.
///
/// # Safety
///
/// `control` is a control block of this CPU.
#[inline(always)]
pub(crate) unsafe fn is_busy(control: *mut Control) -> bool {
    // SAFETY: as the caller promises.
    unsafe { read_volatile(&raw const (*control).busy_since_ns) != 0 }
}

/// Takes the frame at `skb` into the ring of a control block, which is number `index`.
///
/// # Safety
///
/// `control` is a control block of this CPU, and not busy. Only this CPU's programs write its first
/// half: the busy mark, set by a locked instruction before anything else is written, turns away
/// what interrupts this one.
#[inline(always)]
pub(crate) unsafe fn take_into<S: Source>(
    skb: u64,
    hook: Hook,
    cpu: u32,
    index: u32,
    control: *mut Control,
) {
    // SAFETY: as the caller promises.
    unsafe {
        // From 0 to BUSY_TIME_UNKNOWN. A full barrier: the clock is read after the mark is seen.
        locked_add(&raw mut (*control).busy_since_ns, 1);
        if matches!(hook, Hook::Net) {
            add(&raw mut (*control).seen_by_net, 1);
        }
        add(&raw mut (*control).seen, 1);
        take_marked::<S>(skb, hook, cpu, index, control);
        write_volatile(&raw mut (*control).busy_since_ns, 0);
        // No barrier: it would wait until the whole frame is out of this CPU's store buffer. So
        // `wake_at` may be read before the head can be seen; the reader knows that.
        ring_doorbell(control);
    }
}

/// Takes the frame with the busy mark set.
///
/// # Safety
///
/// `control` is this CPU's control block number `index`, and its busy mark is set by this very
/// program.
#[inline(always)]
unsafe fn take_marked<S: Source>(
    skb_address: u64,
    hook: Hook,
    cpu: u32,
    index: u32,
    control: *mut Control,
) {
    // SAFETY: as the caller promises; see `take`.
    unsafe {
        let Some(mut skb) = Skb::read::<S>(skb_address, control) else {
            add(&raw mut (*control).unreadable, 1);
            return;
        };
        let device = Device::read::<S>(&skb);
        if !filter::wants::<S>(&device) {
            add(&raw mut (*control).filtered, 1);
            return;
        }
        if sender::matters() {
            match sender::wants(skb.address, hook, control, index) {
                Some(true) => {}
                Some(false) => {
                    add(&raw mut (*control).filtered, 1);
                    add(&raw mut (*control).other_sender, 1);
                    return;
                }
                None => {
                    add(&raw mut (*control).unreadable, 1);
                    return;
                }
            }
        }
        if config!(head_len) != 0 {
            match expression::selects::<S>(&skb, &device, control, index) {
                Some(true) => {}
                Some(false) => {
                    add(&raw mut (*control).filtered, 1);
                    add(&raw mut (*control).not_selected, 1);
                    return;
                }
                None => {
                    add(&raw mut (*control).unreadable, 1);
                    return;
                }
            }
            // A walk over the head's parts may have left another skb in the window.
            let Some(again) = Skb::read::<S>(skb_address, control) else {
                add(&raw mut (*control).unreadable, 1);
                return;
            };
            skb = again;
        }
        let Some(shared_info) = SharedInfo::read::<S>(skb.shared_info(), control) else {
            add(&raw mut (*control).unreadable, 1);
            return;
        };
        let time_ns = bpf_ktime_get_ns();
        write_volatile(&raw mut (*control).busy_since_ns, time_ns);

        let sequence = read_volatile(&raw const (*control).sequence);
        write_volatile(&raw mut (*control).sequence, sequence + 1);

        let plan = Plan::new(&skb, &device, config!(snaplen));
        let head = Position(read_volatile(&raw const (*control).head));
        let Some(place) = reserve(head, &plan, control) else {
            drops::count(index, control, &device);
            return;
        };
        // All but what the copy tells goes into the header before it, and each field at once, so that
        // little has to be kept in registers.
        let header = place.to.cast::<RecordHeader>();
        (*header).version = VERSION;
        (*header).hook = hook as u8;
        (*header).ip_summed = skb.ip_summed();
        (*header).time_ns = time_ns;
        (*header).sequence = sequence;
        (*header).cpu = cpu;
        identity::write_current::<S>(header);
        let socket = skb.socket();
        (*header).socket = socket;
        (*header).skb = skb.address;
        (*header).netns = device.netns;
        (*header).ifindex = device.ifindex;
        let (name, device_flag) = device.name::<S>();
        (&raw mut (*header).ifname).cast::<[u64; 2]>().write(name);
        (*header).dev_type = device.kind;
        (*header).gso_size = shared_info.gso_size();
        (*header).len = plan.len as u32;
        (*header).reserved = 0;
        (*header).protocol = skb.protocol();
        (*header).network_offset = skb.network_offset();
        let socket_flag = if socket == 0 {
            Flags::default()
        } else {
            Flags::HAS_SOCKET
        };
        let ring_flag = if index == cpu {
            Flags::default()
        } else {
            Flags::SECOND_RING
        };
        let flags = device_flag.union(socket_flag).union(ring_flag);
        write_volatile(&raw mut (*header).flags, flags.0);

        let place = Place {
            offset: place.offset + u64::from(HEADER_LEN),
            to: place.to.add(HEADER_LEN as usize),
            ..place
        };
        let Place {
            segment,
            offset,
            to,
        } = place;
        let bounds = Bounds::record();
        let copied = copy::copy::<S>(to, &skb, shared_info, &plan, control, &bounds, || {
            walk::skbcap_follow(index, segment, offset)
        });
        let mut record_len = record_len(copied.len as u32);
        let mut flags = copied.flags;
        let extras = config!(extras);
        if extras & extra::CURRENT != 0 {
            put_current::<S>(header, record_len);
            record_len += CURRENT_LEN;
            flags = flags.union(Flags::CURRENT);
        }
        (*header).record_len = record_len;
        (*header).captured_len = copied.len as u32;
        // Behind the copy: 5.10 would follow it anew for each way out of these two.
        let found = if extras & extra::SENDERS != 0 {
            sender::copy_claim(header, index)
        } else {
            claim::<S>(header, hook, &skb, control)
        };
        (*header).dropped = drops::of_interface(index, control, &device);
        (*header).flags = read_volatile(&raw const (*header).flags) | flags.0 | found.0;
        add(&raw mut (*control).captured, 1);
        if flags.is_cut_short() {
            add(&raw mut (*control).cut_short, 1);
        }
        // Last: x86-64 keeps the order of stores, so whoever sees this head sees the record.
        let next = head.after(record_len, config!(segment_len));
        write_volatile(&raw mut (*control).head, next.0);
    }
}

/// Puts behind a frame's bytes what is current.
///
/// # Safety
///
/// `header` points to a record in a segment, `record_len` bytes of which are written.
#[inline(always)]
unsafe fn put_current<S: Source>(header: *mut RecordHeader, record_len: u32) {
    let most = u64::from(HEADER_LEN + ALIGNMENT) + u64::from(config!(snaplen));
    // It never is more: the verifier wants to see it. No way out, behind which 5.10 would follow the
    // rest of the program once more.
    let end = opaque(record_len.into()).min(most);
    // SAFETY: the slack behind a segment holds a header, a snapshot length and this.
    unsafe {
        let to = header.cast::<u8>().add(end as usize);
        identity::write_current_task::<S>(to.cast());
    }
}

/// Puts into a record who sent its frame. Returns how it is known.
///
/// # Safety
///
/// `header` points to a whole record header in a map's value, in which `current` and the hook stand, and
/// `control` is this CPU's control block, with its busy mark set.
#[inline(always)]
unsafe fn claim<S: Source>(
    header: *mut RecordHeader,
    hook: Hook,
    skb: &Skb,
    control: *mut Control,
) -> Flags {
    // SAFETY: the caller's promise.
    unsafe {
        (*header).context =
            identity::context::<S>(read_volatile(&raw const (*control).preempt_count_addr)) as u8;
        let mut found = Flags::default();
        if hook as u8 == Hook::Xmit as u8 {
            found = notes::apply(header, skb);
        }
        found.union(who::claim::<S>(header, skb, found, control))
    }
}

/// The place of a record at `head`, if there is room for it; else counts the drop.
///
/// # Safety
///
/// `control` is this CPU's control block, and its busy mark is set by this very program.
#[inline(always)]
unsafe fn reserve(head: Position, plan: &Plan, control: *mut Control) -> Option<Place> {
    // SAFETY: as the caller promises.
    unsafe {
        let tail = Position(read_volatile(&raw const (*control).tail));
        let first_segment = read_volatile(&raw const (*control).first_segment);
        let segments = read_volatile(&raw const (*control).segments);
        if first_segment == NO_RING || segments == 0 {
            add(&raw mut (*control).dropped_no_ring, 1);
            return None;
        }
        // What may stand behind the bytes has its room in any case: to ask would cost more.
        if !head.has_room(record_len(plan.want as u32) + CURRENT_LEN, tail, segments) {
            add(&raw mut (*control).dropped_ring_full, 1);
            return None;
        }
        let offset = opaque(head.offset().into());
        let number = segment_number(head, first_segment, segments, control);
        let segment = SEGMENTS.get_ptr_mut(number);
        let (Some(segment), true) = (segment, offset < u64::from(config!(segment_len))) else {
            // The loader gives each ring its segments, and positions stay below a segment's length.
            add(&raw mut (*control).dropped_no_ring, 1);
            return None;
        };
        // The slack behind each segment holds a header, a snapshot length and a chunk.
        Some(Place {
            segment: number,
            offset,
            to: segment.cast::<u8>().add(offset as usize),
        })
    }
}

/// The number of the head's segment among all. A division takes longer than to look whether it is the
/// same segment as before.
///
/// # Safety
///
/// As [`reserve`]; `segments` is not 0.
#[inline(always)]
unsafe fn segment_number(
    head: Position,
    first_segment: u32,
    segments: u32,
    control: *mut Control,
) -> u32 {
    // SAFETY: as the caller promises.
    unsafe {
        let mut place = read_volatile(&raw const (*control).place);
        let segment = u64::from(head.segment()) + 1;
        if place >> 32 != segment {
            let number = first_segment + head.segment() % segments;
            place = segment << 32 | u64::from(number);
            write_volatile(&raw mut (*control).place, place);
        }
        place as u32
    }
}

/// Wakes the reader once the head has reached what it waits for.
///
/// # Safety
///
/// `control` is this CPU's control block.
#[inline(always)]
unsafe fn ring_doorbell(control: *mut Control) {
    // SAFETY: as the caller promises. `rang_at` is written without the mark: whoever comes in
    // between rings once too often, which does no harm.
    unsafe {
        let wake_at = read_volatile(&raw const (*control).wake_at);
        if read_volatile(&raw const (*control).head) >= wake_at
            && read_volatile(&raw const (*control).rang_at) != wake_at
        {
            write_volatile(&raw mut (*control).rang_at, wake_at);
            // Fails only while earlier rings lie unread, and then the reader is being woken.
            let _ = DOORBELL.output::<u64>(&wake_at, BPF_RB_FORCE_WAKEUP.into());
        }
    }
}
