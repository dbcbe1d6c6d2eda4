//! The kernel side: loaded, attached, and taken down again.
//!
//! The only place that loads the capture's programs. Must not know: records, order, files.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{MapData, RingBuf},
    programs::ProgramError,
};
use skbcap_common::{
    Config, Hook,
    config::{Layout, PreemptBits, Types, extra},
    devices::Devices,
    head,
    note::NOTES,
    owner::{OWNERS, Sockets},
    process::{EVENTS_LEN, Event, Tasks},
    sender::CGROUPS,
};
use zerocopy::IntoBytes;

use super::{
    background,
    btf::{Btf, BtfError},
    chosen::Chosen,
    cpu_words::CpuWords,
    events::Events,
    kfuncs::Kfuncs,
    maps::{self, Division, Maps},
    missed::{Misses, Unseen},
    object::{self, ObjectError},
    parts::{
        FUNCTION, KPROBE, Loaded, NET, NOTE, Part, QUEUE, QUEUE_TRACEPOINT, XMIT, XMIT_TRACEPOINT,
    },
    refused::ProgramRefused,
    senders::{FORK, Wanted},
    watch::{self, Watch, Watched},
};
use crate::{filter::ebpf::Function, geometry::Geometry};

mod answers;

/// What the kernel side is to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to take frames.
    pub hook: Hook,
    /// Whether the kprobe gets a net, at the tracepoint: it takes what the kprobe misses.
    pub net: bool,
    /// How each ring's memory is divided.
    pub geometry: Geometry,
    /// The most bytes of a frame to capture.
    pub snaplen: u32,
    /// The devices to capture on.
    pub devices: Chosen,
    /// The filter expression, if there is one.
    pub filter: Option<Function>,
    /// Whose frames to capture.
    pub senders: Wanted,
    /// Where things lie in this kernel, the page bases included where they are known.
    pub layout: Layout,
    /// Where things lie in its sockets; `None`: no claim is made about any frame.
    pub sockets: Option<Sockets>,
    /// Where things lie in its tasks, if more is to be told of processes; only with `sockets`.
    pub tasks: Option<Tasks>,
    /// Whether each record holds what was current.
    pub current: bool,
    /// The kernel's functions for programs, where it has them.
    pub kfuncs: Option<Kfuncs>,
    /// The most parts of one frame that are copied, where the kernel doesn't copy it by itself: as
    /// [`Config::most_parts`].
    pub most_parts: u32,
    /// For each possible CPU, where it keeps the words that the programs look at.
    pub words: Vec<CpuWords>,
    /// What one of them, `__preempt_count`, says by which bits.
    pub preempt_bits: PreemptBits,
    /// Whether the kernel may preempt its own code.
    pub preempts: bool,
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
    /// The running kernel's types could not be read, though others were.
    #[error("cannot attach by the running kernel's types")]
    Btf(#[from] BtfError),
    /// A map could not be mapped into memory.
    #[error("cannot get at the map {map}")]
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
    /// What takes frames, and then what helps it.
    parts: Vec<Part>,
    doorbell: RingBuf<MapData>,
    events: Events,
    misses: Option<Misses>,
    /// By the programs that watch sockets.
    watchers: Vec<Unseen>,
    /// By those that watch forks.
    follower: Unseen,
    watch: Option<Watch>,
    senders: Wanted,
}

