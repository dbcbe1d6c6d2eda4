//! Whose frames are wanted: the claim, made before the copy, held against what was asked for.
//!
//! Must not know how a claim comes about. Nothing of this is left in a program whose capture asks for
//! no sender.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::generated::bpf_get_current_uid_gid,
    macros::map,
    maps::{Array, CgroupArray, HashMap, LruHashMap},
};
use skbcap_common::{
    By, Control, Flags, Hook, RecordHeader,
    owner::WRITERS,
    sender::{MAX_CGROUPS, MAX_PATTERNS, NAME_LEN, Pattern, UNWANTED, WANTED, key, kind},
};

use crate::{
    config::config,
    glob::Glob,
    identity,
    maps::CONTROL,
    notes,
    skb::Skb,
    source::{ByAddress, Fields},
    who,
};

/// The senders that were asked for, by [`key`]: bits of [`WANTED`] and [`UNWANTED`]. The loader sets the
/// number of entries, as of all maps here.
#[map]
static SENDERS: HashMap<u64, u32> = HashMap::with_max_entries(1, 0);

/// Processes that are followed.
#[map]
static FOLLOWED: LruHashMap<u32, u32> = LruHashMap::with_max_entries(1, 0);

/// The real uid of each process (tgid) that has to do with a socket.
#[map]
static USERS: LruHashMap<u32, u32> = LruHashMap::with_max_entries(1, 0);

/// The cgroups that were asked for. Where none was, the loader makes it a plain array: a kernel may
/// have no cgroups.
#[map]
static CGROUPS: CgroupArray = CgroupArray::with_max_entries(1, 0);

/// What is wanted of the cgroup of each process (tgid) that has to do with a socket.
#[map]
static MEMBERS: LruHashMap<u32, u32> = LruHashMap::with_max_entries(1, 0);

/// What a record will say of its sender, for each control block.
#[map]
static CLAIMS: Array<RecordHeader> = Array::with_max_entries(1, 0);

/// Patterns for names.
#[map]
static PATTERNS: Array<Pattern> = Array::with_max_entries(1, 0);

/// Whether it makes a difference who sent a frame.
#[inline(always)]
pub(crate) fn matters() -> bool {
    config!(senders.wanted) | config!(senders.unwanted) != 0
}

/// Whether the sender of a frame is wanted; [`None`] if the frame can't be read.
///
/// # Safety
///
/// `control` is this CPU's control block number `index`, and its busy mark is set by this very
/// program, which was handed the skb.
#[inline(always)]
pub(crate) unsafe fn wants(
    skb: u64,
    hook: Hook,
    control: *mut Control,
    index: u32,
) -> Option<bool> {
    // SAFETY: the caller's promise. What is stored may be a pointer of a known type, and what is read
    // back is a number.
    unsafe {
        write_volatile(&raw mut (*control).skb_addr, skb);
        // One after the other, not the second from within the first: a program and all that it is
        // calling share 512 bytes of stack.
        if skbcap_claim(index, hook as u32) == 0 {
            return None;
        }
        Some(skbcap_is_wanted(index) != 0)
    }
}

/// Makes the claim for the frame in `skb_addr`; 0 if the frame can't be read. Verified once, not on each
/// way by which a program comes here: so it takes numbers only, and reads by address.
///
/// # Safety
///
/// `index` is that of a control block of this CPU, whose busy mark is set.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn skbcap_claim(index: u32, hook: u32) -> u64 {
    if !matters() {
        return 0;
    }
    let (Some(control), Some(header)) = (CONTROL.get_ptr_mut(index), CLAIMS.get_ptr_mut(index))
    else {
        return 0;
    };
    // SAFETY: for all of this block: whole map values, and this CPU's own, as the caller promises.
    unsafe {
        let address = read_volatile(&raw const (*control).skb_addr);
        let Some(skb) = Skb::read::<ByAddress>(address, control) else {
            return 0;
        };
        write_volatile(&raw mut (*header).hook, hook as u8);
        (*header).socket = skb.socket();
        identity::write_current::<ByAddress>(header);
        let preempt_count_addr = read_volatile(&raw const (*control).preempt_count_addr);
        let context = identity::context::<ByAddress>(preempt_count_addr);
        write_volatile(&raw mut (*header).context, context as u8);
        let mut found = Flags::default();
        if hook == Hook::Xmit as u32 {
            found = notes::apply(header, &skb);
        }
        found = found.union(who::claim::<ByAddress>(header, &skb, found, control));
        write_volatile(&raw mut (*header).flags, found.0);
    }
    1
}

