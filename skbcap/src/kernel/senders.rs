//! Whose frames are wanted, as the programs are told it: maps filled, processes followed.
//!
//! Must not know: how a sender is asked for, or how a claim comes about.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use aya::{
    Btf, Ebpf, EbpfLoader, Pod,
    maps::{CgroupArray, HashMap, MapData, MapError},
    programs::BtfTracePoint,
};
use skbcap_common::sender::{
    self, CGROUPS, CLAIMS, FOLLOWED, FOLLOWED_LEN, LIST, MEMBERS, MEMBERS_LEN, PATTERNS, Senders,
    USERS, USERS_LEN, kind,
};

use super::{
    cgroups::Cgroup, load::LoadError, missed::Unseen, patterns, refused::ProgramRefused,
    watch::again,
};

/// The program that follows, and where it belongs.
const FORKED: &str = "forked";
pub(super) const FORK: &str = "sched_process_fork";

/// include/uapi/linux/bpf.h
const BPF_NOEXIST: u64 = 1;

/// The inode number of the initial pid namespace, whose numbers the kernel's own are.
///
/// Source: `PROC_PID_INIT_INO`, include/linux/proc_ns.h@5.10.
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Which senders are wanted; by default it makes no difference.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Numbers: one bit of [`kind`], the number, and bits of [`sender::WANTED`] and
    /// [`sender::UNWANTED`].
    pub numbers: Vec<(u32, u32, u32)>,
    /// Patterns for names, at most [`sender::MAX_PATTERNS`].
    pub patterns: Vec<sender::Pattern>,
    /// Cgroups, at most [`sender::MAX_CGROUPS`], which `numbers` mean by their places here.
    pub cgroups: Vec<Cgroup>,
    /// The process to follow.
    pub followed: Option<u32>,
}

impl Wanted {
    /// Whether it makes a difference who sent a frame.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.followed.is_some() || !self.numbers.is_empty() || !self.patterns.is_empty()
    }

    /// Whether it makes a difference whose processes are.
    fn asks_for_users(&self) -> bool {
        self.numbers.iter().any(|(kind, ..)| *kind == kind::USER)
    }

    /// For the configuration.
    pub(super) fn config(&self) -> Senders {
        let mut senders = Senders {
            patterns: self.patterns.len() as u32,
            cgroups: self.cgroups.len() as u32,
            ..Senders::default()
        };
        let names = self
            .patterns
            .iter()
            .map(|pattern| (kind::NAME, pattern.bits));
        let numbers = self.numbers.iter().map(|(kind, _, bits)| (*kind, *bits));
        let followed = self.followed.map(|_| (kind::FOLLOWED, sender::WANTED));
        for (kind, bits) in numbers.chain(names).chain(followed) {
            if bits & sender::WANTED != 0 {
                senders.wanted |= kind;
            }
            if bits & sender::UNWANTED != 0 {
                senders.unwanted |= kind;
            }
        }
        senders
    }

    /// Says how large the maps are to be; `blocks` are there of control blocks.
    pub(super) fn size(&self, loader: &mut EbpfLoader<'_>, blocks: u32) {
        let if_asked = |asked, len: u32| if asked { len.max(1) } else { 1 };
        let users = self.asks_for_users();
        loader
            .map_max_entries(CLAIMS, if_asked(self.is_any(), blocks))
            .map_max_entries(LIST, if_asked(true, self.numbers.len() as u32))
            .map_max_entries(PATTERNS, if_asked(true, self.patterns.len() as u32))
            .map_max_entries(FOLLOWED, if_asked(self.followed.is_some(), FOLLOWED_LEN))
            .map_max_entries(USERS, if_asked(users, USERS_LEN))
            .map_max_entries(CGROUPS, if_asked(true, self.cgroups.len() as u32))
            .map_max_entries(MEMBERS, if_asked(!self.cgroups.is_empty(), MEMBERS_LEN));
    }

    /// Loads the program that follows, if one is wanted; twice where the kernel `preempts` its own
    /// code.
    pub(super) fn load(&self, ebpf: &mut Ebpf, btf: &Btf, preempts: bool) -> Result<(), LoadError> {
        if self.followed.is_none() {
            return Ok(());
        }
        let again = again(FORKED);
        for program in [FORKED].into_iter().chain(preempts.then_some(&*again)) {
            let loaded = tracepoint(ebpf, program).load(FORK, btf);
            loaded.map_err(|error| ProgramRefused::new(FORK, error))?;
        }
        Ok(())
    }

    /// Fills the maps, and begins to follow.
    pub(super) fn begin(&self, ebpf: &mut Ebpf) -> Result<Unseen, LoadError> {
        let trouble = |map| {
            move |error: MapError| LoadError::Map {
                map,
                source: io::Error::other(error),
            }
        };
        let mut bits = BTreeMap::<u64, u32>::new();
        for &(kind, number, wanted) in &self.numbers {
            *bits.entry(sender::key(kind, number)).or_default() |= wanted;
        }
        for (key, bits) in bits {
            let insert = table(ebpf, LIST).insert(key, bits, 0);
            insert.map_err(trouble(LIST))?;
        }
        patterns::fill(ebpf, PATTERNS, &self.patterns)?;
        let users = if self.asks_for_users() {
            users().map_err(|source| LoadError::Map { map: USERS, source })?
        } else {
            Vec::new()
        };
        for (tgid, uid) in users {
            note(ebpf, USERS, tgid, uid).map_err(trouble(USERS))?;
        }
        let mut unseen = Unseen::default();
        let members = self.put_cgroups(ebpf).map_err(trouble(CGROUPS))?;
        for (tgid, bits) in members {
            note(ebpf, MEMBERS, tgid, bits).map_err(trouble(MEMBERS))?;
        }
        if let Some(tgid) = self.followed {
            let insert = table(ebpf, FOLLOWED).insert(tgid, 1, 0);
            insert.map_err(trouble(FOLLOWED))?;
            for program in [FORKED, &again(FORKED)] {
                let follower = tracepoint(ebpf, program);
                if follower.fd().is_err() {
                    // Not loaded: not needed.
                    continue;
                }
                follower.attach().map_err(|source| LoadError::Attach {
                    place: FORK,
                    source: Box::new(source),
                })?;
                unseen.also_sees(follower.fd());
            }
        }
        Ok(unseen)
    }
}

