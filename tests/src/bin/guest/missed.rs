//! Frames that the kprobe misses, and its net: each frame is in the file once.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};
use skbcap_tests::capture;
use skbcap_tests::compare::{Some3, compare};

use crate::command;
use crate::lab::{Pair, Space, run, words_of};
use crate::limits::sequences;
use crate::program::out;
use crate::skbcap::{Done, Hook, Misses, Skbcap};
use crate::tcp::stream;

/// Streams both ways over a cable that delays and loses, so that softirqs send: acknowledgements,
/// retransmissions, what waited in a queue. A second skbcap's kprobe, which copies each frame too,
/// makes the time in which they can't be probed longer.
pub(crate) fn missed_softirq() -> Result<()> {
    const BYTES: u64 = 24 << 20;
    let pair = Pair::new("missed")?;
    for (space, device) in [(&pair.a, "va"), (&pair.b, "vb")] {
        space.run(&mut words_of(&format!(
            "tc qdisc add dev {device} root netem delay 1ms loss 0.5% limit 10000"
        )))?;
        // Where egress may come in between, the kprobe copies the frame itself, and takes longer.
        space.sh(&format!("tc qdisc add dev {device} clsact"))?;
    }
    let words = "--netns all -i va -i vb -B 32768";
    let start = |hook: Hook, name, snaplen| {
        let words = format!("--hook {hook} -s {snaplen} {words}");
        Skbcap::start(&pair.a, name, &words)
    };
    let foreign = start(Hook::Kprobe, "foreign", 262_144)?;
    let queue = start(Hook::Queue, "queue", 600)?;
    let kprobe = start(Hook::Kprobe, "kprobe", 600)?;
    thread::scope(|scope| {
        let back = scope.spawn(|| {
            let send = format!("tcp-send bytes={BYTES}");
            stream(&pair.b, &pair.a, "10.0.0.1:81", &send, BYTES)
        });
        let send = format!("tcp-send bytes={BYTES}");
        stream(&pair.a, &pair.b, "10.0.0.2:80", &send, BYTES)?;
        back.join().expect("no panic")
    })?;
    // Both ends of a stream say goodbye in their own time.
    thread::sleep(std::time::Duration::from_millis(500));
    let kprobe = kprobe.stop()?;
    let queue = queue.stop()?;
    foreign.stop()?;

    let misses = same(&kprobe, &queue)?;
    ensure!(misses.caught > 0, "nothing was missed: nothing is shown");
    ensure!(
        misses.lost.is_none_or(|lost| lost == 0),
        "nothing can vanish here, but: {}",
        kprobe.said
    );
    Ok(())
}

/// On a kernel that preempts its own code, while another program looks up a map without pause: the
/// kernel runs no kprobe's program for a task that preempts the look-up. Half of the frames vanish
/// at egress, so that their marks are left over.
pub(crate) fn missed_map_calls() -> Result<()> {
    /// On a busy host a guest's processors take turns, and for a whole round no task may preempt
    /// another one in the midst of a look-up.
    const ROUNDS: u32 = 5;
    let pair = Pair::new("mapcalls")?;
    let a = &pair.a;
    a.sh("tc qdisc add dev va clsact")?;
    a.sh("tc filter add dev va egress protocol ip u32 match ip dport 10 0xffff action drop")?;
    // Nobody answers.
    a.ip("neigh replace 10.0.0.2 lladdr 02:00:00:00:00:03 dev va nud permanent")?;
    for _ in 0..ROUNDS {
        if beside_map_calls(a)?.caught > 0 {
            return Ok(());
        }
    }
    bail!("nothing was missed in {ROUNDS} rounds: nothing is shown")
}

