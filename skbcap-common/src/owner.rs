//! Whose a socket is: what the programs that watch sockets keep of each, and what they need to know
//! of the kernel for it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Sockets that are kept, the least recently used give way.
pub const OWNERS: u32 = 65_536;

/// Writers of a socket that are told apart.
pub const WRITERS: usize = 4;

/// Facts about a socket, one bit each, in [`Owner::kind`].
pub mod kind {
    /// All that ever wrote to it is known: it was created under our eyes, or was found at the start
    /// with those that hold it.
    pub const KNOWN: u32 = 1 << 0;
    /// Its bytes are a stream: a frame may hold those of several writes.
    pub const STREAM: u32 = 1 << 1;
    /// The kernel's own.
    pub const KERNEL: u32 = 1 << 2;
    /// It has more than [`super::WRITERS`] writers.
    pub const CROWD: u32 = 1 << 3;
    /// A kernel thread wrote to it, on behalf of a process that is not known.
    pub const BY_THREAD: u32 = 1 << 4;
    /// It is older than the capture, and was found at its start.
    pub const FOUND: u32 = 1 << 5;
}

/// What is known of a socket. Read without a lock.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Owner {
    /// The processes (tgids) that wrote to it, in the order of their first writes; 0: no more. Those
    /// that held an older socket at the start count as writers.
    pub writers: [u32; WRITERS],
    /// The name of the thread that last wrote to it; before that, of the one that created it,
    /// accepted it or connected it.
    pub comm: [u64; 2],
    /// The process of that thread.
    pub tgid: u32,
    /// That thread.
    pub pid: u32,
    /// The address of that thread's `task_struct`, if it wrote: an identity, never followed.
    pub task: u64,
    /// Bits of [`kind`].
    pub kind: u32,
    /// `self_exec_id` of that thread when it wrote, where events are sent ([`crate::process`]).
    pub exec_id: u32,
    /// Writes whose process could not be put among `writers`, less those whose process was put there
    /// since: not 0, and not all of the writers are known.
    pub unlisted: u64,
}

/// Where things lie in the running kernel's sockets, files and tasks: offsets in bytes, from its BTF.
/// All zero: not known, and then records make no claim.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Sockets {
    /// 1 if the fields below are known.
    pub known: u32,
    /// `socket.sk`.
    pub socket_sk: u32,
    /// `sock.__sk_common.skc_family`, 2 bytes.
    pub family: u32,
    /// `sock.__sk_common.skc_state`, 1 byte.
    pub state: u32,
    /// `sock.sk_type`, 2 bytes.
    pub kind: u32,
    /// The byte that holds `sock.sk_kern_sock`.
    pub kernel: u32,
    /// That bit's mask.
    pub kernel_mask: u32,
    /// `request_sock.__req_common.skc_listener`: the socket that was asked for a connection.
    pub listener: u32,
    /// `file.f_inode`.
    pub file_inode: u32,
    /// `file.private_data`.
    pub file_private: u32,
    /// `inode.i_mode`, 2 bytes.
    pub inode_mode: u32,
    /// `task_struct.flags`.
    pub task_flags: u32,
    /// `task_struct.tgid`.
    pub task_tgid: u32,
    /// `task_struct.group_leader`.
    pub task_leader: u32,
}

const _: () = {
    assert!(size_of::<Owner>() == 64);
    assert!(size_of::<Sockets>() == 56);
};
