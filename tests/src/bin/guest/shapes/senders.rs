//! Who can send: each over a cable of its own, veth, which takes all that it is given.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::judge::Counts;
use super::kernel::Need;
use super::scene::Scene;
use super::{Row, Shape};
use crate::lab::words_of;
use crate::tcp::stream;

const NONE: &[Need] = &[];

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        name: "udp",
        needs: NONE,
        smoke: true,
        rows: &[Row::equal("UDP, whole and in fragments", 0, "udp0").least(6)],
        set_up: Scene::cable,
        traffic: |scene| {
            scene.datagrams("10.0.0.2")?;
            Ok(Counts::default())
        },
    },
    Shape {
        name: "tcp",
        needs: NONE,
        smoke: true,
        rows: &[
            Row::equal("TCP", 0, "tcp0").least(5).longest(10_000),
            Row::equal("TCP's acknowledgements", 1, "tcp1").least(3),
        ],
        set_up: Scene::cable,
        traffic: |scene| {
            scene.stream("10.0.0.2")?;
            Ok(Counts::default())
        },
    },
    Shape {
        name: "resend",
        needs: &[Need::Module("sch_ingress"), Need::Module("act_gact")],
        smoke: false,
        rows: &[Row::equal("TCP with retransmits", 0, "resend0").least(100)],
        set_up: |scene| {
            scene.cable()?;
            // Segments, so that few bytes are many frames to lose.
            scene.a().ips("link set dev resend0 gso_max_segs 1")?;
            scene.b().tc("qdisc add dev resend1 ingress")?;
            scene
                .b()
                .tc("filter add dev resend1 ingress matchall action pass random determ drop 7")?;
            Ok(())
        },
        traffic: |scene| {
            stream(
                scene.a(),
                scene.b(),
                "10.0.0.2:80",
                "tcp-send bytes=200000",
                200_000,
            )?;
            let said = scene.a().sh("cat /proc/net/netstat")?;
            let lost: u64 =
                tcp_counter(&said, "TCPLostRetransmit")? + tcp_counter(&said, "TCPFastRetrans")?;
            println!("retransmits: {lost}");
            ensure!(lost > 0, "nothing was sent again");
            Ok(Counts::default())
        },
    },
    Shape {
        name: "rst",
        needs: NONE,
        smoke: false,
        rows: &[Row::equal("the kernel's RST", 1, "rst1")],
        set_up: Scene::cable,
        traffic: |scene| {
            scene.a().sh("traffic tcp-refused to=10.0.0.2:80")?;
            Ok(Counts::default())
        },
    },
    Shape {
        name: "icmp",
        needs: NONE,
        smoke: false,
        rows: &[
            Row::equal("ICMP echo requests", 0, "icmp0").least(16),
            Row::equal("ICMP echo replies", 1, "icmp1").least(16),
        ],
        set_up: Scene::cable,
        traffic: |scene| {
            scene.a().sh("ping -n -c 2 -i 0.2 10.0.0.2")?;
            scene.a().sh("ping -n -c 1 -s 20000 10.0.0.2")?;
            Ok(Counts::default())
        },
    },
    Shape {
        name: "arp",
        needs: NONE,
        smoke: false,
        rows: &[
            Row::equal("ARP requests", 0, "arp0").least(2),
            Row::equal("ARP replies", 1, "arp1").least(2),
        ],
        set_up: |scene| {
            scene.cable()?;
            scene.a().ips("neigh del 10.0.0.2 dev arp0")?;
            // No neighbour that was believed is asked again while captures end.
            scene
                .a()
                .sysctl("net/ipv4/neigh/arp0/delay_first_probe_time", "600")
        },
        traffic: |scene| {
            scene.a().sh("ping -n -c 1 10.0.0.2")?;
            Ok(Counts::default())
        },
    },
    Shape {
        name: "nd",
        needs: NONE,
        smoke: true,
        rows: &[
            Row::equal("IPv6: neighbours, echo, UDP, TCP", 0, "nd0").least(10),
            Row::equal("IPv6: the other end's", 1, "nd1").least(3),
        ],
        set_up: Scene::cable6,
        traffic: |scene| {
            scene.a().sh("ping -6 -n -c 2 -i 0.2 -s 2000 fd00::2")?;
            scene.datagrams("[fd00::2]")?;
            scene.stream("[fd00::2]")?;
            Ok(Counts::default())
        },
    },
    Shape {
        name: "igmp",
        needs: NONE,
        smoke: false,
        rows: &[Row::equal("IGMP", 0, "igmp0").least(2)],
        set_up: Scene::cable,
        traffic: |scene| {
            scene
                .a()
                .sh("traffic join group=239.1.2.3 device=10.0.0.1")?;
            // Reports are repeated once within a second (net/ipv4/igmp.c).
            sleep(Duration::from_secs(1));
            Ok(Counts::default())
        },
    },
    Shape {
        name: "raw",
        needs: NONE,
        smoke: false,
        rows: &[Row::equal("a raw socket", 0, "raw0")],
        set_up: Scene::cable,
        traffic: |scene| {
            scene.a().sh("traffic raw to=10.0.0.2")?;
            Ok(Counts::default())
        },
    },
    Shape {
        name: "packet",
        needs: NONE,
        smoke: true,
        rows: &[Row::equal("a packet socket, its own header", 0, "packet0").least(2)],
        set_up: Scene::cable,
        traffic: |scene| {
            scene.a().sh("traffic packet device=packet0")?;
            scene.a().sh("traffic packet device=packet0 size=0")?;
            Ok(Counts::default())
        },
    },
    Shape {
        name: "dgram",
        needs: NONE,
        smoke: false,
        rows: &[Row::equal("a packet socket, the kernel's header", 0, "dgram0").least(2)],
        set_up: Scene::cable,
        traffic: |scene| {
            scene.a().sh("traffic packet device=dgram0 header=false")?;
            scene
                .a()
                .sh("traffic packet device=dgram0 header=false size=8")?;
            Ok(Counts::default())
        },
    },
    Shape {
        name: "mmsg",
        needs: NONE,
        smoke: false,
        rows: &[Row::equal("sendmmsg", 0, "mmsg0").least(50)],
        set_up: Scene::cable,
        traffic: |scene| {
            scene.a().sh("traffic sendmmsg to=10.0.0.9:9 count=50")?;
            Ok(Counts::default())
        },
    },
    Shape {
        name: "uring",
        needs: NONE,
        smoke: false,
        rows: &[Row::equal("io_uring, inline and by a worker", 0, "uring0").least(30)],
        set_up: Scene::cable,
        traffic: |scene| {
            scene.a().sh("traffic uring to=10.0.0.9:9 count=30")?;
            Ok(Counts::default())
        },
    },
    Shape {
        name: "fwd",
        needs: NONE,
        smoke: false,
        rows: &[
            Row::equal("forwarded, into the router", 0, "fwd0").least(5),
            Row::equal("forwarded, out of the router", 1, "fwd2").least(5),
            Row::equal("what the router sends back", 1, "fwd1"),
        ],
        set_up: |scene| route(scene, "fwd"),
        traffic: |scene| {
            scene
                .a()
                .sh("traffic udp to=10.1.0.4:9 sizes=1,100,1400,3000")?;
            stream(
                scene.a(),
                scene.c(),
                "10.1.0.4:80",
                "tcp-send bytes=100000",
                100_000,
            )?;
            // Too far: the router says so itself.
            let mut far = words_of("ping -n -c 1 -t 1 -W 1 10.1.0.4");
            ensure!(!scene.a().within(|| Ok(far.output()?))?.status.success());
            Ok(Counts::default())
        },
    },
];

