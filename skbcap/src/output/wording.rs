//! What a capture file says of itself in words: its section's header, and the comments of interfaces
//! and of their statistics.

use std::ops::Range;

use super::Origin;
use crate::account::Losses;
use crate::interface::Interface;
use crate::pcapng::{InterfaceId, LinkType, Section, Statistics};

/// Statistics of an interface over a time, which tell of its losses if there were any.
pub(super) fn statistics(
    interface: InterfaceId,
    time_ns: Range<u64>,
    delivered: u64,
    losses: Losses,
) -> Statistics {
    let dropped = losses.between + losses.after;
    Statistics {
        interface,
        start_ns: time_ns.start,
        end_ns: time_ns.end,
        received: delivered + dropped,
        dropped,
        delivered,
        comments: (dropped > 0)
            .then(|| losses.to_string())
            .into_iter()
            .collect(),
    }
}

/// Why an interface is described that has no frame in the section.
pub(super) fn why_without_frames(
    interface: &Interface,
    link_type: Option<LinkType>,
) -> &'static str {
    match link_type {
        Some(_) => "",
        None if interface.captured == 0 => {
            "every frame of it was lost: its name and its link type are not known"
        }
        None => "its frames have no link type in a capture file and were not written",
    }
}

/// A section's header, in a file behind so many others. `clock_set_by_ns` tells why it is not the
/// file's first.
pub(super) fn section(origin: &Origin, before: u64, clock_set_by_ns: Option<i64>) -> Section {
    let mut comments = origin.comments.clone();
    if before > 0 {
        let part = before + 1;
        comments.push(format!("part={part}: the capture began in another file"));
    }
    if let Some(by_ns) = clock_set_by_ns {
        let (sign, magnitude) = if by_ns < 0 {
            ('-', by_ns.unsigned_abs())
        } else {
            ('+', by_ns as u64)
        };
        comments.push(format!(
            "the wall clock was set during the capture, by {sign}{}.{:09} s: this section's times \
             are the new clock's, and go on from there",
            magnitude / 1_000_000_000,
            magnitude % 1_000_000_000,
        ));
    }
    Section {
        hardware: origin.hardware.clone(),
        os: origin.os.clone(),
        application: origin.application.clone(),
        comments,
    }
}
