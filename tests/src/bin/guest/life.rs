//! How a capture lives and ends: pipes, rest, full disks, second signals, recordings.

use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use skbcap_tests::capture;

use crate::lab::{Mounted, Pair, run, words_of};
use crate::limits::sequences;
use crate::program::{Program, out};
use crate::skbcap::{Hook, Skbcap, command, has_kprobes};

/// Long enough for a frame to come out of a pipe, short enough to be called live.
const LIVE: Duration = Duration::from_secs(2);

/// `-w -`: frames come while the capture runs, and it ends when its reader has had enough.
pub(crate) fn pipe() -> Result<()> {
    let pair = Pair::new("pipe")?;
    for hook in Hook::all() {
        let mut command = command(&format!("--hook {hook} -w -"));
        let mut skbcap = pair
            .a
            .within(|| Program::start_piped(&format!("skbcap-{hook}"), &mut command))?;
        skbcap.wait_stderr("skbcap: listening on")?;
        let mut stdout = skbcap.child.stdout.take().context("a pipe")?;
        let (send, pieces) = mpsc::channel();
        let reader = thread::spawn(move || -> Result<()> {
            let mut piece = vec![0; 65536];
            // Until a piece is not wanted: then the pipe is closed.
            loop {
                let len = stdout.read(&mut piece)?;
                if len == 0 || send.send(piece[..len].to_vec()).is_err() {
                    return Ok(());
                }
            }
        });
        let mut bytes = Vec::new();
        for first in 0..3u64 {
            pair.a
                .sh(&format!("traffic udp to=10.0.0.2:9 first={first}"))?;
            loop {
                let piece = pieces.recv_timeout(LIVE);
                bytes.extend(piece.with_context(|| format!("frame {first} does not come"))?);
                // A piece may end within a block, or within the section's beginning.
                let packets = capture::parse_pcapng(&bytes).map(|capture| capture.packets);
                if packets.is_ok_and(|packets| packets.len() as u64 == first + 1) {
                    break;
                }
            }
        }
        drop(pieces);
        for first in 3..6 {
            pair.a
                .sh(&format!("traffic udp to=10.0.0.2:9 first={first}"))?;
            sleep(Duration::from_millis(50));
        }
        let status = skbcap.wait()?;
        ensure!(status.success(), "{status}: {}", skbcap.stderr()?);
        reader.join().ok().context("the reader panicked")??;
        let said = skbcap.stderr()?;
        ensure!(said.contains("frames captured"), "{said}");
    }
    Ok(())
}

/// Nothing is sent, nothing is done.
pub(crate) fn idle() -> Result<()> {
    let pair = Pair::new("idle")?;
    let mut resting = Vec::new();
    for hook in Hook::all() {
        let words = format!("--hook {hook}");
        resting.push((
            hook,
            Skbcap::start(&pair.a, &format!("idle-{hook}"), &words)?,
        ));
    }
    pair.a.sh("traffic udp to=10.0.0.2:9 count=10")?;
    sleep(Duration::from_secs(1));
    let ticks = |skbcap: &Skbcap| -> Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", skbcap.program.child.id()))?;
        // Behind the name, which may hold anything: the third field on; 14 and 15 are wanted.
        let (_, fields) = stat.rsplit_once(") ").context("/proc/PID/stat")?;
        let fields: Vec<_> = fields.split(' ').collect();
        Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
    };
    let switches = |skbcap: &Skbcap| -> Result<String> {
        let status = fs::read_to_string(format!("/proc/{}/status", skbcap.program.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("voluntary"));
        Ok(line.context("/proc/PID/status")?.to_owned())
    };
    let before: Vec<_> = resting
        .iter()
        .map(|(_, skbcap)| Ok((ticks(skbcap)?, switches(skbcap)?)))
        .collect::<Result<_>>()?;
    sleep(Duration::from_secs(3));
    for ((hook, skbcap), before) in resting.into_iter().zip(before) {
        let after = (ticks(&skbcap)?, switches(&skbcap)?);
        // Not even woken up.
        ensure!(before == after, "{hook}: {before:?}, then {after:?}");
        ensure!(skbcap.stop()?.capture.packets.len() == 10);
    }
    Ok(())
}

