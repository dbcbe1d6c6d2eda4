//! What capturing costs a host, in time: `cargo xtask bench native` and `drops`. All that is
//! compared takes turns in one run, in namespaces of its own, because the machine has other work.

mod bpf;
mod capturing;
mod cost;
mod drops;
mod memory;

use std::net::UdpSocket;

use anyhow::Result;

use crate::lab::{Pair, Space};

pub(crate) use bpf::{Attached, Does, empty_fentry, empty_kprobe, pass_all};
pub(crate) use cost::native_cost;
pub(crate) use drops::native_drops;

/// Ethernet, IPv4 and UDP before the payload.
const HEADERS: usize = 42;

/// A cable for frames of 9000 bytes, which end at its other end: they are addressed to nobody there.
fn cable(name: &str) -> Result<Pair> {
    let pair = Pair::new(name)?;
    pair.a
        .ip("neigh replace 10.0.0.2 lladdr 02:00:00:00:00:03 dev va nud permanent")?;
    pair.b.ip("link set dev vb mtu 9000")?;
    pair.a.ip("link set dev va mtu 9000")?;
    Ok(pair)
}

/// Runs `f` with a function that sends one frame of `bytes`.
fn with_sender<T: Send>(
    space: &Space,
    bytes: usize,
    f: impl FnOnce(&dyn Fn() -> Result<()>) -> Result<T> + Send,
) -> Result<T> {
    space.within(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect("10.0.0.2:9")?;
        let payload = vec![0x5a; bytes - HEADERS];
        f(&|| Ok(socket.send(&payload).map(drop)?))
    })
}

/// The one in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