/// A router between two namespaces: `NAME0` 10.0.0.1 – `NAME1` 10.0.0.2, the router, `NAME2` 10.1.0.3 – `NAME3`
/// 10.1.0.4. What goes to 10.1.0.9 is forwarded, and answered by nobody.
pub(super) fn route(scene: &mut Scene, name: &str) -> Result<()> {
    for _ in 0..3 {
        scene.add_space()?;
    }
    scene.lay(0, 1)?;
    scene.lay(1, 2)?;
    for (space, device, address, peer, at) in [
        (0, 0, "10.0.0.1", "10.0.0.2", 2),
        (1, 1, "10.0.0.2", "10.0.0.1", 1),
        (1, 2, "10.1.0.3", "10.1.0.4", 4),
        (2, 3, "10.1.0.4", "10.1.0.3", 3),
    ] {
        scene.space(space).ips(&format!(
            "address add {address}/24 dev {name}{device}\n\
             neigh add {peer} lladdr 02:00:00:00:00:0{at} dev {name}{device} nud permanent"
        ))?;
    }
    scene.b().ips(&format!(
        "neigh add 10.1.0.9 lladdr 02:00:00:00:00:99 dev {name}2 nud permanent"
    ))?;
    scene.a().ips("route add default via 10.0.0.2")?;
    scene.c().ips("route add default via 10.1.0.3")?;
    scene.b().sysctl("net/ipv4/ip_forward", "1")
}

/// A counter of `/proc/net/netstat`, whose lines are pairs of names and values.
fn tcp_counter(text: &str, name: &str) -> Result<u64> {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let place = names.split(' ').position(|one| one == name);
        if let Some(value) = place.and_then(|place| values.split(' ').nth(place)) {
            return Ok(value.parse()?);
        }
    }
    anyhow::bail!("no {name} in /proc/net/netstat")
}
