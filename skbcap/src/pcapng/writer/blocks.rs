//! Blocks between their maker and the output: gathered in chunks, and how far these have got.

use std::collections::VecDeque;
use std::io::{self, Write};

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::Block;
use pcap_file::pcapng::blocks::section_header::SectionHeaderBlock;

use super::aside::Aside;
use super::chunk::{CHUNK_LEN, Chunk};
use super::packet;
use crate::pcapng::{Error, Packet};

/// Encoded blocks on their way to the output.
pub(super) struct Blocks {
    /// Makes every block but packets, one at a time.
    encoder: PcapNgWriter<Vec<u8>>,
    /// The chunk that is being filled.
    chunk: Chunk,
    /// Writes those before it, where one thread for all is not enough.
    aside: Option<Aside>,
    /// Chunks that came back from there.
    empty: Vec<Chunk>,
    /// Those that came back unwritten, oldest first; the first one may be written in part.
    unwritten: VecDeque<Chunk>,
    /// Bytes of all blocks that the output has, but for a chunk that it has in part.
    gone: u64,
}

impl std::fmt::Debug for Blocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocks")
            .field("pending", &self.chunk.len())
            .field("unwritten", &self.unwritten.len())
            .field("gone", &self.gone)
            .finish_non_exhaustive()
    }
}

impl Blocks {
    pub(super) fn new(section: SectionHeaderBlock<'static>) -> Result<Self, Error> {
        let encoder = PcapNgWriter::with_section_header(Vec::new(), section).map_err(|source| {
            Error::Block {
                block: "section header",
                source: Box::new(source),
            }
        })?;
        let mut this = Self {
            encoder,
            chunk: Chunk::new(),
            aside: None,
            empty: Vec::new(),
            unwritten: VecDeque::new(),
            gone: 0,
        };
        this.take_encoded();
        Ok(this)
    }

    pub(super) fn push(&mut self, block: &Block<'_>, name: &'static str) -> Result<(), Error> {
        let result = self.encoder.write_block(block);
        if let Err(source) = result {
            self.encoder.get_mut().clear();
            return Err(Error::Block {
                block: name,
                source: Box::new(source),
            });
        }
        self.take_encoded();
        Ok(())
    }

    /// Moves what the encoder has made into the chunk.
    fn take_encoded(&mut self) {
        let mut encoded = std::mem::take(self.encoder.get_mut());
        self.chunk.room(encoded.len()).copy_from_slice(&encoded);
        encoded.clear();
        *self.encoder.get_mut() = encoded;
    }

    /// Appends a packet that was found to fit.
    #[inline]
    pub(super) fn push_packet(&mut self, packet: &Packet<'_>) {
        packet::put(self.chunk.room(packet::block_len(packet)), packet);
    }

    /// Whether the chunk is to be handed on before another block.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.chunk.len() >= CHUNK_LEN
    }

    /// Has `out`, which is the output by another handle, written to by a thread of its own.
    pub(super) fn write_aside(&mut self, out: impl Write + Send + 'static) -> io::Result<()> {
        if self.aside.is_none() {
            self.aside = Some(Aside::start(out)?);
        }
        Ok(())
    }

    /// Hands the chunk on, to the thread if there is one.
    ///
    /// # Errors
    ///
    /// What the output said, to this chunk or an older one.
    pub(super) fn hand_on(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.take_back(false)?;
        let Some(aside) = &mut self.aside else {
            return self.write_to(out);
        };
        let empty = self.empty.pop().unwrap_or_else(Chunk::new);
        aside.give(std::mem::replace(&mut self.chunk, empty));
        Ok(())
    }

    /// Has all blocks written, and waits for it.
    ///
    /// # Errors
    ///
    /// As [`Blocks::hand_on`].
    pub(super) fn write_all(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.take_back(true)?;
        // Nobody else writes now.
        self.write_to(out)
    }

    /// Writes what there is, oldest first. After an error it stays as it was, but for what the output
    /// took.
    fn write_to(&mut self, out: &mut impl Write) -> io::Result<()> {
        while let Some(chunk) = self.unwritten.front_mut() {
            chunk.write_to(out)?;
            self.gone += chunk.len() as u64;
            self.unwritten.pop_front();
        }
        self.chunk.write_to(out)?;
        self.gone += self.chunk.len() as u64;
        self.chunk.clear();
        Ok(())
    }

    /// Takes chunks back from the thread, which ends with the first that it couldn't write.
    fn take_back(&mut self, all: bool) -> io::Result<()> {
        let mut result = Ok(());
        while let Some(aside) = &mut self.aside
            && let Some((mut chunk, error)) = aside.take_back(all || result.is_err())
        {
            if let Some(error) = error {
                result = Err(error);
            }
            if chunk.is_sent() {
                self.gone += chunk.len() as u64;
                chunk.clear();
                self.empty.push(chunk);
            } else {
                self.unwritten.push_back(chunk);
            }
        }
        if result.is_err() {
            self.aside = None;
        }
        result
    }

    /// As [`super::Writer::encoded_len`].
    pub(super) fn encoded_len(&self) -> u64 {
        let away = self.aside.as_ref().map_or(0, Aside::away_len);
        let unwritten: usize = self.unwritten.iter().map(Chunk::len).sum();
        self.gone + away + (unwritten + self.chunk.len()) as u64
    }

    /// As [`super::Writer::whole_len`].
    pub(super) fn whole_len(&self) -> u64 {
        let begun = self.unwritten.front().unwrap_or(&self.chunk);
        self.gone + begun.whole_len()
    }

    /// As [`super::Writer::unwritten_packets`].
    pub(super) fn unwritten_packets(&self) -> u64 {
        let unwritten = self.unwritten.iter().chain([&self.chunk]);
        unwritten.map(Chunk::unwritten_packets).sum()
    }

    /// As [`Chunk::soil`].
    #[cfg(test)]
    pub(super) fn soil(&mut self) {
        self.chunk.soil();
    }
}
