//! What a captured packet costs, in instructions: skbcap beside tcpdump and dumpcap, in one run.
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

use crate::lab::{Mounted, Pair, Space, run, words_of};
use crate::program::{Program, out};
use crate::skbcap::{Hook, Skbcap, command};

/// Frames of one length.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    /// Bytes of UDP payload, 42 less than the frame has.
    pub(crate) payload: usize,
    /// Frames measured.
    pub(crate) frames: usize,
    /// Frames before them, so that caches and buffers are there.
    pub(crate) warm_up: usize,
}

/// The longest is what IPv4 can carry, in one piece: the cable takes it.
pub(crate) const SIZES: [Size; 3] = [
    Size {
        payload: 22,
        frames: 4000,
        warm_up: 300,
    },
    Size {
        payload: 1472,
        frames: 4000,
        warm_up: 300,
    },
    Size {
        payload: 65_507,
        frames: 400,
        warm_up: 100,
    },
];

/// Each is measured so often, by turns.
pub(crate) const ROUNDS: usize = 3;
/// tcpdump hands over what is in its ring once a second; skbcap far more often. Idle time passes
/// without executing anything.
const IDLE: Duration = Duration::from_millis(2500);

/// Who captures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Nobody,
    Tcpdump,
    Dumpcap,
    Skbcap(Hook),
    /// skbcap that claims nothing of who sent a frame, and watches no sockets.
    Unattributed(Hook),
}

/// All that stand in the table.
const ALL: [Who; 5] = [
    Who::Nobody,
    Who::Tcpdump,
    Who::Dumpcap,
    Who::Skbcap(Hook::Queue),
    Who::Skbcap(Hook::Kprobe),
];

/// What the committed figures are of.
const SKBCAP: [Who; 3] = [
    Who::Nobody,
    Who::Skbcap(Hook::Queue),
    Who::Skbcap(Hook::Kprobe),
];

/// What attribution costs.
const ATTRIBUTION: [Who; 5] = [
    Who::Nobody,
    Who::Unattributed(Hook::Queue),
    Who::Skbcap(Hook::Queue),
    Who::Unattributed(Hook::Kprobe),
    Who::Skbcap(Hook::Kprobe),
];

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("nobody"),
            Self::Tcpdump => f.write_str("tcpdump"),
            Self::Dumpcap => f.write_str("dumpcap"),
            Self::Skbcap(hook) => write!(f, "skbcap --hook {hook}"),
            Self::Unattributed(hook) => write!(f, "skbcap --hook {hook}, no claims"),
        }
    }
}

/// Instructions for a packet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// All.
    pub(crate) all: f64,
    /// Those of them that the capturing process executed.
    pub(crate) capturing: f64,
}

/// The table of docs/performance.md: to a file in memory.
pub(crate) fn icount_capture() -> Result<()> {
    let costs = compare("icount")?;
    println!();
    tell(&ALL, &SIZES, &costs);
    Ok(())
}

/// The table of docs/performance.md, "To a file on a disk": what a page costs there decides.
pub(crate) fn icount_disk() -> Result<()> {
    // ext4 would initialise its tables in the background, while others are measured.
    for (filesystem, options) in [
        ("ext4", "-q -E lazy_itable_init=0,lazy_journal_init=0"),
        ("xfs", "-q"),
    ] {
        println!("to a file on {filesystem}");
        // Of the guest's memory it takes what is written to it.
        run(&mut words_of("modprobe brd rd_nr=1 rd_size=1048576"))?;
        run(&mut words_of(&format!(
            "mkfs.{filesystem} {options} /dev/ram0"
        )))?;
        let disk = Mounted::new(&format!("-t {filesystem} /dev/ram0"), out(""))?;
        compare(filesystem)?;
        drop(disk);
        run(&mut words_of("modprobe -r brd"))?;
    }
    Ok(())
}

