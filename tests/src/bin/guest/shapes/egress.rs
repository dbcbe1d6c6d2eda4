//! Frames that are changed, lost or multiplied between the hook and the driver.

use anyhow::Result;

use super::judge::{Counts, Reason};
use super::kernel::Need;
use super::scene::{Scene, number_behind};
use super::{Row, Shape};
use crate::lab::words_of;

const NETEM: &[Need] = &[Need::Module("sch_netem")];
/// `CONFIG_NETFILTER_EGRESS` came with 5.16.
const NFT: &[Need] = &[Need::Since(5, 16), Need::Module("nf_tables")];
/// Datagrams of each.
const COUNT: u64 = 20;

pub(super) const SHAPES: &[Shape] = &[
    Shape {
        name: "pedit",
        needs: &[
            Need::Module("act_pedit"),
            Need::Module("act_csum"),
            Need::Module("sch_ingress"),
        ],
        smoke: true,
        rows: &[Row::explained(
            "egress tc rewrites (pedit)",
            0,
            "pedit0",
            &[Reason::Rewritten(&["ipv4.ttl", "ipv4.checksum"])],
            &[],
        )
        .least(20)],
        set_up: |scene| {
            scene.cable()?;
            scene.a().tc("qdisc add dev pedit0 clsact")?;
            scene
                .a()
                .tc("filter add dev pedit0 egress protocol ip matchall \
                 action pedit ex munge ip ttl set 7 pipe csum ip")?;
            Ok(())
        },
        traffic: |scene| {
            twenty(scene)?;
            Ok(Counts::default())
        },
    },
    Shape {
        name: "tcdrop",
        needs: &[Need::Module("act_gact"), Need::Module("sch_ingress")],
        smoke: false,
        rows: &[Row::explained("egress tc drops", 0, "tcdrop0", &[Reason::Stopped], &[]).least(10)],
        set_up: |scene| {
            scene.cable()?;
            scene.a().tc("qdisc add dev tcdrop0 clsact")?;
            scene
                .a()
                .tc("filter add dev tcdrop0 egress matchall action pass random determ drop 4")?;
            Ok(())
        },
        traffic: |scene| {
            twenty(scene)?;
            let said = scene.a().tc("-s filter show dev tcdrop0 egress")?;
            println!("{said}");
            Ok(Counts {
                stopped: number_behind(&said, "(dropped")?,
                ..Counts::default()
            })
        },
    },
    Shape {
        name: "nftset",
        needs: NFT,
        smoke: false,
        rows: &[Row::explained(
            "nft egress rewrites",
            0,
            "nftset0",
            &[Reason::Rewritten(&["ipv4.ttl", "ipv4.checksum"])],
            &[],
        )
        .least(20)],
        set_up: |scene| {
            scene.cable()?;
            nft(scene, "nftset0", "ip ttl set 7")
        },
        traffic: |scene| {
            twenty(scene)?;
            Ok(Counts::default())
        },
    },
    Shape {
        name: "nftdrop",
        needs: NFT,
        smoke: false,
        rows: &[
            Row::explained("nft egress drops", 0, "nftdrop0", &[Reason::Stopped], &[]).least(2),
        ],
        set_up: |scene| {
            scene.cable()?;
            nft(scene, "nftdrop0", "udp length > 100 counter drop")
        },
        traffic: |scene| {
            twenty(scene)?;
            scene.datagrams("10.0.0.2")?;
            let said = scene.a().sh("nft list ruleset")?;
            println!("{said}");
            Ok(Counts {
                stopped: number_behind(&said, "counter packets")?,
                ..Counts::default()
            })
        },
    },
    Shape {
        name: "full",
        needs: &[Need::Module("sch_tbf")],
        smoke: true,
        rows: &[Row::explained(
            "a full qdisc (tbf)",
            0,
            "full0",
            &[Reason::Dropped],
            &[Reason::Dropped],
        )
        .least(1)],
        set_up: |scene| {
            scene.cable()?;
            scene
                .a()
                .tc("qdisc add dev full0 root tbf rate 200kbit burst 1600 limit 2000")?;
            Ok(())
        },
        traffic: |scene| {
            twenty(scene)?;
            qdisc_drops(scene, "full0")
        },
    },
    Shape {
        name: "lossy",
        needs: NETEM,
        smoke: false,
        rows: &[Row::explained(
            "netem loses",
            0,
            "lossy0",
            &[Reason::Dropped],
            &[Reason::Dropped],
        )],
        set_up: |scene| {
            scene.cable()?;
            scene.a().tc("qdisc add dev lossy0 root netem loss 50%")?;
            Ok(())
        },
        traffic: |scene| {
            twenty(scene)?;
            qdisc_drops(scene, "lossy0")
        },
    },
    Shape {
        name: "twice",
        needs: NETEM,
        smoke: false,
        rows: &[Row::explained(
            "netem duplicates",
            0,
            "twice0",
            &[Reason::Duplicated],
            &[Reason::Duplicated],
        )
        .least(40)],
        set_up: |scene| {
            scene.cable()?;
            scene
                .a()
                .tc("qdisc add dev twice0 root netem duplicate 100%")?;
            Ok(())
        },
        traffic: |scene| {
            twenty(scene)?;
            Ok(Counts {
                duplicated: COUNT,
                ..Counts::default()
            })
        },
    },
    Shape {
        name: "corrupt",
        needs: NETEM,
        smoke: false,
        rows: &[Row::explained(
            "netem corrupts",
            0,
            "corrupt0",
            &[Reason::Corrupted],
            &[Reason::Corrupted],
        )
        .least(20)],
        set_up: |scene| {
            scene.cable()?;
            scene
                .a()
                .tc("qdisc add dev corrupt0 root netem corrupt 100%")?;
            Ok(())
        },
        traffic: |scene| {
            for size in 1..=COUNT {
                scene.a().sh(&format!(
                    "traffic packet device=corrupt0 size={}",
                    100 + size * 8
                ))?;
            }
            Ok(Counts::default())
        },
    },
    Shape {
        name: "delay",
        needs: NETEM,
        smoke: false,
        rows: &[Row::equal("netem delays and reorders", 0, "delay0").least(COUNT as usize)],
        set_up: |scene| {
            scene.cable()?;
            scene
                .a()
                .tc("qdisc add dev delay0 root netem delay 20ms reorder 50%")?;
            Ok(())
        },
        traffic: |scene| {
            twenty(scene)?;
            scene.talk("10.0.0.2")
        },
    },
];

/// Datagrams, no two of one length.
fn twenty(scene: &Scene) -> Result<()> {
    let sizes: Vec<String> = (1..=COUNT).map(|n| (n * 50).to_string()).collect();
    scene.a().sh(&format!(
        "traffic udp to=10.0.0.2:9 sizes={}",
        sizes.join(",")
    ))?;
    Ok(())
}

/// How many frames the device's qdisc has dropped.
fn qdisc_drops(scene: &Scene, device: &str) -> Result<Counts> {
    let said = scene.a().tc(&format!("-s qdisc show dev {device} root"))?;
    println!("{said}");
    Ok(Counts {
        stopped: number_behind(&said, "(dropped")?,
        ..Counts::default()
    })
}

/// One rule for what leaves by a device.
fn nft(scene: &Scene, device: &str, rule: &str) -> Result<()> {
    let mut command = words_of("nft");
    command.arg(format!(
        "add table netdev t; \
         add chain netdev t c {{ type filter hook egress device {device} priority 0; }}; \
         add rule netdev t c {rule}"
    ));
    scene.a().run(&mut command).map(drop)
}
