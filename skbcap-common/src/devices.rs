//! Which devices are captured on, where that takes more than a namespace and a list of names.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The most namespaces that are left out.
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
    /// How many of `not_netns` are left out.
    pub not_netns_count: u32,
    /// Zero.
    pub reserved: u32,
    /// The inode numbers of network namespaces that are left out.
    pub not_netns: [u32; MAX_NAMESPACES],
}

const _: () = assert!(size_of::<Devices>() == 80);
