//! skbcap: captures every frame a Linux host sends, whole, with the process that sent it.
//!
//! The data's way is the layout: see `ARCHITECTURE.md`.

pub mod annotation;
pub mod decode;
pub mod kernel;
pub mod ring;
pub mod escape;
pub mod pcapng;
pub mod stats;
