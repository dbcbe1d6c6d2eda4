//! The two addresses that turn a `struct page` into the address of its bytes: the first address of
//! the direct map (`page_offset_base`) and the page structure of frame 0 (`vmemmap_base`).
//!
//! Owns the three ways to find them, and the proof that what was found is right. Must not know:
//! what the programs do with them.
//!
//! On x86-64 `address = page_offset_base + ((page - vmemmap_base) / sizeof(struct page)) * 4096`:
//! `arch/x86/include/asm/page.h`, `include/asm-generic/memory_model.h` (`CONFIG_SPARSEMEM_VMEMMAP`)
//! at 5.10 to 7.2. Both bases are random from one boot to the next (`arch/x86/mm/kaslr.c`).

use std::fmt;
use std::io;

use super::btf::{Btf, BtfError};
use super::kallsyms::{Symbol, Symbols};
use super::peek::{PAGE_LEN, Peek, STAMP_LEN};

mod kcore;
mod own_page;
mod search;
#[cfg(test)]
mod tests;
mod ways;

pub use ways::{UnknownWay, Way, Ways};

use own_page::OwnPage;

/// The names that [`find`] wants to have been looked up.
pub const SYMBOLS: &[&[&str]] = &[&[PAGE_OFFSET_BASE], &[VMEMMAP_BASE]];

pub(super) const PAGE_OFFSET_BASE: &str = "page_offset_base";
const VMEMMAP_BASE: &str = "vmemmap_base";

/// Both are multiples of this (`arch/x86/mm/kaslr.c:kernel_randomize_memory@5.10`: whole PUDs).
const ALIGNMENT: u64 = 1 << 30;

/// Both bases, proved right, and the way that gave them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageBases {
    /// The direct map's first address.
    pub page_offset_base: u64,
    /// The address of frame 0's `struct page`.
    pub vmemmap_base: u64,
    /// Which way found them.
    pub way: Way,
}

