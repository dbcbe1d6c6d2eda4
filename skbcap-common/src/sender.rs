//! Whose frames are wanted: what userspace tells the programs of senders, and what they keep of them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a sender is asked for by: a bit each.
pub mod kind {
    /// The process, by its tgid.
    pub const PROCESS: u32 = 1 << 0;
    /// The thread, by its pid.
    pub const THREAD: u32 = 1 << 1;
    /// The process's real user, by its uid.
    pub const USER: u32 = 1 << 2;
    /// The thread's name, by patterns.
    pub const NAME: u32 = 1 << 3;
    /// A process that is followed: the command's, or one that comes from it.
    pub const FOLLOWED: u32 = 1 << 4;
    /// The process's cgroup, or one that it is below, by its place in the map
    /// [`CGROUPS`](super::CGROUPS).
    pub const CGROUP: u32 = 1 << 5;
}

/// Which senders are wanted. All zero: it makes no difference who sent a frame.
///
/// A frame is wanted if its sender matches every kind in `wanted`, and none in `unwanted`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Senders {
    /// Bits of [`kind`].
    pub wanted: u32,
    /// Bits of [`kind`].
    pub unwanted: u32,
    /// The patterns in the map [`PATTERNS`].
    pub patterns: u32,
    /// The cgroups in the map [`CGROUPS`]; 0 where nobody asks for any, and it is a plain array.
    pub cgroups: u32,
}

/// The map of what was asked for: a [`key`], and bits of [`WANTED`] and [`UNWANTED`].
pub const LIST: &str = "SENDERS";
/// Of a listed sender, or of a pattern: it is wanted.
pub const WANTED: u32 = 1 << 0;
/// It is not.
pub const UNWANTED: u32 = 1 << 1;

/// The key of a sender in the map [`LIST`]: one bit of [`kind`], and a number of that kind.
#[inline(always)]
#[must_use]
pub const fn key(kind: u32, id: u32) -> u64 {
    (kind as u64) << 32 | id as u64
}

/// The map of processes (tgids) that are followed.
pub const FOLLOWED: &str = "FOLLOWED";
/// Processes that are followed, those that were heard of least recently give way.
pub const FOLLOWED_LEN: u32 = 65_536;

/// The map of processes' users: real uids by tgid.
pub const USERS: &str = "USERS";
/// Processes whose user is kept, those that were heard of least recently give way.
pub const USERS_LEN: u32 = 65_536;

/// The map of cgroups that were asked for.
pub const CGROUPS: &str = "CGROUPS";
/// The most cgroups.
pub const MAX_CGROUPS: u32 = 16;

/// The map of processes by what is wanted of their cgroups: bits of [`WANTED`] and [`UNWANTED`] by tgid.
pub const MEMBERS: &str = "MEMBERS";
/// Processes of which that is kept, those that were heard of least recently give way.
pub const MEMBERS_LEN: u32 = 65_536;

/// The map of claims that were made to decide by, one for each control block.
pub const CLAIMS: &str = "CLAIMS";

/// The map of patterns for names.
pub const PATTERNS: &str = "PATTERNS";
/// The most patterns.
pub const MAX_PATTERNS: u32 = 64;

/// Bytes of a name in the kernel, the last of which is NUL.
pub const NAME_LEN: usize = 16;

/// A pattern, as an automaton: bit `n` of a state says that the first `n` things of the pattern were
/// found in the bytes so far.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Pattern {
    /// For each byte, the things that it can be: bit `n` for the one behind the first `n`.
    pub accept: [u32; 256],
    /// Bit `n`: behind the first `n` things, any bytes may come.
    pub any: u32,
    /// The bit of a name that matches.
    pub end: u32,
    /// [`WANTED`] or [`UNWANTED`].
    pub bits: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = {
    assert!(size_of::<Senders>() == 16);
    assert!(size_of::<Pattern>() == 1040);
};
