//! Two captures of the same frames: each frame of the one must be in the other, byte for byte, as
//! often as it is there. The comparison is the library's own, `skbcap::diff`.

use std::fmt;

use skbcap::diff::{self, Capture, Frame, Interface, Options};
use skbcap::pcapng::LinkType;

use crate::capture::Packet;

/// What is in one capture only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Places in the first, tcpdump's.
    pub only_first: Vec<usize>,
    /// Places in the second, skbcap's.
    pub only_second: Vec<usize>,
}

/// Compares as multisets of (length, bytes): order and time are other questions.
#[must_use]
pub fn compare(first: &[Packet], second: &[Packet]) -> Difference {
    let (theirs, ours) = (as_capture(first), as_capture(second));
    let report = diff::compare(&ours, &theirs, &Options::default());
    let places = |frames: &[&Frame<'_>]| frames.iter().map(|frame| frame.number as usize).collect();
    Difference {
        only_first: places(&report.only_theirs),
        only_second: places(&report.only_ours),
    }
}

/// The packets as the library has them, numbered by their places.
fn as_capture(packets: &[Packet]) -> Capture<'_> {
    Capture {
        frames: packets
            .iter()
            .enumerate()
            .map(|(place, packet)| Frame {
                number: place as u64,
                time_ns: packet.time_ns,
                interface: 0,
                len: packet.len,
                data: &packet.data,
                comment: None,
            })
            .collect(),
        interfaces: vec![Interface {
            name: None,
            link_type: LinkType::ETHERNET,
            snaplen: u32::MAX,
        }],
        trouble: None,
    }
}

impl Difference {
    /// Whether there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.only_first.is_empty() && self.only_second.is_empty()
    }
}

/// The first few packets at some places, one a line.
pub struct Some3<'a>(pub &'a [usize], pub &'a [Packet]);

impl fmt::Display for Some3<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(places, packets) = self;
        for &place in places.iter().take(3) {
            let packet = &packets[place];
            write!(
                f,
                "  #{place}: {} of {} bytes ",
                packet.data.len(),
                packet.len
            )?;
            for byte in packet.data.iter().take(70) {
                write!(f, "{byte:02x}")?;
            }
            if let Some(more) = &packet.more {
                write!(f, " {} {}", more.device, more.comment)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Difference, compare};
    use crate::capture::Packet;

    fn packet(bytes: &[u8]) -> Packet {
        Packet {
            len: bytes.len() as u32,
            data: bytes.to_vec(),
            ..Packet::default()
        }
    }

    #[test]
    fn a_frame_sent_twice_must_be_there_twice() {
        let (a, b) = (packet(b"a"), packet(b"b"));
        let first = [a.clone(), a.clone(), b.clone()];
        assert!(compare(&first, &[b.clone(), a.clone(), a.clone()]).is_none());
        assert_eq!(
            compare(&first, &[b.clone(), a, b]),
            Difference {
                only_first: vec![1],
                only_second: vec![2],
            }
        );
    }

    #[test]
    fn one_byte_and_the_length_count() {
        let first = [packet(b"abc")];
        let mut longer = packet(b"abc");
        longer.len = 4;
        assert!(!compare(&first, &[packet(b"abd")]).is_none());
        assert!(!compare(&first, &[longer]).is_none());
    }
}
