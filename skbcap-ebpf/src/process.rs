//! What userspace is told of sockets and of the processes that use them, where it asked for that.
//!
//! Tells of a change before the change can show in a frame. Without `CONFIG.tasks` the verifier
//! removes all of this.

use aya_ebpf::{
    helpers::generated::{bpf_get_current_task, bpf_ktime_get_ns, bpf_probe_read_kernel_str},
    maps::ring_buf::RingBufEntry,
};
use skbcap_common::process::{EXE_LEN, Event, what};

use crate::{
    config::config,
    maps::{EVENTS, EVENTS_LOST},
    memory::locked_add,
    source::{ByAddress, Source},
};

/// How many programs a task has been; 0 where nothing is told.
#[inline(always)]
pub(crate) fn exec_id(task: u64) -> u32 {
    if config!(tasks.known) == 0 {
        return 0;
    }
    ByAddress::word32(task + u64::from(config!(tasks.exec_id)))
}

/// Tells that the current task did something to a socket.
#[inline(always)]
pub(crate) fn tell_current(what: u32, socket: u64) {
    // SAFETY: none is needed for the helper.
    tell(what, socket, unsafe { bpf_get_current_task() });
}

/// Tells that a socket is new, of a connection that came in.
#[inline(always)]
pub(crate) fn tell_cloned(socket: u64, listener: u64) {
    let Some(mut room) = reserve() else {
        return;
    };
    // SAFETY: none is needed for the helper.
    let time_ns = unsafe { bpf_ktime_get_ns() };
    room.write(Event {
        time_ns,
        what: what::CLONED,
        socket,
        listener,
        ..EMPTY
    });
    room.submit(0);
}

/// Tells that a task did something to a socket, and what is known of it.
#[inline(always)]
pub(crate) fn tell(what: u32, socket: u64, task: u64) {
    let Some(mut room) = reserve() else {
        return;
    };
    let event = room.as_mut_ptr();
    // SAFETY: the event is the ring's, and all of it is written. Everything read is an integer, and
    // an address that can't be read makes zeros; so does a 0 on the way.
    unsafe {
        let failed = &mut 0;
        let mut at = |base: u64, offset: u32| -> u64 { ByAddress::at(base, offset, failed) };
        let leader = at(task, config!(sockets.task_leader));
        let parent = at(leader, config!(tasks.parent));
        let cred = at(task, config!(tasks.cred));
        let nsproxy = at(task, config!(tasks.nsproxy));
        let net = at(nsproxy, config!(tasks.net_ns));
        let mm = at(task, config!(tasks.mm));
        let exe = at(mm, config!(tasks.exe_file));
        let inode = at(exe, config!(sockets.file_inode));
        let super_block = at(inode, config!(tasks.super_block));
        let dentry = at(exe, config!(tasks.dentry));
        let name = at(dentry, config!(tasks.name));
        let mut cgroup = 0;
        if config!(tasks.cgroups) != 0 {
            let set = at(task, config!(tasks.cgroups));
            let group = at(set, config!(tasks.cgroup));
            let node = at(group, config!(tasks.cgroup_node));
            cgroup = at(node, config!(tasks.node_id));
        }
        let word = |base: u64, offset: u32| ByAddress::word32(base + u64::from(offset));
        *event = Event {
            time_ns: bpf_ktime_get_ns(),
            socket,
            listener: 0,
            start_ns: at(leader, config!(tasks.start)),
            exe_inode: at(inode, config!(tasks.inode)),
            cgroup,
            exe_device: word(super_block, config!(tasks.device)),
            what,
            tgid: word(task, config!(sockets.task_tgid)),
            uid: word(cred, config!(tasks.uid)),
            parent: word(parent, config!(sockets.task_tgid)),
            netns: word(net, config!(layout.net_inum)),
            ..EMPTY
        };
        let comm = task + u64::from(config!(layout.task_comm));
        (*event).comm = ByAddress::at(comm, 0, failed);
        let to = (&raw mut (*event).exe).cast();
        let len = bpf_probe_read_kernel_str(to, EXE_LEN as u32, name as *const _);
        if len < 0 {
            (*event).exe[0] = 0;
        }
    }
    room.submit(0);
}

const EMPTY: Event = Event {
    time_ns: 0,
    socket: 0,
    listener: 0,
    start_ns: 0,
    exe_inode: 0,
    cgroup: 0,
    exe_device: 0,
    what: 0,
    tgid: 0,
    uid: 0,
    parent: 0,
    netns: 0,
    comm: [0; 2],
    exe: [0; EXE_LEN],
};

/// Room for an event, if anything is told; counts the event if there is none.
#[inline(always)]
fn reserve() -> Option<RingBufEntry<Event>> {
    if config!(tasks.known) == 0 {
        return None;
    }
    let room = EVENTS.reserve::<Event>(0);
    if room.is_none()
        && let Some(lost) = EVENTS_LOST.get_ptr_mut(0)
    {
        // SAFETY: a whole map value.
        unsafe { locked_add(lost, 1) };
    }
    room
}
