//! A frame's head: what the filter expression is run on.
//!
//! One for each control block, the program's own. The expression is translated when skbcap starts
//! and put in place of a stub, so what it expects stands here too.

/// What stands before the bytes. The bytes are those of the record: a VLAN tag is among them.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Head {
    /// Bytes of the frame as it was sent, a VLAN tag included.
    pub len: u64,
    /// The bytes that the expression may know of, [`crate::MAX_SNAPLEN`] at the most, whatever
    /// snapshot length was asked for: a load beyond them ends it. Of these the first
    /// [`crate::Config::head_len`] follow, which are all that it looks at.
    pub visible: u64,
}

/// Bytes before the frame's.
pub const HEAD_HEADER_LEN: u32 = size_of::<Head>() as u32;

/// The most bytes of a head that are read from one address at once.
pub const MAX_HEAD_CHUNK: u64 = 4096;

/// Bytes of a value in the map of heads: the header, the head, and a chunk of it, because the
/// verifier bounds the bytes copied so far and the next chunk each for itself. `head_len` is
/// [`crate::Config::head_len`].
#[must_use]
pub const fn value_len(head_len: u32) -> u32 {
    let chunk_len = if head_len as u64 > MAX_HEAD_CHUNK {
        MAX_HEAD_CHUNK as u32
    } else {
        head_len
    };
    (HEAD_HEADER_LEN + head_len + chunk_len).next_multiple_of(8)
}

/// The section that holds the expression and nothing else.
pub const SECTION: &str = ".text.expression";

/// Which instruction there refers to [`MAP`]; it takes the next one's place too.
pub const MAP_REFERENCE_AT: usize = 4;

/// The map of heads.
pub const MAP: &str = "HEADS";

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<Head>() == 16);
    assert!(offset_of!(Head, visible) == 8);
};
