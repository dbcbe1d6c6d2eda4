//! The kernel side's memory, mapped: control blocks, tables of drops, and the rings' segments.
//!
//! Apart from the programs, so that rings can be read while programs come and go. Knows how the
//! maps are divided among the CPUs, and nothing of what is in them.

use std::io;

use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use skbcap_common::{Control, control::InterfaceDropsTable};

use super::{cpu_words::CpuWords, mapped::Mapped};
use crate::{
    geometry::Geometry,
    ring::{Memory, Prepare},
};

/// How many entries each map has, and who they are for.
#[derive(Clone, Debug)]
pub(super) struct Division {
    /// How each ring's memory is divided.
    pub(super) geometry: Geometry,
    /// The CPUs that have a ring, in the rings' order.
    pub(super) online: Vec<u32>,
    /// Possible CPUs.
    pub(super) cpus: usize,
    /// Whether each of those CPUs has a second ring, of one segment, for frames that are sent while
    /// the CPU is in the middle of another one.
    pub(super) second_rings: bool,
}

impl Division {
    /// Control blocks, and as many tables of drops: two for each possible CPU.
    pub(super) fn blocks(&self) -> usize {
        2 * self.cpus
    }

    pub(super) fn segments(&self) -> usize {
        let second = usize::from(self.second_rings);
        self.online.len() * (self.geometry.segments as usize + second)
    }

    /// The geometry of the second rings.
    fn second(&self) -> Geometry {
        Geometry {
            segments: 1,
            ..self.geometry
        }
    }

    /// Where the segments of a control block's ring begin, if it has one, and how they are divided.
    fn ring(&self, block: usize) -> (Option<usize>, Geometry) {
        let (cpu, is_second) = (block % self.cpus, block >= self.cpus);
        let place = self
            .online
            .iter()
            .position(|&online| online as usize == cpu);
        let segments = self.geometry.segments as usize;
        if is_second {
            let behind = self.online.len() * segments;
            let first = place.filter(|_| self.second_rings);
            (first.map(|place| behind + place), self.second())
        } else {
            (place.map(|place| place * segments), self.geometry)
        }
    }
}

/// The maps, mapped into memory.
#[derive(Debug)]
pub struct Maps {
    division: Division,
    control: Mapped,
    drops: Mapped,
    segments: Mapped,
}

impl Maps {
    /// Maps the object's maps, and tells the programs which ring is whose. `words` are those of each
    /// possible CPU.
    ///
    /// # Errors
    ///
    /// The map's name and what the kernel said.
    pub(super) fn new(
        ebpf: &Ebpf,
        division: Division,
        words: &[CpuWords],
    ) -> Result<Self, (&'static str, io::Error)> {
        let map = |name, entries, size| {
            Mapped::new(data(ebpf, name), entries, size).map_err(|source| (name, source))
        };
        let blocks = division.blocks();
        let value_len = division.geometry.value_len as usize;
        let this = Self {
            control: map("CONTROL", blocks, size_of::<Control>())?,
            drops: map("DROPS", blocks, size_of::<InterfaceDropsTable>())?,
            segments: map("SEGMENTS", division.segments(), value_len)?,
            division,
        };
        for block in 0..blocks {
            let words = words[block % this.division.cpus];
            this.memory(block).prepare(Prepare {
                first_segment: this.division.ring(block).0.map(|first| first as u32),
                preempt_count_addr: words.preempt_count,
                current_kprobe_addr: words.current_kprobe,
                bpf_prog_active_addr: words.bpf_prog_active,
            });
        }
        Ok(this)
    }

    /// The memory of each ring, those of the CPUs that were online at the start first; and the
    /// control blocks of the others, which have counters only.
    #[must_use]
    pub fn memories(&self) -> Vec<Memory<'_>> {
        let blocks = 0..self.division.blocks();
        let (with, without): (Vec<_>, Vec<_>) =
            blocks.partition(|&block| self.division.ring(block).0.is_some());
        let all = with.into_iter().chain(without);
        all.map(|block| self.memory(block)).collect()
    }

    /// Lets the kprobe leave frames to the tracepoint, where a program is that copies them cheaper.
    pub(super) fn defer(&self) {
        for block in 0..self.division.blocks() {
            self.memory(block).defer();
        }
    }

    /// Tells the programs that sockets are watched.
    pub(super) fn watch(&self) {
        for block in 0..self.division.blocks() {
            self.memory(block).watch();
        }
    }

    /// Tells the programs that the capture is over: those that begin after this do nothing.
    pub fn end(&self) {
        for block in 0..self.division.blocks() {
            self.memory(block).end();
        }
    }

    /// A control block with its ring's segments. One without a ring is given another's, and neither
    /// writes nor reads there.
    fn memory(&self, block: usize) -> Memory<'_> {
        let (first, geometry) = self.division.ring(block);
        Memory::new(
            self.control.values(block, 1),
            self.drops.values(block, 1),
            self.segments
                .values(first.unwrap_or(0), geometry.segments as usize),
            geometry,
        )
    }
}

/// Maps a map that has one word.
pub(super) fn one_word(ebpf: &Ebpf, name: &str) -> io::Result<Mapped> {
    Mapped::new(data(ebpf, name), 1, 8)
}

/// A map of the object, which is an array.
fn data<'a>(ebpf: &'a Ebpf, name: &str) -> &'a MapData {
    match ebpf.map(name) {
        Some(Map::Array(data)) => data,
        other => panic!("{name} in the object is {other:?}, not an array"),
    }
}
