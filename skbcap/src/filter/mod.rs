//! Filter expressions: pcap-filter(7), compiled by libpcap, run by us.
//!
//! Owns the way from an expression's text to a program for each link type. Attaches nothing and
//! reads no files.

pub mod cbpf;
pub mod ebpf;
mod expression;
mod fault;
mod libpcap;
pub mod peer;
mod text;

pub use expression::{Expression, FilterError, Filters};
pub use fault::Fault;
pub use libpcap::{CompileError, Libpcap, Missing};
pub use text::Text;
