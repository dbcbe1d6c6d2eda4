use std::collections::HashMap;

use super::*;
use crate::kernel::btf::synthetic::Builder;
use crate::kernel::peek::{Doorbell, PerCpuValue, STAMP_LEN};

const MAP: u64 = 0xffff_8881_0000_1000;
const PPTR: u64 = 0x6079_5baf_f088;

#[derive(Default)]
struct Memory(HashMap<u64, u64>);

fn offset_of(cpu: u32) -> u64 {
    0xffff_8886_a410_7000 + u64::from(cpu) * 0x10_0000
}

impl Peek for Memory {
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        let word = self
            .0
            .get(&address)
            .ok_or(io::Error::from_raw_os_error(libc::EFAULT))?;
        let bytes = word.to_ne_bytes();
        buffer.copy_from_slice(&bytes[..buffer.len()]);
        Ok(())
    }
    fn read_on(&mut self, _cpu: u32, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read(address, buffer)
    }
    fn current(&mut self) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn doorbell(&mut self) -> io::Result<Doorbell> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn stamp(&mut self, _bytes: &[u8; STAMP_LEN]) {}
    fn per_cpu(&mut self, cpu: u32) -> io::Result<PerCpuValue> {
        Ok(PerCpuValue {
            value: offset_of(cpu).wrapping_add(PPTR),
            map: MAP,
        })
    }
}

/// Per-CPU variables whose section begins at `start`, on CPUs 0 and 1.
fn kernel(start: u64) -> Memory {
    let mut memory = Memory::default();
    memory.0.insert(MAP + 312, PPTR);
    memory.0.insert(MAP, 0xffff_ffff_8242_0040);
    for cpu in [0, 1] {
        let this_cpu_off = offset_of(cpu).wrapping_add(start).wrapping_add(0x15028);
        memory.0.insert(this_cpu_off, offset_of(cpu));
    }
    memory
}

/// `hot`: as 6.2 to 6.14, where the count is a member of `pcpu_hot`.
fn types(hot: bool) -> Btf {
    let mut builder = Builder::new();
    let int = builder.int("int", 4);
    let long = builder.int("unsigned long", 8);
    let pointers = builder.array(long, 0);
    builder.structure("bpf_map", 256, &[("ops", long, 0, 0)]);
    builder.structure("bpf_array", 320, &[("pptrs", pointers, 312 * 8, 0)]);
    let pcpu_hot = builder.structure(
        "pcpu_hot",
        64,
        &[("current", long, 0, 0), ("preempt_count", int, 64, 0)],
    );
    let this_cpu_off = builder.variable("this_cpu_off", long);
    let count = if hot {
        builder.variable("pcpu_hot", pcpu_hot)
    } else {
        builder.variable("__preempt_count", int)
    };
    builder.section(
        ".data..percpu",
        &[(this_cpu_off, 0x15028, 8), (count, 0x15030, 4)],
    );
    Btf::parse(builder.build()).unwrap()
}

fn symbols(text: &str) -> Symbols {
    Symbols::scan(text.as_bytes(), SYMBOLS).unwrap()
}

fn count(memory: &mut Memory, hot: bool, text: &str) -> Result<u64, Unknown> {
    let btf = types(hot);
    let map = OwnMap::locate(&btf, &BTreeSet::from([0, 1]), memory).unwrap();
    assert_eq!(
        map.offsets,
        BTreeMap::from([(0, offset_of(0)), (1, offset_of(1))])
    );
    count_from_zero(&btf, &symbols(text), &map, memory)
}

#[test]
fn kallsyms_tells_the_count() {
    let text = "0000000000035370 A __preempt_count\nffffffff81000000 T _stext\n";
    assert_eq!(count(&mut kernel(0), false, text).unwrap(), 0x35370);
    let text = "0000000000035370 A pcpu_hot\nffffffff81000000 T _stext\n";
    assert_eq!(count(&mut kernel(0), true, text).unwrap(), 0x35378);
}

#[test]
fn btf_tells_it_where_the_section_begins_at_zero() {
    assert_eq!(count(&mut kernel(0), true, "").unwrap(), 0x15038);
    assert_eq!(count(&mut kernel(0), false, "").unwrap(), 0x15030);
}

#[test]
fn the_section_is_found_in_the_image() {
    let start = 0xffff_ffff_83af_9000;
    let text = "ffffffff837f8910 T _einittext\n";
    assert_eq!(
        count(&mut kernel(start), false, text).unwrap(),
        start + 0x15030
    );
    let hidden = "0000000000000000 T _einittext\n";
    assert_eq!(
        count(&mut kernel(start), false, hidden).unwrap(),
        start + 0x15030
    );
    let elsewhere = &mut kernel(0x1234_5000);
    assert!(matches!(
        count(elsewhere, false, text),
        Err(Unknown::NoStart)
    ));
}

#[test]
fn a_count_must_show_what_its_cpu_does() {
    assert!(Place::Task.fits(0x8000_0001));
    assert!(Place::Task.fits(0x8000_0000));
    for value in [0, 1, 0x8000_0100, 0x8001_0001, 0x8000_00ff, 0xffff_ffff] {
        assert!(!Place::Task.fits(value), "{value:#x}");
    }
    assert!(Place::Interrupt.fits(0x8001_0001));
    assert!(Place::Interrupt.fits(0x0001_0101));
    for value in [
        0,
        0x8000_0001,
        0x8002_0001,
        0x8011_0001,
        0x0001_00ff,
        0xffff_ffff,
    ] {
        assert!(!Place::Interrupt.fits(value), "{value:#x}");
    }
    let mut memory = Memory([(8, 0x8000_0100)].into());
    let error = check(3, 8, Place::Task, &mut memory)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "what looked like CPU 3's count is 0x80000100 in its Task"
    );
}

#[test]
fn a_thread_can_be_moved_and_comes_back() {
    let before = affinity::allowed().unwrap();
    {
        let _whole = affinity::RestoreAtEnd(before.clone());
        let first = before.iter().copied().take(1).collect();
        affinity::set(&first).unwrap();
        assert_eq!(affinity::allowed().unwrap(), first);
    }
    assert_eq!(affinity::allowed().unwrap(), before);
}
