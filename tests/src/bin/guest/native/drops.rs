//! How many frames are lost at which rate, at equal buffer memory: skbcap beside tcpdump.

use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::capturing::{Capturing, Who};
use super::{cable, median, with_sender};
use crate::lab::Space;

const LENGTHS: [usize; 2] = [64, 1514];
/// Frames a second that are offered by all senders together; what they achieve is told. The last
/// one is more than they can.
const RATES: [u64; 7] = [
    100_000, 200_000, 300_000, 350_000, 400_000, 600_000, 10_000_000,
];
/// As many as keep two processors busy: the capturing process must fight for its share.
const SENDERS: u64 = 2;
const TAKES: Duration = Duration::from_millis(1000);
/// A sender sends what is due, and pauses so long.
const PAUSE: Duration = Duration::from_micros(200);
const ROUNDS: usize = 5;
/// tcpdump's own default.
const BUFFER_KIB: u32 = 2048;
const ALL: [Who; 4] = [
    Who::Tcpdump,
    Who::Skbcap,
    Who::RealTimeTcpdump,
    Who::RealTimeSkbcap,
];

/// What was sent, and what part of it is in no file.
#[derive(Clone, Copy, Debug)]
struct Turn {
    frames_per_s: f64,
    lost: f64,
}

/// `cargo xtask bench drops`.
pub(crate) fn native_drops() -> Result<()> {
    let pair = cable("drops")?;
    for length in LENGTHS {
        println!(
            "\nframes of {length} bytes from {SENDERS} senders for {TAKES:?}, buffers of \
             {BUFFER_KIB} KiB, median of {ROUNDS} rounds"
        );
        println!("offered/s | beside each: sent/s, lost (most)");
        println!(
            "          | {}",
            ALL.map(|who| format!("{who:24}")).join(" | ")
        );
        for rate in RATES {
            let mut turns: [Vec<Turn>; ALL.len()] = Default::default();
            for _ in 0..ROUNDS {
                for (who, turns) in ALL.into_iter().zip(&mut turns) {
                    turns.push(turn(&pair.a, who, length, rate)?);
                }
            }
            let told = turns.map(|turns| {
                let of = |value: fn(&Turn) -> f64| median(turns.iter().map(value).collect());
                let most = turns.iter().map(|turn| turn.lost).fold(0.0, f64::max);
                format!(
                    "{:7.0} {:5.2}% ({:5.2}%)",
                    of(|turn| turn.frames_per_s),
                    of(|turn| turn.lost) * 100.0,
                    most * 100.0
                )
            });
            println!("{rate:9} | {}", told.join(" | "));
        }
    }
    Ok(())
}

fn turn(space: &Space, who: Who, length: usize, rate: u64) -> Result<Turn> {
    let capturing = Capturing::start(space, who, BUFFER_KIB)?;
    let begun = Instant::now();
    let sent = scope(|scope| {
        let start = || scope.spawn(|| offer(space, length, rate / SENDERS));
        let senders: Vec<_> = (0..SENDERS).map(|_| start()).collect();
        senders
            .into_iter()
            .map(|sender| sender.join().map_err(|_| anyhow!("a sender panicked"))?)
            .sum::<Result<u64>>()
    })?;
    let took = begun.elapsed();
    capturing.settle()?;
    let captured = capturing.stop()?;
    Ok(Turn {
        frames_per_s: sent as f64 / took.as_secs_f64(),
        lost: 1.0 - captured as f64 / sent as f64,
    })
}

/// Sends at that rate, as long as that takes; how many frames.
fn offer(space: &Space, length: usize, rate: u64) -> Result<u64> {
    with_sender(space, length, |send| {
        let begun = Instant::now();
        let mut sent = 0;
        loop {
            let due = begun.elapsed().min(TAKES).as_secs_f64() * rate as f64;
            while sent < due as u64 && begun.elapsed() < TAKES {
                send()?;
                sent += 1;
            }
            if begun.elapsed() >= TAKES {
                return Ok(sent);
            }
            sleep(PAUSE);
        }
    })
}
