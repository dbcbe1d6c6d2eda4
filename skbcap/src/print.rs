//! What a person reads about a frame: one line, like tcpdump's, with the sender in it.
//!
//! Numbers only: no name is ever looked up. Takes any bytes whatever without a panic. Knows frames
//! and link types, and nothing of where lines go.

mod bytes;
mod dump;
mod ip;
mod json;
mod line;
mod packet;
mod style;
mod transport;

pub use line::{Direction, Line, Printer, Sender};
pub use style::{Detail, Dump, DumpForm, Style, TimeStyle};

use std::io::{self, Write};

/// Writes what a packet is, as it stands at the end of a line: of its `wire_len` bytes `data` was
/// kept; `link_type` is a `LINKTYPE_*` number.
///
/// # Errors
///
/// What `out` says.
pub fn write_packet(
    out: &mut impl Write,
    data: &[u8],
    wire_len: usize,
    link_type: u16,
) -> io::Result<()> {
    let bytes = bytes::Bytes::new(data, wire_len);
    packet::write(out, bytes, link_type, Detail::Plain)
}

#[cfg(test)]
mod tests;
