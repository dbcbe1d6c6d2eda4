//! Datagrams: every size, every thread, every CPU.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use fixtures::mark;
use skbcap_tests::capture::Packet;

use crate::beside::{Beside, Point};
use crate::frames::{both, sent_by};
use crate::lab::Pair;
use crate::report::{Sender, senders};

/// Payloads around everything that could matter: padding, the MTU, fragments, the largest.
const SIZES: &str = "1,2,3,4,5,6,7,8,15,16,17,18,31,32,33,63,64,65,100,127,128,129,255,256,257,\
    511,512,513,1000,1023,1024,1471,1472,1473,2000,4096,8192,9000,16384,32768,65000,65507";

/// From 1 byte to 64 KiB, as IPv4 has it: 65,507 bytes of payload.
pub(crate) fn udp_sizes() -> Result<()> {
    let pair = Pair::new("sizes")?;
    let outcome = both(&pair, || {
        pair.a
            .sh(&format!("traffic udp to=10.0.0.2:9 sizes={SIZES}"))?;
        // Not in fragments: whole in one frame, of several pages.
        pair.a.ip("link set dev va mtu 65535")?;
        pair.b.ip("link set dev vb mtu 65535")?;
        pair.a
            .sh("traffic udp to=10.0.0.2:9 sizes=1473,4096,9000,32768,65507")?;
        Ok(())
    })?;
    // Nobody listens at vb: it refuses by ICMP, not more often than it may.
    outcome.same(1)?;
    let longest = outcome.tcpdump[0].packets.iter().map(|packet| packet.len);
    ensure!(longest.max() == Some(14 + 20 + 8 + 65507));
    Ok(())
}

/// Threads with names of their own: each frame says who sent it, as the sender does.
pub(crate) fn udp_threads_identity() -> Result<()> {
    let pair = Pair::new("identity")?;
    let point = Point {
        space: &pair.a,
        device: "va",
    };
    let beside = Beside::start(&[point], "")?;
    let said = pair
        .a
        .sh("traffic udp to=10.0.0.2:9 sizes=16,64,1400 count=20 threads=4")?;
    let outcome = beside.stop()?;
    outcome.same(240)?;
    let threads = senders(&said)?;
    ensure!(threads.len() == 4);
    for (hook, done) in &outcome.skbcap {
        let counts = by_sender(&done.capture.packets, &threads)
            .with_context(|| format!("the hook {hook}"))?;
        for thread in &threads {
            ensure!(
                counts.get(&thread.pid) == Some(&thread.sent),
                "{hook}: {thread:?}, but {counts:?}"
            );
            ensure!(thread.pid != thread.tgid && thread.comm.starts_with("sender-"));
        }
    }
    Ok(())
}

/// All marked frames, each attributed to the thread that its mark names; how many of each.
pub(crate) fn by_sender(packets: &[Packet], threads: &[Sender]) -> Result<BTreeMap<u32, u64>> {
    let mut counts = BTreeMap::new();
    for packet in packets {
        let Some((9, payload)) = packet.udp() else {
            continue;
        };
        let mark = mark::read(payload).context("a changed payload")?;
        let thread = threads.iter().find(|thread| thread.pid == mark.pid);
        sent_by(packet, thread.context("a mark of no thread")?)?;
        *counts.entry(mark.pid).or_default() += 1;
    }
    Ok(counts)
}

/// All CPUs send at once: all frames are there, each thread's in its order. That time never goes
/// back is the checker's to find.
pub(crate) fn order() -> Result<()> {
    let pair = Pair::new("order")?;
    let point = Point {
        space: &pair.a,
        device: "va",
    };
    let cpus = std::thread::available_parallelism()?;
    ensure!(cpus.get() > 1, "one CPU has but one order");
    let beside = Beside::start(&[point], "")?;
    let said = pair.a.sh(&format!(
        "traffic udp to=10.0.0.2:9 sizes=64 count=1500 threads={cpus} pin=true"
    ))?;
    let outcome = beside.stop()?;
    outcome.same(1500 * cpus.get())?;
    let threads = senders(&said)?;
    for (hook, done) in &outcome.skbcap {
        let mut next: BTreeMap<u32, u64> = BTreeMap::new();
        for packet in &done.capture.packets {
            let Some((9, payload)) = packet.udp() else {
                continue;
            };
            let mark = mark::read(payload).context("a changed payload")?;
            let next = next.entry(mark.pid).or_default();
            ensure!(mark.sequence == *next, "{hook}: {mark:?}, expected {next}");
            *next += 1;
        }
        ensure!(
            threads
                .iter()
                .all(|thread| next.get(&thread.pid) == Some(&thread.sent)),
            "{hook}: {next:?} of {threads:?}"
        );
    }
    Ok(())
}
