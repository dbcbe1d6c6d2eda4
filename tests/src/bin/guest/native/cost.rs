//! The time of skbcap's program beside what it can't do without; the capturing process's processor
//! time; and what is left to the sender.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use skbcap::kernel::btf::Btf;

use super::bpf::{Attached, Does, Runs, Stats};
use super::capturing::{Capturing, Who};
use super::{cable, median, memory, with_sender};
use crate::lab::{Pair, Space};

/// Frames whose program is timed.
const LENGTHS: [usize; 3] = [64, 1500, 9000];
/// Frames of one turn, in bursts with a pause between: nothing is lost at skbcap's usual buffer.
const TIMED: usize = 10_000;
const BURST: usize = 100;
const PAUSE: Duration = Duration::from_millis(1);
/// Turns of each.
const TIMED_ROUNDS: usize = 11;
/// A turn in which others sent more than this share of frames is repeated: the tracepoint is the
/// whole machine's.
const MOST_STRANGERS: f64 = 0.01;
const MOST_TRIES: usize = 10;

/// What tcpdump has where nobody says more: skbcap's rings fill eight times as often. A burst has room
/// up to this length.
const SMALL_KIB: u32 = 2048;
const SMALL_LENGTH: usize = 1500;

/// Frames that are sent at full speed.
const FULL_SPEED_LENGTHS: [usize; 2] = [64, 1514];
const FULL_SPEED: usize = 200_000;
const FULL_SPEED_ROUNDS: usize = 7;
/// tcpdump's `-B 65536`, and the same for the others.
const BUFFER_KIB: u32 = 65_536;
const ALL: [Who; 4] = [Who::Nobody, Who::Skbcap, Who::Tcpdump, Who::Dumpcap];

/// `cargo xtask bench native`.
pub(crate) fn native_cost() -> Result<()> {
    let _kept = memory::keep()?;
    let pair = cable("native")?;
    timed(&pair)?;
    full_speed(&pair)
}

/// Nanoseconds per run.
fn timed(pair: &Pair) -> Result<()> {
    let btf = Btf::running()?;
    let _stats = Stats::enable()?;
    println!("nanoseconds of a program's run, median of {TIMED_ROUNDS} turns of {TIMED} frames");
    println!(
        "frame | empty | bare read | skbcap | of empty + bare read, median of the rounds' ratios \
         | skbcap with {SMALL_KIB} KiB"
    );
    for length in LENGTHS {
        let mut columns: [Vec<f64>; 5] = Default::default();
        for _ in 0..TIMED_ROUNDS {
            let empty = own_program(&pair.a, &btf, length, Does::Nothing)?;
            let read = own_program(&pair.a, &btf, length, Does::Read(length as u32))?;
            let skbcap = skbcaps_program(&pair.a, length, usual_kib()?)?;
            let small = if length <= SMALL_LENGTH {
                skbcaps_program(&pair.a, length, SMALL_KIB)?
            } else {
                f64::NAN
            };
            // The read's program is an empty one with a read.
            let values = [empty, read, skbcap, skbcap / read, small];
            for (column, value) in columns.iter_mut().zip(values) {
                column.push(value);
            }
        }
        let [empty, read, skbcap, ratio, small] = columns.map(median);
        let bare = read - empty;
        print!("{length:5} | {empty:5.0} | {bare:9.0} | {skbcap:6.0} | {ratio:.2}");
        if length <= SMALL_LENGTH {
            print!(" | {small:.0}");
        }
        println!();
    }
    Ok(())
}

fn own_program(space: &Space, btf: &Btf, length: usize, does: Does) -> Result<f64> {
    let attached = Attached::new(btf, does)?;
    time_undisturbed(space, length, || attached.runs())
}

/// skbcap's usual buffer: 8 MiB a CPU, up to 256 MiB.
fn usual_kib() -> Result<u32> {
    let cpus = std::thread::available_parallelism()?.get() as u32;
    Ok((8192 * cpus).min(262_144))
}

