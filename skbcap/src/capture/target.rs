//! What is captured, and on what machine: looked up once, before anything is loaded.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::Context;
use skbcap_common::{
    Hook,
    config::{Layout, MOST_PARTS, PreemptBits},
    owner::Sockets,
    process::Tasks,
};

use super::{interfaces_text, rights};
use crate::{
    config::{Config, HookChoice, Interface, NetnsChoice, Sides},
    geometry,
    glob::Glob,
    kernel::{
        background::{Background, Loader},
        btf::{self, Btf},
        chosen::{Chosen, Names},
        cpu_words::{self, AllCpuWords, CpuWords},
        kfuncs::{self, Kfuncs},
        layout::LayoutError,
        load,
        netns::{self, Namespace, NetnsError, UnknownInterface},
        page_base::{NotFound, PageBases, Ways},
        parts,
        preflight::{Preflight, Types},
        senders::Wanted,
        setup, sockets, tasks,
    },
    namespaces::Namespaces,
    output::Origin,
    process::{Field, Fields},
    sandbox::Sandbox,
};

/// The namespaces to capture in, opened.
pub(super) fn namespaces(config: &Config) -> Result<Namespaces<Namespace>, NetnsError> {
    config.netns.try_map(|choice| match choice {
        NetnsChoice::Own => Namespace::own(),
        NetnsChoice::Path(path) => Namespace::at(path),
        NetnsChoice::Pid(pid) => Namespace::of_process(*pid),
    })
}

/// The names of the interfaces to capture on.
pub(super) fn names(config: &Config, netns: &Namespaces<Namespace>) -> anyhow::Result<Names> {
    let Sides { wanted, unwanted } = &config.interfaces;
    // In all namespaces at once a name may appear later, and there is none to look it up in.
    let there = match netns {
        Namespaces::Only(these) if !config.interfaces.is_empty() => {
            let mut there = Vec::new();
            for one in these {
                there.extend(one.interfaces()?);
            }
            Some(there)
        }
        _ => None,
    };
    let name = |typed: &str| -> Result<String, UnknownInterface> {
        match &there {
            Some(there) => Ok(netns::resolve(there, typed)?.name),
            None => Ok(typed.to_owned()),
        }
    };
    let is_plain = |one: &Interface| matches!(one, Interface::Name(_));
    if unwanted.is_empty() && wanted.iter().all(is_plain) {
        let padded = |one: &Interface| {
            let name = name(one.typed())?;
            let mut padded = [0; 16];
            padded[..name.len()].copy_from_slice(name.as_bytes());
            Ok(padded)
        };
        let names: Result<Vec<_>, UnknownInterface> = wanted.iter().map(padded).collect();
        return Ok(Names::Listed(names?));
    }
    let globs = |side: &[Interface]| -> anyhow::Result<Vec<Glob>> {
        let glob = |one: &Interface| match one {
            Interface::Name(typed) => Ok(Glob::literal(name(typed)?.as_bytes())?),
            Interface::Pattern { glob, .. } => Ok(glob.clone()),
        };
        side.iter().map(glob).collect()
    };
    Ok(Names::Matching {
        wanted: globs(wanted)?,
        unwanted: globs(unwanted)?,
    })
}

/// Prints what this machine offers and lacks. Fails where nothing could be captured. `own_types`: as
/// for [`Facts::of`].
pub(super) fn check(
    mut preflight: Preflight,
    loader: Background<Loader>,
    own_types: bool,
) -> anyhow::Result<ExitCode> {
    let mut loader = loader.wait();
    let explored = setup::explore(&mut preflight, ways()?, &mut loader);
    let mut out = io::stdout().lock();
    writeln!(out, "{preflight}")?;
    if let Err(error) = &explored {
        writeln!(out, "{:#}", anyhow::Error::msg(error.to_string()))?;
    }
    if preflight.refuse(HookChoice::Auto).is_err() || explored.is_err() {
        return Ok(ExitCode::FAILURE);
    }
    let (lowered, kept) = dry_run(preflight, loader, own_types)?;
    if lowered.is_empty() {
        writeln!(out, "who sent a frame is told by all that skbcap knows of")?;
    }
    for why in lowered {
        writeln!(out, "{why}")?;
    }
    writeln!(out, "{kept}")?;
    // Nothing is left to be done, and so nothing that it could be in the way of.
    let confined = Sandbox::around::<&Path>(&[])?.enter();
    let confined = confined.context("cannot enter the sandbox")?;
    if let Some(by_landlock) = &confined.landlock {
        writeln!(out, "{by_landlock}")?;
    }
    writeln!(out, "{}", confined.seccomp)?;
    Ok(ExitCode::SUCCESS)
}