/// Measures all of them, and prints the table.
fn compare(name: &str) -> Result<Costs> {
    let costs = rounds(name, &ALL, &SIZES)?;
    for (place, size) in SIZES.into_iter().enumerate() {
        let of = |who: usize| median(&costs[who][place]);
        let nobody = of(0).all;
        let tcpdump = of(1).all - nobody;
        println!(
            "\nframes of {} bytes, {} of them, median of {ROUNDS}",
            size.payload + 42,
            size.frames
        );
        println!("capturing               | instructions | of tcpdump's | in the process | spread");
        println!("nobody (the whole send) | {nobody:12.0} |              |                |");
        for (number, who) in ALL.into_iter().enumerate().skip(1) {
            let cost = of(number);
            let all = costs[number][place].iter().map(|cost| cost.all);
            let spread = all.clone().fold(f64::MIN, f64::max) - all.fold(f64::MAX, f64::min);
            println!(
                "{:23} | {:12.0} | {:12.2} | {:14.0} | {spread:6.0}",
                who.to_string(),
                cost.all - nobody,
                (cost.all - nobody) / tcpdump,
                cost.capturing
            );
        }
    }
    Ok(costs)
}

/// Only skbcap, and no frames of 64 KiB: for continuous integration. As many rounds as ever: in a
/// single one, something that the kernel does once looks like a rise.
pub(crate) fn icount_gate() -> Result<()> {
    let sizes = &SIZES[..2];
    tell(&SKBCAP, sizes, &rounds("gate", &SKBCAP, sizes)?);
    Ok(())
}

/// The table of docs/performance.md, "Saying who".
pub(crate) fn icount_attribution() -> Result<()> {
    let sizes = &SIZES[..2];
    let costs = rounds("attribution", &ATTRIBUTION, sizes)?;
    println!("capturing                       | 64 bytes | 1514 bytes");
    for (who, costs_of_who) in ATTRIBUTION.iter().zip(&costs).skip(1) {
        let cost = |place: usize| median(&costs_of_who[place]).all - median(&costs[0][place]).all;
        println!(
            "{:31} | {:8.0} | {:10.0}",
            who.to_string(),
            cost(0),
            cost(1)
        );
    }
    Ok(())
}

/// Of each who captures, of each size, the cost in each round.
type Costs = Vec<Vec<Vec<Cost>>>;

/// A cable that takes the longest frames, to nobody: dropped at once and not answered.
pub(crate) fn cable(name: &str) -> Result<Pair> {
    let pair = Pair::new(name)?;
    pair.a
        .ip("neigh replace 10.0.0.2 lladdr 02:00:00:00:00:03 dev va nud permanent")?;
    pair.b.ip("link set dev vb mtu 65535")?;
    pair.a.ip("link set dev va mtu 65535")?;
    Ok(pair)
}

fn rounds(name: &str, all: &[Who], sizes: &[Size]) -> Result<Costs> {
    let pair = cable(name)?;
    let mut costs = vec![vec![Vec::new(); sizes.len()]; all.len()];
    for _ in 0..ROUNDS {
        for (&who, costs) in all.iter().zip(&mut costs) {
            let measured = measure(&pair.a, who, sizes)?;
            for (costs, cost) in costs.iter_mut().zip(measured) {
                costs.push(cost);
            }
        }
    }
    Ok(costs)
}

/// Prints skbcap's costs in the form that `cargo xtask icount` holds against docs/cost.tsv: hook,
/// bytes of a frame, instructions.
fn tell(all: &[Who], sizes: &[Size], costs: &Costs) {
    for (who, costs_of_who) in all.iter().zip(costs) {
        let Who::Skbcap(hook) = who else {
            continue;
        };
        for (place, size) in sizes.iter().enumerate() {
            let (own, nobody) = (median(&costs_of_who[place]), median(&costs[0][place]));
            let cost = own.all - nobody.all;
            let rounds: Vec<_> = costs_of_who[place]
                .iter()
                .map(|round| format!("{:.0}", round.all - nobody.all))
                .collect();
            println!(
                "{hook}, {} bytes: rounds {}, {:.0} in the process",
                size.payload + 42,
                rounds.join(" "),
                own.capturing
            );
            println!("cost\t{hook}\t{}\t{cost:.0}", size.payload + 42);
        }
    }
}

