//! skbcap: captures every frame a Linux host sends, whole, with the process that sent it.
//!
//! The data's way is the layout: see `ARCHITECTURE.md`.

pub mod account;
pub mod annotation;
pub mod capture;
pub mod cli;
pub mod clock;
pub mod command;
pub mod config;
pub mod decode;
pub mod diff;
pub mod escape;
pub mod file_server;
pub mod filter;
pub mod geometry;
pub mod glob;
pub mod interface;
mod json;
pub mod kernel;
pub mod link_type;
mod mapped_file;
pub mod namespaces;
pub mod order;
pub mod output;
pub mod pcapng;
pub mod print;
pub mod privilege;
pub mod process;
pub mod read;
pub mod recording;
pub mod ring;
pub mod sandbox;
pub mod savefile;
pub mod signals;
pub mod slice;
pub mod sll2;
pub mod stats;
pub mod status;
pub mod verify;
