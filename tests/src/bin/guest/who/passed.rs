//! Frames that no process sends, and those that pass more than one device.

use std::fs::{self, File};
use std::process::Command;

use anyhow::{Context, Result};

use super::datagrams::sender;
use super::streams::stream;
use super::table::{Cases, Place, Truth, set};
use crate::lab::{Pair, Space, has_module, run, words_of};
use crate::program::out;

/// Bytes of a datagram within a tunnel, more than any of its own messages has.
const INNER: usize = 500;

pub(super) fn rows(cases: &mut Cases, pair: &Pair) -> Result<()> {
    forwarded(cases)?;
    bridged(cases)?;
    by_tun(cases)?;
    vxlan(cases, pair)?;
    wireguard(cases, pair)?;
    asked(cases)
}

/// A cable between two spaces, by their devices' names.
pub(super) fn cable(a: (&Space, &str), b: (&Space, &str)) -> Result<()> {
    a.0.ip(&format!(
        "link add {} type veth peer name {} netns {}",
        a.1,
        b.1,
        b.0.name()
    ))?;
    a.0.ip(&format!("link set dev {} up", a.1))?;
    b.0.ip(&format!("link set dev {} up", b.1))?;
    Ok(())
}

/// A space on each side of a third one, which has those devices and addresses that end in 2, and is
/// the way to everywhere for them; it does not forward yet.
pub(super) fn routed(names: [&str; 3], sides: [(&str, &str); 2]) -> Result<[Space; 3]> {
    let [from, router, to] = names.map(Space::new);
    let spaces = [from?, router?, to?];
    let [from, router, to] = &spaces;
    for ((space, own), (device, network)) in [(from, "fa"), (to, "tb")].into_iter().zip(sides) {
        cable((space, own), (router, device))?;
        space.ip(&format!("address add {network}.1/24 dev {own}"))?;
        router.ip(&format!("address add {network}.2/24 dev {device}"))?;
        space.ip(&format!("route add default via {network}.2"))?;
    }
    Ok(spaces)
}

/// Has a space forward, and send by `device` what it forwards in its own name, where there is nft.
pub(super) fn masquerade(router: &Space, device: &str) -> Result<()> {
    router.sysctl("net/ipv4/ip_forward", "1")?;
    // A host may have none.
    let _ = router.sh("nft add table ip nat").and_then(|_| {
        router.sh("nft add chain ip nat after { type nat hook postrouting priority 100 ; }")?;
        router.sh(&format!(
            "nft add rule ip nat after oifname {device} masquerade"
        ))
    });
    Ok(())
}

/// Through a router, with network address translation where there is nft.
fn forwarded(cases: &mut Cases) -> Result<()> {
    let names = ["who-from", "who-router", "who-to"];
    let [from, router, to] = routed(names, [("ra", "10.1.0"), ("rb", "10.2.0")])?;
    masquerade(&router, "rb")?;
    sender(&from, "udp to=10.2.0.1:9 sizes=100,3000 count=30")?;
    stream(&from, &to, "10.2.0.1:80", "tcp-send bytes=300000")?;
    let places = vec![Place::new(&router, "ra")?, Place::new(&router, "rb")?];
    cases.add("forwarded by a router, with NAT", places, |_| {
        Some(Truth::Kernel)
    });
    cases.keep([from, router, to]);
    Ok(())
}

/// A frame may keep its socket on its way through a bridge.
fn bridged(cases: &mut Cases) -> Result<()> {
    let spaces = ["who-left", "who-bridge", "who-right"].map(Space::new);
    let [left, bridge, right] = spaces;
    let (left, bridge, right) = (left?, bridge?, right?);
    // A host may have no bridge.
    if bridge.ip("link add br0 type bridge").is_err() {
        return Ok(());
    }
    cable((&left, "la"), (&bridge, "ba"))?;
    cable((&right, "rb"), (&bridge, "bb"))?;
    for device in ["ba", "bb"] {
        bridge.ip(&format!("link set dev {device} master br0"))?;
    }
    bridge.ip("link set dev br0 up")?;
    left.ip("address add 10.3.0.1/24 dev la")?;
    right.ip("address add 10.3.0.2/24 dev rb")?;
    let streams = stream(&left, &right, "10.3.0.2:80", "tcp-send bytes=300000")?;
    let places = vec![
        Place::new(&left, "la")?,
        Place::new(&right, "rb")?,
        Place::new(&bridge, "ba")?,
        Place::new(&bridge, "bb")?,
    ];
    cases.add(
        "TCP through a bridge, at each device, both ways",
        places,
        move |packet| Some(streams.truth(packet)?.of_any()),
    );
    cases.keep([left, bridge, right]);
    Ok(())
}

