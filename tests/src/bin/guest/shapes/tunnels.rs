//! Tunnels: the device, whose frames may have no link-layer header, and the cable that they go over.

use anyhow::{Context, Result, ensure};

use super::judge::{Counts, Reason};
use super::kernel::Need;
use super::scene::Scene;
use super::{Row, Shape};
use crate::lab::{run, words_of};
use crate::program::out;

const HEADER: &[Reason] = &[Reason::OwnHeader];
const BOTH: &[Reason] = &[Reason::Checksum, Reason::Segmentation];

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        name: "tun",
        needs: &[Need::Module("tun")],
        smoke: true,
        rows: &[Row::explained("tun: no offloads", 0, "tun0", BOTH, BOTH).least(7)],
        set_up: |scene| {
            scene.add_space()?;
            scene.add_space()?;
            run(&mut words_of("modprobe tun"))?;
            let mut carry = words_of("traffic tun a=tun0 b=tun1");
            let mut carrier = scene.a().start("carrier", &mut carry)?;
            carrier.wait_stdout("up")?;
            scene.run_along(carrier);
            scene
                .a()
                .ips(&format!("link set dev tun1 netns {}", scene.b().name()))?;
            for (at, host) in [(0, 1), (1, 2)] {
                scene.space(at).ips(&format!(
                    "address add 10.9.0.{host}/24 dev tun{at}\nlink set dev tun{at} up"
                ))?;
            }
            Ok(())
        },
        traffic: |scene| scene.talk("10.9.0.2"),
    },
    Shape {
        name: "wg",
        needs: &[Need::Module("wireguard")],
        smoke: false,
        rows: &[
            Row::equal("WireGuard", 0, "wg-a").least(7),
            Row::equal("WireGuard's datagrams", 0, "wg0").least(7),
        ],
        set_up: |scene| {
            scene.cable()?;
            let mut keys = Vec::new();
            for (at, end) in [(0, "a"), (1, "b")] {
                let private = run(&mut words_of("wg genkey"))?;
                let file = out(&format!("wg-{end}.key"));
                std::fs::write(&file, &private)?;
                let mut public = words_of("wg pubkey");
                public.stdin(std::fs::File::open(&file)?);
                let public = run(&mut public)?.trim().to_owned();
                let space = scene.space(at);
                space.ips(&format!("link add wg-{end} type wireguard"))?;
                let file = file.to_str().context("an odd name")?;
                space.sh(&format!(
                    "wg set wg-{end} listen-port 5182 private-key {file}"
                ))?;
                keys.push(public);
            }
            for (at, end, host) in [(0, "a", 1), (1, "b", 2)] {
                let (space, other, key) = (scene.space(at), 3 - host, &keys[1 - at]);
                space.sh(&format!(
                    "wg set wg-{end} peer {key} endpoint 10.0.0.{other}:5182 allowed-ips 10.9.0.0/24"
                ))?;
                space.ips(&format!(
                    "address add 10.9.0.{host}/24 dev wg-{end}\nlink set dev wg-{end} up"
                ))?;
            }
            Ok(())
        },
        traffic: |scene| scene.talk("10.9.0.2"),
    },
    Shape {
        name: "ipip",
        needs: &[Need::Module("ipip")],
        smoke: false,
        rows: &[
            Row::equal("IPIP", 0, "ipip-a").least(7),
            Row::equal("the cable below IPIP", 0, "ipip0").least(7),
        ],
        set_up: |scene| tunnel(scene, "ipip", "type ipip"),
        traffic: |scene| scene.talk("10.9.0.2"),
    },
    Shape {
        name: "sixin4",
        needs: &[Need::Module("sit")],
        smoke: false,
        rows: &[
            Row::equal("IPv6 in IPv4 (sit)", 0, "sixin4-a").least(7),
            Row::equal("the cable below sit", 0, "sixin40").least(7),
        ],
        set_up: |scene| {
            scene.cable6()?;
            for (at, end, host) in [(0, "a", 1), (1, "b", 2)] {
                let other = 3 - host;
                scene.space(at).ips(&format!(
                    "address add 10.0.0.{host}/24 dev sixin4{at}\n\
                     neigh add 10.0.0.{other} lladdr 02:00:00:00:00:0{other} dev sixin4{at} nud permanent\n\
                     link add sixin4-{end} type sit local 10.0.0.{host} remote 10.0.0.{other}\n\
                     link set dev sixin4-{end} up\n\
                     address add fd09::{host}/64 dev sixin4-{end} nodad"
                ))?;
            }
            Ok(())
        },
        traffic: |scene| {
            scene.a().sh("ping -6 -n -c 1 -s 1000 fd09::2")?;
            scene.datagrams("[fd09::2]")?;
            scene.stream("[fd09::2]")?;
            Ok(Counts::default())
        },
    },
    Shape {
        name: "over6",
        needs: &[Need::Module("ip6_tunnel")],
        smoke: false,
        rows: &[
            // libpcap doesn't know the device's type (769).
            Row::never_equal("IPv4 in IPv6 (ip6tnl)", 0, "over6-a", HEADER).least(7),
            Row::equal("the cable below ip6tnl", 0, "over60").least(7),
        ],
        set_up: |scene| {
            scene.cable6()?;
            for (at, end, host) in [(0, "a", 1), (1, "b", 2)] {
                let other = 3 - host;
                scene.space(at).ips(&format!(
                    "link add over6-{end} type ip6tnl mode ipip6 local fd00::{host} remote fd00::{other}\n\
                     link set dev over6-{end} up\n\
                     address add 10.9.0.{host}/24 dev over6-{end}"
                ))?;
            }
            Ok(())
        },
        traffic: |scene| scene.talk("10.9.0.2"),
    },
    Shape {
        name: "grip",
        needs: &[Need::Module("ip_gre")],
        smoke: true,
        rows: &[
            Row::never_equal("GRE", 0, "grip-a", HEADER).least(7),
            Row::equal("the cable below GRE", 0, "grip0").least(7),
        ],
        set_up: |scene| tunnel(scene, "grip", "type gre"),
        traffic: |scene| scene.talk("10.9.0.2"),
    },
    Shape {
        name: "tap",
        needs: &[Need::Module("ip_gre")],
        smoke: false,
        rows: &[
            Row::equal("GRE with Ethernet (gretap)", 0, "tap-a").least(7),
            Row::equal("the cable below gretap", 0, "tap0").least(7),
        ],
        set_up: |scene| {
            tunnel(scene, "tap", "type gretap")?;
            know(scene, "tap")
        },
        traffic: |scene| scene.talk("10.9.0.2"),
    },
    Shape {
        name: "vxlan",
        needs: &[Need::Module("vxlan")],
        smoke: false,
        rows: &[
            Row::equal("VXLAN", 0, "vxlan-a").least(7),
            Row::equal("the cable below VXLAN", 0, "vxlan0").least(7),
        ],
        set_up: |scene| {
            tunnel(scene, "vxlan", "type vxlan id 5 dstport 4789")?;
            know(scene, "vxlan")
        },
        traffic: |scene| scene.talk("10.9.0.2"),
    },
    Shape {
        name: "geneve",
        needs: &[Need::Module("geneve")],
        smoke: false,
        rows: &[
            Row::equal("Geneve", 0, "geneve-a").least(7),
            Row::equal("the cable below Geneve", 0, "geneve0").least(7),
        ],
        set_up: |scene| {
            tunnel(scene, "geneve", "type geneve id 5")?;
            know(scene, "geneve")
        },
        traffic: |scene| scene.talk("10.9.0.2"),
    },
];

