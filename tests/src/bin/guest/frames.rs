//! Single frames: the one of the question, pings, ARP, IPv6.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use skbcap_common::Context as SentIn;
use skbcap_tests::capture::Packet;

use crate::beside::{Beside, Outcome, Point};
use crate::lab::{Pair, Space, words_of};
use crate::report::{Sender, senders};

/// The frame of the question, as the issue has it.
const QUESTION: &str = "3431c4b06a8b3c7c3f2023bd08004500004c839340004011d1a2c0a8b218c0a8b201\
    c807007b0038e5b423000620\
    000000000000000000000000000000000000000000000000000000000000000000000000\
    38bc1713124a4cc0";

/// A process named chronyd sends 90 bytes: these are captured, and its name and numbers.
pub(crate) fn chronyd_frame() -> Result<()> {
    let frame: Vec<u8> = (0..QUESTION.len() / 2)
        .map(|at| u8::from_str_radix(&QUESTION[at * 2..at * 2 + 2], 16))
        .collect::<Result<_, _>>()?;
    ensure!(frame.len() == 90);
    let space = Space::new("chronyd")?;
    space.ip("link add dev eth0 address 3c:7c:3f:20:23:bd type veth peer name peer")?;
    space.ip("address add 192.168.178.24/24 dev eth0")?;
    space.ip("link set dev eth0 up")?;
    space.ip("link set dev peer up")?;
    space.ip("neigh add 192.168.178.1 lladdr 34:31:c4:b0:6a:8b dev eth0 nud permanent")?;
    let point = Point {
        space: &space,
        device: "eth0",
    };
    let beside = Beside::start(&[point], "")?;
    let raw = senders(&space.sh("chronyd raw device=eth0")?)?;
    let udp = senders(&space.sh("chronyd udp")?)?;
    let outcome = beside.stop()?;
    outcome.same(2)?;
    for (hook, done) in &outcome.skbcap {
        let [first, second] = &done.capture.packets[..] else {
            anyhow::bail!("{hook}: {} packets", done.capture.packets.len());
        };
        ensure!(first.data == frame, "{hook}: {:02x?}", first.data);
        sent_by(first, &raw[0])?;
        // The kernel's own headers: but for identification and both checksums the same.
        let blank = |data: &[u8]| {
            let mut data = data.to_vec();
            for at in [18, 19, 24, 25, 40, 41] {
                *data.get_mut(at).context("a short frame")? = 0;
            }
            Ok::<_, anyhow::Error>(data)
        };
        ensure!(
            blank(&second.data)? == blank(&frame)?,
            "{:02x?}",
            second.data
        );
        sent_by(second, &udp[0])?;
        ensure!(raw[0].comm == "chronyd" && raw[0].pid == raw[0].tgid);
    }
    Ok(())
}

/// The packet was sent in task context by this thread, and says so in its comment and its option.
pub(crate) fn sent_by(packet: &Packet, sender: &Sender) -> Result<()> {
    let more = packet.more();
    ensure!(
        more.who.context == SentIn::Task
            && more.who.comm == sender.comm.as_bytes()
            && (more.who.pid, more.who.tgid) == (sender.pid, sender.tgid)
            && more.process == (sender.tgid, sender.pid),
        "{} and option 8 {:?}, of a frame that {sender:?} sent",
        more.comment,
        more.process
    );
    Ok(())
}

/// Echo requests and replies, both namespaces.
pub(crate) fn ping() -> Result<()> {
    let pair = Pair::new("ping")?;
    let outcome = both(&pair, || {
        pair.a.sh("ping -n -c 3 -i 0.2 -s 1000 10.0.0.2")?;
        pair.a.sh("ping -n -c 1 -s 20000 10.0.0.2")?;
        Ok(())
    })?;
    // 3 + 20,008 bytes in 14 fragments.
    outcome.same(17)
}

/// Requests and replies for an address, with both asking.
pub(crate) fn arp() -> Result<()> {
    let pair = Pair::new("arp")?;
    pair.a.ip("neigh flush nud permanent dev va")?;
    pair.b.ip("neigh flush nud permanent dev vb")?;
    pair.a.ip("neigh del 10.0.0.2 dev va").ok();
    pair.b.ip("neigh del 10.0.0.1 dev vb").ok();
    let outcome = both(&pair, || {
        pair.a.sh("ping -n -c 2 -i 0.2 10.0.0.2")?;
        // Nobody has it: three requests, and no answer.
        let mut nobody = words_of("ping -n -c 1 -W 1 10.0.0.77");
        ensure!(!pair.a.within(|| Ok(nobody.output()?))?.status.success());
        // The requests are a second apart, and ping waits for one only: the third must not leave
        // while the captures end one after the other.
        sleep(Duration::from_secs(3));
        Ok(())
    })?;
    outcome.same(3)?;
    for seen in &outcome.tcpdump {
        let arp = seen.packets.iter().filter(|p| p.data[12..14] == [8, 6]);
        ensure!(arp.count() >= 1, "no ARP on {}", seen.device);
    }
    Ok(())
}

/// Neighbour discovery, echo, UDP with fragments and TCP over IPv6.
pub(crate) fn ipv6() -> Result<()> {
    let pair = Pair::talkative("ipv6")?;
    for (space, device, address) in [(&pair.a, "va", "fd00::1/64"), (&pair.b, "vb", "fd00::2/64")] {
        space.ip(&format!("address add {address} dev {device} nodad"))?;
    }
    // Until the link-local addresses are checked and the groups joined, twice: what leaves while
    // captures begin is in one of them only.
    sleep(Duration::from_secs(3));
    let outcome = both(&pair, || {
        pair.a.sh("ping -6 -n -c 2 -i 0.2 fd00::2")?;
        pair.a
            .sh("traffic udp to=[fd00::2]:9 sizes=1,1400,4000,65000")?;
        let mut server = words_of("traffic tcp-serve at=[fd00::2]:80");
        let mut server = pair.b.start("server", &mut server)?;
        server.wait_stdout("listening")?;
        pair.a.sh("traffic tcp-send to=[fd00::2]:80 bytes=200000")?;
        ensure!(server.finish()?.contains("received=200000"));
        Ok(())
    })?;
    outcome.same(4)?;
    let all = outcome.tcpdump.iter().flat_map(|seen| &seen.packets);
    let kinds: Vec<u8> = all
        .filter(|packet| packet.data[12..14] == [0x86, 0xdd] && packet.data[20] == 58)
        .filter_map(|packet| packet.data.get(54).copied())
        .collect();
    for kind in [128, 129, 135, 136] {
        ensure!(kinds.contains(&kind), "no ICMPv6 of type {kind}");
    }
    Ok(())
}

/// Captures both ends of a pair's cable while `traffic` runs.
pub(crate) fn both(pair: &Pair, traffic: impl FnOnce() -> Result<()>) -> Result<Outcome> {
    let points = [
        Point {
            space: &pair.a,
            device: "va",
        },
        Point {
            space: &pair.b,
            device: "vb",
        },
    ];
    let beside = Beside::start(&points, "--netns all -i va -i vb")?;
    traffic()?;
    beside.stop()
}
