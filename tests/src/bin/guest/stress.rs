//! Readers that stand still, disks that are slow, bursts: rings are full, and the law holds.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use skbcap_tests::capture;

use crate::lab::{Pair, Space};
use crate::law::{self, Counts, send, settle, start_sending};
use crate::program::{Program, out};
use crate::share;
use crate::skbcap::{Done, Hook, Skbcap, command, verify};

/// Options of a capture with rings that are full after some hundred frames.
const SMALL: &str = "-s 2000 -B 512";
/// Longer than anything that only hiccups.
const STOPPED: Duration = Duration::from_secs(3);

/// The consumer is stopped for seconds while all CPUs send, then goes on. Before and behind that,
/// nothing is lost.
pub(crate) fn stress_stopped() -> Result<()> {
    let pair = Pair::new("stopped")?;
    let cpus = thread::available_parallelism()?;
    let all = format!("sizes=1000 threads={cpus} pin=true");
    for hook in Hook::all() {
        let name = format!("stopped-{hook}");
        let skbcap = Skbcap::start(&pair.a, &name, &format!("--hook {hook} {SMALL}"))?;
        let mut sent = send(&pair.a, &format!("{all} count=20 gap_us=2000"))?;
        ensure!(writers(&skbcap.program)? == 0, "it was never behind");
        skbcap.program.signal(Signal::STOP)?;
        let begun = Instant::now();
        let mut first = 20;
        while begun.elapsed() < STOPPED {
            sent += send(&pair.a, &format!("{all} count=2000 first={first}"))?;
            first += 2000;
        }
        skbcap.program.signal(Signal::CONT)?;
        sleep(Duration::from_millis(500));
        ensure!(
            writers(&skbcap.program)? == 1,
            "no thread of its own writes what was in full rings"
        );
        sent += send(
            &pair.a,
            &format!("{all} count=20 gap_us=2000 first={first}"),
        )?;
        let (done, counts) = settle(skbcap, sent)?;
        ensure!(counts.ring_full > 1000, "the rings were not full");
        told_by_frames(&done, counts.ring_full)?;
    }
    Ok(())
}

/// Threads of a capture that write only.
fn writers(skbcap: &Program) -> Result<usize> {
    let mut writers = 0;
    for task in fs::read_dir(format!("/proc/{}/task", skbcap.child.id()))? {
        writers += usize::from(fs::read_to_string(task?.path().join("comm"))? == "writer\n");
    }
    Ok(writers)
}

/// Every loss stands before a frame of its CPU: frames came behind them on each.
fn told_by_frames(done: &Done, dropped: u64) -> Result<()> {
    let packets = done.capture.packets.iter();
    let between: u64 = packets.map(|packet| packet.more().dropped).sum();
    ensure!(between == dropped, "{dropped} dropped, {between} by frames");
    Ok(())
}

/// A full ring slows no sender: its throughput without a capture, beside one that reads, and beside
/// one that is stopped.
pub(crate) fn stress_sender() -> Result<()> {
    let pair = Pair::new("sender")?;
    let count = 20_000;
    let time = || -> Result<f64> {
        let begun = Instant::now();
        let sent = send(&pair.a, &format!("sizes=1000 count={count}"))?;
        ensure!(sent == count);
        Ok(begun.elapsed().as_secs_f64())
    };
    // The least of five: what else a machine does only ever adds.
    let least = || -> Result<f64> {
        let times = (0..5).map(|_| time()).collect::<Result<Vec<_>>>()?;
        Ok(times.into_iter().fold(f64::INFINITY, f64::min))
    };
    for hook in share::mine(Hook::all())? {
        let without = least()?;
        let name = format!("sender-{hook}");
        let skbcap = Skbcap::start(&pair.a, &name, &format!("--hook {hook} {SMALL}"))?;
        let beside = least()?;
        skbcap.program.signal(Signal::STOP)?;
        let stopped = least()?;
        skbcap.program.signal(Signal::CONT)?;
        settle(skbcap, 10 * count)?;
        // Once more, in case the machine was busy with something else before.
        let without = without.min(least()?);
        let (beside, stopped) = (beside / without, stopped / without);
        println!(
            "{hook}: {without:.3} s for {count} frames; {beside:.2} of that beside a capture, \
             {stopped:.2} with full rings"
        );
        // A sender that waited for room would wait for as long as skbcap stood still, which is
        // longer than any machine's noise.
        ensure!(
            stopped * without < beside * without + STOPPED.as_secs_f64(),
            "{stopped:.2} times as long with full rings"
        );
    }
    Ok(())
}

