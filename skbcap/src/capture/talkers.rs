//! Who sent most since the last time somebody asked: for the live line.
//!
//! Counts only what a task was running for: in an interrupt, whoever is current may be anybody.

use std::collections::HashMap;

use crate::decode::Frame;
use crate::escape::escape_into;

/// Senders that are told of.
const TOLD: usize = 3;

/// Frames by process.
#[derive(Debug, Default)]
pub(super) struct Talkers {
    frames: HashMap<u32, (Vec<u8>, u64)>,
    /// Frames of no task's own.
    others: u64,
}

impl Talkers {
    /// Counts a frame.
    pub(super) fn see(&mut self, frame: &Frame<'_>) {
        if !frame.is_of_process() {
            self.others += 1;
            return;
        }
        let entry = self.frames.entry(frame.header.tgid);
        entry.or_insert_with(|| (frame.comm().to_vec(), 0)).1 += 1;
    }

    /// The first few with their shares, and forgets them all.
    pub(super) fn take(&mut self) -> Vec<(String, u64)> {
        let others = std::mem::take(&mut self.others);
        let mut all: Vec<_> = self.frames.drain().collect();
        let total = others + all.iter().map(|(_, (_, frames))| frames).sum::<u64>();
        all.sort_unstable_by_key(|(tgid, (_, frames))| (std::cmp::Reverse(*frames), *tgid));
        let told = all.into_iter().take(TOLD);
        told.map(|(tgid, (comm, frames))| {
            let mut name = String::new();
            escape_into(&mut name, &comm, b"");
            (format!("{name}[{tgid}]"), frames * 100 / total)
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skbcap_common::{Context, RecordHeader};
    use zerocopy::FromZeros;

    #[test]
    fn the_most_come_first_and_interrupts_are_nobodys() {
        let mut talkers = Talkers::default();
        let mut see = |tgid, context: Context, times| {
            let mut header = RecordHeader::new_zeroed();
            header.tgid = tgid;
            header.context = context as u8;
            header.comm[0] = b'a' + tgid as u8;
            for _ in 0..times {
                talkers.see(&Frame {
                    header: &header,
                    data: &[],
                    current: None,
                });
            }
        };
        see(1, Context::Task, 2);
        see(2, Context::Task, 5);
        see(3, Context::Task, 1);
        see(4, Context::Task, 1);
        see(1, Context::Softirq, 1);
        let told = [("c[2]", 50), ("b[1]", 20), ("d[3]", 10)];
        assert_eq!(
            talkers.take(),
            told.map(|(name, share)| (name.to_owned(), share))
        );
        assert_eq!(talkers.take(), []);
    }
}
