//! Devices that change frames on their way: VLANs, and tun with its software segmentation.

use std::collections::{HashMap, VecDeque};

use anyhow::{Context, Result, bail, ensure};
use skbcap_tests::capture::Packet;

use crate::beside::{Beside, Point};
use crate::lab::{Pair, words_of};
use crate::skbcap::Hook;
use crate::tcp::stream;

/// Tags held in the skb's metadata: veth takes them so.
pub(crate) fn vlan() -> Result<()> {
    tagged(&Pair::new("vlan")?)
}

/// Tags that the device can't add: the kernel writes them into the frame before it.
pub(crate) fn vlan_unaccelerated() -> Result<()> {
    let pair = Pair::new("vlan-soft")?;
    pair.a
        .sh("ethtool -K va txvlan off tx-vlan-stag-hw-insert off")?;
    tagged(&pair)
}

fn tagged(pair: &Pair) -> Result<()> {
    for (space, device, host) in [(&pair.a, "va", 1), (&pair.b, "vb", 2)] {
        let vlans = [
            ("7", format!("{device} type vlan id 7")),
            // The tag is in the frame from the start.
            ("8", format!("{device} type vlan id 8 reorder_hdr off")),
            // Two tags.
            ("9", format!("{device} type vlan proto 802.1ad id 9")),
            ("10", format!("{device}.9 type vlan id 10")),
        ];
        for (id, link) in vlans {
            let name = format!("{device}.{id}");
            let (link, rest) = link.split_once(' ').context("a link and a type")?;
            space.ip(&format!("link add link {link} name {name} {rest}"))?;
            space.ip(&format!("address add 10.0.{id}.{host}/24 dev {name}"))?;
            // A veth takes one tag on top of its MTU (drivers/net/veth.c: __dev_forward_skb), so a
            // full frame with two is dropped, unless it is a super-frame: a stream goes well until
            // its first retransmission.
            let mtu = if id == "10" { 1496 } else { 1500 };
            space.ip(&format!("link set dev {name} mtu {mtu} up"))?;
            let other = 3 - host;
            space.ip(&format!(
                "neigh add 10.0.{id}.{other} lladdr 02:00:00:00:00:0{other} dev {name} \
                 nud permanent"
            ))?;
        }
    }
    let devices = ["va", "va.7", "va.8", "va.9", "va.10"];
    let points = devices.map(|device| Point {
        space: &pair.a,
        device,
    });
    let beside = Beside::start(&points, "")?;
    for id in [7, 8, 10] {
        pair.a.sh(&format!("ping -n -c 2 -i 0.2 10.0.{id}.2"))?;
        pair.a.sh(&format!(
            "traffic udp to=10.0.{id}.2:9 sizes=1,100,1400,3000"
        ))?;
        let send = "tcp-send bytes=400000";
        stream(&pair.a, &pair.b, &format!("10.0.{id}.2:80"), send, 400_000)?;
    }
    let outcome = beside.stop()?;
    outcome.same(10)?;
    let tags = |at: usize| {
        let packets = outcome.tcpdump[0].packets.iter();
        packets
            .filter(|p| matches!(p.data[at..at + 2], [0x81, 0] | [0x88, 0xa8]))
            .count()
    };
    ensure!(tags(12) > 0 && tags(16) > 0, "no tags on va");
    Ok(())
}

