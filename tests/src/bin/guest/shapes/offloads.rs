//! Devices that leave to the kernel what others do themselves: the rows in which a hook before the
//! qdisc and one behind it differ.

use super::judge::{Counts, Reason};
use super::kernel::Need;
use super::scene::Scene;
use super::{Row, Shape};
use crate::tcp::stream;

const NONE: &[Need] = &[];
const SEGMENTS: &[Reason] = &[Reason::Segmentation];
const BOTH: &[Reason] = &[Reason::Checksum, Reason::Segmentation];

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        name: "notso",
        needs: NONE,
        smoke: true,
        rows: &[Row::explained("no TSO: TCP", 0, "notso0", SEGMENTS, SEGMENTS).longest(10_000)],
        set_up: |scene| {
            scene.cable()?;
            scene.a().sh("ethtool -K notso0 tso off gso on")?;
            Ok(())
        },
        traffic: |scene| scene.talk("10.0.0.2"),
    },
    Shape {
        name: "nouso",
        needs: NONE,
        smoke: false,
        rows: &[
            Row::explained("no USO: UDP_SEGMENT", 0, "nouso0", SEGMENTS, SEGMENTS).longest(60_000),
        ],
        set_up: |scene| {
            scene.cable()?;
            scene.a().sh("ethtool -K nouso0 tx-udp-segmentation off")?;
            Ok(())
        },
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
        name: "nosg",
        needs: NONE,
        smoke: false,
        rows: &[Row::explained(
            "no scatter-gather: fragments and super-frames",
            0,
            "nosg0",
            SEGMENTS,
            SEGMENTS,
        )],
        set_up: |scene| {
            scene.cable()?;
            scene.a().sh("ethtool -K nosg0 sg off gso on")?;
            Ok(())
        },
        traffic: |scene| {
            let bytes = 17 * 18 / 2 * 80;
            stream(scene.a(), scene.b(), "10.0.0.2:80", "pieces most=17", bytes)?;
            scene.talk("10.0.0.2")
        },
    },
    Shape {
        name: "nocsum",
        needs: NONE,
        smoke: true,
        rows: &[Row::explained(
            "no checksum offload, so no TSO",
            0,
            "nocsum0",
            BOTH,
            BOTH,
        )],
        set_up: |scene| {
            scene.cable()?;
            scene.a().sh("ethtool -K nocsum0 tx off")?;
            Ok(())
        },
        traffic: |scene| scene.talk("10.0.0.2"),
    },
    Shape {
        name: "nogso",
        needs: NONE,
        smoke: false,
        rows: &[Row::explained(
            "no offload at all: TCP makes super-frames all the same",
            0,
            "nogso0",
            BOTH,
            BOTH,
        )],
        set_up: |scene| {
            scene.cable()?;
            scene
                .a()
                .sh("ethtool -K nogso0 tx off sg off tso off gso off")?;
            Ok(())
        },
        traffic: |scene| scene.talk("10.0.0.2"),
    },
    Shape {
        name: "loop",
        needs: NONE,
        smoke: false,
        rows: &[Row::equal("loopback: datagrams, up to 65,549 bytes", 0, "lo").longest(65_549)],
        set_up: Scene::add_space,
        traffic: |scene| {
            scene
                .a()
                .sh("traffic udp to=127.0.0.1:9 sizes=1,1473,65000,65507")?;
            scene.a().sh("ping -n -c 1 -s 60000 127.0.0.1")?;
            Ok(Counts::default())
        },
    },
    Shape {
        name: "loopstream",
        needs: NONE,
        smoke: false,
        // With the MTU of 65,536 two writes in one skb may be longer than the device takes, which are
        // then cut up before it (net/core/dev.c: gso_features_check): the test `loopback` has those.
        rows: &[Row::equal("loopback: TCP, MTU 16,384", 0, "loopstream").longest(40_000)],
        set_up: |scene| {
            scene.add_space()?;
            scene.a().sysctl("net/ipv4/tcp_min_tso_segs", "3")?;
            // Only one device can be compared as `lo`.
            scene.a().ips(
                "link set dev lo down\nlink set dev lo name loopstream\n\
                 link set dev loopstream mtu 16384 up",
            )
        },
        traffic: |scene| {
            stream(
                scene.a(),
                scene.a(),
                "127.0.0.1:80",
                "tcp-send bytes=3145728",
                3_145_728,
            )?;
            Ok(Counts::default())
        },
    },
];