/// Whether the claim of this index is of a sender that is wanted.
///
/// # Safety
///
/// The claim was made.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn skbcap_is_wanted(index: u32) -> u64 {
    if !matters() {
        return 0;
    }
    let Some(header) = CLAIMS.get_ptr(index) else {
        return 0;
    };
    let mut matched = Matched::default();
    // SAFETY: a whole map value, as for all of this function.
    let by = unsafe { read_volatile(&raw const (*header).flags) } & Flags::BY.0;
    if by == Flags::of_by(By::Task).0 || by == Flags::of_by(By::Socket).0 {
        // SAFETY: as above.
        let (tgid, pid) = unsafe {
            (
                read_volatile(&raw const (*header).tgid),
                read_volatile(&raw const (*header).pid),
            )
        };
        matched.by_process(tgid);
        matched.listed(kind::THREAD, pid);
        if asks_for(kind::NAME) {
            // SAFETY: as above.
            matched.add(kind::NAME, unsafe { skbcap_matches(index) } as u32);
        }
    } else if by == Flags::of_by(By::Shared).0 {
        // SAFETY: as above; under this claim the name's bytes are those numbers.
        let writers: [u32; WRITERS] = unsafe { read_volatile((&raw const (*header).comm).cast()) };
        matched.writer(writers[0]);
        matched.writer(writers[1]);
        matched.writer(writers[2]);
        matched.writer(writers[3]);
    }
    matched.is_wanted().into()
}

/// Whether anybody asks for senders by this.
#[inline(always)]
fn asks_for(kind: u32) -> bool {
    (config!(senders.wanted) | config!(senders.unwanted)) & kind != 0
}

/// By which kinds a sender is listed.
#[derive(Default)]
struct Matched {
    wanted: u32,
    unwanted: u32,
}

impl Matched {
    #[inline(always)]
    fn add(&mut self, kind: u32, bits: u32) {
        // Without a branch: the verifier would follow each way.
        self.wanted |= kind * (bits & WANTED);
        self.unwanted |= kind * (bits >> 1 & (UNWANTED >> 1));
    }

    #[inline(always)]
    fn listed(&mut self, kind: u32, id: u32) {
        if asks_for(kind) {
            // SAFETY: a word, read once.
            let bits = unsafe { SENDERS.get(key(kind, id)) }.map_or(0, |bits| *bits);
            self.add(kind, bits);
        }
    }

    /// What can be told by the process alone.
    #[inline(always)]
    fn process(&mut self, tgid: u32) {
        self.listed(kind::PROCESS, tgid);
        if asks_for(kind::FOLLOWED) {
            let followed = FOLLOWED.get_ptr(tgid).is_some();
            self.add(kind::FOLLOWED, u32::from(followed) * WANTED);
        }
        if asks_for(kind::USER)
            && let Some(uid) = USERS.get_ptr(tgid)
        {
            // SAFETY: a whole map value.
            self.listed(kind::USER, unsafe { read_volatile(uid) });
        }
        if asks_for(kind::CGROUP)
            && let Some(bits) = MEMBERS.get_ptr(tgid)
        {
            // SAFETY: a whole map value.
            self.add(kind::CGROUP, unsafe { read_volatile(bits) });
        }
    }

    /// The same, on a stack of its own: 5.10 has no room for five of them in one function.
    #[inline(always)]
    fn by_process(&mut self, tgid: u32) {
        let matched = skbcap_process(tgid);
        self.wanted |= matched as u32;
        self.unwanted |= (matched >> 32) as u32;
    }

    /// As [`Matched::by_process`], of one of several.
    #[inline(always)]
    fn writer(&mut self, tgid: u32) {
        if tgid != 0 {
            self.by_process(tgid);
        }
    }

    #[inline(always)]
    fn is_wanted(&self) -> bool {
        let wanted = config!(senders.wanted);
        self.wanted & wanted == wanted && self.unwanted & config!(senders.unwanted) == 0
    }
}

/// What can be told of a sender by its process: kinds by which it is wanted in the lower half, by which
/// it is unwanted in the upper.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn skbcap_process(tgid: u32) -> u64 {
    if !matters() {
        return 0;
    }
    let mut matched = Matched::default();
    matched.process(tgid);
    u64::from(matched.unwanted) << 32 | u64::from(matched.wanted)
}

/// The bits of all patterns that match the name in the claim of this index.
///
/// # Safety
///
/// The claim names a thread.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn skbcap_matches(index: u32) -> u64 {
    if config!(senders.patterns) == 0 {
        return 0;
    }
    let mut bits = 0;
    let mut number = 0;
    while number < MAX_PATTERNS && number < config!(senders.patterns) {
        bits |= skbcap_matches_one(index, number);
        number += 1;
    }
    bits
}