fn skbcaps_program(space: &Space, length: usize, kib: u32) -> Result<f64> {
    for _ in 0..MOST_TRIES {
        let skbcap = Capturing::start(space, Who::Skbcap, kib)?;
        let pid = skbcap.pid().unwrap_or_default();
        let mut turns = 0;
        let ns = time_undisturbed(space, length, || {
            turns += 1;
            Runs::of_process(pid)
        })?;
        skbcap.settle()?;
        // A frame without room costs less than one that is captured.
        if skbcap.stop()? >= (turns / 2 * TIMED) as u64 {
            return Ok(ns);
        }
    }
    anyhow::bail!("skbcap lost frames again and again");
}

/// Sends; the time of a run, of one turn in which hardly anybody else sent.
fn time_undisturbed(
    space: &Space,
    length: usize,
    mut runs: impl FnMut() -> Result<Runs>,
) -> Result<f64> {
    for _ in 0..MOST_TRIES {
        let before = runs()?;
        with_sender(space, length, |send| {
            for _ in 0..TIMED / BURST {
                (0..BURST).try_for_each(|_| send())?;
                sleep(PAUSE);
            }
            Ok(())
        })?;
        let taken = runs()?.since(before);
        ensure!(
            taken.count >= TIMED as u64,
            "not every frame was seen: {taken:?}"
        );
        let strangers = taken.count - TIMED as u64;
        if strangers as f64 <= TIMED as f64 * MOST_STRANGERS {
            return Ok(taken.ns_each());
        }
    }
    anyhow::bail!("others on this machine send too much");
}

/// One turn at full speed.
#[derive(Clone, Copy, Debug)]
struct Turn {
    frames_per_s: f64,
    lost: f64,
    /// The capturing process's, for each frame that it wrote.
    cpu_ns: f64,
    user_ns: f64,
}

/// The sender's throughput, and what the capturing process takes meanwhile and afterwards.
fn full_speed(pair: &Pair) -> Result<()> {
    for length in FULL_SPEED_LENGTHS {
        let mut turns: [Vec<Turn>; ALL.len()] = Default::default();
        for round in 0..FULL_SPEED_ROUNDS {
            // Who begins changes.
            for place in (0..ALL.len()).map(|place| (place + round) % ALL.len()) {
                turns[place].push(turn(&pair.a, ALL[place], length)?);
            }
        }
        println!(
            "\n{FULL_SPEED} frames of {length} bytes at full speed, median of {FULL_SPEED_ROUNDS} \
             rounds"
        );
        println!("capturing | frames/s | of nobody's | lost | process, ns a frame | of that, user");
        for (who, own) in ALL.into_iter().zip(&turns) {
            let of = |value: fn(&Turn) -> f64| median(own.iter().map(value).collect());
            let ratios = own.iter().zip(&turns[0]);
            let ratio = median(
                ratios
                    .map(|(own, nobody)| own.frames_per_s / nobody.frames_per_s)
                    .collect(),
            );
            println!(
                "{who:9} | {:8.0} | {ratio:11.2} | {:3.0}% | {:19.0} | {:.0}",
                of(|turn| turn.frames_per_s),
                of(|turn| turn.lost) * 100.0,
                of(|turn| turn.cpu_ns),
                of(|turn| turn.user_ns)
            );
        }
    }
    Ok(())
}

fn turn(space: &Space, who: Who, length: usize) -> Result<Turn> {
    let capturing = Capturing::start(space, who, BUFFER_KIB)?;
    let before = capturing.cpu()?;
    let took = with_sender(space, length, |send| {
        let begun = Instant::now();
        (0..FULL_SPEED).try_for_each(|_| send())?;
        Ok(begun.elapsed())
    })?;
    capturing.settle()?;
    let after = capturing.cpu()?;
    let captured = capturing.stop()?;
    let each = |time: Duration| time.as_nanos() as f64 / captured.max(1) as f64;
    Ok(Turn {
        frames_per_s: FULL_SPEED as f64 / took.as_secs_f64(),
        lost: match who {
            Who::Nobody => 0.0,
            _ => 1.0 - captured as f64 / FULL_SPEED as f64,
        },
        cpu_ns: each(after.all - before.all),
        user_ns: each(after.user - before.user),
    })
}
