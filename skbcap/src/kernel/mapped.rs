//! Maps of the kernel in our own memory, as atomic words.

use std::{io, os::fd::AsFd, sync::atomic::AtomicU64};

use aya::maps::MapData;
use memmap2::{MmapOptions, MmapRaw};
use std::os::fd::AsRawFd;

/// A `BPF_F_MMAPABLE` array, mapped readable and writable. Minimum kernel: 5.5.
#[derive(Debug)]
pub struct Mapped {
    memory: MmapRaw,
    value_words: usize,
}

impl Mapped {
    /// Maps `entries` values of `value_size` bytes each.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to.
    pub fn new(map: &MapData, entries: usize, value_size: usize) -> io::Result<Self> {
        // The kernel rounds a value up to 8 bytes (array_map_alloc@5.10).
        let value_words = value_size.div_ceil(8);
        let fd = map.fd().as_fd().as_raw_fd();
        // Linux 7.3 maps a page when it is first touched: some 2900 instructions in the midst of a
        // burst. Others have them all there after mmap(2).
        let memory = MmapOptions::new()
            .len(entries * value_words * 8)
            .populate()
            .map_raw(fd)?;
        Ok(Self {
            memory,
            value_words,
        })
    }

    /// All values' words, one value after the other.
    #[must_use]
    #[expect(unsafe_code, reason = "mapped memory has no other way in")]
    pub fn words(&self) -> &[AtomicU64] {
        let words = self.memory.as_mut_ptr().cast::<AtomicU64>();
        // SAFETY: the mapping is `len()` bytes, begins at a page and so is aligned, was made for
        // reading and writing, and lives as long as `self`, from which this borrows. Any bytes are
        // an integer. The kernel changes them behind our back: that is what atomics allow.
        unsafe { std::slice::from_raw_parts(words, self.memory.len() / 8) }
    }

    /// The words of the values from `first` on, `count` of them.
    ///
    /// # Panics
    ///
    /// When there are fewer.
    #[must_use]
    pub fn values(&self, first: usize, count: usize) -> &[AtomicU64] {
        &self.words()[first * self.value_words..][..count * self.value_words]
    }
}