/// One round: what it shows holds whether something was missed or not. Returns what was.
fn beside_map_calls(a: &Space) -> Result<Misses> {
    const SENT: u64 = 16_000;
    let queue = Skbcap::start(a, "queue", "--hook queue -i va -B 65536")?;
    let kprobe = Skbcap::start(a, "kprobe", "--hook kprobe -i va -B 65536")?;
    let map = Map::new()?;
    let is_over = AtomicBool::new(false);
    let send = |port: u16| {
        a.sh(&format!(
            "traffic udp to=10.0.0.2:{port} sizes=100 count={SENT}"
        ))
    };
    thread::scope(|scope| {
        for cpu in 0..thread::available_parallelism().map_or(1, usize::from) {
            let (map, is_over) = (&map, &is_over);
            scope.spawn(move || {
                // One to each CPU, so that none of the senders has one to itself.
                let mut cpus = CpuSet::new();
                cpus.set(cpu);
                sched_setaffinity(None, &cpus).expect("a CPU that is there");
                while !is_over.load(Ordering::Relaxed) {
                    map.look_up();
                }
            });
        }
        let vanishing = scope.spawn(|| send(10));
        let passing = send(9);
        let vanishing = vanishing.join().expect("no panic");
        is_over.store(true, Ordering::Relaxed);
        vanishing.and(passing)
    })?;
    let kprobe = kprobe.stop()?;
    let queue = queue.stop()?;

    let misses = kprobe.misses()?;
    println!("{} frames, {misses}", kprobe.capture.packets.len());
    let of_port = |done: &Done, port: u16| {
        let mut packets = done.capture.packets.clone();
        packets.retain(|packet| packet.udp().is_some_and(|(to, _)| to == port));
        sequences(&packets)
    };
    let mut passed = of_port(&kprobe, 9)?;
    passed.sort_unstable();
    let whole: Vec<u64> = (0..SENT).collect();
    ensure!(of_port(&queue, 9)?.len() as u64 == SENT && of_port(&queue, 10)?.is_empty());
    let (missing, twice) = difference(&passed, &whole);
    println!("{missing} of those that pass are missing, {twice} are there twice");
    ensure!(missing + twice <= misses.doubtful, "and {misses}");
    if misses.doubtful == 0 {
        ensure!(passed == whole, "other frames than were sent");
    }
    // What the kprobe missed of those that vanish is gone, and counted where the kernel counts.
    let vanished = SENT - of_port(&kprobe, 10)?.len() as u64;
    match misses.lost {
        Some(lost) => ensure!(
            vanished.abs_diff(lost) <= misses.doubtful,
            "{vanished} vanished unseen, but {misses}"
        ),
        None => println!("{vanished} vanished unseen"),
    }
    Ok(misses)
}

/// How many numbers of `whole` are not in `sorted`, and how many are there once more.
fn difference(sorted: &[u64], whole: &[u64]) -> (u64, u64) {
    let mut once = sorted.to_vec();
    once.dedup();
    let twice = sorted.len() - once.len();
    let missing = whole
        .iter()
        .filter(|number| once.binary_search(number).is_err());
    (missing.count() as u64, twice as u64)
}

/// Compares what kprobe and net took with what the tracepoint alone did, frame by frame.
fn same(kprobe: &Done, queue: &Done) -> Result<Misses> {
    let misses = kprobe.misses()?;
    let (ours, theirs) = (&kprobe.capture.packets, &queue.capture.packets);
    println!(
        "{} frames, {} at the tracepoint, {misses}",
        ours.len(),
        theirs.len()
    );
    let by_net = ours.iter().filter(|packet| packet.more().who.net).count();
    ensure!(
        by_net as u64 == misses.caught,
        "{by_net} are marked, but {misses}"
    );
    let difference = compare(theirs, ours);
    ensure!(
        difference.only_first.is_empty() && difference.only_second.is_empty(),
        "missing: {}\n{}there twice: {}\n{}",
        difference.only_first.len(),
        Some3(&difference.only_first, theirs),
        difference.only_second.len(),
        Some3(&difference.only_second, ours)
    );
    Ok(misses)
}

/// A BPF hash map with one value: looking one up is a call during which the kernel lets no program
/// of a kprobe run on that CPU.
struct Map(OwnedFd);

/// `BPF_MAP_TYPE_HASH`; `BPF_MAP_CREATE`, `BPF_MAP_LOOKUP_ELEM` (include/uapi/linux/bpf.h).
const HASH: u32 = 1;
const CREATE: libc::c_long = 0;
const LOOKUP_ELEM: libc::c_long = 1;

impl Map {
    fn new() -> Result<Self> {
        // Type, bytes of a key, bytes of a value, entries; flags 0.
        let mut attribute = [HASH, 4, 4096, 1, 0, 0, 0, 0];
        let fd = bpf(CREATE, attribute.as_mut_ptr().cast(), 32).context("cannot make a map")?;
        #[expect(
            unsafe_code,
            reason = "a descriptor comes as a number from the system call"
        )]
        // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// There is no such key; looking for it is enough.
    fn look_up(&self) {
        let key = 7u32;
        let mut value = [0u8; 4096];
        let mut attribute = [
            self.0.as_raw_fd() as u64,
            (&raw const key) as u64,
            value.as_mut_ptr() as u64,
            0,
        ];
        let _ = bpf(LOOKUP_ELEM, attribute.as_mut_ptr().cast(), 32);
    }
}

