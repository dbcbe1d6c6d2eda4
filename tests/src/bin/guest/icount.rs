//! What a captured packet costs, in instructions: skbcap beside tcpdump, in one run.
//!
//! One processor whose nanosecond is one instruction (`cargo xtask icount`). A packet's cost is all
//! that the machine executes from the first send to the last, interrupts and the capturing process
//! included, and what that process executes afterwards until it has written everything; less what
//! the same sends cost when nobody captures.

use std::fmt;
use std::net::UdpSocket;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::lab::{Pair, Space, words_of};
use crate::program::{Program, out};
use crate::skbcap::{Hook, Skbcap, command};

/// Payloads: frames of 64 and of 1514 bytes.
const SIZES: [usize; 2] = [22, 1472];
/// Frames measured at a time.
const FRAMES: usize = 4000;
/// Frames before them, so that caches and buffers are there.
const WARM_UP: usize = 300;
/// Each is measured so often, by turns.
const ROUNDS: usize = 3;
/// tcpdump hands over what is in its ring once a second; skbcap far more often. Idle time passes
/// without executing anything.
const IDLE: Duration = Duration::from_millis(2500);

/// Who captures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Nobody,
    Tcpdump,
    Skbcap(Hook),
}

const ALL: [Who; 4] = [
    Who::Nobody,
    Who::Tcpdump,
    Who::Skbcap(Hook::Queue),
    Who::Skbcap(Hook::Kprobe),
];

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("nobody"),
            Self::Tcpdump => f.write_str("tcpdump"),
            Self::Skbcap(hook) => write!(f, "skbcap --hook {hook}"),
        }
    }
}

/// Instructions for a packet.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    /// All.
    all: f64,
    /// Those of them that the capturing process executed.
    capturing: f64,
}

/// The table of docs/performance.md.
pub(crate) fn icount_capture() -> Result<()> {
    let pair = Pair::new("icount")?;
    // Addressed to nobody there: dropped at once and not answered.
    pair.a
        .ip("neigh replace 10.0.0.2 lladdr 02:00:00:00:00:03 dev va nud permanent")?;
    let mut costs = [[[Cost::default(); ROUNDS]; SIZES.len()]; ALL.len()];
    for round in 0..ROUNDS {
        for (who, costs) in ALL.into_iter().zip(&mut costs) {
            let measured = measure(&pair.a, who)?;
            for (costs, cost) in costs.iter_mut().zip(measured) {
                costs[round] = cost;
            }
        }
    }
    for (place, size) in SIZES.into_iter().enumerate() {
        let of = |who: usize| median(costs[who][place]);
        let nobody = of(0).all;
        let tcpdump = of(1).all - nobody;
        println!(
            "\nframes of {} bytes, {FRAMES} of them, median of {ROUNDS}",
            size + 42
        );
        println!("capturing               | instructions | of tcpdump's | in the process | spread");
        println!("nobody (the whole send) | {nobody:12.0} |              |                |");
        for (number, who) in ALL.into_iter().enumerate().skip(1) {
            let cost = of(number);
            let all = costs[number][place].map(|cost| cost.all);
            let spread = all.iter().fold(f64::MIN, |most, &cost| most.max(cost))
                - all.iter().fold(f64::MAX, |least, &cost| least.min(cost));
            println!(
                "{:23} | {:12.0} | {:12.2} | {:14.0} | {spread:6.0}",
                who.to_string(),
                cost.all - nobody,
                (cost.all - nobody) / tcpdump,
                cost.capturing
            );
        }
    }
    Ok(())
}

/// The median of all, and what belongs to it.
fn median(mut costs: [Cost; ROUNDS]) -> Cost {
    costs.sort_by(|a, b| a.all.total_cmp(&b.all));
    costs[ROUNDS / 2]
}

/// Starts a capture, sends, and ends it: everything must have been captured.
fn measure(space: &Space, who: Who) -> Result<[Cost; SIZES.len()]> {
    let sent = SIZES.len() * (WARM_UP + FRAMES);
    match who {
        Who::Nobody => send_all(space, None),
        Who::Tcpdump => {
            let file = out("tcpdump.pcap");
            let mut words = words_of("tcpdump -n -Z root -B 65536 -i va -w");
            let mut program = space.start("tcpdump", words.arg(&file))?;
            program.wait_stderr("listening on")?;
            let costs = send_all(space, Some(&program))?;
            ensure!(program.interrupt()?.success(), "tcpdump failed");
            let said = program.stderr()?;
            ensure!(
                said.contains(&format!("\n{sent} packets captured"))
                    && said.contains("\n0 packets dropped by kernel"),
                "tcpdump did not capture {sent} packets:\n{said}"
            );
            std::fs::remove_file(file)?;
            Ok(costs)
        }
        Who::Skbcap(hook) => {
            let mut command = command(&format!("--debug --hook {hook}"));
            let skbcap = Skbcap::launch_with(space, &hook.to_string(), &mut command)?.listen()?;
            let costs = send_all(space, Some(&skbcap.program))?;
            let file = skbcap.file.clone();
            let done = skbcap.stop()?;
            let count = done.capture.packets.len();
            ensure!(count == sent, "{count} of {sent} captured:\n{}", done.said);
            for line in done.said.lines().filter(|line| line.contains("verified")) {
                println!("{hook}: {}", line.trim_start_matches("skbcap: ").trim());
            }
            std::fs::remove_file(file)?;
            Ok(costs)
        }
    }
}

/// Sends frames of each size.
fn send_all(space: &Space, capturing: Option<&Program>) -> Result<[Cost; SIZES.len()]> {
    space.within(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect("10.0.0.2:9")?;
        let mut costs = [Cost::default(); SIZES.len()];
        for (size, cost) in SIZES.into_iter().zip(&mut costs) {
            let payload = vec![0x5a; size];
            let send = |frames| (0..frames).try_for_each(|_| socket.send(&payload).map(drop));
            send(WARM_UP)?;
            sleep(IDLE);
            let before = executed(capturing)?;
            let start = Instant::now();
            send(FRAMES)?;
            let all = start.elapsed();
            let at_end = executed(capturing)?;
            sleep(IDLE);
            let after = executed(capturing)?;
            let each = |ns: u64| ns as f64 / FRAMES as f64;
            *cost = Cost {
                all: each(all.as_nanos() as u64 + after - at_end),
                capturing: each(after - before),
            };
        }
        Ok(costs)
    })
}

/// Nanoseconds, and so instructions, that a process of one thread has executed.
///
/// Source: Documentation/scheduler/sched-stats.rst, `/proc/<pid>/schedstat`.
fn executed(program: Option<&Program>) -> Result<u64> {
    let Some(program) = program else {
        return Ok(0);
    };
    let path = format!("/proc/{}/schedstat", program.child.id());
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let first = text.split(' ').next().unwrap_or_default();
    first.parse().with_context(|| format!("{path}: {text}"))
}
