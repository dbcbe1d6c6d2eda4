//! Frames that wait until a timer, or somebody else's send, lets them go.

use anyhow::{Result, ensure};

use super::Both;
use super::datagrams::sender;
use super::streams::stream;
use super::table::{Cases, Place, Truth, set};
use crate::lab::{Pair, words_of};
use crate::skbcap::Done;

/// Bytes a second: a stream takes a second or so.
const PACE: u32 = 500_000;

/// Streams that may not go as fast as they could: what TCP holds back goes in a softirq.
pub(super) fn paced(cases: &mut Cases) -> Result<()> {
    for (name, space, qdisc) in [
        ("TCP, paced by fq, another process busy", "who-fq", "fq"),
        (
            "TCP, paced by its own timer, another process busy",
            "who-timer",
            "pfifo",
        ),
    ] {
        let pair = Pair::new(space)?;
        // A host may have no fq.
        let words = format!("tc qdisc add dev va root {qdisc}");
        if pair.a.sh(&words).is_err() {
            continue;
        }
        let mut busy = words_of("sh -c");
        let busy = pair.a.start("busy", busy.arg("while :; do :; done"))?;
        let send = format!("tcp-send bytes={PACE} pace={PACE}");
        let streams = stream(&pair.a, &pair.b, "10.0.0.2:80", &send)?;
        drop(busy);
        let va = vec![Place::new(&pair.a, "va")?];
        cases.add(name, va, move |packet| streams.truth(packet));
        cases.keep([pair.a, pair.b]);
    }
    Ok(())
}

/// A queue that lets next to nothing go is full of one process's datagrams, and then lets go all of
/// them, within the send of another one, whose own has found no room. What captures had that took
/// frames behind the queue.
pub(super) fn drained(cases: &mut Cases) -> Result<Option<[Done; 2]>> {
    const HELD: &str = "rate 1kbit burst 1600 limit 20000";
    const OWN: usize = 4;
    const FREE: &str = "rate 1gbit burst 1000000 limit 20000";
    let pair = Pair::new("who-full")?;
    let a = &pair.a;
    // A host may have no tbf.
    if a.sh(&format!("tc qdisc add dev va root tbf {HELD}"))
        .is_err()
    {
        return Ok(None);
    }
    let driven = Both::launch(a, "who-full", "--hook xmit -i va")?.listen()?;
    let mut processes = [0; 2];
    for (port, process) in [21, 22].into_iter().zip(&mut processes) {
        if port == 22 {
            // Nothing is sent for that: the timer is set for the rate that was.
            a.sh(&format!("tc qdisc change dev va root tbf {FREE}"))?;
        }
        let count = if port == 21 { 40 } else { OWN };
        let send = format!("udp to=10.0.0.2:{port} sizes=1000 count={count} gap_us=1000");
        *process = sender(a, &send)?;
    }
    let driven = driven.stop()?;
    let packets = driven[0].capture.packets.iter();
    let ports: Vec<u16> = packets.filter_map(|packet| Some(packet.udp()?.0)).collect();
    let [held, own] = [21, 22].map(|of| ports.iter().filter(|&&port| port == of).count());
    // The second one's first datagram found no room, and let go what was there.
    ensure!(
        held > 10 && own == OWN - 1,
        "{held} and {own} left the queue"
    );
    for (name, place) in [
        (
            "UDP into a full queue that another process drains",
            Place::new(a, "va")?,
        ),
        (
            "UDP out of that queue, by --hook xmit",
            Place::behind_queue(a, "va")?,
        ),
    ] {
        cases.add(name, vec![place], move |packet| {
            let (to, _) = packet.udp()?;
            let at = [21, 22].iter().position(|&port| port == to)?;
            Some(Truth::OneOf(set(&[processes[at]])))
        });
    }
    cases.keep([pair.a, pair.b]);
    Ok(Some(driven))
}