/// A device that takes no super-frames: skbcap sees them before they are cut up, tcpdump behind.
/// Every frame is the same up to that.
pub(crate) fn tun() -> Result<()> {
    let pair = Pair::new("tun")?;
    // Makes /dev/net/tun; a host has it.
    let _ = words_of("modprobe tun").output();
    let mut carrier = pair
        .a
        .start("carrier", &mut words_of("traffic tun a=ta b=tb"))?;
    carrier.wait_stdout("up")?;
    pair.a
        .ip(&format!("link set dev tb netns {}", pair.b.name()))?;
    for (space, device, host) in [(&pair.a, "ta", 1), (&pair.b, "tb", 2)] {
        space.ip(&format!("address add 10.9.0.{host}/24 dev {device}"))?;
        space.ip(&format!("link set dev {device} up"))?;
    }
    let point = Point {
        space: &pair.a,
        device: "ta",
    };
    let beside = Beside::start(&[point], "-i ta")?;
    pair.a.sh("ping -n -c 2 -i 0.2 -s 3000 10.9.0.2")?;
    pair.a
        .sh("traffic udp to=10.9.0.2:9 sizes=1,100,1400,3000")?;
    let send = "tcp-send bytes=600000";
    stream(&pair.a, &pair.b, "10.9.0.2:80", send, 600_000)?;
    let outcome = beside.stop()?;
    let seen = &outcome.tcpdump[0];
    ensure!(seen.packets.len() > 400, "{} frames", seen.packets.len());
    for (hook, done) in &outcome.skbcap {
        let ours = done.of("ta", seen.inode);
        let cut_up = cut_up(&seen.packets, &ours).with_context(|| format!("the hook {hook}"))?;
        println!(
            "{hook}: {} frames, {cut_up} of them cut up to tcpdump's {}",
            ours.len(),
            seen.packets.len()
        );
        // Behind the segmentation there is nothing left to cut up.
        ensure!(
            (cut_up > 0) == (*hook != Hook::Xmit),
            "{hook}: {cut_up} super-frames"
        );
    }
    Ok(())
}

/// As [`cut_up`], of frames behind an Ethernet header.
pub(crate) fn compare_ethernet(theirs: &[Packet], ours: &[Packet]) -> Result<usize> {
    let strip = |packets: &[Packet]| -> Vec<Packet> {
        let stripped = packets.iter().cloned().map(|mut packet| {
            packet.data.drain(..14);
            packet.len -= 14;
            packet
        });
        stripped.collect()
    };
    cut_up(&strip(theirs), &strip(ours))
}

/// Each frame of ours is one of theirs but for the transport's checksum, or consists of several of
/// theirs; nothing of theirs is left over. Returns how many of ours were cut up.
fn cut_up(theirs: &[Packet], ours: &[Packet]) -> Result<usize> {
    let mut whole: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut pieces: HashMap<_, VecDeque<&Packet>> = HashMap::new();
    for packet in theirs {
        match packet.raw_tcp() {
            Some(tcp) if !tcp.payload.is_empty() => {
                let place = (tcp.ports, tcp.sequence);
                pieces.entry(place).or_default().push_back(packet);
            }
            _ => *whole.entry(without_checksum(packet)).or_default() += 1,
        }
    }
    let mut several = 0;
    for packet in ours {
        ensure!(packet.data.len() == packet.len as usize, "a frame is cut");
        let tcp = match packet.raw_tcp() {
            Some(tcp) if !tcp.payload.is_empty() => tcp,
            _ => {
                let left = whole.get_mut(&without_checksum(packet));
                *left
                    .filter(|left| **left > 0)
                    .context("a frame of ours only")? -= 1;
                continue;
            }
        };
        let header = packet.data.len() - tcp.payload.len();
        let mut at = 0;
        let mut count = 0;
        while at < tcp.payload.len() {
            let place = (tcp.ports, tcp.sequence.wrapping_add(at as u32));
            let piece = pieces.get_mut(&place).and_then(VecDeque::pop_front);
            let piece = piece.with_context(|| format!("no piece for {place:?}"))?;
            let bytes = &piece.data[header..];
            ensure!(
                tcp.payload[at..].starts_with(bytes)
                    && same_header(&packet.data[..header], &piece.data[..header]),
                "another piece at {place:?}"
            );
            at += bytes.len();
            count += 1;
        }
        several += usize::from(count > 1);
    }
    let left = whole.values().sum::<usize>() + pieces.values().map(VecDeque::len).sum::<usize>();
    if left > 0 {
        bail!("{left} of tcpdump's frames are in none of ours");
    }
    Ok(several)
}

/// The frame, its TCP checksum blank: the kernel fills it in before the device.
fn without_checksum(packet: &Packet) -> Vec<u8> {
    let mut data = packet.data.clone();
    if packet.raw_tcp().is_some() {
        data[36..38].fill(0);
    }
    data
}

/// Equal but for what segmentation changes: length, identification, checksums, sequence, flags
/// that stand on the first or last segment only.
fn same_header(a: &[u8], b: &[u8]) -> bool {
    let changed = |at: usize| matches!(at, 2..=5 | 10 | 11 | 24..=27 | 33 | 36 | 37);
    let mut pairs = a.iter().zip(b).enumerate();
    a.len() == b.len() && pairs.all(|(at, (a, b))| changed(at) || a == b)
}