/// What can't be told of frames' senders on this machine, and which capabilities a capture keeps, in
/// words: the programs are loaded to find out, and not attached.
fn dry_run(
    preflight: Preflight,
    loader: Loader,
    own_types: bool,
) -> anyhow::Result<(Vec<String>, String)> {
    /// Nothing is captured.
    const SNAPLEN: u32 = 256;
    let hook = preflight.hook(HookChoice::Auto)?;
    let net = hook == Hook::Kprobe && preflight.has_queue_tracepoint();
    let facts = Facts::of(preflight, own_types, Fields::default())?;
    let mut lowered = Vec::new();
    let sockets = match &facts.sockets {
        Ok(sockets) => Some(*sockets),
        // Loaded all the same, for the rest.
        Err(why) => {
            lowered.push(untold(why));
            None
        }
    };
    let (rings, spare) = (facts.online.len() as u32, u32::from(net));
    let buffer = geometry::default_buffer_bytes(rings, SNAPLEN, spare);
    let options = load::Options {
        hook,
        net,
        geometry: geometry::ring_geometry(buffer, rings, SNAPLEN, spare)?,
        snaplen: SNAPLEN,
        devices: Chosen::default(),
        filter: None,
        senders: Wanted::default(),
        layout: facts.layout,
        sockets,
        tasks: None,
        current: false,
        kfuncs: facts.kfuncs,
        most_parts: most_parts(),
        words: facts.words(),
        preempt_bits: facts.preempt_bits(),
        preempts: facts.preempts,
        online: facts.online.iter().copied().collect(),
    };
    let types = own_types.then_some(&facts.btf);
    let (mut kernel, _maps) = load::Kernel::load(&options, loader, types)?;
    lowered.extend(kernel.unwatched());
    let misses = kernel.unattached_misses(&facts.btf);
    Ok((lowered, rights::kept_in_words(misses.as_ref())?))
}

/// Why no frame is said to be anybody's.
pub(super) fn untold(why: &LayoutError) -> String {
    format!("it is not told who sent a frame: {why}")
}

/// The most parts of one frame that are copied. No frame has more: tests ask for fewer.
pub(super) fn most_parts() -> u32 {
    let wish = std::env::var("SKBCAP_PARTS").ok();
    let wish = wish.and_then(|wish| wish.parse().ok());
    wish.map_or(MOST_PARTS, |parts: u32| parts.min(MOST_PARTS))
}

/// What is known of the running kernel once it can be captured on.
pub(super) struct Facts {
    pub(super) btf: Btf,
    pub(super) layout: Layout,
    pub(super) sockets: Result<Sockets, LayoutError>,
    /// `None`: nobody asked.
    pub(super) tasks: Option<Result<Tasks, LayoutError>>,
    /// Why cgroups are not told of, though somebody asked.
    pub(super) no_cgroups: Option<LayoutError>,
    pub(super) kfuncs: Option<Kfuncs>,
    pub(super) page_bases: Result<PageBases, NotFound>,
    pub(super) cpu_words: Result<AllCpuWords, cpu_words::Unknown>,
    /// Whether the kernel may preempt its own code.
    pub(super) preempts: bool,
    /// Possible CPUs, by number: one more than the last.
    pub(super) cpus: u32,
    pub(super) online: BTreeSet<u32>,
}

impl Facts {
    /// `own_types`: what BTF was read is the running kernel's own. `fields`: what is to be told of
    /// processes.
    pub(super) fn of(
        preflight: Preflight,
        own_types: bool,
        fields: Fields,
    ) -> anyhow::Result<Self> {
        let Types {
            btf, mut layout, ..
        } = preflight.types?;
        let page_bases = preflight
            .page_bases
            .context("the page bases were not looked for")?;
        if let Ok(bases) = &page_bases {
            layout.page_offset_base = bases.page_offset_base;
            layout.vmemmap_base = bases.vmemmap_base;
        }
        // Tests take them away.
        let wanted = std::env::var_os("SKBCAP_KFUNCS").is_none_or(|wish| wish != "none");
        let kfuncs = if own_types && wanted {
            kfuncs::find(&btf)?
        } else {
            None
        };
        let sockets = match btf::is_shown() {
            true => sockets::sockets(&btf),
            false => Err(LayoutError::NotShown),
        };
        let tasks = fields.is_told().then(|| tasks::tasks(&btf));
        let mut cgroups = None;
        let tasks = tasks.map(|tasks| {
            let tasks = tasks?;
            if !fields.has(Field::Cgroup) && !fields.has(Field::Container) {
                return Ok(tasks);
            }
            // Not every kernel has any.
            let found = tasks::cgroups(&btf, tasks);
            Ok(found.unwrap_or_else(|why| {
                cgroups = Some(why);
                tasks
            }))
        });
        Ok(Self {
            btf,
            layout,
            sockets,
            tasks,
            no_cgroups: cgroups,
            kfuncs,
            page_bases,
            cpu_words: preflight.cpu_words.context("the CPUs were not asked")?,
            preempts: preflight.preempts.unwrap_or(true),
            cpus: preflight.possible_cpus?.last().map_or(1, |last| last + 1),
            online: preflight.online_cpus?,
        })
    }