/// On a kernel that doesn't show its types they come from a file: by the kprobe, and nobody is named.
pub(crate) fn types_from_a_file() -> Result<()> {
    let pair = Pair::new("btf")?;
    let types = out("vmlinux.btf");
    fs::copy("/sys/kernel/btf/vmlinux", &types)?;
    pair.a.sh("traffic udp to=10.0.0.2:9")?;
    let hidden = Mounted::new("-t tmpfs none", "/sys/kernel/btf".into())?;
    let words = format!("--btf {}", types.display());
    let skbcap = Skbcap::start(&pair.a, "file", &words)?;
    ensure!(
        skbcap.listening.contains("hook kprobe"),
        "{}",
        skbcap.listening
    );
    pair.a.sh("traffic udp to=10.0.0.2:9 count=10")?;
    let done = skbcap.stop()?;
    ensure!(done.capture.packets.len() == 10);
    for packet in &done.capture.packets {
        let who = &packet.more().who;
        ensure!(who.by.is_none(), "{who:?}");
    }
    let mut queue = command(&format!(
        "{words} --hook queue -w {}",
        out("none").display()
    ));
    let refused = queue.output()?;
    let said = String::from_utf8_lossy(&refused.stderr);
    drop(hidden);
    println!("{said}");
    ensure!(
        refused.status.code() == Some(2) && said.contains("net_dev_queue"),
        "{said}"
    );
    Ok(())
}

/// A capture asks for shorter turns of a processor than others have.
pub(crate) fn short_turns() -> Result<()> {
    // 0.1 ms, the least that the kernel gives.
    const SLICE_NS: &str = "100000";
    let pair = Pair::new("turns")?;
    let slice = |process: &str| -> Result<String> {
        let told = fs::read_to_string(format!("/proc/{process}/sched"))?;
        let line = told.lines().find(|line| line.starts_with("se.slice"));
        let value = line.and_then(|line| line.split_whitespace().last());
        Ok(value.context("no se.slice")?.to_owned())
    };
    ensure!(slice("self")? != SLICE_NS, "everybody has it");
    let skbcap = Skbcap::start(&pair.a, "turns", "")?;
    // It listens before it asks.
    let process = skbcap.program.child.id().to_string();
    for _ in 0..50 {
        if slice(&process)? == SLICE_NS {
            skbcap.stop()?;
            return Ok(());
        }
        sleep(Duration::from_millis(100));
    }
    bail!("it has turns of {} ns", slice(&process)?)
}

/// Every page of the rings is mapped before a frame comes, also where mmap(2) leaves that to their
/// first use: it would be in the midst of a burst.
pub(crate) fn mapped_rings() -> Result<()> {
    let pair = Pair::new("mapped")?;
    let skbcap = Skbcap::start(&pair.a, "mapped", "-B 16384")?;
    let smaps = fs::read_to_string(format!("/proc/{}/smaps", skbcap.program.child.id()))?;
    let (mut all_kib, mut mapped_kib, mut is_ring) = (0, 0, false);
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let kib = match words.next() {
            Some("Size:") => &mut all_kib,
            Some("Rss:") => &mut mapped_kib,
            Some(range) if range.contains('-') => {
                is_ring = line.ends_with("bpf-map");
                continue;
            }
            _ => continue,
        };
        if is_ring {
            *kib += words.next().context("no number")?.parse::<u64>()?;
        }
    }
    skbcap.stop()?;
    println!("{mapped_kib} of {all_kib} KiB are mapped");
    ensure!(
        all_kib >= 16384 && mapped_kib == all_kib,
        "{mapped_kib} of {all_kib} KiB are mapped"
    );
    Ok(())
}

/// The disk is full in the middle: said, failed, and all that was written is readable.
pub(crate) fn disk_full() -> Result<()> {
    let pair = Pair::new("diskfull")?;
    let place = out("small");
    fs::create_dir(&place)?;
    let _small = Mounted::new("-t tmpfs -o size=512k tmpfs", place.clone())?;
    fill(&pair, place.to_str().context("an odd name")?)
}

