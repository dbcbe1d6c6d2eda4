//! The kernel side: loaded, attached, mapped, and taken down again.
//!
//! The only place that loads the capture's programs. Must not know: records, order, files.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{Map, MapData, RingBuf},
    programs::{BtfTracePoint, KProbe, ProgramError},
};
use skbcap_common::{
    Config, Control, Hook,
    config::{Layout, MAX_INTERFACES},
    control::InterfaceDropsTable,
};
use zerocopy::IntoBytes;

use super::{
    background::{self, Background},
    btf::Btf,
    mapped::Mapped,
    missed,
    object::{self, ObjectError},
    refused::ProgramRefused,
};
use crate::{geometry::Geometry, ring::Memory};

/// The function that the kprobe is attached to.
pub const FUNCTION: &str = "__dev_queue_xmit";
/// The tracepoint within it.
pub const TRACEPOINT: &str = "net_dev_queue";

/// The names of the programs in the object (`skbcap-ebpf/src/main.rs`).
const KPROBE_PROGRAM: &str = "dev_queue_xmit";
const TRACEPOINT_PROGRAM: &str = "net_dev_queue";

/// What the kernel side is to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to take frames.
    pub hook: Hook,
    /// How each ring's memory is divided.
    pub geometry: Geometry,
    /// The most bytes of a frame to capture.
    pub snaplen: u32,
    /// The inode number of the network namespace to capture in, `None` for all.
    pub netns: Option<u32>,
    /// The names of the interfaces to capture on, empty for all; at most [`MAX_INTERFACES`].
    pub interfaces: Vec<[u8; 16]>,
    /// Where things lie in this kernel, the page bases included where they are known.
    pub layout: Layout,
    /// For each possible CPU, the address of its preemption counter, 0 where it isn't known.
    pub preempt_count: Vec<u64>,
    /// The CPUs that get a ring.
    pub online: Vec<u32>,
}

