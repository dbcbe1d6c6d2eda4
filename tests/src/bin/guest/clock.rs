//! Time: beside tcpdump's, and when somebody sets the clock.

use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use fixtures::mark;

use crate::beside::{Beside, Point};
use crate::lab::{Pair, run, words_of};
use crate::skbcap::{Hook, Skbcap};

/// skbcap's time of a frame and tcpdump's are near each other.
pub(crate) fn wallclock() -> Result<()> {
    let pair = Pair::new("wallclock")?;
    let point = Point {
        space: &pair.a,
        device: "va",
    };
    let beside = Beside::start(&[point], "")?;
    pair.a
        .sh("traffic udp to=10.0.0.2:9 count=300 gap_us=2000")?;
    let outcome = beside.stop()?;
    outcome.same(300)?;
    let theirs = &outcome.tcpdump[0].packets;
    for (hook, done) in &outcome.skbcap {
        // The same frames in the same order: there is one sender.
        let pairs = theirs.iter().zip(&done.capture.packets);
        let mut apart: Vec<i64> = pairs
            .map(|(theirs, ours)| theirs.time_ns.cast_signed() - ours.time_ns.cast_signed())
            .collect();
        apart.sort_unstable();
        let median = apart[apart.len() / 2];
        println!(
            "{hook}: tcpdump's time is {median} ns later in the median, {} to {}",
            apart[0],
            apart[apart.len() - 1]
        );
        // Under emulation an instruction takes some nanoseconds, and this is between two places
        // in one path that lie thousands of them apart: another capture, a copy.
        let most = if emulated()? { 1_000_000 } else { 10_000 };
        ensure!(median.abs() < most, "{hook}: {median} ns apart");
    }
    Ok(())
}

/// Whether the processor is made of software.
fn emulated() -> Result<bool> {
    let cpus = std::fs::read_to_string("/proc/cpuinfo")?;
    Ok(cpus.contains("QEMU TCG"))
}

/// The wall clock is set forward and back during a capture: from then on, a new section says so and
/// has the new time.
pub(crate) fn clock_step() -> Result<()> {
    ensure!(
        std::env::var_os("SKBCAP_OUT").is_none(),
        "sets the clock: for guests only"
    );
    let pair = Pair::new("clockstep")?;
    for hook in Hook::all() {
        let words = format!("--hook {hook} --record /out/step-{hook}.ring");
        let skbcap = Skbcap::start(&pair.a, &format!("step-{hook}"), &words)?;
        let mut times = Vec::new();
        for (number, step) in [0, 3600, -7200, 3600].into_iter().enumerate() {
            if step != 0 {
                let seconds = now()?.as_secs().cast_signed() + step;
                run(&mut words_of(&format!("date -s @{seconds}")))?;
                // It is told by a timer, and looks then.
                sleep(Duration::from_millis(300));
            }
            times.push(now()?);
            let first = number * 10;
            pair.a
                .sh(&format!("traffic udp to=10.0.0.2:9 count=2 first={first}"))?;
            sleep(Duration::from_millis(300));
        }
        let done = skbcap.stop()?;
        let sections = &done.capture.sections;
        println!("{hook}: {sections:?}");
        ensure!(sections.len() == 4, "{hook}: {} sections", sections.len());
        for comments in &sections[1..] {
            ensure!(
                comments.iter().any(|comment| comment.contains("clock")),
                "{hook}: a section without a word on the clock: {comments:?}"
            );
        }
        ensure!(done.capture.packets.len() == 8, "{}", done.said);
        for packet in &done.capture.packets {
            let (_, payload) = packet.udp().context("no datagram")?;
            let number = mark::read(payload).context("a changed payload")?.sequence / 10;
            ensure!(packet.more().section as u64 == number, "{packet:?}");
            let sent = times[number as usize].as_nanos() as u64;
            let after = packet.time_ns.checked_sub(sent);
            ensure!(
                after.is_some_and(|after| after < 1_000_000_000),
                "{hook}: frame {number} at {}, sent after {sent}",
                packet.time_ns
            );
        }
    }
    Ok(())
}

fn now() -> Result<Duration> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?)
}