/// Reads to the end, slowly until told to hurry.
struct Reader {
    hurry: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<u8>>>,
}

impl Reader {
    /// Reads what `open` opens, `piece` bytes at a time and a while between; none at all if 0.
    fn start<R: Read>(piece: usize, open: impl FnOnce() -> Result<R> + Send + 'static) -> Self {
        let hurry = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&hurry);
        let thread = thread::spawn(move || {
            let mut from = open()?;
            let mut bytes = Vec::new();
            while !told.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(20));
                let read = from.by_ref().take(piece as u64).read_to_end(&mut bytes)?;
                if piece > 0 && read == 0 {
                    return Ok(bytes);
                }
            }
            from.read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        Self { hurry, thread }
    }

    fn hurry(&self) {
        self.hurry.store(true, Ordering::Relaxed);
    }

    fn bytes(self) -> Result<Vec<u8>> {
        self.thread.join().ok().context("the reader panicked")?
    }
}

/// Ends a capture whose output a reader has, which becomes a file.
fn finish(mut skbcap: Program, reader: Reader, name: &str, sent: u64) -> Result<Counts> {
    skbcap.signal(Signal::INT)?;
    let status = skbcap.wait()?;
    let said = skbcap.stderr()?;
    ensure!(status.success(), "{status}: {said}");
    let file = out(&format!("{name}.pcapng"));
    File::create(&file)?.write_all(&reader.bytes()?)?;
    verify(&file)?;
    let capture = capture::read_pcapng(&file)?;
    let done = Done { said, capture };
    let counts = Counts::of(&done)?;
    counts.hold(sent)?;
    law::file_tells_of(&done, &counts)?;
    ensure!(law::each_once(&done)? == counts.captured);
    Ok(counts)
}

/// An output that takes three megabytes a second at most, as a bad disk does; it is a named pipe.
pub(crate) fn stress_slow_output() -> Result<()> {
    let pair = Pair::new("slow")?;
    for hook in Hook::all() {
        let path = out(&format!("{hook}.fifo"));
        crate::lab::run(std::process::Command::new("mkfifo").arg(&path))?;
        let place = path.clone();
        let reader = Reader::start(64 << 10, move || Ok(File::open(place)?));
        let words = format!("--hook {hook} {SMALL} -w {}", path.display());
        let mut skbcap = pair
            .a
            .start(&format!("slow-{hook}"), &mut command(&words))?;
        skbcap.wait_stderr("skbcap: listening on")?;
        let sent = send(&pair.a, "sizes=1400 count=20000")?;
        law::memory_is_bounded(&skbcap)?;
        reader.hurry();
        let counts = finish(skbcap, reader, &format!("slow-{hook}"), sent)?;
        ensure!(counts.ring_full > 0, "it was not too slow");
        fs::remove_file(path)?;
    }
    Ok(())
}

/// `-w -`, and nobody reads for a while.
pub(crate) fn stress_stalled_pipe() -> Result<()> {
    let pair = Pair::new("stalled")?;
    for hook in Hook::all() {
        let name = format!("stalled-{hook}");
        let mut command = command(&format!("--hook {hook} {SMALL} -w -"));
        command.stdin(Stdio::null());
        let mut skbcap = pair
            .a
            .within(|| Program::start_piped(&name, &mut command))?;
        skbcap.wait_stderr("skbcap: listening on")?;
        let stdout = skbcap.child.stdout.take().context("a pipe")?;
        let reader = Reader::start(0, move || Ok(stdout));
        let begun = Instant::now();
        let (mut sent, mut first) = (0, 0);
        while begun.elapsed() < STOPPED {
            sent += send(&pair.a, &format!("sizes=1000 count=3000 first={first}"))?;
            first += 3000;
        }
        law::memory_is_bounded(&skbcap)?;
        reader.hurry();
        sent += send(
            &pair.a,
            &format!("sizes=1000 count=50 gap_us=2000 first={first}"),
        )?;
        let counts = finish(skbcap, reader, &name, sent)?;
        ensure!(counts.ring_full > 1000, "the pipe took it all");
    }
    Ok(())
}