fn bpf(command: libc::c_long, attribute: *mut libc::c_void, len: usize) -> io::Result<i32> {
    #[expect(
        unsafe_code,
        reason = "aya has no call for a map that belongs to no program"
    )]
    // SAFETY: both commands read `len` bytes of the attribute, and the second one the key, and
    // writes at most a value, to the addresses in it: all are live, and as long as that.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attribute, len) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result as i32)
}

/// Calls on sockets that the kernel does not hand to a program that watches them, because a task was
/// preempted in it: a second program sees them, and as many are told as both may have missed.
pub(crate) fn missed_socket_calls() -> Result<()> {
    let pair = Pair::new("calls")?;
    let skbcap = Skbcap::start(&pair.a, "calls", "-i va --hook queue -s 64")?;
    for _ in 0..8 {
        // More than a processor can run: those that it preempts were sending.
        let mut senders = Vec::new();
        for number in 0..6 {
            let words = "taskset -c 0 traffic udp to=10.0.0.2:9 count=20000";
            senders.push(
                pair.a
                    .start(&format!("sender-{number}"), &mut words_of(words))?,
            );
        }
        for mut sender in senders {
            let status = sender.wait()?;
            ensure!(status.success(), "{status}");
        }
        if LeftOut::now()?.of("socket_").any > 0 {
            break;
        }
    }
    let counted = LeftOut::now()?.of("socket_");
    let done = skbcap.stop()?;
    let told = done.count_or_none("calls on sockets not seen")?;
    println!("{counted:?}, {told} told");
    ensure!(counted.any > 0, "no program was left out: nothing is shown");
    ensure!(told == counted.both, "{told} told of {counted:?}");
    Ok(())
}

/// The same of forks: no child of the command's is lost.
pub(crate) fn missed_forks() -> Result<()> {
    const FORKERS: usize = 6;
    const CHILDREN: usize = 500;
    let pair = Pair::new("forks")?;
    let list = out("programs");
    let script = format!(
        "for i in $(seq {FORKERS}); do \
         taskset -c 0 traffic brief to=10.0.0.2:9 wanted={CHILDREN} most={CHILDREN} us=0 & \
         done; wait; bpftool prog show >{}",
        list.display()
    );
    for _ in 0..12 {
        let file = out("forks.pcapng");
        let words = format!("--hook queue -w {}", file.display());
        let output = command::run(
            &pair.a,
            &mut command::with_command(&words, &["sh", "-c", &script]),
        )?;
        ensure!(output.status.success(), "{}", output.status);
        let counted = LeftOut::read(&fs::read_to_string(&list)?)?.of("forked");
        let mut packets = capture::read_pcapng(&file)?.packets;
        packets.retain(|packet| packet.udp().is_some_and(|(to, _)| to == 9));
        println!("{} frames, {counted:?}", packets.len());
        let missing = (FORKERS * CHILDREN).abs_diff(packets.len()) as u64;
        ensure!(
            missing <= counted.both,
            "{missing} are missing of {counted:?}"
        );
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            said.contains("forks not seen") == (counted.both > 0),
            "{said}"
        );
        if counted.any > 0 {
            return Ok(());
        }
    }
    bail!("no program was left out: nothing is shown")
}

/// How often the kernel left each program out, by its name.
struct LeftOut(BTreeMap<String, u64>);

/// Of some places with two programs each.
#[derive(Debug)]
struct Counted {
    /// How often one of the two was left out.
    any: u64,
    /// How often both may have been, for one and the same call.
    both: u64,
}

impl LeftOut {
    fn now() -> Result<Self> {
        Self::read(&run(&mut words_of("bpftool prog show"))?)
    }

    fn read(list: &str) -> Result<Self> {
        let mut counts = BTreeMap::new();
        for line in list.lines() {
            let Some((_, name)) = line.split_once(" name ") else {
                continue;
            };
            let name = name.split(' ').next().unwrap_or_default();
            let count = match line.split_once("recursion_misses ") {
                Some((_, count)) => count.split(' ').next().unwrap_or_default().parse()?,
                None => 0,
            };
            counts.insert(name.to_owned(), count);
        }
        Ok(Self(counts))
    }

    /// Of all places whose program's name begins so.
    fn of(&self, prefix: &str) -> Counted {
        let mut sum = Counted { any: 0, both: 0 };
        for (name, first) in self.0.iter().filter(|(name, _)| name.starts_with(prefix)) {
            // The kernel keeps 15 bytes of a name, which may be all that is shown.
            let again = format!("again_{name}");
            let is_it = |(name, _): &(&String, &u64)| again.starts_with(name.as_str());
            let second = self.0.iter().find(is_it).map_or(0, |(_, count)| *count);
            sum.any += first + second;
            sum.both += *first.min(&second);
        }
        sum
    }
}
