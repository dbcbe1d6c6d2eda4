//! What a capture leaves out: by its snapshot length, its count, its full ring.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fixtures::mark;
use rustix::process::Signal;
use skbcap_tests::capture::Packet;

use crate::beside::{Beside, Point};
use crate::lab::Pair;
use crate::share;
use crate::skbcap::{Hook, Skbcap};

/// `-s` cuts, and tells the true length.
pub(crate) fn snaplen() -> Result<()> {
    let pair = Pair::new("snaplen")?;
    let point = Point {
        space: &pair.a,
        device: "va",
    };
    pair.a.ip("link set dev va mtu 65535")?;
    let hooks = Hook::all();
    let lens = [1, 14, 60, 64, 65535];
    let mut cutting = Vec::new();
    for (len, hook) in share::mine(lens.into_iter().zip(hooks.iter().cycle()).collect())? {
        let words = format!("--hook {hook} -s {len}");
        let name = format!("snaplen-{len}");
        cutting.push((len, Skbcap::launch(&pair.a, &name, &words)?));
    }
    let mut listening = Vec::new();
    for (len, skbcap) in cutting {
        listening.push((len, skbcap.listen()?));
    }
    let beside = Beside::start(&[point], "")?;
    pair.a
        .sh("traffic udp to=10.0.0.2:9 sizes=1,17,18,19,22,23,1400,65493,65494,65507")?;
    let outcome = beside.stop()?;
    outcome.same(10)?;
    for (len, skbcap) in listening {
        let done = skbcap.stop()?;
        let cut: Vec<_> = outcome.tcpdump[0]
            .packets
            .iter()
            .map(|packet| (packet.len, &packet.data[..packet.data.len().min(len)]))
            .collect();
        let ours: Vec<_> = done
            .capture
            .packets
            .iter()
            .map(|packet| (packet.len, packet.data.as_slice()))
            .collect();
        ensure!(cut == ours, "-s {len}: other packets");
        ensure!(done.count("cut short")? == 0, "-s {len} is no fault");
        let interfaces = &done.capture.report.interfaces;
        ensure!(
            interfaces
                .iter()
                .all(|interface| interface.snaplen as usize == len),
            "-s {len}: {interfaces:?}"
        );
    }
    Ok(())
}

/// `-c` ends it by itself, with that many packets.
pub(crate) fn count() -> Result<()> {
    let pair = Pair::new("count")?;
    for hook in Hook::all() {
        let words = format!("--hook {hook} -c 5");
        let skbcap = Skbcap::start(&pair.a, &format!("count-{hook}"), &words)?;
        pair.a.sh("traffic udp to=10.0.0.2:9 count=20")?;
        let done = skbcap.finish()?;
        ensure!(done.capture.packets.len() == 5, "{}", done.said);
        ensure!(sequences(&done.capture.packets)? == [0, 1, 2, 3, 4]);
    }
    Ok(())
}

/// A reader that stands still: new frames are dropped and counted, old ones are kept, in order.
pub(crate) fn ring_full() -> Result<()> {
    const SENT: u64 = 3000;
    let pair = Pair::new("ringfull")?;
    for hook in Hook::all() {
        let words = format!("--hook {hook} -s 2000 -B 512");
        let skbcap = Skbcap::start(&pair.a, &format!("full-{hook}"), &words)?;
        skbcap.program.signal(Signal::STOP)?;
        pair.a.sh(&format!(
            "traffic udp to=10.0.0.2:9 sizes=1000 count={SENT}"
        ))?;
        skbcap.program.signal(Signal::CONT)?;
        // Once it has caught up, a frame on each CPU tells of those lost before it there.
        std::thread::sleep(Duration::from_millis(500));
        let cpus = std::thread::available_parallelism()?;
        pair.a.sh(&format!(
            "traffic udp to=10.0.0.2:9 sizes=1000 threads={cpus} pin=true first={SENT}"
        ))?;
        let done = skbcap.stop()?;
        let captured = done.count("frames captured")?;
        let seen = done.count("frames seen")?;
        let dropped = done.count("dropped: ring full")?;
        // The refusals that the other end sends, in a namespace that was not asked for.
        let filtered = done.count_or_none("filtered")?;
        println!(
            "{hook}: {seen} seen, {captured} captured, {dropped} dropped, {filtered} filtered"
        );
        let sent = SENT + cpus.get() as u64;
        ensure!(dropped > 0 && captured > cpus.get() as u64);
        ensure!(seen == captured + dropped + filtered, "{}", done.said);
        let wanted = captured + dropped;
        ensure!(wanted == sent, "{wanted} wanted of {sent}\n{}", done.said);
        let between: u64 = done.capture.packets.iter().map(|p| p.more().dropped).sum();
        let told: u64 = done
            .capture
            .report
            .interfaces
            .iter()
            .filter_map(|interface| interface.dropped)
            .sum();
        ensure!(
            between == dropped && told == dropped,
            "{dropped} dropped; {between} by the packets, {told} by the statistics"
        );
        let numbers = sequences(&done.capture.packets)?;
        ensure!(numbers.is_sorted(), "{hook}: out of order");
    }
    Ok(())
}

/// The numbers of all frames, each of which must be marked.
pub(crate) fn sequences(packets: &[Packet]) -> Result<Vec<u64>> {
    packets
        .iter()
        .map(|packet| {
            let (_, payload) = packet.udp().context("no datagram")?;
            Ok(mark::read(payload).context("a changed payload")?.sequence)
        })
        .collect()
}
