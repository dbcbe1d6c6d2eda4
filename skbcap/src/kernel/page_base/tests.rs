use std::collections::HashMap;
use std::io;

use super::kcore::from_headers;
use super::search::{candidates, direct_map};
use super::*;
use crate::kernel::btf::synthetic::Builder;
use crate::kernel::peek::{Doorbell, PerCpuValue};

const GIB: u64 = 1 << 30;
const BASE: u64 = 0xffff_9a40_0000_0000;
const PAGES: u64 = 0xffff_eb80_c000_0000;
const TEXT: u64 = 0xffff_ffff_8100_0000;

/// Kernel memory of some words, and one page that `stamp` writes to.
#[derive(Default)]
struct Memory {
    words: HashMap<u64, u64>,
    stamped_at: u64,
    stamped: Option<[u8; STAMP_LEN]>,
}

impl Peek for Memory {
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        let stamped = self.stamped.filter(|_| address == self.stamped_at);
        if let Some(bytes) = stamped {
            buffer.copy_from_slice(&bytes);
            return Ok(());
        }
        for (index, word) in buffer.chunks_mut(8).enumerate() {
            let found = self.words.get(&(address + 8 * index as u64));
            let bytes = found
                .ok_or(io::Error::from_raw_os_error(libc::EFAULT))?
                .to_ne_bytes();
            word.copy_from_slice(&bytes[..word.len()]);
        }
        Ok(())
    }
    fn read_on(&mut self, _cpu: u32, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read(address, buffer)
    }
    fn current(&mut self) -> io::Result<u64> {
        Ok(BASE + 5 * GIB + 0x1234_5678)
    }
    fn doorbell(&mut self) -> io::Result<Doorbell> {
        Ok(Doorbell {
            map: 0x1000,
            consumer_page: 0,
        })
    }
    fn stamp(&mut self, bytes: &[u8; STAMP_LEN]) {
        self.stamped = Some(*bytes);
    }
    fn per_cpu(&mut self, _cpu: u32) -> io::Result<PerCpuValue> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The structures that lead from a ring buffer's map to its pages.
fn ring_buffer_types() -> Btf {
    let mut builder = Builder::new();
    let long = builder.int("long", 8);
    let pointer = builder.pointer(0);
    builder.structure("page", 64, &[]);
    builder.structure("bpf_ringbuf_map", 320, &[("rb", pointer, 64, 0)]);
    let fields = [
        ("pages", pointer, 128, 0),
        ("consumer_pos", long, 4096 * 8, 0),
    ];
    builder.structure("bpf_ringbuf", 12288, &fields);
    Btf::parse(builder.build()).unwrap()
}

/// A kernel whose ring buffer's consumer page lies in frame 0x300.
fn kernel() -> Memory {
    let words = [
        (0x1008, 0x2000),
        (0x2010, 0x3000),
        (0x3008, PAGES + 0x300 * 64),
        (TEXT, BASE),
        (TEXT + 8, PAGES),
    ];
    let stamped_at = BASE + 0x300 * 4096 + (4096 - 64);
    Memory {
        words: words.into(),
        stamped_at,
        stamped: None,
    }
}

fn symbols() -> Symbols {
    let text = format!(
        "{TEXT:016x} D page_offset_base\n{:016x} D vmemmap_base\n",
        TEXT + 8
    );
    Symbols::scan(text.as_bytes(), SYMBOLS).unwrap()
}

fn only(way: Way) -> Ways {
    Ways::NONE.with(way)
}

#[test]
fn symbols_are_dereferenced_and_proved() {
    let turn = Turn::new(&ring_buffer_types()).unwrap();
    let mut memory = kernel();
    assert_eq!(
        dereference(PAGE_OFFSET_BASE, &symbols(), &mut memory).unwrap(),
        BASE
    );
    assert_eq!(
        turn.consumer_page(0x1000, &mut memory).unwrap(),
        PAGES + 0x300 * 64
    );
    let bases = PageBases {
        page_offset_base: BASE,
        vmemmap_base: PAGES,
        way: Way::Kallsyms,
    };
    assert_eq!(
        address_of(PAGES + 0x300 * 64, &bases, 64),
        Some(BASE + 0x30_0000)
    );
    assert_eq!(address_of(PAGES - 64, &bases, 64), None);
}

