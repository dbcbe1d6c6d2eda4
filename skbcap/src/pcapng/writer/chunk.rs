//! Blocks in a buffer, and how many of its bytes the output has taken.

use std::io::{self, Write};

/// A chunk is handed on once it has this many bytes: large enough that a system call's cost is
/// spread over hundreds of packets, small enough to stay in a core's cache.
pub(super) const CHUNK_LEN: usize = 256 * 1024;

/// The block type of a packet.
pub(super) const ENHANCED_PACKET: u32 = 6;

/// Whole blocks, one behind the other.
pub(super) struct Chunk {
    /// Blocks, and room for more behind them.
    buffer: Vec<u8>,
    /// Bytes of blocks in the buffer.
    filled: usize,
    /// Bytes of them that the output has taken.
    sent: usize,
}

impl Chunk {
    pub(super) fn new() -> Self {
        Self {
            // Zeros that the system gives: memory only once it is written to.
            buffer: vec![0; 2 * CHUNK_LEN],
            filled: 0,
            sent: 0,
        }
    }

    /// Bytes of its blocks.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.filled
    }

    /// So many bytes more of the buffer, to be filled with a block.
    #[inline]
    pub(super) fn room(&mut self, len: usize) -> &mut [u8] {
        let start = self.filled;
        self.filled += len;
        if self.filled > self.buffer.len() {
            self.grow();
        }
        &mut self.buffer[start..self.filled]
    }

    #[cold]
    fn grow(&mut self) {
        self.buffer.resize(self.filled, 0);
    }

    /// Writes it out. After an error it stays as it was, but for what the output took.
    pub(super) fn write_to(&mut self, out: &mut impl Write) -> io::Result<()> {
        while self.sent < self.filled {
            match out.write(&self.buffer[self.sent..self.filled]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => self.sent += taken,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the output has all of it.
    pub(super) fn is_sent(&self) -> bool {
        self.sent == self.filled
    }

    /// Makes room for other blocks.
    pub(super) fn clear(&mut self) {
        (self.filled, self.sent) = (0, 0);
    }

    /// Bytes of whole blocks that the output has.
    pub(super) fn whole_len(&self) -> u64 {
        let whole = self
            .ends()
            .map(|(_, end)| end)
            .take_while(|&end| end <= self.sent);
        whole.last().unwrap_or(0) as u64
    }

    /// Packets in it that the output does not have whole.
    pub(super) fn unwritten_packets(&self) -> u64 {
        let unsent = self.ends().filter(|&(_, end)| end > self.sent);
        unsent.filter(|&(kind, _)| kind == ENHANCED_PACKET).count() as u64
    }

    /// The kind of each block, and where it ends.
    fn ends(&self) -> impl Iterator<Item = (u32, usize)> {
        let blocks = &self.buffer[..self.filled];
        let word = |at: usize| {
            let bytes = blocks.get(at..at + 4)?;
            Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        };
        let mut at = 0;
        std::iter::from_fn(move || {
            let kind = word(at)?;
            at += word(at + 4)? as usize;
            Some((kind, at))
        })
    }

    /// What lies behind the blocks is anything.
    #[cfg(test)]
    pub(super) fn soil(&mut self) {
        self.buffer[self.filled..].fill(0xff);
    }
}