impl Kernel {
    /// Creates the maps and loads the program for the hook; attaches nothing. `loader` is that of
    /// [`super::background`]. `types` are the running kernel's, if they were read before.
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
        types: Option<&Btf>,
    ) -> Result<(Self, Maps), LoadError> {
        let division = Division {
            geometry: options.geometry,
            online: options.online.clone(),
            cpus: options.words.len(),
            second_rings: options.net,
        };
        let blocks = division.blocks() as u32;
        let notes = if options.hook == Hook::Xmit { NOTES } else { 1 };
        let config = config(options);
        let filter = options.filter.as_ref();
        let heads = if filter.is_some() { blocks } else { 1 };
        let mut bytes = object::prepared(
            &[
                ("SEGMENTS", options.geometry.value_len),
                (head::MAP, head::value_len(config.head_len)),
            ],
            &options.layout,
            options.kfuncs.as_ref(),
            filter,
        )?;
        if options.senders.cgroups.is_empty() {
            object::make_plain_array(&mut bytes, CGROUPS)?;
        }
        let mut loader: EbpfLoader<'_> = loader;
        options.senders.size(&mut loader, blocks);
        options.devices.size(&mut loader);
        let mut ebpf = loader
            .override_global("CONFIG", config.as_bytes(), true)
            .map_max_entries("CONTROL", blocks)
            .map_max_entries("DROPS", blocks)
            .map_max_entries(head::MAP, heads)
            .map_max_entries("NOTES", notes)
            .map_max_entries("SOCKETS", notes)
            .map_max_entries("OWNERS", options.sockets.map_or(1, |_| OWNERS))
            .map_max_entries("EVENTS", options.tasks.map_or(4096, |_| EVENTS_LEN))
            .map_max_entries("SEGMENTS", division.segments() as u32)
            .load(&bytes)
            .map_err(|error| LoadError::Maps(Box::new(error)))?;
        options.devices.begin(&mut ebpf)?;
        let maps = Maps::new(&ebpf, division, &options.words)
            .map_err(|(map, source)| LoadError::Map { map, source })?;
        let doorbell = ebpf.take_map("DOORBELL").expect("a map of the object");
        let doorbell = RingBuf::try_from(doorbell).expect("a ring buffer in the object");
        let events = ebpf.take_map("EVENTS").expect("a map of the object");
        let events = RingBuf::try_from(events).expect("a ring buffer in the object");
        let map = "EVENTS_LOST";
        let events_lost =
            maps::one_word(&ebpf, map).map_err(|source| LoadError::Map { map, source })?;
        let mut kernel = Self {
            ebpf,
            parts: Vec::new(),
            doorbell,
            events: Events::new(events, events_lost),
            misses: None,
            watchers: Vec::new(),
            follower: Unseen::default(),
            watch: None,
            senders: options.senders.clone(),
        };
        let parts: &[Part] = match (options.hook, options.net) {
            (Hook::Kprobe | Hook::Net, true) => &[KPROBE, NET],
            (Hook::Kprobe | Hook::Net, false) => &[KPROBE],
            (Hook::Queue, _) => &[QUEUE],
            (Hook::Xmit, _) => &[XMIT, NOTE],
        };
        let by_types = parts.iter().any(|part| part.place != FUNCTION);
        let btf = if by_types || options.sockets.is_some() {
            Some(attachable(types)?)
        } else {
            None
        };
        let btf = btf.as_ref();
        for &part in parts {
            let faster = Part {
                program: part.faster,
                ..part
            };
            // A kernel that has the functions may still not let these programs call them: a BTF
            // tracepoint may make a dynptr of its skb since 6.11 only.
            let has_functions = options.kfuncs.is_some();
            let part = if has_functions && kernel.load_part(faster, btf).is_ok() {
                faster
            } else {
                kernel
                    .load_part(part, btf)
                    .map_err(|error| ProgramRefused::new(part.place, error))?;
                part
            };
            kernel.parts.push(part);
        }
        let is_fastest = |part: &Part| part.program == part.faster;
        if parts.len() > 1 && kernel.parts.iter().all(is_fastest) {
            maps.defer();
        }
        if options.sockets.is_some() {
            kernel.watch = btf.map(|btf| {
                let (has_functions, preempts) = (options.kfuncs.is_some(), options.preempts);
                Watch::load(&mut kernel.ebpf, btf, has_functions, preempts)
            });
        }
        if let Some(btf) = btf {
            options
                .senders
                .load(&mut kernel.ebpf, btf, options.preempts)?;
        }
        Ok((kernel, maps))
    }

    fn load_part(&mut self, part: Part, btf: Option<&aya::Btf>) -> Result<(), ProgramError> {
        match (self.program(part), btf) {
            (Loaded::Kprobe(program), _) => program.load(),
            (Loaded::Tracepoint(program), Some(btf)) => program.load(part.place, btf),
            (Loaded::Tracepoint(_), None) => unreachable!("read for any tracepoint"),
        }
    }

    /// Attaches the programs that watch sockets, and has them find the sockets that there are. To be
    /// called before [`Kernel::attach`]. What is told of those is handed to `tell`. What does not
    /// work lowers the attribution only.
    pub fn watch_sockets(&mut self, maps: &Maps, mut tell: impl FnMut(&Event)) -> Watched {
        match self.watch.take() {
            Some(watch) => {
                let events = &mut self.events;
                let (watched, unseen) = watch.start(&mut self.ebpf, || events.drain(&mut tell));
                self.watchers = unseen;
                if watched.claims {
                    maps.watch();
                }
                watched
            }
            None => Watched::default(),
        }
    }

    /// Tells the programs whose frames are wanted, and begins to follow the command. To be called
    /// between [`Kernel::watch_sockets`] and [`Kernel::attach`].
    ///
    /// # Errors
    ///
    /// When the kernel refuses to.
    pub fn watch_senders(&mut self) -> Result<(), LoadError> {
        self.follower = self.senders.begin(&mut self.ebpf)?;
        Ok(())
    }

    /// Attaches the programs: from here on frames are taken. `btf` is the running kernel's.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to.
    pub fn attach(&mut self, btf: &Btf) -> Result<(), LoadError> {
        // The net last: what it finds unmarked, the kprobe was there to mark.
        for part in self.parts.clone() {
            let attached = match self.program(part) {
                Loaded::Kprobe(program) => program.attach(part.place, 0).map(drop),
                Loaded::Tracepoint(program) => program.attach().map(drop),
            };
            attached.map_err(|source| LoadError::attach(part, source))?;
        }
        self.misses = self.misses(btf);
        Ok(())
    }

    /// Detaches the programs, and returns once none runs any more on any CPU.
    ///
    /// # Errors
    ///
    /// When one wasn't loaded.
    pub fn detach(&mut self) -> Result<(), LoadError> {
        self.misses = None;
        for part in self.parts.clone().into_iter().rev() {
            let unloaded = match self.program(part) {
                Loaded::Kprobe(program) => program.unload(),
                Loaded::Tracepoint(program) => program.unload(),
            };
            unloaded.map_err(|source| LoadError::attach(part, source))?;
        }
        // A program that was entered before may still be on its way to the busy mark. It runs with
        // preemption off or within an RCU read section, and this waits until all those have ended
        // (MEMBARRIER_CMD_GLOBAL is synchronize_rcu(), kernel/sched/membarrier.c@5.10).
        let waited = rustix::thread::membarrier(rustix::thread::MembarrierCommand::Global);
        if waited.is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
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

    /// Takes what was told of sockets and processes since the last call.
    pub fn each_event(&mut self, mut take: impl FnMut(&Event)) {
        self.events.drain(&mut take);
    }

    /// Whether anything was not told since the last call, for lack of room.
    pub fn has_lost_events(&mut self) -> bool {
        self.events.has_lost()
    }

    fn program(&mut self, part: Part) -> Loaded<'_> {
        let program = self
            .ebpf
            .program_mut(part.program)
            .expect("a program of the object");
        if part.place == FUNCTION {
            Loaded::Kprobe(program.try_into().expect("a kprobe in the object"))
        } else {
            Loaded::Tracepoint(program.try_into().expect("a BTF tracepoint in the object"))
        }
    }
}