/// The hook is attached while all CPUs send as fast as they can. Each sender's frames from the first
/// captured one on are accounted for; those before were sent before it was attached.
pub(crate) fn stress_burst() -> Result<()> {
    let pair = Pair::new("burst")?;
    let cpus = thread::available_parallelism()?;
    for hook in Hook::all() {
        let name = format!("burst-{hook}");
        // Until they are ended: a slow guest takes its time until the hook is attached.
        let words = format!("sizes=100 threads={cpus} pin=true count=1000000000");
        let senders = start_sending(&pair.a, &format!("senders-{hook}"), &words)?;
        // Rings of a hundred frames, and a reader that comes late: even a slow guest fills them.
        let words = format!("--hook {hook} -s 200 -B 64");
        let skbcap = Skbcap::start(&pair.a, &name, &words)?;
        skbcap.program.signal(Signal::STOP)?;
        sleep(Duration::from_millis(200));
        skbcap.program.signal(Signal::CONT)?;
        sleep(Duration::from_millis(300));
        drop(senders);
        sleep(Duration::from_millis(300));
        // Senders that were killed can't tell how many they sent. What was sent without a loss
        // behind it tells: each one's frames have a number.
        law::memory_is_bounded(&skbcap.program)?;
        let done = skbcap.stop()?;
        let counts = Counts::of(&done)?;
        law::file_tells_of(&done, &counts)?;
        ensure!(law::each_once(&done)? == counts.captured);
        let gaps = gaps(&done)?;
        println!("{hook}: {gaps} lost between a sender's frames, {counts:?}");
        ensure!(counts.captured > 100 && counts.ring_full > 100, "no burst");
        // Losses behind a sender's last captured frame show in no gap.
        ensure!(
            gaps <= counts.ring_full + counts.busy + counts.missed,
            "{gaps} frames are missing, {counts:?}"
        );
    }
    Ok(())
}

/// Numbers that are missing between each sender's frames.
fn gaps(done: &Done) -> Result<u64> {
    let mut senders = std::collections::BTreeMap::new();
    for packet in &done.capture.packets {
        let (_, payload) = packet.udp().context("no datagram")?;
        let mark = fixtures::mark::read(payload).context("a changed payload")?;
        let sender = senders
            .entry(mark.pid)
            .or_insert((mark.sequence, mark.sequence, 0));
        sender.1 = mark.sequence;
        sender.2 += 1;
    }
    Ok(senders
        .values()
        .map(|(first, last, count)| last - first + 1 - count)
        .sum())
}

/// Two at once, one of them stopped: neither takes anything from the other.
pub(crate) fn stress_two() -> Result<()> {
    let pair = Pair::new("two")?;
    for hook in Hook::all() {
        let other = *Hook::all().last().context("there is a hook")?;
        two(&pair.a, hook, other)?;
    }
    Ok(())
}

fn two(space: &Space, hook: Hook, other: Hook) -> Result<()> {
    const LARGE_KIB: u64 = 65536;
    let stopped = Skbcap::start(
        space,
        &format!("two-stopped-{hook}"),
        &format!("--hook {hook} {SMALL}"),
    )?;
    let going = Skbcap::start(
        space,
        &format!("two-going-{hook}"),
        &format!("--hook {other} -s 2000 -B {LARGE_KIB}"),
    )?;
    stopped.program.signal(Signal::STOP)?;
    let sent = send(space, "sizes=1000 count=10000")?;
    stopped.program.signal(Signal::CONT)?;
    let (_, counts) = settle(going, sent)?;
    ensure!(counts.captured == sent, "the one that went on lost frames");
    let (_, counts) = settle(stopped, sent)?;
    ensure!(counts.ring_full > 1000, "the other did not");
    Ok(())
}
