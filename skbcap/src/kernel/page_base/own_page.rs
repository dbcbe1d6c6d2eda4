//! A page of our own with bytes that no other page holds, and the frame it lies in.
//!
//! `/proc/self/pagemap`: `Documentation/admin-guide/mm/pagemap.rst` at 5.10 to 7.2.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use memmap2::MmapMut;

use super::{PAGE_LEN, STAMP_LEN};

/// Frames whose place within a GiB lies below this are not taken: wrong candidates of the search
/// would read the first MiB of memory, where devices answer.
const LOWEST_IN_GIB: u64 = 1 << 20;

/// Pages to ask for until one lies well.
const ATTEMPTS: usize = 64;

/// A locked page that begins with random bytes.
pub(super) struct OwnPage {
    memory: MmapMut,
}

impl OwnPage {
    /// A page that lies well, and its frame's number.
    pub(super) fn located() -> io::Result<(Self, u64)> {
        let mut unfit = Vec::new();
        for _ in 0..ATTEMPTS {
            let page = Self::new()?;
            let frame = page.frame()?;
            if frame * PAGE_LEN as u64 % (1 << 30) >= LOWEST_IN_GIB {
                return Ok((page, frame));
            }
            unfit.push(page);
        }
        Err(io::Error::other(
            "no page of ours lies above the first MiB of its GiB",
        ))
    }

    fn new() -> io::Result<Self> {
        let mut memory = MmapMut::map_anon(PAGE_LEN)?;
        // Not all systems let us lock memory; the frame is read again where it matters.
        let _ = memory.lock();
        memory[..STAMP_LEN].copy_from_slice(&random()?);
        Ok(Self { memory })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[..STAMP_LEN]
    }

    pub(super) fn frame(&self) -> io::Result<u64> {
        frame_of(self.memory.as_ptr() as u64)
    }
}

/// The number of the frame behind an address of this process.
pub(super) fn frame_of(address: u64) -> io::Result<u64> {
    const PRESENT: u64 = 1 << 63;
    const FRAME: u64 = (1 << 55) - 1;
    let mut entry = [0; 8];
    File::open("/proc/self/pagemap")?.read_exact_at(&mut entry, address / PAGE_LEN as u64 * 8)?;
    let entry = u64::from_ne_bytes(entry);
    match (entry & PRESENT, entry & FRAME) {
        (0, _) => Err(io::Error::other("a page of our own is not in memory")),
        (_, 0) => Err(io::Error::other(
            "pagemap shows no frame numbers: CAP_SYS_ADMIN is missing",
        )),
        (_, frame) => Ok(frame),
    }
}

pub(super) fn random() -> io::Result<[u8; STAMP_LEN]> {
    let mut bytes = [0; STAMP_LEN];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
