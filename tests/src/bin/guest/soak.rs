//! Hours of it: the stress tests in turn, below one capture that sees all of them.

use std::fs;
use std::io::{self, Read};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::lab::Space;
use crate::law::anon_kib;
use crate::program::{Program, out};
use crate::skbcap::command;
use crate::stress_machine::{attach, interfaces, is_host};
use crate::{stress, stress_machine};

/// From here on it is a soak, and the large numbers are worth their time.
const LONG: Duration = Duration::from_secs(30 * 60);

/// What a capture of hours may grow by: a few hundred bytes for each device that ever was.
const GROWTH_KIB: u64 = 16 << 10;

/// One of the tests that are run in turn.
type Piece = (&'static str, fn() -> Result<()>);

/// The stress tests until the time is up, which is given to the kernel as `skbcap.soak_minutes=N`,
/// or on a host as `SKBCAP_SOAK_MINUTES`.
pub(crate) fn soak_stress() -> Result<()> {
    let time = Duration::from_secs(60 * minutes()?);
    let end = Instant::now() + time;
    let base = Space::new("soak")?;
    let mut whole = Whole::start(&base)?;
    if time >= LONG {
        println!("== attached a thousand times");
        attach(1000)?;
        println!("== ten thousand interfaces");
        interfaces(10_000)?;
    }
    let mut pieces: Vec<Piece> = vec![
        ("stopped", stress::stress_stopped),
        ("slow output", stress::stress_slow_output),
        ("stalled pipe", stress::stress_stalled_pipe),
        ("burst", stress::stress_burst),
        ("two", stress::stress_two),
        ("devices", stress_machine::stress_devices),
        ("interfaces", stress_machine::stress_interfaces),
        ("attach", stress_machine::stress_attach),
    ];
    if !is_host() {
        pieces.push(("CPUs", stress_machine::stress_cpus));
    }
    let mut rounds = 0;
    'time: loop {
        for (name, piece) in &pieces {
            if rounds > 0 && Instant::now() >= end {
                break 'time;
            }
            println!("== round {rounds}: {name}");
            piece().with_context(|| format!("round {rounds}: {name}"))?;
            clear()?;
            whole.look()?;
        }
        rounds += 1;
    }
    println!("{rounds} rounds");
    whole.stop()
}

/// The capture that goes on all the time. What it writes is read and thrown away.
struct Whole {
    skbcap: Program,
    reader: thread::JoinHandle<io::Result<u64>>,
    /// Its memory when it was first looked at.
    at_first: Option<u64>,
}

impl Whole {
    fn start(space: &Space) -> Result<Self> {
        // A host's own frames are nobody's business.
        let netns = if is_host() { "self" } else { "all" };
        let mut command = command(&format!("-s 64 -B 4096 --netns {netns} -w -"));
        command.stdin(Stdio::null());
        let mut skbcap = space.within(|| Program::start_piped("whole", &mut command))?;
        skbcap.wait_stderr("skbcap: listening on")?;
        let mut stdout = skbcap.child.stdout.take().context("a pipe")?;
        let reader = thread::spawn(move || io::copy(&mut stdout.by_ref(), &mut io::sink()));
        Ok(Self {
            skbcap,
            reader,
            at_first: None,
        })
    }

    fn look(&mut self) -> Result<()> {
        let held = anon_kib(&self.skbcap)?;
        let first = *self.at_first.get_or_insert(held);
        println!("the whole capture holds {held} KiB, {first} at first");
        ensure!(
            held <= first + GROWTH_KIB,
            "it grew from {first} to {held} KiB"
        );
        Ok(())
    }

    fn stop(mut self) -> Result<()> {
        self.skbcap.signal(Signal::INT)?;
        let status = self.skbcap.wait()?;
        let said = self.skbcap.stderr()?;
        ensure!(status.success(), "{status}: {said}");
        let bytes = self.reader.join().ok().context("the reader panicked")??;
        println!("{bytes} bytes:\n{said}");
        let count = |what: &str| -> u64 {
            let lines = said.lines().filter(|line| line.contains(what));
            lines
                .filter_map(|line| line.split(' ').next()?.parse::<u64>().ok())
                .sum()
        };
        let ways = count("captured") + count("filtered: ") + count("dropped: ");
        ensure!(count(" seen") == ways, "{ways} have an end");
        Ok(())
    }
}

fn minutes() -> Result<u64> {
    let given = std::env::var("SKBCAP_SOAK_MINUTES").or_else(|_| {
        let words = fs::read_to_string("/proc/cmdline")?;
        let mut words = words.split_whitespace();
        let found = words.find_map(|word| word.strip_prefix("skbcap.soak_minutes="));
        found.map(str::to_owned).context("no skbcap.soak_minutes=")
    })?;
    given.parse().context("minutes")
}

/// Captures that were found good: a guest's files are in its memory.
fn clear() -> Result<()> {
    for entry in fs::read_dir(out("."))? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "pcapng") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
