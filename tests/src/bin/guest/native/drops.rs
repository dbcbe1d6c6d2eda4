//! How many frames are lost at which rate, at equal buffer memory: skbcap beside tcpdump.

use std::env;
use std::str::FromStr;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::capturing::{Capturing, Who};
use super::memory;
use super::{cable, median, with_sender};
use crate::lab::Space;

/// As many as keep two processors busy: the capturing process must fight for its share.
const SENDERS: u64 = 2;
/// A sender sends what is due, and pauses so long.
const PAUSE: Duration = Duration::from_micros(200);
const ROUNDS: usize = 5;
const ALL: [Who; 4] = [
    Who::Tcpdump,
    Who::Skbcap,
    Who::RealTimeTcpdump,
    Who::RealTimeSkbcap,
];

/// What all turns have in common.
struct Asked {
    buffer_kib: u32,
    takes: Duration,
    lengths: Vec<usize>,
    /// Frames a second that are offered by all senders together; what they achieve is told.
    rates: Vec<u64>,
}

/// What was sent, and what part of it is in no file.
#[derive(Clone, Copy, Debug)]
struct Turn {
    frames_per_s: f64,
    lost: f64,
}

/// `cargo xtask bench drops`, which says what is asked for.
pub(crate) fn native_drops() -> Result<()> {
    let asked = Asked {
        buffer_kib: asked("SKBCAP_DROPS_KIB")?[0],
        takes: Duration::from_secs(asked("SKBCAP_DROPS_SECONDS")?[0]),
        lengths: asked("SKBCAP_DROPS_LENGTHS")?,
        rates: asked("SKBCAP_DROPS_RATES")?,
    };
    let _kept = memory::keep()?;
    let pair = cable("drops")?;
    for &length in &asked.lengths {
        println!(
            "\nframes of {length} bytes from {SENDERS} senders for {:?}, buffers of {} KiB, \
             median of {ROUNDS} rounds",
            asked.takes, asked.buffer_kib
        );
        println!("offered/s | beside each: sent/s, lost (most)");
        println!(
            "          | {}",
            ALL.map(|who| format!("{who:24}")).join(" | ")
        );
        for &rate in &asked.rates {
            let mut turns: [Vec<Turn>; ALL.len()] = Default::default();
            for _ in 0..ROUNDS {
                for (who, turns) in ALL.into_iter().zip(&mut turns) {
                    turns.push(turn(&pair.a, &asked, who, length, rate)?);
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

/// The numbers in a variable of the environment, of which there is one at least.
fn asked<T: FromStr>(name: &str) -> Result<Vec<T>> {
    let text = env::var(name).with_context(|| format!("{name} is not set"))?;
    let numbers = text.split_whitespace().map(|word| word.parse().ok());
    let numbers: Option<Vec<T>> = numbers.collect();
    let numbers = numbers.filter(|numbers| !numbers.is_empty());
    numbers.with_context(|| format!("{name} holds no numbers: {text}"))
}

fn turn(space: &Space, asked: &Asked, who: Who, length: usize, rate: u64) -> Result<Turn> {
    let capturing = Capturing::start(space, who, asked.buffer_kib)?;
    let begun = Instant::now();
    let sent = scope(|scope| {
        let start = || scope.spawn(|| offer(space, asked.takes, length, rate / SENDERS));
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
fn offer(space: &Space, takes: Duration, length: usize, rate: u64) -> Result<u64> {
    with_sender(space, length, |send| {
        let begun = Instant::now();
        let mut sent = 0;
        loop {
            let due = begun.elapsed().min(takes).as_secs_f64() * rate as f64;
            while sent < due as u64 && begun.elapsed() < takes {
                send()?;
                sent += 1;
            }
            if begun.elapsed() >= takes {
                return Ok(sent);
            }
            sleep(PAUSE);
        }
    })
}
