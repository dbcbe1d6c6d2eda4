//! The law of conservation, held against what was sent: every frame is in the file or counted, once.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, ensure};
use fixtures::mark;

use crate::lab::Space;
use crate::program::Program;
use crate::report::senders;
use crate::skbcap::{Done, Skbcap};

/// What a capture may allocate: its buffers, and what is known of ten thousand interfaces.
const MEMORY_KIB: u64 = 14 << 10;

/// What became of the frames of one capture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) seen: u64,
    pub(crate) captured: u64,
    pub(crate) filtered: u64,
    pub(crate) ring_full: u64,
    pub(crate) no_ring: u64,
    pub(crate) busy: u64,
    pub(crate) not_written: u64,
    pub(crate) missed: u64,
}

impl Counts {
    /// The counts at the end, which must add up: nothing is left in the rings.
    pub(crate) fn of(done: &Done) -> Result<Self> {
        let not_written = done
            .said
            .lines()
            .filter(|line| line.contains("not written: "))
            .map(|line| Ok(line.split(' ').next().unwrap_or_default().parse::<u64>()?))
            .sum::<Result<u64>>()?;
        let counts = Self {
            seen: done.count("frames seen")?,
            captured: done.count("captured")?,
            filtered: done.count_or_none("filtered")?,
            ring_full: done.count("dropped: ring full")?,
            no_ring: done.count_or_none("dropped: no ring")?,
            busy: done.count_or_none("dropped: busy")?,
            not_written,
            missed: done.misses()?.lost.unwrap_or(0),
        };
        let unreadable = done.count_or_none("dropped: unreadable")?;
        ensure!(unreadable == 0, "{unreadable} unreadable");
        let sum = counts.captured
            + counts.filtered
            + counts.ring_full
            + counts.no_ring
            + counts.busy
            + counts.not_written;
        ensure!(
            counts.seen == sum,
            "{} seen, not {sum}: {counts:?}",
            counts.seen
        );
        Ok(counts)
    }

    /// Frames that were wanted, as far as is known of each.
    pub(crate) fn wanted(&self) -> u64 {
        self.captured + self.ring_full + self.no_ring + self.not_written
    }

    /// All `sent` frames, and no others, are accounted for. Only those that were turned away or
    /// missed may have been anybody's.
    pub(crate) fn hold(&self, sent: u64) -> Result<()> {
        let wanted = self.wanted();
        let most = wanted + self.busy + self.missed;
        ensure!(
            (wanted..=most).contains(&sent),
            "{sent} sent, {wanted} to {most} accounted for: {self:?}"
        );
        println!("{sent} sent: {self:?}");
        Ok(())
    }
}

/// That no marked frame is there twice, and each sender's are in its order. How many there are.
pub(crate) fn each_once(done: &Done) -> Result<u64> {
    let mut last: BTreeMap<u32, u64> = BTreeMap::new();
    let mut count = 0;
    for packet in &done.capture.packets {
        let (_, payload) = packet.udp().context("no datagram")?;
        let mark = mark::read(payload).context("a changed payload")?;
        if let Some(before) = last.insert(mark.pid, mark.sequence) {
            ensure!(mark.sequence > before, "{mark:?} behind {before}");
        }
        count += 1;
    }
    Ok(count)
}

/// All losses are in the statistics of the file's interfaces. `skbcap verify` has held the rest
/// against each other when the capture ended.
pub(crate) fn file_tells_of(done: &Done, counts: &Counts) -> Result<()> {
    let interfaces = &done.capture.report.interfaces;
    let told: u64 = interfaces.iter().filter_map(|one| one.dropped).sum();
    let dropped = counts.ring_full + counts.no_ring + counts.busy;
    ensure!(
        told == dropped,
        "{dropped} dropped, the file tells of {told}"
    );
    Ok(())
}

/// Frames that a sender says that it sent.
pub(crate) fn sent(said: &str) -> Result<u64> {
    let senders = senders(said)?;
    ensure!(!senders.is_empty(), "nobody sent: {said}");
    Ok(senders.iter().map(|sender| sender.sent).sum())
}

/// Sends marked datagrams to their end; how many.
pub(crate) fn send(space: &Space, words: &str) -> Result<u64> {
    sent(&space.sh(&format!("traffic udp to=10.0.0.2:9 {words}"))?)
}

/// Starts senders that are told to end by [`Program::finish`]: they do so by themselves.
pub(crate) fn start_sending(space: &Space, name: &str, words: &str) -> Result<Program> {
    let mut command = crate::lab::words_of(&format!("traffic udp to=10.0.0.2:9 {words}"));
    space.start(name, &mut command)
}

/// The memory that it has allocated is bounded, however much there is to capture.
pub(crate) fn memory_is_bounded(skbcap: &Program) -> Result<()> {
    let held = anon_kib(skbcap)?;
    println!("{held} KiB held");
    ensure!(held <= MEMORY_KIB, "{held} KiB held, over {MEMORY_KIB}");
    Ok(())
}

/// The memory that a program has allocated and touched. The rings' pages and those of its file are
/// not among it: the first can't become more, and the second come and go as the kernel likes.
pub(crate) fn anon_kib(program: &Program) -> Result<u64> {
    let path = format!("/proc/{}/status", program.child.id());
    let status = fs::read_to_string(path)?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let line = line.with_context(|| format!("no RssAnon in {status}"))?;
    Ok(line.split_whitespace().nth(1).context("KiB")?.parse()?)
}

/// Ends a capture and holds it against what was sent, if that is known.
pub(crate) fn settle(skbcap: Skbcap, sent: u64) -> Result<(Done, Counts)> {
    memory_is_bounded(&skbcap.program)?;
    let done = skbcap.stop()?;
    let counts = Counts::of(&done)?;
    counts.hold(sent)?;
    file_tells_of(&done, &counts)?;
    ensure!(each_once(&done)? == counts.captured);
    Ok((done, counts))
}
