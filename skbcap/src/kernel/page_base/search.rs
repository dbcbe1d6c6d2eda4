//! The bases where the kernel names neither: found through two pages of our own.
//!
//! The direct map's first address is a multiple of 1 GiB, and lies below `current`, which lies in
//! the direct map. A page of our own, whose frame number is known, must be readable at
//! `base + frame * 4096`: going down from `current`, the first candidate where it is read is the
//! base. Wrong candidates read other memory of the direct map, or nothing (`-EFAULT`). Then the
//! page structure of the doorbell's consumer page, less its frame number times the size of a page
//! structure, is `vmemmap_base`.

use std::fs;

use super::{ALIGNMENT, Failure, OwnPage, PAGE_LEN, STAMP_LEN, Turn, io_failure, own_page};
use crate::kernel::peek::Peek;

/// Candidates where `/proc/iomem` does not tell how much memory there is: as many GiB as four
/// level page tables can map.
const MAX_CANDIDATES: u64 = 64 << 10;

/// Our page may be moved to another frame while we search: then search again.
const ATTEMPTS: usize = 3;

/// `(page_offset_base, vmemmap_base)`.
pub(super) fn bases(turn: &Turn, peek: &mut impl Peek) -> Result<(u64, u64), Failure> {
    let current = peek
        .current()
        .map_err(io_failure("asking for the running task"))?;
    let candidates = candidates(&fs::read_to_string("/proc/iomem").unwrap_or_default());
    let page_offset_base = (0..ATTEMPTS)
        .find_map(|_| own_page(current, candidates, peek).transpose())
        .unwrap_or(Err(Failure::Unexpected("a page of our own was not found")))?;

    let doorbell = peek
        .doorbell()
        .map_err(io_failure("asking for our own ring buffer"))?;
    let page = turn.consumer_page(doorbell.map, peek)?;
    let frame = own_page::frame_of(doorbell.consumer_page)
        .map_err(io_failure("asking for the frame of our own ring buffer"))?;
    let vmemmap_base = page
        .checked_sub(frame * turn.page_size_of)
        .ok_or(Failure::Unexpected(
            "a page structure lies below all of them",
        ))?;
    Ok((page_offset_base, vmemmap_base))
}

fn own_page(current: u64, candidates: u64, peek: &mut impl Peek) -> Result<Option<u64>, Failure> {
    let (page, frame) =
        OwnPage::located().map_err(io_failure("asking for the frame of a page of our own"))?;
    Ok(direct_map(page.bytes(), frame, current, candidates, peek))
}

/// The candidate where `wanted` is read in frame `frame`, going down from `current`.
pub(super) fn direct_map(
    wanted: &[u8],
    frame: u64,
    current: u64,
    candidates: u64,
    peek: &mut impl Peek,
) -> Option<u64> {
    let highest = current / ALIGNMENT * ALIGNMENT;
    (0..candidates)
        .map_while(|index| highest.checked_sub(index * ALIGNMENT))
        .find(|base| {
            let mut bytes = [0; STAMP_LEN];
            let Some(address) = base.checked_add(frame * PAGE_LEN as u64) else {
                return false;
            };
            peek.read(address, &mut bytes).is_ok() && bytes == wanted
        })
}

/// One for each GiB up to the end of memory: `current` lies no higher than that above the base.
pub(super) fn candidates(iomem: &str) -> u64 {
    let ends = iomem.lines().filter_map(|line| {
        let (range, name) = line.split_once(" : ")?;
        let end = range.trim().split_once('-')?.1;
        (name == "System RAM").then(|| u64::from_str_radix(end, 16).ok())?
    });
    match ends.max() {
        Some(end) if end > 0 => end / ALIGNMENT + 1,
        // Hidden: all ranges read as zero without CAP_SYS_ADMIN (kernel/resource.c:r_show@5.10).
        _ => MAX_CANDIDATES,
    }
}
