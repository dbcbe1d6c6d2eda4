//! A packet's block, made in one go: a capture writes nothing else so often.
//!
//! pcap-file makes every other block, and says what is wrong with a packet that can't be written;
//! that both make the same bytes is tested.

use crate::pcapng::{Error, Packet};

/// The block's type, its length, interface, time and two lengths of the packet.
const HEAD_LEN: usize = 28;
/// The block's length again.
const FOOT_LEN: usize = 4;
const OPT_COMMENT: u16 = 1;
const EPB_FLAGS: u16 = 2;
const EPB_DROPCOUNT: u16 = 4;
const EPB_DROPCOUNT_LEN: usize = 12;
/// The option that pcap-file has no name for: process, then thread, each 4 bytes.
pub(super) const EPB_PROCESSID_THREADID: u16 = 8;
/// What ends the options, if there are any.
const END_OF_OPTIONS: [u8; 4] = [0; 4];

/// What is said of a packet beside its bytes, time and losses: made once, written with each packet
/// of which it is true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PacketOptions {
    /// As they stand in the block, their end included; nothing where there are none.
    bytes: Vec<u8>,
    /// Where `epb_dropcount` goes among them.
    dropcount_at: usize,
}

impl PacketOptions {
    /// `opt_comment`, left out where empty; `epb_flags`, left out where 0; and
    /// `epb_processid_threadid`.
    ///
    /// # Errors
    ///
    /// If the comment is over 65,535 bytes.
    pub fn new(comment: &str, flags: u32, process: Option<(u32, u32)>) -> Result<Self, Error> {
        let mut bytes = Vec::with_capacity(comment.len() + 32);
        if !comment.is_empty() {
            let len = u16::try_from(comment.len())
                .map_err(|_| Error::CommentTooLong { len: comment.len() })?;
            bytes.extend(option(OPT_COMMENT, len));
            bytes.extend(comment.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        if flags != 0 {
            bytes.extend(option(EPB_FLAGS, 4));
            bytes.extend(flags.to_le_bytes());
        }
        let dropcount_at = bytes.len();
        if let Some((process, thread)) = process {
            bytes.extend(option(EPB_PROCESSID_THREADID, 8));
            bytes.extend(process.to_le_bytes());
            bytes.extend(thread.to_le_bytes());
        }
        if !bytes.is_empty() {
            bytes.extend(END_OF_OPTIONS);
        }
        Ok(Self {
            bytes,
            dropcount_at,
        })
    }

    /// Bytes in a block.
    #[inline]
    fn len(&self, dropped: u64) -> usize {
        if dropped == 0 {
            self.bytes.len()
        } else {
            self.len_with_dropcount()
        }
    }

    #[cold]
    fn len_with_dropcount(&self) -> usize {
        let options = self.bytes.len() + EPB_DROPCOUNT_LEN;
        if self.bytes.is_empty() {
            options + END_OF_OPTIONS.len()
        } else {
            options
        }
    }

    #[inline]
    fn put(&self, room: &mut [u8], dropped: u64) {
        if dropped == 0 {
            room.copy_from_slice(&self.bytes);
        } else {
            self.put_with_dropcount(room, dropped);
        }
    }

    #[cold]
    fn put_with_dropcount(&self, room: &mut [u8], dropped: u64) {
        let (before, behind) = self.bytes.split_at(self.dropcount_at);
        let (room, end) = room.split_at_mut(before.len() + EPB_DROPCOUNT_LEN);
        let (room, dropcount) = room.split_at_mut(before.len());
        room.copy_from_slice(before);
        dropcount[..4].copy_from_slice(&option(EPB_DROPCOUNT, 8));
        dropcount[4..].copy_from_slice(&dropped.to_le_bytes());
        end.copy_from_slice(if behind.is_empty() {
            &END_OF_OPTIONS
        } else {
            behind
        });
    }
}

/// Bytes of a packet's block.
#[inline]
pub(super) fn block_len(packet: &Packet<'_>) -> usize {
    HEAD_LEN + packet.data.len().next_multiple_of(4) + packet.options.len(packet.dropped) + FOOT_LEN
}

/// Makes the block of a packet that was found to fit, in its [`block_len`] bytes of room.
#[inline]
pub(super) fn put(room: &mut [u8], packet: &Packet<'_>) {
    let Packet {
        interface,
        time_ns,
        data,
        len,
        options,
        dropped,
    } = *packet;
    let block_len = room.len() as u32;
    let (head, room) = room.split_at_mut(HEAD_LEN);
    let words = [
        super::chunk::ENHANCED_PACKET,
        block_len,
        interface.0,
        (time_ns >> 32) as u32,
        time_ns as u32,
        data.len() as u32,
        len,
    ];
    head.copy_from_slice(words.map(u32::to_le_bytes).as_flattened());
    let (padded, room) = room.split_at_mut(data.len().next_multiple_of(4));
    // What the bytes leave of the last word is padding.
    if let Some(last) = padded.last_chunk_mut::<4>() {
        *last = [0; 4];
    }
    padded[..data.len()].copy_from_slice(data);
    let (described, foot) = room.split_at_mut(room.len() - FOOT_LEN);
    options.put(described, dropped);
    foot.copy_from_slice(&block_len.to_le_bytes());
}

/// An option's code and length.
fn option(code: u16, value_len: u16) -> [u8; 4] {
    (u32::from(code) | u32::from(value_len) << 16).to_le_bytes()
}