/// A cable, and over it a tunnel: `NAME-a` with 10.9.0.1, `NAME-b` with 10.9.0.2.
fn tunnel(scene: &mut Scene, name: &str, kind: &str) -> Result<()> {
    scene.cable()?;
    for (at, end, host) in [(0, "a", 1), (1, "b", 2)] {
        let other = 3 - host;
        // Geneve takes no address of its own.
        let local = match name {
            "geneve" => String::new(),
            _ => format!(" local 10.0.0.{host}"),
        };
        let device = format!("{name}-{end}");
        scene.space(at).ips(&format!(
            "link add {device} {kind} remote 10.0.0.{other}{local}\n\
             address add 10.9.0.{host}/24 dev {device}\n\
             link set dev {device} up"
        ))?;
    }
    Ok(())
}

/// Hardware addresses for a tunnel that has some, and neighbours that know them.
fn know(scene: &Scene, name: &str) -> Result<()> {
    for (at, end, host) in [(0, "a", 1), (1, "b", 2)] {
        let other = 3 - host;
        let device = format!("{name}-{end}");
        ensure!(device.len() < 16);
        scene.space(at).ips(&format!(
            "link set dev {device} address 02:00:00:00:01:0{host}\n\
             neigh add 10.9.0.{other} lladdr 02:00:00:00:01:0{other} dev {device} nud permanent"
        ))?;
    }
    Ok(())
}
