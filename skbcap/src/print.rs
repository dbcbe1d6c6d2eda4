//! What a person reads about a frame: one line, like tcpdump's, with the sender in it.
//!
//! Numbers only: no name is ever looked up. Takes any bytes whatever without a panic. Knows frames
//! and link types, and nothing of where lines go.

mod bytes;
mod ip;
mod line;
mod packet;
mod transport;

pub use line::write_line;

#[cfg(test)]
mod tests;