fn fill(pair: &Pair, place: &str) -> Result<()> {
    for hook in Hook::all() {
        let file = format!("{place}/{hook}.pcapng");
        let mut command = command(&format!("--hook {hook} -w {file}"));
        let mut skbcap = pair.a.start(&format!("skbcap-{hook}"), &mut command)?;
        skbcap.wait_stderr("skbcap: listening on")?;
        pair.a
            .sh("traffic udp to=10.0.0.2:9 sizes=1400 count=1000")?;
        // It ends by itself.
        let status = skbcap.wait()?;
        let said = skbcap.stderr()?;
        ensure!(status.code() == Some(1), "{status}: {said}");
        ensure!(
            said.contains("No space left on device") && said.contains(&file),
            "{said}"
        );
        // Whole blocks, and nobody takes them for a whole capture.
        let verified = run(&mut words_of(&format!("skbcap verify {file}")));
        let fault = verified.err().context("a half capture adds up")?;
        ensure!(fault.to_string().contains("exit status: 1"), "{fault}");
        let capture = capture::read_pcapng(file.as_ref())?;
        println!("{hook}: {} packets fit", capture.packets.len());
        ensure!(capture.packets.len() > 200);
        let numbers = sequences(&capture.packets)?;
        ensure!(numbers.iter().zip(0..).all(|(&is, should)| is == should));
        fs::copy(&file, out(&format!("{hook}.pcapng")))?;
        fs::remove_file(&file)?;
    }
    Ok(())
}

/// A reader that does not read holds skbcap up; a second signal ends it at once all the same.
pub(crate) fn second_signal() -> Result<()> {
    let pair = Pair::new("signals")?;
    let mut command = command("--hook queue -w -");
    let mut skbcap = pair
        .a
        .within(|| Program::start_piped("skbcap", &mut command))?;
    skbcap.wait_stderr("skbcap: listening on")?;
    let stdout = skbcap.child.stdout.take();
    pair.a
        .sh("traffic udp to=10.0.0.2:9 sizes=1400 count=500")?;
    sleep(Duration::from_millis(300));
    skbcap.signal(Signal::INT)?;
    sleep(Duration::from_millis(300));
    ensure!(
        skbcap.child.try_wait()?.is_none(),
        "it was not stuck in its pipe"
    );
    skbcap.signal(Signal::INT)?;
    let status = skbcap.wait_for(LIVE)?;
    println!("{status}");
    ensure!(!status.success(), "a second signal is no good end");
    drop(stdout);
    Ok(())
}

/// `--hook auto` says which it took.
pub(crate) fn hook_auto() -> Result<()> {
    let pair = Pair::new("auto")?;
    let skbcap = Skbcap::start(&pair.a, "auto", "")?;
    println!("{}", skbcap.listening);
    let expected = if has_kprobes() { "kprobe" } else { "queue" };
    ensure!(
        skbcap.listening.contains(&format!("hook {expected}")),
        "{}",
        skbcap.listening
    );
    pair.a.sh("traffic udp to=10.0.0.2:9 count=3")?;
    ensure!(skbcap.stop()?.capture.packets.len() == 3);
    // As a user starts it: `ip netns exec` puts another /sys over the one with tracefs in it.
    let file = out("exec.pcapng");
    let mut exec = words_of(&format!("ip netns exec {} skbcap -c 3 -w", pair.a.name()));
    exec.arg(&file).stdin(Stdio::null());
    let mut exec = Program::start("exec", &mut exec)?;
    let listening = exec.wait_stderr("skbcap: listening on")?;
    ensure!(
        listening.contains(&format!("hook {expected}")),
        "{listening}"
    );
    pair.a.sh("traffic udp to=10.0.0.2:9 count=3")?;
    ensure!(exec.wait()?.success(), "{}", exec.stderr()?);
    ensure!(capture::read_pcapng(&file)?.packets.len() == 3);
    finds_symbols_by_name(&pair)
}

/// Where the kernel can look one up quickly, it is not asked to print them all.
fn finds_symbols_by_name(pair: &Pair) -> Result<()> {
    let check = pair.a.sh("skbcap --check")?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    // Since 6.2.
    let is_older = release.starts_with("5.") || release.starts_with("6.1.");
    let is_by_name = check.contains("addresses shown, by name");
    ensure!(is_by_name != is_older, "Linux {release}{check}");
    Ok(())
}
