//! How a frame lies in memory, and how long it can be.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};

use super::judge::{Counts, Reason};
use super::kernel::Need;
use super::scene::Scene;
use super::senders::route;
use super::{Row, Shape};
use crate::program::out;
use crate::tcp::stream;

const NONE: &[Need] = &[];
/// 5.10's veth has no NAPI of its own, and so no GRO.
const VETH_GRO: &[Need] = &[Need::Since(6, 1)];
/// 5.10's veth takes no UDP super-frames (`NETIF_F_GSO_SOFTWARE` has them since 5.11).
const VETH_USO: &[Need] = &[Need::Since(5, 11)];
/// Bytes of a stream whose frames grow as long as they can.
const LONG: u64 = 8 << 20;
/// A limit of BIG TCP below what captures keep of a frame: 262,144 bytes.
const BIG: u32 = 196_608;
/// The largest that there is: 8 * 65,535.
const HUGE: u32 = 524_280;
/// tcpdump's ring has blocks of 262,144 bytes, which hold more than the frame; skbcap keeps as many
/// bytes of the frame (see [`super::judge`]).
const CUT: &[Reason] = &[Reason::Cut];

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        name: "pieces",
        needs: NONE,
        smoke: true,
        // 1 to 17 pieces of 80 bytes, each from a page of its own; connection and end.
        rows: &[Row::equal("1 to 17 fragments (MSG_ZEROCOPY)", 0, "pieces0").least(20)],
        set_up: Scene::cable,
        traffic: |scene| {
            let bytes = 17 * 18 / 2 * 80;
            stream(scene.a(), scene.b(), "10.0.0.2:80", "pieces most=17", bytes)?;
            Ok(Counts::default())
        },
    },
    Shape {
        name: "sendfile",
        needs: NONE,
        smoke: false,
        rows: &[Row::equal("a file's pages (sendfile)", 0, "sendfile0").longest(60_000)],
        set_up: super_frames,
        traffic: |scene| {
            let file = out("file");
            let name = file.to_str().context("an odd name")?;
            scene
                .a()
                .sh(&format!("traffic stream-file file={name} bytes=4000000"))?;
            let send = format!("sendfile file={name} from=2000");
            stream(scene.a(), scene.b(), "10.0.0.2:80", &send, 3_998_000)?;
            std::fs::remove_file(&file)?;
            Ok(Counts::default())
        },
    },
    Shape {
        name: "splice",
        needs: NONE,
        smoke: false,
        rows: &[Row::equal("a pipe's pages (splice)", 0, "splice0").longest(10_000)],
        set_up: Scene::cable,
        traffic: |scene| {
            let send = "splice bytes=320000";
            stream(scene.a(), scene.b(), "10.0.0.2:80", send, 320_000)?;
            Ok(Counts::default())
        },
    },
    Shape {
        name: "tso",
        needs: NONE,
        smoke: true,
        rows: &[
            Row::equal("TCP super-frames, 64 KiB in compound pages", 0, "tso0").longest(60_000),
        ],
        set_up: super_frames,
        traffic: |scene| {
            stream(
                scene.a(),
                scene.b(),
                "10.0.0.2:80",
                "tcp-send bytes=6000000",
                6_000_000,
            )?;
            Ok(Counts::default())
        },
    },
    Shape {
        name: "uso",
        needs: VETH_USO,
        smoke: false,
        rows: &[Row::equal(
            "UDP super-frames (UDP_SEGMENT), a device with USO",
            0,
            "uso0",
        )
        .longest(60_000)],
        set_up: Scene::cable,
        traffic: |scene| {
            scene
                .a()
                .sh("traffic udp-segment to=10.0.0.2:9 bytes=60000 size=1000")?;
            scene
                .a()
                .sh("traffic udp-segment to=10.0.0.2:9 bytes=1104 size=1000")?;
            Ok(Counts::default())
        },
    },
    Shape {
        name: "jumbo",
        needs: NONE,
        smoke: false,
        rows: &[Row::equal("jumbo frames, MTU 9000", 0, "jumbo0").longest(9014)],
        set_up: |scene| {
            scene.cable()?;
            scene.a().sysctl("net/ipv4/tcp_min_tso_segs", "7")?;
            scene.a().ips("link set dev jumbo0 mtu 9000")?;
            scene.b().ips("link set dev jumbo1 mtu 9000")
        },
        traffic: |scene| {
            scene
                .a()
                .sh("traffic udp to=10.0.0.2:9 sizes=1473,8972,20000")?;
            scene.stream("10.0.0.2")?;
            Ok(Counts::default())
        },
    },
    Shape {
        name: "wide",
        needs: NONE,
        smoke: false,
        rows: &[Row::equal("datagrams of 64 KiB, MTU 65,535", 0, "wide0").longest(65_549)],
        set_up: |scene| {
            scene.cable()?;
            scene.a().ips("link set dev wide0 mtu 65535")?;
            scene.b().ips("link set dev wide1 mtu 65535")
        },
        traffic: |scene| {
            scene
                .a()
                .sh("traffic udp to=10.0.0.2:9 sizes=1473,4096,32768,65507")?;
            Ok(Counts::default())
        },
    },
    Shape {
        name: "fraglist",
        needs: VETH_GRO,
        smoke: false,
        rows: &[Row::equal(
            "a frag_list (datagrams merged and forwarded)",
            1,
            "fraglist2",
        )
        .longest(10_000)],
        set_up: |scene| gathering(scene, "fraglist"),
        traffic: |scene| {
            let sizes = ["1000"; 40].join(",");
            for _ in 0..5 {
                scene
                    .a()
                    .sh(&format!("traffic udp to=10.1.0.4:9 sizes={sizes}"))?;
            }
            sleep(Duration::from_millis(300));
            Ok(Counts::default())
        },
    },
    Shape {
        name: "nested",
        needs: VETH_GRO,
        smoke: false,
        rows: &[Row::equal("a frag_list whose skbs have fragments", 1, "nested2").longest(10_000)],
        set_up: |scene| gathering(scene, "nested"),
        traffic: |scene| {
            for _ in 0..5 {
                scene.a().sh("traffic udp-pieces to=10.1.0.9:9 count=40")?;
            }
            sleep(Duration::from_millis(300));
            Ok(Counts::default())
        },
    },
    Shape {
        name: "gro",
        needs: VETH_GRO,
        smoke: false,
        rows: &[Row::equal("TCP merged by GRO and forwarded", 1, "gro2").longest(4000)],
        set_up: |scene| {
            route(scene, "gro")?;
            // Segments leave the sender, and are merged again where they come in.
            scene.a().sh("ethtool -K gro0 tso off gso off")?;
            scene.b().sh("ethtool -K gro1 gro on")?;
            gather(scene, "gro1")
        },
        traffic: |scene| {
            stream(
                scene.a(),
                scene.c(),
                "10.1.0.4:80",
                "tcp-send bytes=300000",
                300_000,
            )?;
            Ok(Counts::default())
        },
    },
    Shape {
        name: "big6",
        needs: &[Need::Since(6, 1)],
        smoke: false,
        rows: &[Row::equal("BIG TCP over IPv6, 192 KiB", 0, "big60").longest(131_072)],
        set_up: |scene| big6(scene, BIG, 130),
        traffic: |scene| big(scene, "[fd00::2]:80"),
    },
    Shape {
        name: "huge6",
        needs: &[Need::Since(6, 1)],
        smoke: false,
        rows: &[Row::never_equal("BIG TCP over IPv6, 512 KiB", 0, "huge60", CUT).longest(262_145)],
        set_up: |scene| big6(scene, HUGE, 255),
        traffic: |scene| big(scene, "[fd00::2]:80"),
    },
    Shape {
        name: "big4",
        needs: &[Need::Since(6, 3)],
        smoke: false,
        rows: &[Row::equal("BIG TCP over IPv4, 192 KiB", 0, "big40").longest(131_072)],
        set_up: |scene| big4(scene, BIG, 130),
        traffic: |scene| big(scene, "10.0.0.2:80"),
    },
    Shape {
        name: "huge4",
        needs: &[Need::Since(6, 3)],
        smoke: false,
        rows: &[Row::never_equal("BIG TCP over IPv4, 512 KiB", 0, "huge40", CUT).longest(262_145)],
        set_up: |scene| big4(scene, HUGE, 255),
        traffic: |scene| big(scene, "10.0.0.2:80"),
    },
];