impl Wanted {
    /// Hands the cgroups to the programs. The processes in them, and what is wanted of each.
    fn put_cgroups(&self, ebpf: &mut Ebpf) -> Result<BTreeMap<u32, u32>, MapError> {
        let mut members = BTreeMap::new();
        if self.cgroups.is_empty() {
            return Ok(members);
        }
        let map = ebpf.map_mut(CGROUPS).expect("a map of the object");
        let mut cgroups = CgroupArray::try_from(map)?;
        for (place, cgroup) in (0..).zip(&self.cgroups) {
            cgroups.set(place, cgroup.as_fd(), 0)?;
            let of_it = |entry: &&(u32, u32, u32)| (entry.0, entry.1) == (kind::CGROUP, place);
            let wanted = self.numbers.iter().filter(of_it);
            let bits = wanted.fold(0, |bits, (.., more)| bits | more);
            for process in cgroup.processes() {
                *members.entry(process).or_default() |= bits;
            }
        }
        Ok(members)
    }
}

/// Keeps a word for a process, unless it has had to do with a socket meanwhile: that was noted.
fn note(ebpf: &mut Ebpf, map: &str, tgid: u32, word: u32) -> Result<(), MapError> {
    match table(ebpf, map).insert(tgid, word, BPF_NOEXIST) {
        Err(MapError::SyscallError(error))
            if error.io_error.kind() == io::ErrorKind::AlreadyExists =>
        {
            Ok(())
        }
        result => result,
    }
}

/// Whether process ids here are the kernel's own, and not those of a container.
#[must_use]
pub fn sees_kernels_ids() -> bool {
    // Where it can't be told, there are no namespaces.
    fs::metadata("/proc/self/ns/pid").is_ok_and(|found| found.ino() == INITIAL_PID_NAMESPACE)
}

/// The process that a process's or a thread's id belongs to; [`None`] if there is none.
#[must_use]
pub fn process_of(id: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    number_in(&status, "Tgid:")
}

/// The real user of each process, by its id.
fn users() -> io::Result<Vec<(u32, u32)>> {
    let mut users = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(tgid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // It may have ended.
        let status = fs::read_to_string(format!("/proc/{tgid}/status")).unwrap_or_default();
        users.extend(number_in(&status, "Uid:").map(|uid| (tgid, uid)));
    }
    Ok(users)
}

/// The first number behind a word of `/proc/PID/status`.
fn number_in(status: &str, word: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix(word))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn table<'e, K: Pod>(ebpf: &'e mut Ebpf, name: &str) -> HashMap<&'e mut MapData, K, u32> {
    HashMap::try_from(ebpf.map_mut(name).expect("a map of the object"))
        .expect("a hash map in the object")
}

fn tracepoint<'e>(ebpf: &'e mut Ebpf, name: &str) -> &'e mut BtfTracePoint {
    let program = ebpf.program_mut(name).expect("a program of the object");
    program.try_into().expect("a BTF tracepoint in the object")
}
