//! Datagrams and packets: each leaves in the very call that sends it.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use fixtures::mark;

use super::table::{Cases, Place, Truth, set};
use crate::lab::{Pair, Space};
use crate::report::senders;

pub(super) fn rows(cases: &mut Cases, pair: &Pair) -> Result<()> {
    let a = &pair.a;
    let said = a.sh("traffic udp to=10.0.0.2:9 sizes=16,1400,4000 count=30 threads=3")?;
    let threads: BTreeSet<u32> = senders(&said)?.iter().map(|one| one.pid).collect();
    let process = senders(&said)?.first().context("no thread")?.tgid;
    cases.add("UDP, threads", vec![Place::new(a, "va")?], move |packet| {
        let (9, payload) = packet.udp()? else {
            return None;
        };
        // The claim is about a thread too.
        let sent = mark::read(payload)?.pid;
        let is_thread = threads.contains(&sent) && packet.more().who.pid == sent;
        Some(if is_thread {
            Truth::OneOf(set(&[process]))
        } else {
            Truth::Wrong
        })
    });

    let process = sender(a, "udp to=127.0.0.1:9 sizes=100 count=50")?;
    let lo = vec![Place::new(a, "lo")?];
    cases.add("UDP on loopback", lo, move |packet| match packet.udp() {
        Some((9, _)) => Some(Truth::OneOf(set(&[process]))),
        Some(_) => None,
        // Nobody listens: the kernel says so.
        None if packet.data.get(23) == Some(&1) => Some(Truth::Kernel),
        None => None,
    });

    // A host that is not there: nobody answers that nobody listens, which would
    // end a call in its middle.
    a.ip("neigh add 10.0.0.77 lladdr 02:00:00:00:00:02 dev va nud permanent")?;
    let calls = [
        (11, sender(a, "sendmmsg to=10.0.0.77:11 count=50")?),
        (
            12,
            sender(a, "udp-segment to=10.0.0.77:12 bytes=20000 size=1000")?,
        ),
        (13, sender(a, "udp-pieces to=10.0.0.77:13 count=20")?),
    ];
    to_ports(
        cases,
        "UDP by sendmmsg, UDP_SEGMENT, MSG_ZEROCOPY",
        a,
        &calls,
    )?;
    let calls = [(14, sender(a, "uring to=10.0.0.77:14 count=64")?)];
    to_ports(cases, "UDP by io_uring and its workers", a, &calls)?;
    let polled = "uring to=10.0.0.77:15 count=64 polled=true";
    let calls = [(15, sender(a, polled)?)];
    to_ports(cases, "UDP by io_uring, SQPOLL", a, &calls)?;

    let process = sender(a, "raw to=10.0.0.2")?;
    cases.add("raw socket", vec![Place::new(a, "va")?], move |packet| {
        let is_it = packet.data.get(12..14)? == [8, 0] && packet.data.get(23) == Some(&253);
        is_it.then(|| Truth::OneOf(set(&[process])))
    });
    // By their sizes one knows whose they are.
    let processes = [
        sender(a, "packet device=va size=100")?,
        sender(a, "packet device=va size=200")?,
    ];
    let va = vec![Place::new(a, "va")?];
    cases.add("packet socket", va, move |packet| {
        let process = processes[usize::from(packet.len > 150)];
        let is_it = packet.data.get(12..14)? == [0x88, 0xb5];
        is_it.then(|| Truth::OneOf(set(&[process])))
    });
    Ok(())
}

/// Runs a traffic program; its process.
pub(super) fn sender(space: &Space, words: &str) -> Result<u32> {
    let said = space.sh(&format!("traffic {words}"))?;
    Ok(senders(&said)?.first().context("no sender")?.tgid)
}

/// A row of datagrams whose process is known by the port that they go to.
fn to_ports(
    cases: &mut Cases,
    name: &'static str,
    space: &Space,
    processes: &[(u16, u32)],
) -> Result<()> {
    let processes = processes.to_vec();
    cases.add(name, vec![Place::new(space, "va")?], move |packet| {
        let (to, _) = packet.udp()?;
        let (_, process) = processes.iter().find(|(port, _)| *port == to)?;
        Some(Truth::OneOf(set(&[*process])))
    });
    Ok(())
}