impl LoadError {
    fn attach(part: Part, source: ProgramError) -> Self {
        Self::Attach {
            place: part.place,
            source: Box::new(source),
        }
    }
}

/// The object's read-only global.
fn config(options: &Options) -> Config {
    let Options {
        geometry, snaplen, ..
    } = options;
    let chunk_len = geometry.chunk_len;
    assert!(
        *snaplen >= 1 && *snaplen <= skbcap_common::MAX_SNAPLEN && chunk_len <= *snaplen
            // The verifier allows for a whole chunk behind the snapshot length, and a tag is
            // written before the length is looked at.
            && geometry.fits((snaplen + chunk_len).max(16)),
        "a snapshot length that does not fit the segments"
    );
    let mut config = Config {
        version: skbcap_common::VERSION.into(),
        cpus: options.words.len() as u32,
        head_len: options.filter.as_ref().map_or(0, |filter| filter.head_len),
        segment_len: geometry.segment_len,
        snaplen: *snaplen,
        chunk_len,
        netns: 0,
        interface_count: 0,
        interfaces: Default::default(),
        devices: Devices::default(),
        layout: options.layout,
        types: options
            .kfuncs
            .map_or_else(Types::default, |kfuncs| kfuncs.types),
        sockets: options.sockets.unwrap_or_default(),
        senders: options.senders.config(),
        tasks: options.tasks.unwrap_or_default(),
        extras: extras(options),
        preempt: options.preempt_bits,
        most_parts: options.most_parts,
        reserved: 0,
    };
    options.devices.configure(&mut config);
    config
}

/// The running kernel's types, as far as any program is attached by them.
fn attachable(types: Option<&Btf>) -> Result<aya::Btf, BtfError> {
    let functions: Vec<&str> = watch::functions().collect();
    let tracepoints = [QUEUE_TRACEPOINT, XMIT_TRACEPOINT, FORK];
    match types {
        Some(types) => types.outline(&tracepoints, &functions),
        None => Btf::running()?.outline(&tracepoints, &functions),
    }
}

/// What the programs do with each frame besides.
fn extras(options: &Options) -> u32 {
    let senders = u32::from(options.senders.is_any()) * extra::SENDERS;
    let current = u32::from(options.current) * extra::CURRENT;
    senders | current
}