    /// For each possible CPU, where it keeps the words that the programs look at.
    pub(super) fn words(&self) -> Vec<CpuWords> {
        let words = |cpu| self.cpu_words.as_ref().ok()?.of.get(&cpu).copied();
        let all = 0..self.cpus;
        all.map(|cpu| words(cpu).unwrap_or_default()).collect()
    }

    /// What their counts say by which bits; nobody asks for them where no count is known.
    pub(super) fn preempt_bits(&self) -> PreemptBits {
        let words = self.cpu_words.as_ref();
        words.map_or_else(|_| PreemptBits::default(), |words| words.preempt)
    }
}

pub(super) fn place(hook: Hook) -> String {
    match hook {
        Hook::Kprobe | Hook::Net => format!("kprobe ({})", parts::FUNCTION),
        Hook::Queue => format!("queue (tracepoint {})", parts::QUEUE_TRACEPOINT),
        Hook::Xmit => format!("xmit (tracepoint {})", parts::XMIT_TRACEPOINT),
    }
}

/// The ways to find the page bases: all, but for tests that take some away.
pub(super) fn ways() -> anyhow::Result<Ways> {
    match std::env::var("SKBCAP_PAGE_BASES") {
        Ok(ways) => ways.parse().context("SKBCAP_PAGE_BASES"),
        Err(_) => Ok(Ways::ALL),
    }
}

/// What frames lose where the page bases are not known, in words: `copies_by_itself` is the kernel.
pub(super) fn cut_text(hook: Hook, copies_by_itself: bool, facts: &Facts) -> Option<String> {
    let why = facts.page_bases.as_ref().err()?;
    match (hook, copies_by_itself) {
        (Hook::Queue | Hook::Xmit, true) => None,
        (_, true) => Some(format!(
            "frames of devices with egress filters are cut before their first fragment: {why}"
        )),
        (_, false) => Some(format!("frames are cut before their first fragment: {why}")),
    }
}

/// The network namespaces captured in, in words.
pub(super) fn namespaces_text(devices: &Chosen) -> String {
    let numbers = |numbers: &[u32]| {
        let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
        numbers.join(" and ")
    };
    match &devices.netns {
        Namespaces::All => "all network namespaces".to_owned(),
        Namespaces::AllBut(these) => format!("all network namespaces but {}", numbers(these)),
        Namespaces::Only(these) if these.len() == 1 => format!("network namespace {}", these[0]),
        Namespaces::Only(these) => format!("network namespaces {}", numbers(these)),
    }
}

/// The network namespaces captured in, for a file: numbers, or all, or all but some.
fn netns_text(devices: &Chosen) -> String {
    match &devices.netns {
        Namespaces::All => "all".to_owned(),
        Namespaces::AllBut(these) => {
            let left_out = these.iter().map(|netns| format!(",!{netns}"));
            format!("all{}", left_out.collect::<String>())
        }
        Namespaces::Only(these) => {
            let these: Vec<String> = these.iter().map(u32::to_string).collect();
            these.join(",")
        }
    }
}

/// The machine, the program, and what a reader of the file should know of this capture.
pub(super) fn origin(
    config: &Config,
    hook: Hook,
    devices: &Chosen,
    facts: &Facts,
    cut: Option<&str>,
    lowered: &[String],
) -> Origin {
    let system = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let mut comments = vec![format!(
        "hook={} netns={} interfaces={} snaplen={}",
        match hook {
            Hook::Kprobe | Hook::Net => "kprobe",
            Hook::Queue => "queue",
            Hook::Xmit => "xmit",
        },
        netns_text(devices),
        interfaces_text(config, ",", "!"),
        config.snaplen
    )];
    comments.extend(cut.map(str::to_owned));
    if let Err(why) = &facts.cpu_words {
        comments.push(format!("ctx is unknown on this kernel: {why}"));
    }
    comments.extend(lowered.iter().cloned());
    Origin {
        hardware: text(system.machine()),
        os: format!("{} {}", text(system.sysname()), text(system.release())),
        application: format!("skbcap {}", env!("CARGO_PKG_VERSION")),
        comments,
    }
}
