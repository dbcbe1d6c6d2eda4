//! The matrix: every shape of frame, taken by every hook, beside tcpdump in the same guest. Each cell
//! is `equal`, or has reasons that are checked one by one: see [`judge`]. The table goes to
//! `exactness.tsv`, which `cargo xtask vm` holds against docs/exactness.md.
//!
//! All shapes are set up first, then all are captured at once, then each sends; so a capture serves
//! for all of them. A row's device has a name of its own, by which `skbcap diff --iface` finds it.

mod captures;
mod cuts;
mod devices;
mod egress;
mod judge;
pub(crate) mod kernel;
mod offloads;
mod run;
mod scene;
mod senders;
mod sizes;
mod tunnels;
mod vlans;

use anyhow::Result;

use judge::{Counts, Reason};
use scene::Scene;

/// A set-up and its traffic, and the devices of it that are compared.
pub(crate) struct Shape {
    /// Begins the names of its namespaces; no other shape's is the same.
    name: &'static str,
    /// What the kernel must have.
    needs: &'static [kernel::Need],
    /// Whether it belongs to the small selection that is run everywhere.
    smoke: bool,
    rows: &'static [Row],
    set_up: fn(&mut Scene) -> Result<()>,
    /// Sends, and tells what the kernel counted of it.
    traffic: fn(&Scene) -> Result<Counts>,
}

/// A device that is compared: a row of the table.
pub(crate) struct Row {
    /// As the table names it.
    name: &'static str,
    /// Which of the scene's namespaces it is in.
    space: usize,
    device: &'static str,
    /// tcpdump sees so many frames at least.
    least: usize,
    /// The longest frame that a hook before segmentation sees has so many bytes at least.
    longest: u32,
    /// Captured with this snapshot length, by both.
    snaplen: Option<u32>,
    /// Why the kprobe's capture is not equal to tcpdump's; empty: it is.
    kprobe: &'static [Reason],
    /// The same of `net_dev_queue`'s.
    queue: &'static [Reason],
    /// The same of `net_dev_start_xmit`'s, which is tcpdump's own place.
    xmit: &'static [Reason],
}

impl Row {
    /// Equal by every hook.
    const fn equal(name: &'static str, space: usize, device: &'static str) -> Self {
        Self::explained(name, space, device, &[], &[])
    }

    /// Different for what tcpdump or the device does, whatever the hook.
    const fn never_equal(
        name: &'static str,
        space: usize,
        device: &'static str,
        reasons: &'static [Reason],
    ) -> Self {
        Self {
            xmit: reasons,
            ..Self::explained(name, space, device, reasons, reasons)
        }
    }

    /// Equal where tcpdump listens, and before that but for these reasons.
    const fn explained(
        name: &'static str,
        space: usize,
        device: &'static str,
        kprobe: &'static [Reason],
        queue: &'static [Reason],
    ) -> Self {
        Self {
            name,
            space,
            device,
            least: 1,
            longest: 0,
            snaplen: None,
            kprobe,
            queue,
            xmit: &[],
        }
    }

    const fn least(self, least: usize) -> Self {
        Self { least, ..self }
    }

    const fn snaplen(self, snaplen: u32) -> Self {
        Self {
            snaplen: Some(snaplen),
            ..self
        }
    }

    const fn longest(self, longest: u32) -> Self {
        Self { longest, ..self }
    }
}

/// The table's parts, in its order.
const PARTS: &[(&str, &[Shape])] = &[
    ("Senders", senders::SHAPES),
    ("Sizes and fragments", sizes::SHAPES),
    ("Snapshot lengths", cuts::SHAPES),
    ("What a device leaves to the kernel", offloads::SHAPES),
    ("VLANs", vlans::SHAPES),
    ("Devices", devices::SHAPES),
    ("Tunnels", tunnels::SHAPES),
    ("Changed on the way", egress::SHAPES),
];

/// All of them.
pub(crate) fn all() -> Result<()> {
    run::run("all", &|_| true)
}

/// One of each kind.
pub(crate) fn some() -> Result<()> {
    run::run("some", &|shape| shape.smoke)
}
