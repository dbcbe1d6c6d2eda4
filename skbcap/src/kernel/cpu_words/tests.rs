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
    assert!(OLDER.fits(Place::Task, 0x8000_0001));
    assert!(OLDER.fits(Place::Task, 0x8000_0000));
    for value in [0, 1, 0x8000_0100, 0x8001_0001, 0x8000_00ff, 0xffff_ffff] {
        assert!(!OLDER.fits(Place::Task, value), "{value:#x}");
    }
    assert!(OLDER.fits(Place::Interrupt, 0x8001_0001));
    assert!(OLDER.fits(Place::Interrupt, 0x0001_0101));
    for value in [
        0,
        0x8000_0001,
        0x8002_0001,
        0x8011_0001,
        0x0001_00ff,
        0x0100_0001,
        0xffff_ffff,
    ] {
        assert!(!OLDER.fits(Place::Interrupt, value), "{value:#x}");
    }
    let mut memory = Memory([(8, 0x8000_0100)].into());
    let error = check(OLDER, 3, 8, Place::Task, &mut memory)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "what looked like CPU 3's count is 0x80000100 in its Task"
    );
}

const OLDER: Count = Count {
    counts_disabled: false,
    is_wide: false,
};
/// Since 7.3.
const NEWER: Count = Count {
    counts_disabled: true,
    is_wide: true,
};

#[test]
fn a_count_of_eight_bytes_must_show_it_too() {
    const UPPERMOST: u64 = 1 << 63;
    for task in [UPPERMOST, UPPERMOST + 1, 1 << 32] {
        assert!(NEWER.fits(Place::Task, task), "{task:#x}");
    }
    for value in [
        0,
        1,
        UPPERMOST + 0x8000_0000,
        UPPERMOST + (1 << 32),
        UPPERMOST + 0x1_0000,
        UPPERMOST + 0x100_0000,
    ] {
        assert!(!NEWER.fits(Place::Task, value), "{value:#x}");
    }
    assert!(NEWER.fits(Place::Interrupt, UPPERMOST + 0x100_0001));
    assert!(NEWER.fits(Place::Interrupt, 0x100_0101));
    for value in [0, 0x1_0001, 0x8100_0001, 0x200_0001, 0x1100_0001] {
        assert!(!NEWER.fits(Place::Interrupt, value), "{value:#x}");
    }
    let mut memory = Memory([(8, UPPERMOST + 2)].into());
    check(NEWER, 3, 8, Place::Task, &mut memory).unwrap();
}

#[test]
fn each_kernels_bits_are_its_own() {
    let bits = |hardirq_mask, nmi_mask, nmi_adds| PreemptBits {
        hardirq_mask,
        nmi_mask,
        nmi_adds,
    };
    assert_eq!(OLDER.bits(), bits(0xf_0000, 0xf0_0000, 0x11_0000));
    assert_eq!(NEWER.bits(), bits(0xf00_0000, 0xf000_0000, 0x1100_0000));
    // As on processors whose "needs rescheduling" stays in the count.
    let between = Count {
        is_wide: false,
        ..NEWER
    };
    assert_eq!(between.bits(), bits(0xf00_0000, 0x1000_0000, 0x1100_0000));
    assert_eq!(Count::of(&types(false)).unwrap(), OLDER);
    assert_eq!(Count::of(&types(true)).unwrap(), OLDER);
    assert_eq!(Count::of(&newer_types()).unwrap(), NEWER);
}

fn newer_types() -> Btf {
    let mut builder = Builder::new();
    let long = builder.int("unsigned long", 8);
    let count = builder.variable("__preempt_count", long);
    let disabled = builder.variable("local_interrupt_disable_state", long);
    builder.section(
        ".data..percpu",
        &[(count, 0x18028, 8), (disabled, 0x1ccb8, 8)],
    );
    Btf::parse(builder.build()).unwrap()
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
