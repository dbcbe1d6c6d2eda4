//! The slot protocol: one writer and one reader over shared memory, without a lock.
//!
//! Owns the reader ([`Ring`]) and a writer in userspace ([`Writer`]) that replays recordings and
//! is tested against the reader. Works over plain memory and atomics; knows nothing of kernels,
//! of what is in a frame, or of where its records go.
//!
//! # The protocol
//!
//! The writer owns the memory from head to tail (all the way round), the reader that from tail to
//! head. Each side moves only its own mark, and only after it is done with what it gives away:
//!
//! | step | writer (a program on one CPU) | reader |
//! |---|---|---|
//! | 1 | busy mark := 1, full barrier | now := the clock |
//! | 2 | time := the clock; busy mark := time | mark := the busy mark (acquire) |
//! | 3 | room between head and tail? | head (acquire) |
//! | 4 | writes the record | reads records before head |
//! | 5 | head := behind it (release) | tail := behind what it read (release) |
//! | 6 | busy mark := 0 | wake-up mark := where it wants to be woken, full barrier |
//! | 7 | head at the wake-up mark? rings | head still behind? sleeps |
//!
//! - *Never torn*: 5 after 4 on one side, 3 before 4 on the other.
//! - *Never overwritten before it was read*: the writer's 3 sees a tail that only covers what was
//!   read. An older tail than the newest only makes it see less room.
//! - *In time order* (see [`crate::order`]): where the reader's 2 finds no mark, a frame taken
//!   later sets it after that, and so reads the clock after the reader's 1. Where it finds a time,
//!   the next record has just that time. The barrier in the writer's 1 keeps the clock from being
//!   read before the mark can be seen.
//! - *No wake-up lost*: a barrier of the writer's before its 7 would have it wait until the whole
//!   frame can be seen elsewhere, which takes longer than all else. Without one, it may look at the
//!   wake-up mark before its head can be seen, and then neither sees the other's store. But the head
//!   can be seen soon, and from then on the reader sees it: so it looks once more, [`SEEN_WITHIN`]
//!   after it set the mark, and only then sleeps without end. Whatever the writer does after that
//!   sees the mark.

use std::time::Duration;

mod memory;
mod reader;
mod writer;

pub use memory::{Memory, OwnedMemory, Prepare};
pub use reader::{Ring, RingError};
pub use writer::Writer;

/// What a CPU has stored so long ago is seen by all others: a store leaves its buffer by itself, within
/// microseconds, and nothing keeps it there.
pub const SEEN_WITHIN: Duration = Duration::from_millis(10);
