//! Devices made of other devices, with an Ethernet header: each is compared, and what lies below.

use anyhow::Result;

use super::judge::{Counts, Reason};
use super::kernel::Need;
use super::scene::Scene;
use super::{Row, Shape};

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        name: "bridge",
        needs: &[Need::Module("bridge")],
        smoke: true,
        rows: &[
            Row::equal("bridge", 0, "bridge").least(7),
            Row::equal("a bridge's port", 0, "bridge0").least(7),
        ],
        set_up: |scene| {
            bare(scene)?;
            scene.a().ips(
                "link add bridge type bridge\n\
                 link set dev bridge address 02:00:00:00:00:01\n\
                 link set dev bridge0 master bridge\n\
                 link set dev bridge up",
            )?;
            ends(scene, "bridge", "bridge1")
        },
        traffic: |scene| scene.talk("10.0.0.2"),
    },
    Shape {
        name: "macvlan",
        needs: &[Need::Module("macvlan")],
        smoke: false,
        rows: &[
            Row::equal("macvlan", 0, "macvlan").least(7),
            Row::equal("the device below a macvlan", 0, "macvlan0").least(7),
        ],
        set_up: |scene| {
            bare(scene)?;
            scene.a().ips(
                "link add link macvlan0 name macvlan address 02:00:00:00:00:11 type macvlan mode bridge\n\
                 link set dev macvlan up\n\
                 address add 10.0.0.1/24 dev macvlan\n\
                 neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev macvlan nud permanent",
            )?;
            scene.b().ips(
                "address add 10.0.0.2/24 dev macvlan1\n\
                 neigh add 10.0.0.1 lladdr 02:00:00:00:00:11 dev macvlan1 nud permanent",
            )
        },
        traffic: |scene| scene.talk("10.0.0.2"),
    },
    Shape {
        name: "ipvl2",
        needs: &[Need::Module("ipvlan")],
        smoke: false,
        rows: &[
            Row::equal("ipvlan, l2", 0, "ipvl2").least(7),
            Row::equal("the device below an ipvlan, l2", 0, "ipvl20").least(7),
        ],
        set_up: |scene| {
            bare(scene)?;
            scene.a().ips(
                "link add link ipvl20 name ipvl2 type ipvlan mode l2\n\
                 link set dev ipvl2 up",
            )?;
            ends(scene, "ipvl2", "ipvl21")
        },
        traffic: |scene| scene.talk("10.0.0.2"),
    },
    Shape {
        name: "ipvl3",
        needs: &[Need::Module("ipvlan")],
        smoke: false,
        rows: &[
            Row::equal("ipvlan, l3", 2, "ipvl3").least(7),
            Row::equal("the device below an ipvlan, l3", 0, "ipvl30").least(7),
        ],
        set_up: |scene| {
            bare(scene)?;
            scene.add_space()?;
            scene.a().ips(&format!(
                "address add 10.0.0.9/24 dev ipvl30\n\
                 neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev ipvl30 nud permanent\n\
                 link add link ipvl30 name ipvl3 type ipvlan mode l3\n\
                 link set dev ipvl3 netns {}",
                scene.c().name()
            ))?;
            scene.c().ips(
                "link set dev ipvl3 up\n\
                 address add 10.0.1.1/24 dev ipvl3\n\
                 route add default dev ipvl3",
            )?;
            scene.b().ips(
                "address add 10.0.0.2/24 dev ipvl31\n\
                 route add 10.0.1.0/24 dev ipvl31\n\
                 neigh add 10.0.1.1 lladdr 02:00:00:00:00:01 dev ipvl31 nud permanent",
            )
        },
        traffic: |scene| {
            scene.c().sh("ping -n -c 1 -s 1000 10.0.0.2")?;
            scene
                .c()
                .sh("traffic udp to=10.0.0.2:9 sizes=1,100,1400,3000")?;
            crate::tcp::stream(
                scene.c(),
                scene.b(),
                "10.0.0.2:80",
                "tcp-send bytes=200000",
                200_000,
            )?;
            Ok(Counts::default())
        },
    },
    Shape {
        name: "dummy",
        needs: &[Need::Module("dummy")],
        smoke: false,
        rows: &[Row::equal("dummy", 0, "dummy").least(6)],
        set_up: |scene| {
            scene.add_space()?;
            scene.a().ips(
                "link add dummy type dummy\n\
                 link set dev dummy up\n\
                 address add 10.0.0.1/24 dev dummy\n\
                 neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev dummy nud permanent",
            )
        },
        traffic: |scene| {
            scene.datagrams("10.0.0.2")?;
            Ok(Counts::default())
        },
    },
    Shape {
        name: "bond",
        needs: &[Need::Module("bonding")],
        smoke: false,
        rows: &[
            Row::equal("bond", 0, "bond").least(7),
            Row::equal("a bond's device", 0, "bond0").least(7),
        ],
        set_up: |scene| {
            bare(scene)?;
            scene.a().ips(
                "link add bond type bond mode active-backup miimon 100\n\
                 link set dev bond0 down\n\
                 link set dev bond0 master bond\n\
                 link set dev bond up",
            )?;
            ends(scene, "bond", "bond1")
        },
        traffic: |scene| scene.talk("10.0.0.2"),
    },
    Shape {
        name: "vrf",
        needs: &[Need::Module("vrf")],
        smoke: false,
        rows: &[
            Row::never_equal("vrf", 0, "vrf-a", &[Reason::OwnTap]).least(3),
            Row::equal("a vrf's device", 0, "vrf0").least(3),
        ],
        set_up: |scene| {
            bare(scene)?;
            scene.a().ips(
                "link add vrf-a type vrf table 10\n\
                 link set dev vrf-a up\n\
                 link set dev vrf0 master vrf-a",
            )?;
            ends(scene, "vrf0", "vrf1")
        },
        traffic: |scene| {
            scene.a().sh("ping -I vrf-a -n -c 1 -s 1000 10.0.0.2")?;
            scene.a().sh("ping -I vrf-a -n -c 1 -s 3000 10.0.0.2")?;
            Ok(Counts::default())
        },
    },
    Shape {
        name: "netkit",
        needs: &[Need::Module("netkit")],
        smoke: false,
        rows: &[Row::equal("netkit", 0, "netkit0").least(7)],
        set_up: |scene| {
            scene.add_space()?;
            scene.add_space()?;
            scene.a().ips(&format!(
                "link add netkit0 type netkit peer name netkit1\n\
                 link set dev netkit1 netns {}\n\
                 link set dev netkit0 up\n\
                 address add 10.0.0.1/24 dev netkit0",
                scene.b().name()
            ))?;
            scene
                .b()
                .ips("link set dev netkit1 up\naddress add 10.0.0.2/24 dev netkit1")
        },
        traffic: |scene| scene.talk("10.0.0.2"),
    },
    Shape {
        name: "mirror",
        needs: &[
            Need::Module("act_mirred"),
            Need::Module("sch_ingress"),
            Need::Module("dummy"),
        ],
        smoke: false,
        rows: &[
            Row::equal("what egress tc mirrors: the device", 0, "mirror0").least(7),
            Row::equal("what egress tc mirrors: the mirror", 0, "mirrored").least(7),
        ],
        set_up: |scene| {
            scene.cable()?;
            scene
                .a()
                .ips("link add mirrored type dummy\nlink set dev mirrored up")?;
            scene.a().tc("qdisc add dev mirror0 clsact")?;
            scene.a().tc(
                "filter add dev mirror0 egress matchall action mirred egress mirror dev mirrored",
            )?;
            Ok(())
        },
        traffic: |scene| scene.talk("10.0.0.2"),
    },
    Shape {
        name: "ifb",
        needs: &[
            Need::Module("act_mirred"),
            Need::Module("sch_ingress"),
            Need::Module("ifb"),
        ],
        smoke: false,
        rows: &[
            // Once before the redirect, and again when ifb gives it back.
            Row::explained(
                "redirected through ifb: the device",
                0,
                "ifb0",
                &[Reason::Stopped],
                &[],
            )
            .least(6),
            Row::equal("redirected through ifb: ifb", 0, "ifb").least(6),
        ],
        set_up: |scene| {
            scene.cable()?;
            scene
                .a()
                .ips("link add ifb type ifb\nlink set dev ifb up")?;
            scene.a().tc("qdisc add dev ifb0 clsact")?;
            scene
                .a()
                .tc("filter add dev ifb0 egress matchall action mirred egress redirect dev ifb")?;
            Ok(())
        },
        traffic: |scene| {
            scene.datagrams("10.0.0.2")?;
            // 1, 100 and 1400 bytes, and 3000 in 3 fragments.
            Ok(Counts {
                stopped: 6,
                ..Counts::default()
            })
        },
    },
];

/// Two namespaces and a cable without addresses.
fn bare(scene: &mut Scene) -> Result<()> {
    scene.add_space()?;
    scene.add_space()?;
    scene.lay(0, 1)
}

/// 10.0.0.1 on a device of the first namespace that has the cable's hardware address, 10.0.0.2 on
/// one of the second.
fn ends(scene: &Scene, one: &str, other: &str) -> Result<()> {
    for (at, device, host) in [(0, one, 1), (1, other, 2)] {
        let peer = 3 - host;
        scene.space(at).ips(&format!(
            "address add 10.0.0.{host}/24 dev {device}\n\
             neigh add 10.0.0.{peer} lladdr 02:00:00:00:00:0{peer} dev {device} nud permanent"
        ))?;
    }
    Ok(())
}