/// Why the kernel side could not be set up or taken down.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The embedded object is broken.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The kernel refused the object's maps.
    #[error("the kernel refused skbcap's maps")]
    Maps(#[source] Box<EbpfError>),
    /// The kernel refused a program.
    #[error(transparent)]
    Program(#[from] ProgramRefused),
    /// A program could not be attached.
    #[error("cannot attach at {place}")]
    Attach {
        /// Where the program was to be attached.
        place: &'static str,
        /// What the kernel said.
        source: Box<ProgramError>,
    },
    /// The kernel's types could not be read a second time, for the tracepoint.
    #[error("cannot read the kernel's types")]
    Btf(#[from] aya::BtfError),
    /// A map could not be mapped into memory.
    #[error("cannot map {map} into memory")]
    Map {
        /// The map's name.
        map: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The kernel side's programs, loaded.
pub struct Kernel {
    ebpf: Ebpf,
    hook: Hook,
    doorbell: RingBuf<MapData>,
}

/// The kernel side's memory, mapped: apart from the programs, so that rings can be read while
/// programs come and go.
#[derive(Debug)]
pub struct Maps {
    geometry: Geometry,
    /// The CPUs that have a ring, in the rings' order.
    online: Vec<u32>,
    cpus: usize,
    control: Mapped,
    drops: Mapped,
    segments: Mapped,
}

impl Kernel {
    /// Creates the maps and loads the program for the hook; attaches nothing. `loader` and `types`
    /// (only wanted for [`Hook::Queue`]) are those of [`super::background`].
    ///
    /// # Errors
    ///
    /// [`LoadError`]: what the kernel refused.
    ///
    /// # Panics
    ///
    /// When `options` contradict themselves: too many interfaces, a snapshot length that doesn't
    /// fit the geometry, a CPU that isn't possible.
    pub fn load(
        options: &Options,
        loader: background::Loader,
        types: Option<Background<background::Types>>,
    ) -> Result<(Self, Maps), LoadError> {
        let Options {
            geometry, online, ..
        } = options;
        let cpus = options.preempt_count.len();
        let config = config(options, cpus as u32);
        let rings = online.len();
        let segments = rings * geometry.segments as usize;

        let bytes = object::with_value_size("SEGMENTS", geometry.value_len)?;
        let mut loader: EbpfLoader<'_> = loader;
        let mut ebpf = loader
            .override_global("CONFIG", config.as_bytes(), true)
            .map_max_entries("CONTROL", cpus as u32)
            .map_max_entries("DROPS", cpus as u32)
            .map_max_entries("SEGMENTS", segments as u32)
            .load(&bytes)
            .map_err(|error| LoadError::Maps(Box::new(error)))?;

        let map = |name, entries, size| {
            Mapped::new(data(&ebpf, name), entries, size)
                .map_err(|source| LoadError::Map { map: name, source })
        };
        let control = map("CONTROL", cpus, size_of::<Control>())?;
        let drops = map("DROPS", cpus, size_of::<InterfaceDropsTable>())?;
        let segments = map("SEGMENTS", segments, geometry.value_len as usize)?;
        let doorbell = ebpf.take_map("DOORBELL").expect("a map of the object");
        let doorbell = RingBuf::try_from(doorbell).expect("a ring buffer in the object");

        let maps = Maps {
            geometry: *geometry,
            online: online.clone(),
            cpus,
            control,
            drops,
            segments,
        };
        for (cpu, &preempt_count) in options.preempt_count.iter().enumerate() {
            let ring = online.iter().position(|&online| online as usize == cpu);
            let memory = maps.memory(cpu, ring.unwrap_or(0));
            memory.prepare(ring.map(|ring| ring as u32), preempt_count);
        }
        let mut kernel = Self {
            ebpf,
            hook: options.hook,
            doorbell,
        };
        kernel.load_program(types)?;
        Ok((kernel, maps))
    }

    fn load_program(
        &mut self,
        types: Option<Background<background::Types>>,
    ) -> Result<(), LoadError> {
        let (place, result) = match self.hook {
            Hook::Kprobe => (FUNCTION, self.kprobe().load()),
            Hook::Queue => {
                let btf = types.unwrap_or_else(background::types).wait()?;
                (TRACEPOINT, self.tracepoint().load(TRACEPOINT, &btf))
            }
        };
        result.map_err(|error| ProgramRefused::new(place, error).into())
    }

    /// Attaches the program: from here on frames are taken.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to.
    pub fn attach(&mut self) -> Result<(), LoadError> {
        let (place, result) = match self.hook {
            Hook::Kprobe => (FUNCTION, self.kprobe().attach(FUNCTION, 0).map(|_| ())),
            Hook::Queue => (TRACEPOINT, self.tracepoint().attach().map(|_| ())),
        };
        result.map_err(|source| LoadError::Attach {
            place,
            source: Box::new(source),
        })
    }

    /// Detaches the program, and returns once it no longer runs on any CPU.
    ///
    /// # Errors
    ///
    /// When it wasn't loaded.
    pub fn detach(&mut self) -> Result<(), LoadError> {
        let (place, result) = match self.hook {
            Hook::Kprobe => (FUNCTION, self.kprobe().unload()),
            Hook::Queue => (TRACEPOINT, self.tracepoint().unload()),
        };
        result.map_err(|source| LoadError::Attach {
            place,
            source: Box::new(source),
        })?;
        // A program that was entered before may still be on its way to the busy mark. It runs with
        // preemption off or within an RCU read section, and this waits until all those have ended
        // (MEMBARRIER_CMD_GLOBAL is synchronize_rcu(), kernel/sched/membarrier.c@5.10).
        let waited = rustix::thread::membarrier(rustix::thread::MembarrierCommand::Global);
        if waited.is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// What the kernel made of the program: for `--debug` and measurements.
    #[must_use]
    pub fn effort(&mut self) -> Option<String> {
        let info = match self.hook {
            Hook::Kprobe => self.kprobe().info(),
            Hook::Queue => self.tracepoint().info(),
        }
        .ok()?;
        // Linux 5.16, kernel/bpf/verifier.c:bpf_check.
        let verified = info.verified_instruction_count();
        Some(format!(
            "{} bytes of machine code, {} instructions verified",
            info.size_jitted(),
            verified.map_or_else(|| "unknown".to_owned(), |count| count.to_string())
        ))
    }

    /// Frames that the kprobe missed so far: `None` where this kernel doesn't count them.
    pub fn missed(&mut self, btf: &Btf) -> Option<u64> {
        match self.hook {
            Hook::Kprobe if missed::is_known(btf) => missed::count(self.kprobe()).ok(),
            Hook::Kprobe => None,
            Hook::Queue => missed::count_tracepoint(self.tracepoint()).ok(),
        }
    }

    /// Readable once a ring asks for attention.
    #[must_use]
    pub fn doorbell(&self) -> BorrowedFd<'_> {
        self.doorbell.as_fd()
    }

    /// Takes note of all rings so far.
    pub fn answer_doorbell(&mut self) {
        while self.doorbell.next().is_some() {}
    }

    fn kprobe(&mut self) -> &mut KProbe {
        let program = self
            .ebpf
            .program_mut(KPROBE_PROGRAM)
            .expect("a program of the object");
        program.try_into().expect("a kprobe in the object")
    }

    fn tracepoint(&mut self) -> &mut BtfTracePoint {
        let program = self
            .ebpf
            .program_mut(TRACEPOINT_PROGRAM)
            .expect("a program of the object");
        program.try_into().expect("a BTF tracepoint in the object")
    }
}

impl Maps {
    /// The memory of each ring, one for each CPU that was online at the start; and the control
    /// blocks of the others, which have counters only.
    #[must_use]
    pub fn memories(&self) -> Vec<Memory<'_>> {
        let others = (0..self.cpus as u32).filter(|cpu| !self.online.contains(cpu));
        let rings = self
            .online
            .iter()
            .enumerate()
            .map(|(ring, &cpu)| (cpu, ring));
        rings
            .chain(others.map(|cpu| (cpu, 0)))
            .map(|(cpu, ring)| self.memory(cpu as usize, ring))
            .collect()
    }

    /// A CPU's control block with a ring's segments. A CPU without a ring of its own is given
    /// another's, and neither writes nor reads there.
    fn memory(&self, cpu: usize, ring: usize) -> Memory<'_> {
        let segments = self.geometry.segments as usize;
        Memory::new(
            self.control.values(cpu, 1),
            self.drops.values(cpu, 1),
            self.segments.values(ring * segments, segments),
            self.geometry,
        )
    }
}

/// A map of the object, which is an array.
fn data<'a>(ebpf: &'a Ebpf, name: &str) -> &'a MapData {
    match ebpf.map(name) {
        Some(Map::Array(data)) => data,
        other => panic!("{name} in the object is {other:?}, not an array"),
    }
}

/// The object's read-only global.
fn config(options: &Options, cpus: u32) -> Config {
    let Options {
        geometry,
        snaplen,
        interfaces,
        ..
    } = options;
    let chunk_len = geometry.chunk_len;
    assert!(interfaces.len() <= MAX_INTERFACES, "too many interfaces");
    assert!(
        *snaplen >= 1 && *snaplen <= skbcap_common::MAX_SNAPLEN && chunk_len <= *snaplen
            // The verifier allows for a whole chunk behind the snapshot length, and a tag is
            // written before the length is looked at.
            && geometry.fits((snaplen + chunk_len).max(16)),
        "a snapshot length that does not fit the segments"
    );
    let mut names = [[0; 16]; MAX_INTERFACES];
    names[..interfaces.len()].copy_from_slice(interfaces);
    Config {
        version: skbcap_common::VERSION.into(),
        cpus,
        segments: geometry.segments,
        segment_len: geometry.segment_len,
        snaplen: *snaplen,
        chunk_len,
        netns: options.netns.unwrap_or(0),
        interface_count: interfaces.len() as u32,
        interfaces: names,
        layout: options.layout,
    }
}
