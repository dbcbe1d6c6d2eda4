//! Frames of which a capture keeps the beginning: each length has captures of its own.

use super::judge::Counts;
use super::scene::Scene;
use super::{Row, Shape};

pub(super) const SHAPES: &[Shape] = &[
    shape("cut1", &[row("-s 1", "cut10", 1)]),
    shape("cut14", &[row("-s 14", "cut140", 14)]),
    shape("cut60", &[row("-s 60", "cut600", 60)]),
    shape("cut64", &[row("-s 64", "cut640", 64)]),
    shape("cut65535", &[row("-s 65535", "cut655350", 65535)]),
];

const fn row(name: &'static str, device: &'static str, snaplen: u32) -> Row {
    Row::equal(name, 0, device)
        .least(10)
        .longest(65_549)
        .snaplen(snaplen)
}

const fn shape(name: &'static str, rows: &'static [Row]) -> Shape {
    Shape {
        name,
        needs: &[],
        smoke: false,
        rows,
        set_up: |scene| {
            scene.cable()?;
            let name = scene.name();
            scene.a().ips(&format!("link set dev {name}0 mtu 65535"))?;
            scene.b().ips(&format!("link set dev {name}1 mtu 65535"))
        },
        traffic: send,
    }
}

/// Frames around each length: 42 bytes of headers, and of payload these.
fn send(scene: &Scene) -> anyhow::Result<Counts> {
    scene
        .a()
        .sh("traffic udp to=10.0.0.9:9 sizes=1,17,18,19,22,23,1400,65493,65494,65507")?;
    Ok(Counts::default())
}
