//! What captures while the shapes send, and each row's cell by it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;

use anyhow::{Context, Result, bail, ensure};

use super::Row;
use super::judge::{self, Found, Reason};
use super::run::{Clock, Ready};
use super::scene::Scene;
use crate::beside::{LAST_BLOCK, Point, Tcpdump, now_ns};
use crate::lab::Space;
use crate::program::out;
use crate::skbcap::{Done, Hook, Skbcap};

/// KiB of each tcpdump's ring: there are many.
const BUFFER_KIB: u32 = 8192;
/// The same where a frame takes a block of the ring, 256 KiB, or nearly.
const LARGE_BUFFER_KIB: u32 = 131_072;
/// KiB of the rings of a skbcap that captures all: no burst of any shape fills them, whoever of all
/// who capture has the processor.
const ALL_BUFFER_KIB: u32 = 32_768;
/// Bytes that skbcap keeps of a frame, unless told otherwise.
const MOST: u32 = 262_144;

/// What skbcap took.
struct Taken {
    hook: Hook,
    /// The device of the row that it was started for; none for all rows.
    device: Option<&'static str>,
    file: PathBuf,
    done: Done,
}

/// What skbcap took by each hook, of all rows and of some.
pub(super) struct Captures {
    taken: Vec<Taken>,
    /// The time in which all captured.
    all_ns: Range<u64>,
}

impl Row {
    fn expected(&self, hook: Hook) -> &'static [Reason] {
        match hook {
            Hook::Kprobe => self.kprobe,
            Hook::Queue => self.queue,
            Hook::Xmit => self.xmit,
        }
    }

    /// The device, if the row has captures of its own.
    fn own(&self) -> Option<&'static str> {
        self.snaplen.map(|_| self.device)
    }
}

impl Captures {
    /// Captures all that the shapes send.
    pub(super) fn take(ready: &mut [Ready], clock: &mut Clock) -> Result<Self> {
        let first = ready.first().context("no shape can be made")?;
        let mut tcpdumps = Vec::new();
        let mut own = Vec::new();
        for one in &*ready {
            for row in one.shape.rows {
                let (space, device) = (one.scene.space(row.space), row.device);
                let point = Point { space, device };
                let buffer_kib = match row.longest {
                    0..=65_549 => BUFFER_KIB,
                    _ => LARGE_BUFFER_KIB,
                };
                tcpdumps.push(Tcpdump::launch(&point, buffer_kib, row.snaplen)?);
                own.extend(row.snaplen.map(|snaplen| (space, device, snaplen)));
            }
        }
        for tcpdump in &mut tcpdumps {
            tcpdump.listen()?;
        }
        // Of several link types, as the tunnels' are: readers look at the name.
        let all = |hook| {
            (
                format!("{hook}.mixed"),
                format!("--hook {hook} --netns all -B {ALL_BUFFER_KIB}"),
            )
        };
        let mut listening = start(first.scene.a(), None, &all)?;
        for (space, device, snaplen) in own {
            let words = |hook| {
                let words = format!("--hook {hook} -B 4096 -s {snaplen}");
                (format!("{hook}-{device}"), words)
            };
            listening.extend(start(space, Some(device), &words)?);
        }
        let begin_ns = now_ns()?;
        clock.lap("listening");
        for one in ready {
            one.counts = (one.shape.traffic)(&one.scene);
            clock.lap(one.shape.name);
        }
        sleep(LAST_BLOCK);
        let end_ns = now_ns()?;
        for tcpdump in &tcpdumps {
            tcpdump.interrupt()?;
        }
        for tcpdump in tcpdumps {
            tcpdump.finish()?;
        }
        let mut captures = Vec::new();
        for (hook, device, skbcap) in listening {
            captures.push(Taken {
                hook,
                device,
                file: skbcap.file.clone(),
                done: skbcap.stop()?,
            });
        }
        clock.lap("ended");
        Ok(Self {
            taken: captures,
            all_ns: begin_ns..end_ns,
        })
    }

    fn of(&self, row: &Row, hook: Hook) -> Result<&Taken> {
        let is_it = |taken: &&Taken| (taken.hook, taken.device) == (hook, row.own());
        let taken = self.taken.iter().find(is_it);
        taken.with_context(|| format!("{hook} was not captured"))
    }

    /// A row's cell for one hook; an error if it is not the one that is expected.
    pub(super) fn judge(&self, one: &Ready, row: &Row, hook: Hook) -> Result<String> {
        let Ready { scene, counts, .. } = one;
        let expected = row.expected(hook);
        let taken = self.of(row, hook)?;
        let frames = taken.done.of(row.device, scene.space(row.space).inode()?);
        let longest = frames.iter().map(|packet| packet.len).max().unwrap_or(0);
        let found = diff(row.device, &taken.file, &dump(scene, row), &self.all_ns)?;
        println!(
            "{} {hook}: {} of ours, the longest {longest}: {found}",
            row.device,
            frames.len()
        );
        ensure!(found.theirs >= row.least, "too few frames: {found}");
        // Behind segmentation there are none.
        let is_cut_up = hook == Hook::Xmit && row.queue.contains(&Reason::Segmentation);
        ensure!(
            is_cut_up || longest >= row.longest,
            "no frame of {} bytes",
            row.longest
        );
        let most = row.snaplen.unwrap_or(MOST);
        for packet in &frames {
            let (kept, len) = (packet.data.len(), packet.len);
            ensure!(kept as u32 == most.min(len), "{kept} bytes of {len} kept");
        }
        let counts = counts.as_ref().copied().unwrap_or_default();
        found.explained_by(expected, counts)?;
        Ok(judge::cell(expected))
    }
}

/// Starts skbcap for each hook, by the name and the words that it has for it, and waits until they
/// listen: many that start at once take longer than one may.
fn start(
    space: &Space,
    device: Option<&'static str>,
    words: &dyn Fn(Hook) -> (String, String),
) -> Result<Vec<(Hook, Option<&'static str>, Skbcap)>> {
    let mut launched = Vec::new();
    for hook in Hook::with_xmit() {
        let (name, words) = words(hook);
        launched.push((hook, Skbcap::launch(space, &name, &words)?));
    }
    let listening = |(hook, skbcap): (Hook, Skbcap)| Ok((hook, device, skbcap.listen()?));
    launched.into_iter().map(listening).collect()
}

/// A row's file of tcpdump's, as [`Tcpdump`] names it.
fn dump(scene: &Scene, row: &Row) -> PathBuf {
    let space = scene.space(row.space).name();
    out(&format!("tcpdump-{space}-{}.pcap", row.device))
}

/// `skbcap diff` of one device.
fn diff(device: &str, ours: &Path, theirs: &Path, both_ns: &Range<u64>) -> Result<Found> {
    let mut command = Command::new("skbcap");
    // Two CPUs may send by one device at once: which was first is not the same at every hook.
    command.args(["diff", "--json", "--ignore", "order", "--iface", device]);
    let output = command.arg(ours).arg(theirs).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0 | 1) => Found::parse(&output.stdout, both_ns),
        _ => bail!("skbcap diff: {}: {said}", output.status),
    }
}
