//! Frames of a file copied as they lie in it, with all that belongs to them.

use std::borrow::Cow;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Input, SavefileError, Sink};
use crate::output::FileOutput;
use crate::output::rotation::{Rotation, Turn};
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
    /// Where there are files behind the first.
    rotation: Option<Rotation>,
    /// What is copied: no file that may be written to.
    input: Input,
    /// Blocks that a file's frames need: each file begins with them.
    head: Vec<u8>,
}

/// Blocks that are there in every file: interfaces, names, secrets (block types 1, 4 and 10).
const NEEDED: [u32; 3] = [1, 4, 10];

impl Copy {
    pub(super) fn new(out: FileOutput, rotation: Option<Rotation>, input: Input) -> Self {
        Self {
            out,
            buffer: Vec::with_capacity(BUFFER),
            written: 0,
            rotation,
            input,
            head: Vec::new(),
        }
    }

    /// Begins another file, if the one so far has ended.
    fn turn(&mut self) -> io::Result<ControlFlow<()>> {
        let Some(rotation) = &mut self.rotation else {
            return Ok(ControlFlow::Continue(()));
        };
        // Times are the clock's here, and not the frames': as in tcpdump.
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_ns = now.map_or(0, |now| now.as_nanos() as u64);
        match rotation.before(self.written + self.buffer.len() as u64, now_ns) {
            None => return Ok(ControlFlow::Continue(())),
            Some(Turn::End) => return Ok(ControlFlow::Break(())),
            Some(Turn::Next) => {}
        }
        let path = rotation.name()?;
        if self.input.is_at(&path) {
            let error = SavefileError::OntoItself(path);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        self.write()?;
        let next = FileOutput::prepare(&path);
        let mut next = next.map_err(|error| io::Error::new(error.kind(), error))?;
        next.empty()?;
        (self.out, self.written) = (next, 0);
        self.buffer.extend_from_slice(&self.head);
        Ok(ControlFlow::Continue(()))
    }

    /// Keeps what later files need, too.
    fn note(&mut self, block: &[u8]) {
        let starts_with = |kind: u32| {
            block.starts_with(&kind.to_be_bytes()) || block.starts_with(&kind.to_le_bytes())
        };
        let is_pcapng = starts_with(SECTION_HEADER);
        // A pcap's header is its only block.
        if is_pcapng || self.head.is_empty() {
            self.head = block.to_vec();
        } else if NEEDED.into_iter().any(starts_with) {
            self.head.extend_from_slice(block);
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
    fn packet(&mut self, packet: &Packet<'_>, _: &Interface) -> io::Result<ControlFlow<()>> {
        if self.turn()?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        self.take(packet.block)?;
        Ok(ControlFlow::Continue(()))
    }

    fn other(&mut self, block: &[u8]) -> io::Result<()> {
        let block = with_unknown_length(block);
        if self.rotation.is_some() {
            self.note(&block);
        }
        self.take(&block)
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
