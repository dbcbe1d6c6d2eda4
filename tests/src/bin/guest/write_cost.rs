//! What writing a file costs the machine, in instructions a byte: the share of a capture's cost that
//! no capturing program can do without.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::program::out;

/// Bytes of a file.
const BYTES: usize = 8 << 20;

/// Bytes of a `write(2)`.
const BLOCKS: [usize; 4] = [4 << 10, 64 << 10, 256 << 10, 1 << 20];

/// A file in memory, written in blocks; then once more, where its pages are there already.
pub(crate) fn icount_write() -> Result<()> {
    println!("bytes of a write(2) | instructions a byte | over pages that are there");
    let buffer = vec![0x5a; BYTES];
    for block in BLOCKS {
        let path = out("blocks");
        let mut file = File::create(&path)?;
        let first = timed(|| {
            buffer
                .chunks(block)
                .try_for_each(|bytes| file.write_all(bytes))
        })?;
        let again = timed(|| {
            let mut blocks = buffer.chunks(block).zip(0u64..);
            blocks.try_for_each(|(bytes, number)| file.write_all_at(bytes, number * block as u64))
        })?;
        let [first, again] = [first, again].map(|time| time.as_nanos() as f64 / BYTES as f64);
        println!("{block:19} | {first:19.2} | {again:.2}");
        std::fs::remove_file(path)?;
    }
    Ok(())
}

fn timed(work: impl FnOnce() -> std::io::Result<()>) -> Result<Duration> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed())
}
