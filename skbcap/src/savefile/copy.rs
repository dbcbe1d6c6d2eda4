//! Frames of a file copied as they lie in it, with all that belongs to them.

use std::borrow::Cow;
use std::io::{self, Write};

use super::Sink;
use crate::output::FileOutput;
use crate::pcapng::raw::SECTION_HEADER;
use crate::read::{Interface, Packet};

/// Bytes that are written at once.
const BUFFER: usize = 256 << 10;

/// A file in the format of the one that is read: each block whole, and unchanged but for the length
/// of a section, which is not known of a copy.
pub(super) struct Copy {
    out: FileOutput,
    /// Whole blocks, to be written.
    buffer: Vec<u8>,
    /// Bytes written before.
    written: u64,
}

impl Copy {
    pub(super) fn new(out: FileOutput) -> Self {
        Self {
            out,
            buffer: Vec::with_capacity(BUFFER),
            written: 0,
        }
    }

    fn take(&mut self, block: &[u8]) -> io::Result<()> {
        if self.buffer.len() + block.len() > BUFFER {
            self.write()?;
        }
        self.buffer.extend_from_slice(block);
        Ok(())
    }

    /// Writes what there is; where that fails, the file ends with a whole block.
    fn write(&mut self) -> io::Result<()> {
        if let Err(error) = self.out.write_all(&self.buffer) {
            // Why it failed matters more.
            let _ = self.out.keep(self.written);
            return Err(error);
        }
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl Sink<'_> for Copy {
    fn packet(&mut self, packet: &Packet<'_>, _: &Interface) -> io::Result<()> {
        self.take(packet.block)
    }

    fn other(&mut self, block: &[u8]) -> io::Result<()> {
        self.take(&with_unknown_length(block))
    }

    fn finish(&mut self) -> io::Result<()> {
        self.write()?;
        self.out.flush()
    }
}

/// A section header without the section's length: -1 in either byte order.
fn with_unknown_length(block: &[u8]) -> Cow<'_, [u8]> {
    let is_section = block.starts_with(&SECTION_HEADER.to_be_bytes());
    match block.get(16..24) {
        Some(len) if is_section && len != [0xff; 8] => {
            let mut block = block.to_vec();
            block[16..24].fill(0xff);
            block.into()
        }
        _ => block.into(),
    }
}
