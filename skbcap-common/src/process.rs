//! What became of a socket, and what is known of the process that did it: told to userspace once,
//! not with every frame.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of the ring through which events come.
pub const EVENTS_LEN: u32 = 1 << 22;

/// Bytes of a file's name that are kept, the NUL byte that ends it included.
pub const EXE_LEN: usize = 64;

/// What happened: [`Event::what`].
pub mod what {
    /// The socket is new, created or accepted by the process: what was known of one at this address
    /// is over.
    pub const CREATED: u32 = 1;
    /// The socket is new, made for a connection that came in at [`super::Event::listener`]; the event
    /// tells of no process.
    pub const CLONED: u32 = 2;
    /// The process connected the socket, or wrote to it, and did not do so last, or was another
    /// program then.
    pub const USED: u32 = 3;
    /// The process held the socket when it was found at the capture's start.
    pub const HELD: u32 = 4;
}

/// Something that happened to a socket. Facts that could not be read are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Event {
    /// `CLOCK_MONOTONIC` in nanoseconds, read before anything of it could show in a frame.
    pub time_ns: u64,
    /// The socket's address, as in [`crate::RecordHeader::socket`].
    pub socket: u64,
    /// Under [`what::CLONED`], the address of the socket that was asked for the connection.
    pub listener: u64,
    /// When the process was started, on `CLOCK_BOOTTIME`, in nanoseconds.
    pub start_ns: u64,
    /// The inode number of the process's program.
    pub exe_inode: u64,
    /// The number of the thread's cgroup (v2): the inode number of its directory. 0 where
    /// [`Tasks::cgroups`] is.
    pub cgroup: u64,
    /// The `s_dev` of the program's filesystem.
    pub exe_device: u32,
    /// One of [`what`].
    pub what: u32,
    /// The process, in the initial pid namespace.
    pub tgid: u32,
    /// Its user, in the initial user namespace: the thread's real one.
    pub uid: u32,
    /// The process that its children's end would be told to: its parent, by tgid.
    pub parent: u32,
    /// The inode number of the thread's network namespace.
    pub netns: u32,
    /// The thread's name, ended by a NUL byte.
    pub comm: [u64; 2],
    /// The last part of its program's path, ended by a NUL byte; what stands behind it means
    /// nothing.
    pub exe: [u8; EXE_LEN],
}

/// Where things lie in the running kernel's tasks: offsets in bytes, from its BTF. All zero: not
/// known or not wanted, and then no events are sent.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Tasks {
    /// 1 if the fields below are known.
    pub known: u32,
    /// `task_struct.start_boottime`.
    pub start: u32,
    /// `task_struct.real_parent`.
    pub parent: u32,
    /// `task_struct.self_exec_id`, 8 bytes of which the lower 4 are read: counts the programs that the
    /// task has been.
    pub exec_id: u32,
    /// `task_struct.cred`.
    pub cred: u32,
    /// `cred.uid.val`.
    pub uid: u32,
    /// `task_struct.nsproxy`.
    pub nsproxy: u32,
    /// `nsproxy.net_ns`.
    pub net_ns: u32,
    /// `task_struct.mm`.
    pub mm: u32,
    /// `mm_struct.exe_file`.
    pub exe_file: u32,
    /// `file.f_path.dentry`.
    pub dentry: u32,
    /// `dentry.d_name.name`.
    pub name: u32,
    /// `inode.i_ino`, 8 bytes.
    pub inode: u32,
    /// `inode.i_sb`.
    pub super_block: u32,
    /// `super_block.s_dev`, 4 bytes.
    pub device: u32,
    /// `task_struct.cgroups`; 0 if cgroups are not known or not wanted, as are the three below.
    pub cgroups: u32,
    /// `css_set.dfl_cgrp`: the one of cgroup v2.
    pub cgroup: u32,
    /// `cgroup.kn`.
    pub cgroup_node: u32,
    /// `kernfs_node.id`, 8 bytes.
    pub node_id: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Event>() == 152);
    assert!(offset_of!(Event, what) == 52);
    assert!(offset_of!(Event, comm) == 72);
    assert!(offset_of!(Event, exe) == 88);
    assert!(size_of::<Tasks>() == 80);
};
