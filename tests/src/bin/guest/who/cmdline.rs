//! `--fields cmdline`: the words of the very process or none, of processes that are there, that are gone,
//! and of two that had the same number; and only where it is asked for by its name.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::fields::{of_port, value};
use super::hands;
use crate::lab::{Pair, words_of};
use crate::program::out;
use crate::report::senders;
use crate::skbcap::Skbcap;

/// Words as they stand in a comment.
fn written(words: &str) -> String {
    words.replace('=', r"\x3d").replace(' ', r"\x00")
}

/// The test.
pub(crate) fn who_cmdline() -> Result<()> {
    let pair = Pair::new("who-cmdline")?;
    let (a, b) = (&pair.a, &pair.b);
    let there = "traffic udp to=10.0.0.2:9 count=1000000 gap_us=20000";
    let there_program = a.start("cmdline-there", &mut words_of(there))?;
    sleep(Duration::from_millis(100));
    let skbcap = Skbcap::start(a, "who-cmdline", "--netns all --fields all,cmdline")?;
    let without = Skbcap::start(a, "who-cmdline-all", "--netns all --fields all")?;

    let gone = "traffic udp to=10.0.0.2:10 sizes=64 count=3";
    for _ in 0..5 {
        a.sh(gone)?;
    }
    let go = out("who-cmdline-go");
    let _ = fs::remove_file(&go);
    let late = format!("traffic tcp-serve at=10.0.0.2:99 after={}", go.display());
    let mut late = b.start("cmdline-late", &mut words_of(&late))?;
    late.wait_stdout("listening")?;
    let leave = "traffic tcp-leave to=10.0.0.2:99 bytes=180000";
    let left = senders(&a.sh(leave)?)?.first().context("no sender")?.tgid;
    let reused = hands::reuse(a, left, None)?;
    fs::write(&go, "")?;
    late.finish()?;
    sleep(Duration::from_millis(300));
    let (done, without) = (skbcap.stop()?, without.stop()?);
    let there_id = there_program.id();
    drop(there_program);

    // What was there before the capture is heard of long after its start.
    let of_there = of_port(&done.capture, "va", 9);
    ensure!(of_there.len() > 10, "{} frames", of_there.len());
    for packet in &of_there {
        let is_so =
            packet.more().who.tgid == there_id && value(packet, "cmdline") == Some(&written(there));
        ensure!(is_so, "{}", packet.more().comment);
    }
    // Of the others the right words, if any.
    let mut cases = vec![(10, written(gone)), (99, written(leave))];
    if let Some(port) = reused {
        let reuser = format!(
            "{} udp to=10.0.0.2:{port} sizes=64 count=20",
            out("reuser").display()
        );
        cases.push((port, written(&reuser)));
    }
    for (port, words) in cases {
        let all = of_port(&done.capture, "va", port);
        // The other end's frames are not at this device.
        let said: Vec<_> = all.iter().map(|packet| value(packet, "cmdline")).collect();
        let known = said.iter().flatten().count();
        println!(
            "port {port}: {known} of {} frames have {words:?}",
            said.len()
        );
        ensure!(!said.is_empty(), "no frames of port {port}");
        for cmdline in said.into_iter().flatten() {
            ensure!(cmdline == words, "{cmdline}, not {words}");
        }
    }
    let unasked = without.capture.packets.iter();
    let unasked = unasked.filter(|packet| value(packet, "cmdline").is_some());
    ensure!(unasked.count() == 0, "a command line that nobody asked for");
    Ok(())
}
