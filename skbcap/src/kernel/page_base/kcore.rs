//! The bases from the program headers of `/proc/kcore`, an ELF image of kernel memory.
//!
//! `fs/proc/kcore.c:read_kcore@5.10`, `read_kcore_iter@6.12`: a header of RAM or of the kernel's
//! text holds a physical address, any other (vmalloc, page structures, modules) all ones.
//! `get_sparsemem_vmemmap_info`: each range of page structures begins at the page structure of the
//! first frame of a range of RAM, rounded down to a page.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::{Failure, PAGE_LEN, io_failure};

const PATH: &str = "/proc/kcore";

/// The kernel's image, modules and fixed mappings lie from here on (`__START_KERNEL_map`).
const KERNEL_IMAGE: u64 = 0xffff_ffff_8000_0000;

/// vmalloc's range is 32 TiB or more (`Documentation/arch/x86/x86_64/mm.rst@6.12`; one byte less in
/// the header that 5.10 makes of it), and a range of page structures never half of that: it would be
/// that of 1 PiB of memory.
const VMALLOC_LEN: u64 = 16 << 40;

const NO_PHYSICAL_ADDRESS: u64 = u64::MAX;
const PT_LOAD: u32 = 1;
const ELF_HEADER_LEN: usize = 64;
const PROGRAM_HEADER_LEN: usize = 56;

/// `(page_offset_base, vmemmap_base)`.
pub(super) fn bases(page_size_of: u64) -> Result<(u64, u64), Failure> {
    let file = File::open(PATH).map_err(io_failure("opening /proc/kcore"))?;
    let mut header = [0; ELF_HEADER_LEN];
    let failed = io_failure("reading /proc/kcore");
    file.read_exact_at(&mut header, 0).map_err(&failed)?;
    let (at, count) = table(&header).ok_or(Failure::Unexpected("/proc/kcore is no ELF file"))?;
    let mut headers = vec![0; usize::from(count) * PROGRAM_HEADER_LEN];
    file.read_exact_at(&mut headers, at).map_err(&failed)?;
    from_headers(&headers, page_size_of)
}

/// Where the program headers begin and how many they are.
fn table(header: &[u8; ELF_HEADER_LEN]) -> Option<(u64, u16)> {
    let offset = u64::from_le_bytes(*header.get(32..)?.first_chunk()?);
    let count = u16::from_le_bytes(*header.get(56..)?.first_chunk()?);
    header
        .starts_with(b"\x7fELF\x02\x01")
        .then_some((offset, count))
}

pub(super) fn from_headers(headers: &[u8], page_size_of: u64) -> Result<(u64, u64), Failure> {
    let mut lowest_ram: Option<(u64, u64)> = None;
    let mut lowest_pages: Option<u64> = None;
    for header in headers.chunks_exact(PROGRAM_HEADER_LEN) {
        let word = |index: usize| {
            let bytes = header.get(8 * index..).and_then(<[u8]>::first_chunk);
            bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let (kind, address, physical, len) = (word(0) as u32, word(2), word(3), word(5));
        if kind != PT_LOAD || address >= KERNEL_IMAGE {
            continue;
        }
        if physical != NO_PHYSICAL_ADDRESS {
            if lowest_ram.is_none_or(|(_, lowest)| physical < lowest) {
                lowest_ram = Some((address, physical));
            }
        } else if len < VMALLOC_LEN && lowest_pages.is_none_or(|lowest| address < lowest) {
            lowest_pages = Some(address);
        }
    }
    let (ram, physical) = lowest_ram.ok_or(Failure::Unexpected("it lists no RAM"))?;
    let pages = lowest_pages.ok_or(Failure::Unexpected("it lists no page structures"))?;
    let first_page = physical / PAGE_LEN as u64 * page_size_of / PAGE_LEN as u64 * PAGE_LEN as u64;
    match (ram.checked_sub(physical), pages.checked_sub(first_page)) {
        (Some(page_offset_base), Some(vmemmap_base)) => Ok((page_offset_base, vmemmap_base)),
        _ => Err(Failure::Unexpected("its addresses contradict each other")),
    }
}
