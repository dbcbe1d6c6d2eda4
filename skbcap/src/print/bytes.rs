//! Captured bytes with the length that they had on the wire.

/// Captured bytes, and how many there were on the wire from the same place on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'a> {
    pub(super) data: &'a [u8],
    /// At least `data.len()`.
    pub(super) wire_len: usize,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(data: &'a [u8], wire_len: usize) -> Self {
        Self {
            data,
            wire_len: wire_len.max(data.len()),
        }
    }

    /// What follows the first `len` captured bytes.
    pub(super) fn after(self, len: usize) -> Self {
        let data = self.data.get(len..).unwrap_or_default();
        Self::new(data, self.wire_len.saturating_sub(len))
    }

    /// At most `wire_len` bytes of it: what follows is padding.
    pub(super) fn at_most(self, wire_len: usize) -> Self {
        let data = &self.data[..self.data.len().min(wire_len)];
        Self::new(data, self.wire_len.min(wire_len))
    }
}
