//! Tags: in the skb's metadata, in its bytes, twice, and on a bridge.

use anyhow::Result;

use super::judge::{Counts, Reason};
use super::kernel::Need;
use super::scene::Scene;
use super::{Row, Shape};
use crate::lab::Space;

const VLAN: &[Need] = &[Need::Module("8021q")];

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        name: "vlan",
        needs: VLAN,
        smoke: true,
        rows: &[
            Row::equal("VLAN, tag in the metadata: the VLAN device", 0, "vlan0.7").least(7),
            Row::equal("VLAN, tag in the metadata: the device below", 0, "vlan0").least(7),
        ],
        set_up: |scene| tagged(scene, "vlan", "7", "type vlan id 7"),
        traffic: |scene| scene.talk("10.0.7.2"),
    },
    Shape {
        name: "softvlan",
        needs: VLAN,
        smoke: false,
        rows: &[Row::equal(
            "VLAN, tag put in by the kernel: the device below",
            0,
            "softvlan0",
        )
        .least(7)],
        set_up: |scene| {
            tagged(scene, "softvlan", "7", "type vlan id 7")?;
            let words = "ethtool -K softvlan0 txvlan off tx-vlan-stag-hw-insert off";
            scene.a().sh(words).map(drop)
        },
        traffic: |scene| scene.talk("10.0.7.2"),
    },
    Shape {
        name: "inline",
        needs: VLAN,
        smoke: false,
        rows: &[
            Row::equal(
                "VLAN, tag in the bytes from the start: the VLAN device",
                0,
                "inline0.7",
            )
            .least(7),
            Row::equal(
                "VLAN, tag in the bytes from the start: the device below",
                0,
                "inline0",
            )
            .least(7),
        ],
        set_up: |scene| tagged(scene, "inline", "7", "type vlan id 7 reorder_hdr off"),
        traffic: |scene| scene.talk("10.0.7.2"),
    },
    Shape {
        name: "prio",
        needs: VLAN,
        smoke: false,
        rows: &[Row::equal("a priority tag, VLAN 0", 0, "prio0").least(7)],
        set_up: |scene| tagged(scene, "prio", "0", "type vlan id 0 egress-qos-map 0:5"),
        traffic: |scene| scene.talk("10.0.0.2"),
    },
    Shape {
        name: "qinq",
        needs: VLAN,
        smoke: false,
        rows: &[
            Row::equal("QinQ: the inner VLAN device", 0, "qinq0.9.7").least(7),
            Row::equal("QinQ: the outer VLAN device", 0, "qinq0.9").least(7),
            Row::equal("QinQ: the device below", 0, "qinq0").least(7),
        ],
        set_up: |scene| {
            scene.add_space()?;
            scene.add_space()?;
            scene.lay(0, 1)?;
            for (at, host) in [(0, 1), (1, 2)] {
                let device = format!("qinq{at}");
                let space = scene.space(at);
                space.ips(&format!(
                    "link add link {device} name {device}.9 type vlan proto 802.1ad id 9\n\
                     link set dev {device}.9 up\n\
                     link add link {device}.9 name {device}.9.7 type vlan id 7"
                ))?;
                // A veth takes one tag on top of its MTU (drivers/net/veth.c: __dev_forward_skb).
                space.ips(&format!("link set dev {device}.9.7 mtu 1496"))?;
                address(space, &format!("{device}.9.7"), "7", host)?;
            }
            Ok(())
        },
        traffic: |scene| scene.talk("10.0.7.2"),
    },
    Shape {
        name: "brvlan",
        needs: &[Need::Module("8021q"), Need::Module("bridge")],
        smoke: false,
        rows: &[
            Row::equal("VLAN on a bridge: the bridge", 0, "brvlan").least(7),
            Row::equal("VLAN on a bridge: its tagged port", 0, "brvlan0").least(7),
        ],
        set_up: |scene| {
            scene.add_space()?;
            scene.add_space()?;
            scene.lay(0, 1)?;
            scene.a().ips(
                "link add brvlan type bridge vlan_filtering 1\n\
                 link set dev brvlan address 02:00:00:00:00:01\n\
                 link set dev brvlan0 master brvlan\n\
                 link set dev brvlan up\n\
                 link add link brvlan name brvlan.7 type vlan id 7",
            )?;
            crate::lab::run(&mut crate::lab::words_of(&format!(
                "bridge -n {} vlan add dev brvlan0 vid 7",
                scene.a().name()
            )))?;
            crate::lab::run(&mut crate::lab::words_of(&format!(
                "bridge -n {} vlan add dev brvlan vid 7 self",
                scene.a().name()
            )))?;
            scene
                .b()
                .ips("link add link brvlan1 name brvlan1.7 type vlan id 7")?;
            address(scene.a(), "brvlan.7", "7", 1)?;
            address(scene.b(), "brvlan1.7", "7", 2)
        },
        traffic: |scene| scene.talk("10.0.7.2"),
    },
    Shape {
        name: "push",
        needs: &[Need::Module("act_vlan"), Need::Module("sch_ingress")],
        smoke: false,
        rows: &[Row::explained(
            "egress tc puts a tag in",
            0,
            "push0",
            &[Reason::Tag],
            &[],
        )],
        set_up: |scene| {
            scene.cable()?;
            scene.a().tc("qdisc add dev push0 clsact")?;
            scene
                .a()
                .tc("filter add dev push0 egress matchall action vlan push id 5")
                .map(drop)
        },
        traffic: |scene| {
            scene.datagrams("10.0.0.2")?;
            Ok(Counts::default())
        },
    },
];

/// A cable, and on both ends of it a VLAN device that has 10.0.`net`.1 and .2.
fn tagged(scene: &mut Scene, name: &str, net: &str, link: &str) -> Result<()> {
    scene.add_space()?;
    scene.add_space()?;
    scene.lay(0, 1)?;
    for (at, host) in [(0, 1), (1, 2)] {
        let space = scene.space(at);
        let device = format!("{name}{at}");
        space.ips(&format!(
            "link add link {device} name {device}.{net} {link}"
        ))?;
        address(space, &format!("{device}.{net}"), net, host)?;
    }
    Ok(())
}

/// An address, and the other one's hardware address; and up.
fn address(space: &Space, device: &str, net: &str, host: u8) -> Result<()> {
    let other = 3 - host;
    space.ips(&format!(
        "link set dev {device} up\n\
         address add 10.0.{net}.{host}/24 dev {device}\n\
         neigh add 10.0.{net}.{other} lladdr 02:00:00:00:00:0{other} dev {device} nud permanent"
    ))
}
