//! What the traffic programs say of themselves.

use anyhow::{Context, Result};

/// One sending thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    pub(crate) comm: String,
    pub(crate) pid: u32,
    pub(crate) tgid: u32,
    /// The process in the pid namespace of this test.
    pub(crate) outer: u32,
    pub(crate) sent: u64,
}

/// Reads the lines `comm=… pid=… tgid=… outer=… sent=…`.
pub(crate) fn senders(said: &str) -> Result<Vec<Sender>> {
    said.lines()
        .filter(|line| line.starts_with("comm="))
        .map(|line| {
            let value = |key: &str| {
                let mut words = line.split(' ');
                let found = words.find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
                found.with_context(|| format!("no {key} in {line}"))
            };
            Ok(Sender {
                comm: value("comm")?.to_owned(),
                pid: value("pid")?.parse()?,
                tgid: value("tgid")?.parse()?,
                outer: value("outer")?.parse()?,
                sent: value("sent")?.parse()?,
            })
        })
        .collect()
}
