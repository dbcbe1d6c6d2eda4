//! The whole contract between skbcap's eBPF programs and its userspace.
//!
//! Plain data only: fixed-width little-endian integers, explicit padding, and assertions of size
//! and offset beside each type. Nothing here knows how either side works. A change of any layout
//! raises [`VERSION`], which the loader compares with the one in the object it embeds.
#![no_std]

pub mod config;
pub mod control;
pub mod devices;
pub mod head;
pub mod kfunc;
pub mod load;
pub mod note;
pub mod owner;
pub mod peek;
pub mod position;
pub mod process;
pub mod record;
pub mod sender;

pub use config::Config;
pub use control::{Control, InterfaceDrops};
pub use peek::Peek;
pub use position::Position;
pub use record::{By, Context, CurrentTask, Flags, Hook, RecordHeader};

/// The version of every layout in this crate, written into each record and checked by the loader.
pub const VERSION: u8 = 1;

/// The most bytes of one frame that are ever captured: what tshark accepts in one packet.
///
/// Source: `WTAP_MAX_PACKET_SIZE_STANDARD` in Wireshark's `wiretap/wtap.h`.
pub const MAX_SNAPLEN: u32 = 262_144;
