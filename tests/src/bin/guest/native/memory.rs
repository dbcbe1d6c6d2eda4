//! Memory that a virtual machine gives back to its host, and kept for the time of a measurement.
//!
//! With virtio's balloon (its feature `VIRTIO_BALLOON_F_REPORTING`), pages that have been free for some
//! seconds are the host's again, and whoever writes to one next waits for it: many times longer than a
//! frame takes, and up to some tenths of a second. A file that is written in memory then measures the
//! host.

use std::env;
use std::fs;
use std::hint::black_box;
use std::io;

use anyhow::{Context, Result};

/// Free blocks of 2^n pages are given back, from this n on. Minimum kernel: 5.14.
const ORDER: &str = "/sys/module/page_reporting/parameters/page_reporting_order";
/// None are, or, where a kernel refuses that, only the largest.
const ORDERS: [&str; 2] = ["11", "10"];
/// Which features of a virtio device are in use, one character each.
const REPORTS: usize = 5;
/// What is left to everyone else meanwhile.
const LEFT: usize = 1 << 30;

/// Keeps the machine's memory until it is dropped.
pub(super) struct Kept {
    /// What stood there.
    order: String,
}

/// Has free memory stay this machine's, all of it, where that is asked for. `None`: it is not, or it
/// stays anyhow.
pub(super) fn keep() -> Result<Option<Kept>> {
    if !is_given_back()? {
        return Ok(None);
    }
    if env::var_os("SKBCAP_KEEP_MEMORY").is_none() {
        println!(
            "this machine gives free memory back to its host: a file in memory may wait for it \
             (see --keep-memory)"
        );
        return Ok(None);
    }
    Kept::new().map(Some)
}

impl Kept {
    fn new() -> Result<Self> {
        let order = fs::read_to_string(ORDER).with_context(|| format!("cannot read {ORDER}"))?;
        let set = |value: &str| fs::write(ORDER, value);
        let kept = ORDERS.into_iter().find(|value| set(value).is_ok());
        let kept = kept.with_context(|| format!("cannot write to {ORDER}"))?;
        println!(
            "free memory is kept: {ORDER} is {kept} until the end, and was {}",
            order.trim()
        );
        let this = Self { order };
        // What was given back before comes with its first touch.
        black_box(vec![1_u8; available()?.saturating_sub(LEFT)]);
        Ok(this)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Err(error) = fs::write(ORDER, self.order.trim()) {
            println!("{ORDER} is not what it was: {error}");
        }
    }
}

/// Whether this machine gives free memory back to its host.
fn is_given_back() -> Result<bool> {
    let devices = match fs::read_dir("/sys/bus/virtio/drivers/virtio_balloon") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        devices => devices?,
    };
    for device in devices {
        // What is there besides devices has no features.
        let features = fs::read(device?.path().join("features")).unwrap_or_default();
        if features.get(REPORTS) == Some(&b'1') {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Bytes that could be had without swapping.
fn available() -> Result<usize> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: usize = kib.context("no MemAvailable in /proc/meminfo")?.parse()?;
    Ok(kib * 1024)
}