/// Why one way failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It was taken away, for a test.
    #[error("not tried")]
    NotTried,
    /// kallsyms lists no data symbols.
    #[error("{0} is not listed")]
    NotListed(&'static str),
    /// kallsyms shows no addresses.
    #[error("addresses are hidden (kptr_restrict, or CAP_SYSLOG is missing)")]
    Hidden,
    /// A system call or a read of kernel memory failed.
    #[error("{what}: {source}")]
    Io {
        /// What was to be done.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// What was read makes no sense.
    #[error("{0}")]
    Unexpected(&'static str),
    /// BTF does not describe what the search walks through.
    #[error(transparent)]
    Btf(#[from] BtfError),
}

/// That no way found the bases, and why each of them failed.
#[derive(Debug, thiserror::Error)]
#[error("{}", list(.0))]
pub struct NotFound(pub Vec<(Way, Failure)>);

fn list(failures: &[(Way, Failure)]) -> String {
    let texts: Vec<String> = failures
        .iter()
        .map(|(way, failure)| format!("{way}: {failure}"))
        .collect();
    texts.join("; ")
}

/// Finds both bases by the first of `ways` that works, and proves them by a whole turn.
///
/// Minimum kernel: 5.10. Reads kernel memory (`CAP_BPF` and `CAP_PERFMON`); the search also needs
/// `CAP_SYS_ADMIN`, for the frame numbers in `/proc/self/pagemap`.
///
/// # Errors
///
/// [`NotFound`]: every way failed, or gave bases that the proof contradicts.
pub fn find(
    ways: Ways,
    btf: &Btf,
    symbols: &Symbols,
    peek: &mut impl Peek,
) -> Result<PageBases, NotFound> {
    let mut failures = Vec::new();
    for way in Way::ALL {
        let found = if ways.contains(way) {
            try_way(way, btf, symbols, peek)
        } else {
            Err(Failure::NotTried)
        };
        match found {
            Ok(bases) => return Ok(bases),
            Err(failure) => failures.push((way, failure)),
        }
    }
    Err(NotFound(failures))
}

fn try_way(
    way: Way,
    btf: &Btf,
    symbols: &Symbols,
    peek: &mut impl Peek,
) -> Result<PageBases, Failure> {
    let turn = Turn::new(btf)?;
    let (page_offset_base, vmemmap_base) = match way {
        Way::Kallsyms => (
            dereference(PAGE_OFFSET_BASE, symbols, peek)?,
            dereference(VMEMMAP_BASE, symbols, peek)?,
        ),
        Way::Kcore => kcore::bases(turn.page_size_of)?,
        Way::Search => search::bases(&turn, peek)?,
    };
    if page_offset_base % ALIGNMENT != 0 || vmemmap_base % ALIGNMENT != 0 {
        return Err(Failure::Unexpected("the bases are no multiples of 1 GiB"));
    }
    let bases = PageBases {
        page_offset_base,
        vmemmap_base,
        way,
    };
    turn.prove(&bases, peek)?;
    Ok(bases)
}

fn dereference(
    name: &'static str,
    symbols: &Symbols,
    peek: &mut impl Peek,
) -> Result<u64, Failure> {
    match symbols.get(name) {
        Symbol::At(address) => peek
            .read_u64(address)
            .map_err(io_failure("reading kernel memory")),
        Symbol::Hidden => Err(Failure::Hidden),
        Symbol::Absent => Err(Failure::NotListed(name)),
    }
}

/// What is needed to turn the page structures of our own ring buffer into addresses.
struct Turn {
    page_size_of: u64,
    map_rb: u64,
    rb_pages: u64,
    /// Which of the ring buffer's pages is the consumer's.
    consumer: u64,
}

impl Turn {
    fn new(btf: &Btf) -> Result<Self, Failure> {
        let offset = |structure, member| -> Result<u64, BtfError> {
            Ok(btf.member(structure, member)?.byte_offset().into())
        };
        let page_size_of = u64::from(btf.size_of(btf.structure("page")?)?);
        if page_size_of == 0 {
            return Err(Failure::Unexpected("struct page has no size"));
        }
        Ok(Self {
            page_size_of,
            map_rb: offset("bpf_ringbuf_map", "rb")?,
            rb_pages: offset("bpf_ringbuf", "pages")?,
            consumer: offset("bpf_ringbuf", "consumer_pos")? / PAGE_LEN as u64,
        })
    }

    /// The address of the `struct page` of the doorbell's consumer page: what a fragment holds.
    /// `kernel/bpf/ringbuf.c:bpf_ringbuf_area_alloc@5.10` keeps all pages in one array.
    fn consumer_page(&self, map: u64, peek: &mut impl Peek) -> Result<u64, Failure> {
        let mut follow = |address: u64| {
            peek.read_u64(address)
                .map_err(io_failure("following our own ring buffer"))
        };
        let ring_buffer = follow(map.wrapping_add(self.map_rb))?;
        let pages = follow(ring_buffer.wrapping_add(self.rb_pages))?;
        follow(pages.wrapping_add(8 * self.consumer))
    }

    /// Fresh bytes in two pages of our own must be found again: in the doorbell's by way of its
    /// page structure, as a fragment's will be; and in one whose frame number pagemap tells, if it
    /// does.
    fn prove(&self, bases: &PageBases, peek: &mut impl Peek) -> Result<(), Failure> {
        let stamp = random_bytes()?;
        let doorbell = peek
            .doorbell()
            .map_err(io_failure("asking for our own ring buffer"))?;
        let page = self.consumer_page(doorbell.map, peek)?;
        peek.stamp(&stamp);
        let read = address_of(page, bases, self.page_size_of)
            .ok_or(Failure::Unexpected(
                "a page structure lies below vmemmap_base",
            ))
            .and_then(|address| {
                let mut bytes = [0; STAMP_LEN];
                let end = address.wrapping_add((PAGE_LEN - STAMP_LEN) as u64);
                peek.read(end, &mut bytes)
                    .map_err(io_failure("reading a page of our own"))?;
                Ok(bytes)
            });
        peek.stamp(&[0; STAMP_LEN]);
        if read? != stamp {
            return Err(Failure::Unexpected(
                "a page of our own was not found where it should be",
            ));
        }

        let Ok((own, frame)) = OwnPage::located() else {
            return Ok(());
        };
        let mut bytes = [0; STAMP_LEN];
        let address = bases.page_offset_base.wrapping_add(frame * PAGE_LEN as u64);
        peek.read(address, &mut bytes)
            .map_err(io_failure("reading a second page of our own"))?;
        // A page may be moved to another frame, even a locked one: only one that stayed counts.
        if bytes != own.bytes() && own.frame().is_ok_and(|now| now == frame) {
            return Err(Failure::Unexpected(
                "a second page of our own was not found",
            ));
        }
        Ok(())
    }
}

/// The turn that the programs make. `None` for a page structure outside the array.
fn address_of(page: u64, bases: &PageBases, page_size_of: u64) -> Option<u64> {
    let frame = page.checked_sub(bases.vmemmap_base)? / page_size_of;
    bases
        .page_offset_base
        .checked_add(frame.checked_mul(PAGE_LEN as u64)?)
}

fn io_failure(what: &'static str) -> impl Fn(io::Error) -> Failure {
    move |source| Failure::Io { what, source }
}

fn random_bytes() -> Result<[u8; STAMP_LEN], Failure> {
    own_page::random().map_err(io_failure("reading /dev/urandom"))
}

impl fmt::Display for PageBases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "found by {}", self.way)
    }
}
