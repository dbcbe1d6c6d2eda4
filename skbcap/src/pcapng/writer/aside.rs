//! A thread that writes chunks out while others are being filled.
//!
//! Owns the thread and the chunks that are with it. They come back in the order in which they were
//! given, written or not: after an error none is.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::chunk::Chunk;

/// Chunks that are with the thread, at most: 2 MiB. With more there is no more to win; who gives one
/// then waits for the output.
const MOST: usize = 8;

/// A chunk, and what went wrong with it.
type Back = (Chunk, Option<io::Error>);

pub(super) struct Aside {
    there: Sender<Chunk>,
    back: Receiver<Back>,
    /// Chunks that are with the thread, and their bytes.
    away: usize,
    away_len: u64,
}

impl Aside {
    /// Starts the thread, which writes to `out`, and ends with this.
    pub(super) fn start(mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let (there, given) = channel::<Chunk>();
        let (done, back) = channel::<Back>();
        let write = move || {
            let mut has_failed = false;
            for mut chunk in given {
                let error = if has_failed {
                    None
                } else {
                    chunk.write_to(&mut out).err()
                };
                has_failed |= error.is_some();
                if done.send((chunk, error)).is_err() {
                    break;
                }
            }
        };
        thread::Builder::new().name("writer".into()).spawn(write)?;
        Ok(Self {
            there,
            back,
            away: 0,
            away_len: 0,
        })
    }

    /// Has a chunk written.
    pub(super) fn give(&mut self, chunk: Chunk) {
        self.away += 1;
        self.away_len += chunk.len() as u64;
        // The thread ends no sooner than this.
        let given = self.there.send(chunk);
        given.expect("a thread that waits for chunks");
    }

    /// Bytes that are with the thread.
    pub(super) fn away_len(&self) -> u64 {
        self.away_len
    }

    /// The oldest chunk that is with the thread, once it is back: at once, or not if there is still
    /// room for more; or, with `all`, as long as there is one.
    pub(super) fn take_back(&mut self, all: bool) -> Option<Back> {
        let waits = self.away > 0 && (all || self.away == MOST);
        let back = if waits {
            self.back.recv().ok()
        } else {
            self.back.try_recv().ok()
        };
        if let Some((chunk, _)) = &back {
            self.away -= 1;
            self.away_len -= chunk.len() as u64;
        }
        back
    }
}