/// The median of all, and what belongs to it.
fn median(costs: &[Cost]) -> Cost {
    let mut costs = costs.to_vec();
    costs.sort_by(|a, b| a.all.total_cmp(&b.all));
    costs[costs.len() / 2]
}

/// Starts a capture, sends, and ends it: everything must have been captured.
fn measure(space: &Space, who: Who, sizes: &[Size]) -> Result<Vec<Cost>> {
    let sent: usize = sizes.iter().map(|size| size.warm_up + size.frames).sum();
    match who {
        Who::Nobody => send_all(space, sizes, None),
        Who::Tcpdump => {
            let file = out("tcpdump.pcap");
            let mut words = words_of("tcpdump -n -Z root -B 65536 -i va -w");
            let mut program = space.start("tcpdump", words.arg(&file))?;
            program.wait_stderr("listening on")?;
            let costs = send_all(space, sizes, Some(&program))?;
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
        Who::Dumpcap => {
            let file = out("dumpcap.pcapng");
            let mut words = words_of("dumpcap -q -p -B 64 -i va -w");
            let mut program = space.start("dumpcap", words.arg(&file))?;
            // Written once it captures.
            program.wait_stderr("File: ")?;
            let costs = send_all(space, sizes, Some(&program))?;
            ensure!(program.interrupt()?.success(), "dumpcap failed");
            let said = program.stderr()?;
            ensure!(
                said.contains(&format!("{sent}/0 ")),
                "dumpcap did not capture {sent} packets:\n{said}"
            );
            std::fs::remove_file(file)?;
            Ok(costs)
        }
        Who::Skbcap(hook) | Who::Unattributed(hook) => {
            let mut command = command(&format!("--debug -B 65536 --hook {hook}"));
            if matches!(who, Who::Unattributed(_)) {
                command.env("SKBCAP_ATTRIBUTION", "none");
            }
            let skbcap = Skbcap::launch_with(space, &hook.to_string(), &mut command)?.listen()?;
            let costs = send_all(space, sizes, Some(&skbcap.program))?;
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
pub(crate) fn send_all(
    space: &Space,
    sizes: &[Size],
    capturing: Option<&Program>,
) -> Result<Vec<Cost>> {
    space.within(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect("10.0.0.2:9")?;
        let mut costs = Vec::new();
        for size in sizes {
            let payload = vec![0x5a; size.payload];
            let send = |frames| (0..frames).try_for_each(|_| socket.send(&payload).map(drop));
            send(size.warm_up)?;
            sleep(IDLE);
            let before = executed(capturing)?;
            let start = Instant::now();
            send(size.frames)?;
            let (all, at_end) = end(start, capturing)?;
            sleep(IDLE);
            let after = executed(capturing)?;
            let each = |ns: u64| ns as f64 / size.frames as f64;
            costs.push(Cost {
                all: each(all.as_nanos() as u64 + after - at_end),
                capturing: each(after - before),
            });
        }
        Ok(costs)
    })
}

/// The time since `start`, and what the capturing process has executed by then. It may wake up between
/// the two, and what it does then would belong to neither: so until it has not.
fn end(start: Instant, capturing: Option<&Program>) -> Result<(Duration, u64)> {
    loop {
        let before = executed(capturing)?;
        let all = start.elapsed();
        if executed(capturing)? == before {
            return Ok((all, before));
        }
    }
}

/// Nanoseconds, and so instructions, that a process of one thread has executed. Of nobody it is none, but
/// takes as long to read.
///
/// Source: Documentation/scheduler/sched-stats.rst, `/proc/<pid>/schedstat`.
fn executed(program: Option<&Program>) -> Result<u64> {
    let own = std::process::id();
    let path = format!(
        "/proc/{}/schedstat",
        program.map_or(own, |program| program.child.id())
    );
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let first = text.split(' ').next().unwrap_or_default();
    let executed = first.parse().with_context(|| format!("{path}: {text}"))?;
    Ok(program.map_or(0, |_| executed))
}