#[test]
fn wrong_bases_are_not_believed() {
    let mut memory = kernel();
    memory.words.insert(TEXT + 8, PAGES - GIB);
    let failed = find(
        only(Way::Kallsyms),
        &ring_buffer_types(),
        &symbols(),
        &mut memory,
    );
    let NotFound(failures) = failed.unwrap_err();
    assert_eq!(failures.len(), 3);
    assert!(
        matches!(failures[0].1, Failure::Io { .. }),
        "{:?}",
        failures[0]
    );
    assert!(matches!(failures[1].1, Failure::NotTried));
    assert_eq!(
        memory.stamped,
        Some([0; STAMP_LEN]),
        "the stamp is wiped away"
    );

    memory.words.insert(TEXT + 8, PAGES + 8);
    let failed = find(
        only(Way::Kallsyms),
        &ring_buffer_types(),
        &symbols(),
        &mut memory,
    );
    assert!(
        failed
            .unwrap_err()
            .to_string()
            .contains("no multiples of 1 GiB")
    );
}

#[test]
fn each_failure_has_its_reason() {
    let failed = find(Ways::NONE, &ring_buffer_types(), &symbols(), &mut kernel()).unwrap_err();
    assert_eq!(
        failed.to_string(),
        "kallsyms: not tried; kcore: not tried; search: not tried"
    );
    let failed = find(
        only(Way::Kallsyms),
        &ring_buffer_types(),
        &Symbols::default(),
        &mut kernel(),
    );
    assert!(
        failed
            .unwrap_err()
            .to_string()
            .starts_with("kallsyms: page_offset_base is not listed")
    );
}

#[test]
fn the_search_goes_down_to_the_page() {
    let mut memory = kernel();
    let wanted: Vec<u8> = (0..64).collect();
    for (index, word) in wanted.chunks(8).enumerate() {
        let address = BASE + 0x800 * 4096 + 8 * index as u64;
        memory
            .words
            .insert(address, u64::from_ne_bytes(word.try_into().unwrap()));
        // A wrong candidate reads other memory.
        memory.words.insert(address + 2 * GIB, 7);
    }
    let current = memory.current().unwrap();
    assert_eq!(
        direct_map(&wanted, 0x800, current, 6, &mut memory),
        Some(BASE)
    );
    assert_eq!(
        direct_map(&wanted, 0x800, current, 5, &mut memory),
        None,
        "out of candidates"
    );
    assert_eq!(direct_map(&wanted, 0x801, current, 100, &mut memory), None);
    assert_eq!(direct_map(&wanted, 0x800, GIB, 100, &mut memory), None);
}

#[test]
fn memory_tells_how_many_candidates_there_are() {
    let iomem = "\
00001000-0009fbff : System RAM
000a0000-000bffff : PCI Bus 0000:00
00100000-bfffffff : System RAM
  01000000-01ffffff : Kernel code
100000000-63fffffff : System RAM
";
    assert_eq!(candidates(iomem), 25);
    assert_eq!(candidates("00000000-00000000 : System RAM\n"), 64 << 10);
    assert_eq!(candidates(""), 64 << 10);
}

fn header(kind: u32, address: u64, physical: u64, len: u64) -> Vec<u8> {
    let words = [u64::from(kind), 0, address, physical, len, len, 4096];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn kcore_tells_both() {
    let headers = [
        header(4, 0, 0, 0),
        header(1, 0xffff_ffff_8100_0000, 0x100_0000, 0x200_0000),
        header(1, 0xffff_b000_0000_0000, u64::MAX, (32 << 40) - 1),
        header(1, 0xffff_ffff_c000_0000, u64::MAX, 0x3f00_0000),
        header(1, BASE + (4 << 30), 4 << 30, 2 << 30),
        header(1, PAGES + (4 << 30) / 64, u64::MAX, 0x200_0000),
        header(1, BASE + 0x10_0000, 0x10_0000, 0xbff0_0000),
        header(1, PAGES + 0x4000, u64::MAX, 0x300_0000),
    ];
    assert_eq!(from_headers(&headers.concat(), 64).unwrap(), (BASE, PAGES));
    assert!(from_headers(&headers[..4].concat(), 64).is_err());
    assert!(from_headers(&headers[..5].concat(), 64).is_err());
    assert!(from_headers(&[1; 55], 64).is_err());
}

#[test]
fn ways_are_read_from_a_list() {
    assert_eq!("kallsyms,kcore,search".parse(), Ok(Ways::ALL));
    assert_eq!("none".parse(), Ok(Ways::NONE));
    assert_eq!("search".parse(), Ok(only(Way::Search)));
    assert!("".parse::<Ways>().is_err());
    let error = "kcore,magic".parse::<Ways>().unwrap_err();
    assert!(error.to_string().starts_with("\"magic\" is no way"));
}