/// A program carries what two others say to each other: it writes, and the kernel answers within its
/// system call.
fn by_tun(cases: &mut Cases) -> Result<()> {
    let (a, b) = (Space::new("who-tun-a")?, Space::new("who-tun-b")?);
    // Makes /dev/net/tun; a host has it.
    let _ = words_of("modprobe tun").output();
    let Ok(mut carrier) = a.start("who-tun", &mut words_of("traffic tun a=ta b=tb")) else {
        return Ok(());
    };
    carrier.wait_stdout("up")?;
    a.ip(&format!("link set dev tb netns {}", b.name()))?;
    for (space, device, host) in [(&a, "ta", 1), (&b, "tb", 2)] {
        space.ip(&format!("address add 10.9.0.{host}/24 dev {device}"))?;
        space.ip(&format!("link set dev {device} up"))?;
    }
    let streams = stream(&a, &b, "10.9.0.2:80", "tcp-send bytes=300000")?;
    let places = vec![Place::new(&a, "ta")?, Place::new(&b, "tb")?];
    cases.add(
        "TCP through a program's tun devices, both ways",
        places,
        move |packet| streams.truth(packet),
    );
    cases.keep([a, b]);
    Ok(())
}

/// The frames that carry others name who sent these.
fn vxlan(cases: &mut Cases, pair: &Pair) -> Result<()> {
    if !has_module("vxlan") {
        return Ok(());
    }
    for (space, host, peer, device) in [(&pair.a, 1, 2, "va"), (&pair.b, 2, 1, "vb")] {
        space.ip(&format!(
            "link add vx address 02:00:00:00:07:0{host} type vxlan id 7 local 10.0.0.{host} \
             remote 10.0.0.{peer} dstport 4789 dev {device}"
        ))?;
        space.ip(&format!("address add 10.20.0.{host}/24 dev vx"))?;
        space.ip("link set dev vx up")?;
        space.ip(&format!(
            "neigh add 10.20.0.{peer} lladdr 02:00:00:00:07:0{peer} dev vx nud permanent"
        ))?;
    }
    within(cases, pair, "VXLAN, the outer frames", "10.20.0.2", 4789)
}

fn wireguard(cases: &mut Cases, pair: &Pair) -> Result<()> {
    if !has_module("wireguard") {
        return Ok(());
    }
    let sides = [(&pair.a, 1, 2), (&pair.b, 2, 1)];
    let key = |host: i32| out(&format!("wireguard-{host}.key"));
    let mut public = Vec::new();
    for (space, host, _) in sides {
        space.ip("link add wg type wireguard")?;
        fs::write(key(host), run(&mut words_of("wg genkey"))?)?;
        let mut pubkey = Command::new("wg");
        pubkey.arg("pubkey").stdin(File::open(key(host))?);
        public.push(run(&mut pubkey)?.trim().to_owned());
    }
    for (space, host, peer) in sides {
        space.sh(&format!(
            "wg set wg listen-port 51820 private-key {} peer {} endpoint 10.0.0.{peer}:51820 \
             allowed-ips 10.12.0.0/24",
            key(host).display(),
            public.get(peer as usize - 1).context("a key")?
        ))?;
        space.ip(&format!("address add 10.12.0.{host}/24 dev wg"))?;
        space.ip("link set dev wg up")?;
    }
    // What waits for the handshake loses its socket.
    pair.a.sh("ping -n -c 1 10.12.0.2")?;
    within(
        cases,
        pair,
        "WireGuard, the outer frames",
        "10.12.0.2",
        51820,
    )
}

fn within(cases: &mut Cases, pair: &Pair, name: &'static str, to: &str, outer: u16) -> Result<()> {
    let process = sender(&pair.a, &format!("udp to={to}:9 sizes={INNER} count=50"))?;
    let va = vec![Place::new(&pair.a, "va")?];
    cases.add(name, va, move |packet| {
        let (port, payload) = packet.udp()?;
        (port == outer && payload.len() > INNER).then(|| Truth::OneOf(set(&[process])))
    });
    Ok(())
}

/// Questions and answers of the kernel's.
fn asked(cases: &mut Cases) -> Result<()> {
    let pair = Pair::new("who-kernel")?;
    let (a, b) = (&pair.a, &pair.b);
    a.ip("neigh del 10.0.0.2 dev va")?;
    b.ip("neigh del 10.0.0.1 dev vb")?;
    let mut ping = a.start("ping", &mut words_of("ping -n -c 5 -i 0.2 10.0.0.2"))?;
    let process = ping.id();
    ping.wait()?;
    let va = vec![Place::new(a, "va")?];
    cases.add("ping and ARP, the asking side", va, move |packet| {
        Some(match (packet.data.get(12..14)?, packet.tcp()) {
            (_, Some(_)) => return None,
            ([8, 0], None) => Truth::OneOf(set(&[process])),
            _ => Truth::Kernel,
        })
    });
    for _ in 0..3 {
        a.sh("traffic tcp-refused to=10.0.0.2:81")?;
    }
    let vb = || Ok::<_, anyhow::Error>(vec![Place::new(b, "vb")?]);
    cases.add("ping and ARP, the answering side", vb()?, |packet| {
        packet.tcp().is_none().then_some(Truth::Kernel)
    });
    cases.add("TCP, refused", vb()?, |packet| {
        packet.tcp().map(|_| Truth::Kernel)
    });
    cases.keep([pair.a, pair.b]);
    Ok(())
}
