//! A packet's block, made in one go: a capture writes nothing else so often.
//!
//! pcap-file makes every other block, and says what is wrong with a packet that can't be written;
//! that both make the same bytes is tested.

use super::EPB_PROCESSID_THREADID;
use crate::pcapng::Packet;

/// The block's type, two lengths of the block, interface, time and two lengths of the packet.
const FIXED_LEN: usize = 32;
const OPT_COMMENT: u16 = 1;
const EPB_FLAGS: u16 = 2;
const EPB_DROPCOUNT: u16 = 4;

/// Appends the block of a packet that was found to fit.
pub(super) fn append(out: &mut Vec<u8>, packet: &Packet<'_>) {
    let Packet {
        interface,
        time_ns,
        data,
        len,
        comment,
        flags,
        process,
        dropped,
    } = *packet;
    let options_len = option_len(comment.len())
        + if flags == 0 { 0 } else { option_len(4) }
        + if dropped == 0 { 0 } else { option_len(8) }
        + process.map_or(0, |_| option_len(8));
    // The end of the options stands only where there are any.
    let options_len = options_len + if options_len == 0 { 0 } else { 4 };
    let block_len = (FIXED_LEN + data.len().next_multiple_of(4) + options_len) as u32;
    out.reserve(block_len as usize);
    append_words(
        out,
        [
            6,
            block_len,
            interface.0,
            (time_ns >> 32) as u32,
            time_ns as u32,
            data.len() as u32,
            len,
        ],
    );
    append_padded(out, data);
    if !comment.is_empty() {
        append_words(out, [option(OPT_COMMENT, comment.len())]);
        append_padded(out, comment.as_bytes());
    }
    if flags != 0 {
        append_words(out, [option(EPB_FLAGS, 4), flags]);
    }
    if dropped != 0 {
        let (low, high) = (dropped as u32, (dropped >> 32) as u32);
        append_words(out, [option(EPB_DROPCOUNT, 8), low, high]);
    }
    if let Some((process, thread)) = process {
        append_words(out, [option(EPB_PROCESSID_THREADID, 8), process, thread]);
    }
    if options_len != 0 {
        append_words(out, [0]);
    }
    append_words(out, [block_len]);
}

/// Bytes of an option with a value of so many; none for an empty value.
fn option_len(value_len: usize) -> usize {
    if value_len == 0 {
        0
    } else {
        4 + value_len.next_multiple_of(4)
    }
}

/// An option's code and length.
fn option(code: u16, value_len: usize) -> u32 {
    u32::from(code) | (value_len as u32) << 16
}

#[inline]
fn append_words<const N: usize>(out: &mut Vec<u8>, words: [u32; N]) {
    out.extend_from_slice(words.map(u32::to_le_bytes).as_flattened());
}

#[inline]
fn append_padded(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
    let padding = bytes.len().next_multiple_of(4) - bytes.len();
    out.extend_from_slice(&[0; 3][..padding]);
}