/// A router whose first device merges datagrams of a flow into one skb's `frag_list`.
fn gathering(scene: &mut Scene, name: &str) -> Result<()> {
    route(scene, name)?;
    let device = format!("{name}1");
    scene
        .b()
        .sh(&format!("ethtool -K {device} gro on rx-gro-list on"))?;
    gather(scene, &device)
}

/// A thread of its own and a timer, so that frames gather before they are looked at.
fn gather(scene: &Scene, device: &str) -> Result<()> {
    let values = [
        ("threaded", "1"),
        ("gro_flush_timeout", "2000000"),
        ("napi_defer_hard_irqs", "100"),
    ];
    scene.b().tune(device, &values)
}

/// Frames of 64 KiB from the first one on.
fn super_frames(scene: &mut Scene) -> Result<()> {
    scene.cable()?;
    windows(scene, 45)
}

fn big6(scene: &mut Scene, size: u32, segments: u32) -> Result<()> {
    scene.cable6()?;
    let device = format!("{}0", scene.name());
    scene
        .a()
        .ips(&format!("link set dev {device} gso_max_size {size}"))?;
    windows(scene, segments)
}

fn big4(scene: &mut Scene, size: u32, segments: u32) -> Result<()> {
    scene.cable()?;
    scene.a().ips(&format!(
        "link set dev {}0 gso_max_size {size} gso_ipv4_max_size {size}",
        scene.name()
    ))?;
    windows(scene, segments)
}

/// Room for frames of 512 KiB in both directions, and at least so many segments in each, were the
/// guest never so slow. More than the device takes would be cut up before it.
fn windows(scene: &Scene, segments: u32) -> Result<()> {
    for (at, host) in [(0, 1), (1, 2)] {
        let space = scene.space(at);
        space.sysctl("net/ipv4/tcp_wmem", "4096 8388608 16777216")?;
        space.sysctl("net/ipv4/tcp_rmem", "4096 8388608 16777216")?;
        space.sysctl("net/ipv4/tcp_limit_output_bytes", "16777216")?;
        space.sysctl("net/ipv4/tcp_min_tso_segs", &segments.to_string())?;
        // From the start, before acknowledgements come: those of a slow guest are of little at a time.
        let (device, other) = (format!("{}{at}", scene.name()), 3 - host);
        let to = match scene.name().ends_with('6') {
            true => format!("fd00::{other}/128"),
            false => format!("10.0.0.{other}/32"),
        };
        space.ips(&format!(
            "route add {to} dev {device} initcwnd 1000 initrwnd 1000"
        ))?;
    }
    Ok(())
}

fn big(scene: &Scene, at: &str) -> Result<Counts> {
    let send = format!("tcp-send write=2097152 bytes={LONG}");
    stream(scene.a(), scene.b(), at, &send, LONG)?;
    Ok(Counts::default())
}
