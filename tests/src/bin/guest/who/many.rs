//! How long it takes to find the sockets that there are, and that all of them are found.

use anyhow::{Context, Result, ensure};
use fixtures::mark;

use crate::lab::{Pair, words_of};
use crate::skbcap::Skbcap;

/// What is aimed at for the sockets alone: how long the rest takes depends on the host.
const MOST_MS: f64 = 1000.0;

/// The test: what it prints are the figures of docs/attribution.md.
pub(crate) fn who_many_sockets() -> Result<()> {
    let pair = Pair::new("who-many")?;
    let a = &pair.a;
    let few = start_ms(&pair, "who-few")?;
    let mut holder = a.start("holder", &mut words_of("traffic hold sockets=10000"))?;
    holder.wait_stdout("holding 10000")?;
    let many = start_ms(&pair, "who-many")?;
    println!("sockets are watched after {few} ms where there are few, {many} ms with 10,000 more");
    ensure!(many - few < MOST_MS, "{} ms", many - few);
    drop(holder.child.stdin.take());
    holder.finish()?;
    Ok(())
}

/// Starts a capture; how long the programs took that watch sockets, and find those that there are.
fn start_ms(pair: &Pair, name: &str) -> Result<f64> {
    const LINE: &str = "were looked for, in ";
    let skbcap = Skbcap::start(&pair.a, name, "--debug")?;
    let said = skbcap.program.stderr()?;
    pair.a.sh("traffic udp to=10.0.0.2:9 sizes=64 count=2")?;
    let done = skbcap.stop()?;
    let packet = done.capture.packets.first().context("no packet")?;
    let (_, payload) = packet.udp().context("no datagram")?;
    let mark = mark::read(payload).context("no mark")?;
    ensure!(
        packet.more().who.tgid == mark.pid,
        "{}",
        packet.more().comment
    );
    let line = said.lines().find_map(|line| line.split_once(LINE));
    let (_, time) = line.with_context(|| format!("no time in {said}"))?;
    Ok(time.trim_end_matches(" ms").parse()?)
}
