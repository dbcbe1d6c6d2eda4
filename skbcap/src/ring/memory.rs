//! A ring's memory: control block, table of drops and segments, as atomic words.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::geometry::Geometry;
use skbcap_common::{
    Control, InterfaceDrops,
    control::{INTERFACE_DROPS, InterfaceDropsTable, NO_RING},
};

/// One ring's memory, shared with its writer.
#[derive(Clone, Copy, Debug)]
pub struct Memory<'m> {
    control: &'m [AtomicU64],
    drops: &'m [AtomicU64],
    segments: &'m [AtomicU64],
    geometry: Geometry,
}

/// What a ring's writer is told. Addresses are 0 where they are not known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prepare {
    /// The number of the ring's first segment; `None`: there is no ring.
    pub first_segment: Option<u32>,
    /// The address of the CPU's `__preempt_count`.
    pub preempt_count_addr: u64,
    /// The address of the CPU's `current_kprobe`.
    pub current_kprobe_addr: u64,
    /// The address of the CPU's `bpf_prog_active`.
    pub bpf_prog_active_addr: u64,
}

const CONTROL_WORDS: usize = size_of::<Control>() / 8;
const DROPS_WORDS: usize = size_of::<InterfaceDropsTable>() / 8;

/// The place of a field of [`Control`] among its words.
macro_rules! word {
    ($field:ident) => {
        const { core::mem::offset_of!(skbcap_common::Control, $field) / 8 }
    };
}
pub(super) use word;

impl<'m> Memory<'m> {
    /// Puts a ring's parts together.
    ///
    /// # Panics
    ///
    /// When a part's length isn't what the contract and `geometry` say.
    #[must_use]
    pub fn new(
        control: &'m [AtomicU64],
        drops: &'m [AtomicU64],
        segments: &'m [AtomicU64],
        geometry: Geometry,
    ) -> Self {
        assert_eq!(control.len(), CONTROL_WORDS, "a control block's length");
        assert_eq!(drops.len(), DROPS_WORDS, "a drop table's length");
        assert_eq!(
            segments.len(),
            geometry.ring_bytes() as usize / 8,
            "the segments' length"
        );
        assert!(
            geometry.segments > 0 && geometry.segment_len > 0,
            "an empty ring"
        );
        assert!(
            geometry.segment_len.is_multiple_of(8) && geometry.value_len.is_multiple_of(8),
            "records' alignment"
        );
        Self {
            control,
            drops,
            segments,
            geometry,
        }
    }

    /// How the memory is divided.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// A word of the control block; see `word!`.
    pub(super) fn control(&self, word: usize) -> &'m AtomicU64 {
        &self.control[word]
    }

    /// The words of segment number `segment` (counted without end), slack included.
    pub(super) fn segment(&self, segment: u32) -> &'m [AtomicU64] {
        let words = self.geometry.value_len as usize / 8;
        let index = (segment % self.geometry.segments) as usize;
        &self.segments[index * words..][..words]
    }

    /// A counter of the control block, which only grows.
    pub(super) fn counter(&self, word: usize) -> u64 {
        self.control[word].load(Ordering::Relaxed)
    }

    /// Tells the writer what it has to know. Before it starts.
    pub fn prepare(&self, prepare: Prepare) {
        let addresses = [
            (word!(preempt_count_addr), prepare.preempt_count_addr),
            (word!(current_kprobe_addr), prepare.current_kprobe_addr),
            (word!(bpf_prog_active_addr), prepare.bpf_prog_active_addr),
        ];
        for (word, address) in addresses {
            self.control(word).store(address, Ordering::Relaxed);
        }
        self.control(word!(wake_at))
            .store(skbcap_common::control::NEVER, Ordering::Relaxed);
        // `segments` is the upper half of this word on a little-endian machine.
        let first = u64::from(prepare.first_segment.unwrap_or(NO_RING));
        let segments = u64::from(self.geometry.segments);
        self.control(word!(first_segment))
            .store(first | segments << 32, Ordering::Release);
    }

    /// Lets the kprobe leave frames to the tracepoint that no egress can change in between.
    pub fn defer(&self) {
        self.control(word!(defers)).fetch_or(1, Ordering::Relaxed);
    }

    /// Tells the writer that sockets are watched, so that it is worth while to ask whose one is.
    pub fn watch(&self) {
        // The upper half of its word on a little-endian machine, as `segments` is.
        self.control(word!(watched))
            .fetch_or(1 << 32, Ordering::Relaxed);
    }

    /// Tells the writer to write no more.
    pub fn end(&self) {
        self.control(word!(over)).store(1, Ordering::Relaxed);
    }

    /// The ring's drops by interface.
    pub fn interface_drops(&self) -> impl Iterator<Item = InterfaceDrops> + 'm {
        let drops = self.drops;
        (0..INTERFACE_DROPS).filter_map(move |slot| {
            let key = drops[2 * slot].load(Ordering::Acquire);
            let dropped = drops[2 * slot + 1].load(Ordering::Relaxed);
            // `netns` is the first field and so, on a little-endian machine, the lower half.
            let entry = InterfaceDrops {
                netns: key as u32,
                ifindex: (key >> 32) as u32,
                dropped,
            };
            (entry.ifindex != 0).then_some(entry)
        })
    }

    /// For the writer: where an interface's drops stand.
    pub(super) fn drops_words(&self) -> &'m [AtomicU64] {
        self.drops
    }
}

const _: () = assert!(
    cfg!(target_endian = "little"),
    "the contract is little-endian"
);

/// A ring's memory of our own, for a recording's records and for tests.
#[derive(Debug)]
pub struct OwnedMemory {
    control: Vec<AtomicU64>,
    drops: Vec<AtomicU64>,
    segments: Vec<AtomicU64>,
    geometry: Geometry,
}

impl OwnedMemory {
    /// Empty memory for a ring of this geometry.
    #[must_use]
    pub fn new(geometry: Geometry) -> Self {
        let zeros = |words| (0..words).map(|_| AtomicU64::new(0)).collect();
        let memory = Self {
            control: zeros(CONTROL_WORDS),
            drops: zeros(DROPS_WORDS),
            segments: zeros(geometry.ring_bytes() as usize / 8),
            geometry,
        };
        memory.as_memory().prepare(Prepare {
            first_segment: Some(0),
            ..Prepare::default()
        });
        memory
    }

    /// The memory, to be shared by a reader and a writer.
    #[must_use]
    pub fn as_memory(&self) -> Memory<'_> {
        Memory::new(&self.control, &self.drops, &self.segments, self.geometry)
    }
}
