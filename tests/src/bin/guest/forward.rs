//! Frames that this host only passes on.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use skbcap::annotation::Cut;

use crate::beside::{Beside, Point, Seen};
use crate::lab::Space;
use crate::skbcap::{Done, Skbcap, command};

/// Datagrams that GRO has put into one skb's `frag_list` on their way in leave as one frame, all of
/// whose bytes are in both captures. No frame has more parts than are copied: of a capture that copies
/// fewer, those beyond are missing and told.
pub(crate) fn frag_list() -> Result<()> {
    let [from, via, to] = ["fl-from", "fl-via", "fl-to"].map(Space::new);
    let (from, via, to) = (from?, via?, to?);
    from.ip(&format!(
        "link add fa type veth peer name fr netns {}",
        via.name()
    ))?;
    via.ip(&format!(
        "link add ft type veth peer name fb netns {}",
        to.name()
    ))?;
    for (space, device, address) in [
        (&from, "fa", "10.1.0.1"),
        (&via, "fr", "10.1.0.2"),
        (&via, "ft", "10.2.0.2"),
        (&to, "fb", "10.2.0.1"),
    ] {
        space.ip(&format!("address add {address}/24 dev {device}"))?;
        space.ip(&format!("link set dev {device} up"))?;
        // A neighbour that was believed is asked again after 5 s: not while captures begin.
        space.sysctl(
            &format!("net/ipv4/neigh/{device}/delay_first_probe_time"),
            "3600",
        )?;
    }
    from.ip("route add default via 10.1.0.2")?;
    to.ip("route add default via 10.2.0.2")?;
    via.sysctl("net/ipv4/ip_forward", "1")?;
    via.sh("ethtool -K fr gro on rx-gro-list on")?;
    // A thread of its own and a timer, so that datagrams gather before they are looked at.
    let gather = "cd /sys/class/net/fr && echo 1 > threaded \
                  && echo 2000000 > gro_flush_timeout && echo 100 > napi_defer_hard_irqs";
    let mut exec = Command::new("ip");
    exec.args(["netns", "exec", via.name(), "sh", "-c", gather]);
    ensure!(exec.status()?.success(), "cannot make fr gather datagrams");
    from.sh("ping -n -c 1 10.2.0.1")?;

    let point = Point {
        space: &via,
        device: "ft",
    };
    let mut bounded = command("--hook kprobe -i ft");
    bounded.env("SKBCAP_PARTS", "64");
    // Else newer kernels copy frames by themselves.
    bounded.env("SKBCAP_KFUNCS", "none");
    let bounded = Skbcap::launch_with(&via, "bounded", &mut bounded)?;
    let beside = Beside::start(&[point], "-i ft")?;
    let bounded = bounded.listen()?;
    let sizes = ["1000"; 40].join(",");
    for _ in 0..20 {
        from.sh(&format!("traffic udp to=10.2.0.1:9 sizes={sizes}"))?;
    }
    // Each piece is a part. A sender may have so much on its way only, with all that it is noted in.
    // A namespace has a limit of its own since Linux 6.8.
    from.sysctl("net/core/optmem_max", "1048576")
        .or_else(|_| std::fs::write("/proc/sys/net/core/optmem_max", "1048576"))?;
    // Nobody is there who could answer, and a refusal would end the sender.
    via.ip("neigh add 10.2.0.9 lladdr 02:00:00:00:00:99 dev ft nud permanent")?;
    from.sh("traffic udp-pieces to=10.2.0.9:9 pieces=15 size=20 count=640")?;
    sleep(Duration::from_millis(500));
    let outcome = beside.stop()?;
    outcome.same(20)?;
    ends_at_the_bound(&outcome.tcpdump[0], &bounded.stop()?)?;
    let longest = outcome.tcpdump[0].packets.iter().map(|packet| packet.len);
    let longest = longest.max().unwrap_or(0);
    println!("the longest frame: {longest} bytes");
    ensure!(longest > 10_000, "no frame with a frag_list");
    for (hook, done) in &outcome.skbcap {
        let cut = done.of("ft", outcome.tcpdump[0].inode);
        ensure!(
            cut.iter().all(|packet| packet.more().who.cut.is_none()),
            "{hook}: frames were cut"
        );
    }
    Ok(())
}

/// Each frame is there with its true length and its first bytes; and some end early, which is said.
fn ends_at_the_bound(seen: &Seen, done: &Done) -> Result<()> {
    let (theirs, ours) = (&seen.packets, &done.capture.packets);
    ensure!(
        ours.len() == theirs.len(),
        "{} of {}",
        ours.len(),
        theirs.len()
    );
    let mut cut = 0;
    for (ours, theirs) in ours.iter().zip(theirs) {
        let kept = ours.data.len();
        ensure!(ours.len == theirs.len && theirs.data.get(..kept) == Some(&ours.data));
        if kept == theirs.data.len() {
            ensure!(ours.more().who.cut.is_none(), "{ours:?} has all bytes");
        } else {
            ensure!(ours.more().who.cut == Some(Cut::Bound), "{ours:?}");
            cut += 1;
        }
    }
    println!("of at most 64 parts: {} frames, {cut} cut", ours.len());
    ensure!(cut > 0, "no frame of more than 64 parts");
    ensure!(done.count("cut short")? == cut, "{}", done.said);
    Ok(())
}
