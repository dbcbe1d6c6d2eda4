//! Which devices are captured on, where that takes more than a namespace and a list of names.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The most namespaces that are listed.
pub const MAX_NAMESPACES: usize = 16;

/// The map of patterns for devices' names ([`crate::sender::Pattern`]), as many as
/// [`crate::config::MAX_INTERFACES`] at the most.
pub const PATTERNS: &str = "DEVICES";

/// Which devices are captured on, besides what [`crate::Config`] says of them. All zero: those.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Devices {
    /// The patterns in the map [`PATTERNS`], 0 where names aren't compared with any.
    pub patterns: u32,
    /// 1 if one of the wanted patterns has to match, 0 if there are unwanted ones only.
    pub wanted: u32,
    /// How many of `netns` are listed.
    pub netns_count: u32,
    /// 1 if those are the only ones that are wanted, 0 if they are left out.
    pub netns_wanted: u32,
    /// The inode numbers of network namespaces.
    pub netns: [u32; MAX_NAMESPACES],
}

const _: () = assert!(size_of::<Devices>() == 80);