/// The bits of one pattern, if it matches.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn skbcap_matches_one(index: u32, number: u32) -> u64 {
    if config!(senders.patterns) == 0 {
        return 0;
    }
    let (Some(header), Some(pattern)) = (CLAIMS.get_ptr(index), PATTERNS.get_ptr(number)) else {
        return 0;
    };
    // SAFETY: a whole map value.
    let mut glob = unsafe { Glob::new(pattern) };
    let mut at = 0;
    while at < NAME_LEN {
        // SAFETY: `at` is within the name, which is in a whole map value.
        let byte = unsafe { read_volatile((&raw const (*header).comm[0]).add(at)) };
        if byte == 0 {
            break;
        }
        glob.step(byte.into());
        at += 1;
    }
    glob.bits()
}

/// Writes into a record what was found out to decide by. Returns how it is known.
///
/// # Safety
///
/// `header` points to a whole record header in a map's value; the claim of this index was made for its
/// frame.
#[inline(always)]
pub(crate) unsafe fn copy_claim(header: *mut RecordHeader, index: u32) -> Flags {
    let Some(claim) = CLAIMS.get_ptr(index) else {
        return Flags::default();
    };
    // SAFETY: the caller's promise; a whole map value, and this CPU's own.
    unsafe {
        (*header).context = read_volatile(&raw const (*claim).context);
        (*header).tgid = read_volatile(&raw const (*claim).tgid);
        (*header).pid = read_volatile(&raw const (*claim).pid);
        if config!(tasks.known) != 0 {
            // The listener's, of a frame that is a request's.
            (*header).socket = read_volatile(&raw const (*claim).socket);
        }
        (&raw mut (*header).comm)
            .cast::<[u64; 2]>()
            .write(read_volatile((&raw const (*claim).comm).cast()));
        Flags(read_volatile(&raw const (*claim).flags))
    }
}

/// The current process has to do with a socket: keeps its user and what is wanted of its cgroup, where
/// somebody asks for that.
#[inline(always)]
pub(crate) fn note_process() {
    if asks_for(kind::USER) {
        // SAFETY: none is needed for the helper.
        keep(&USERS, unsafe { bpf_get_current_uid_gid() } as u32);
    }
    if asks_for(kind::CGROUP) {
        let bits = cgroups();
        if bits != CGROUPS_UNKNOWN {
            keep(&MEMBERS, bits as u32);
        }
    }
}

/// Keeps a word for the current process.
#[inline(always)]
fn keep(map: &LruHashMap<u32, u32>, word: u32) {
    let tgid = (identity::pid_tgid() >> 32) as u32;
    if let Some(kept) = map.get_ptr_mut(tgid) {
        // SAFETY: a whole map value, written in one.
        unsafe { write_volatile(kept, word) };
    } else {
        let _ = map.insert(tgid, word, 0);
    }
}

/// No bits, where the kernel does not say: it won't in an interrupt, nor with softirqs disabled.
const CGROUPS_UNKNOWN: u64 = u64::MAX;

/// The bits of all cgroups that the current process is in or below, or [`CGROUPS_UNKNOWN`].
///
/// No function of its own: a program that has one lacks the table by which kernels before 6.4 survive a
/// plain load from a bad address.
#[inline(always)]
fn cgroups() -> u64 {
    let mut bits = 0;
    let mut index = 0;
    while index < MAX_CGROUPS && index < config!(senders.cgroups) {
        match CGROUPS.current_task_under_cgroup(index) {
            Ok(true) => {
                // SAFETY: a word, read once.
                let wanted = unsafe { SENDERS.get(key(kind::CGROUP, index)) };
                bits |= wanted.map_or(0, |bits| *bits);
            }
            Ok(false) => {}
            Err(_) => return CGROUPS_UNKNOWN,
        }
        index += 1;
    }
    bits.into()
}

/// A task was made by the current one, and has not run yet.
#[inline(always)]
pub(crate) fn forked(child: *const u8) {
    let parent = (identity::pid_tgid() >> 32) as u32;
    let child: u32 = Fields::typed(child as u64).at(config!(sockets.task_tgid));
    if child == parent {
        // A thread.
        return;
    }
    if FOLLOWED.get_ptr(parent).is_some() {
        let _ = FOLLOWED.insert(child, 1, BPF_NOEXIST.into());
    } else {
        // It may have the number of one that was followed, whose socket sent on beyond its end.
        let _ = FOLLOWED.remove(child);
    }
}
