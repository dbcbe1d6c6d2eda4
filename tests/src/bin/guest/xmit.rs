//! Who sent a frame, by the hook that meets it long after it was sent.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use fixtures::mark;
use skbcap::annotation::Via;
use skbcap_common::Context as Running;

use crate::lab::Pair;
use crate::skbcap::Skbcap;
use crate::tcp::stream;

/// Hundreds of frames wait in a queue, and a softirq hands them to the driver on top of anybody: each
/// is still its sender's, recognised by its skb; and the segments that software makes of a super-frame
/// are, by their socket.
pub(crate) fn xmit_senders() -> Result<()> {
    const DATAGRAMS: u32 = 500;
    const BYTES: u64 = 400_000;
    let pair = Pair::new("xmit")?;
    let a = &pair.a;
    a.sh("ethtool -K va tso off")?;
    a.sh("tc qdisc add dev va root netem delay 3ms limit 10000")?;
    let skbcap = Skbcap::start(a, "xmit", "--hook xmit -i va")?;
    for _ in 0..3 {
        a.sh(&format!(
            "traffic udp to=10.0.0.2:9 sizes=100 count={DATAGRAMS}"
        ))?;
    }
    std::thread::sleep(std::time::Duration::from_millis(200));
    // netem takes a frame's socket away where it delays it.
    a.sh("tc qdisc del dev va root")?;
    let send = format!("tcp-send bytes={BYTES}");
    stream(&pair.a, &pair.b, "10.0.0.2:80", &send, BYTES)?;
    std::thread::sleep(std::time::Duration::from_millis(200));
    let done = skbcap.stop()?;

    let (mut senders, mut datagrams, mut segments) = (BTreeSet::new(), 0, 0);
    let mut stream_senders = BTreeSet::new();
    for packet in &done.capture.packets {
        let who = &packet.more().who;
        if let Some((9, payload)) = packet.udp() {
            let mark = mark::read(payload).context("a changed payload")?;
            ensure!(
                who.tgid == mark.pid && who.comm == b"traffic" && who.context == Running::Task,
                "process {} sent what is said to be {who:?}",
                mark.pid
            );
            ensure!(who.via == Some(Via::Skb), "{who:?}");
            senders.insert(who.tgid);
            datagrams += 1;
        } else if packet.tcp().is_some_and(|tcp| !tcp.payload.is_empty()) {
            // What a softirq had TCP send, by its own account, is nobody's here.
            if who.context == Running::Task {
                ensure!(who.via.is_some() && who.comm == b"traffic", "{who:?}");
                stream_senders.insert(who.tgid);
                segments += usize::from(who.via == Some(Via::Socket));
            }
        }
    }
    println!("{datagrams} datagrams of {senders:?}; {segments} segments of {stream_senders:?}");
    ensure!(datagrams == 3 * DATAGRAMS && senders.len() == 3);
    ensure!(segments > 20 && stream_senders.len() == 1);
    Ok(())
}
