//! What is said about the last senders' frames, so that it is put into words once and not for each
//! frame.

use skbcap_common::{CurrentTask, Flags, RecordHeader};

use crate::{
    annotation::Annotation,
    decode::Frame,
    pcapng::{PacketOptions, epb_flags},
    process::{self, Fields, Known, News, Processes},
};

/// `CHECKSUM_PARTIAL`: the checksum is filled in later (include/linux/skbuff.h).
pub(super) const CHECKSUM_PARTIAL: u8 = 3;

/// A power of two: a place is the last bits of a number.
const PLACES: usize = 2048;

/// The options of the last senders' packets.
#[derive(Debug)]
pub(super) struct Senders {
    /// The latest of those that share a place.
    places: Box<[Place; PLACES]>,
    /// A comment, while it is made.
    comment: String,
    /// What is to be told of processes, and what is known of them.
    more: Option<(Fields, Box<Processes>)>,
}

/// What was said last, and of whom.
#[derive(Clone, Debug, Default)]
struct Place {
    key: Key,
    options: PacketOptions,
    /// What was known besides.
    known: Known,
    /// What was current, where that is told.
    current: Option<CurrentTask>,
}

/// All of a record that the options are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Key {
    comm: u128,
    pid: u32,
    tgid: u32,
    /// Version, hook, context and `ip_summed`, as they stand in the record: the first is never 0.
    kind: u32,
    /// Those of its flags that matter, and [`SUPER_FRAME`].
    flags: u32,
}

/// Among the flags in a key: the frame is several on the wire.
const SUPER_FRAME: u32 = 1;

/// The flags that a comment tells of.
const TOLD: u32 = Flags::CUT_UNREADABLE
    .union(Flags::CUT_BOUND)
    .union(Flags::NOTED_SKB)
    .union(Flags::NOTED_SOCKET)
    .union(Flags::BY)
    .0;
const _: () = assert!(TOLD & SUPER_FRAME == 0);

impl Senders {
    pub(super) fn new() -> Self {
        Self {
            places: vec![Place::default(); PLACES]
                .try_into()
                .expect("as many as there are places"),
            comment: String::new(),
            more: None,
        }
    }

    /// Has more said of processes.
    pub(super) fn tell(&mut self, fields: Fields) {
        self.more = (!fields.is_empty()).then(|| (fields, Box::new(Processes::default())));
    }

    /// Takes something that became known, or that something did not.
    pub(super) fn learn(&mut self, news: Option<&News>) {
        let Some((_, processes)) = &mut self.more else {
            return;
        };
        if processes.learn(news) {
            // Numbers of processes begin anew.
            self.places.fill(Place::default());
        }
    }

    /// The options of a frame's packet.
    #[inline]
    pub(super) fn options(&mut self, frame: &Frame<'_>) -> &PacketOptions {
        let key = Key::of(frame.header);
        let number = key.place();
        let place = &self.places[number];
        // An empty place's key is no record's: none is of version 0.
        let mut is_same = place.key == key;
        if let Some((_, processes)) = &self.more {
            is_same &= place.known == processes.of(frame.header)
                && place.current.as_ref() == frame.current;
        }
        if !is_same {
            self.put(number, key, frame);
        }
        &self.places[number].options
    }

    #[cold]
    fn put(&mut self, number: usize, key: Key, frame: &Frame<'_>) {
        let header = frame.header;
        Annotation::of(frame).write(&mut self.comment);
        let mut known = Known::default();
        if let Some((fields, processes)) = &self.more {
            known = processes.of(frame.header);
            process::append(&mut self.comment, *fields, frame.current, known, processes);
        }
        let process = Some((header.tgid, header.pid));
        let options = PacketOptions::new(&self.comment, flags(header), process)
            .expect("names of 16 bytes, paths and so much of a command line make no long comment");
        self.places[number] = Place {
            key,
            options,
            known,
            current: frame.current.copied(),
        };
    }
}

impl Key {
    #[inline]
    fn of(header: &RecordHeader) -> Self {
        Self {
            comm: u128::from_ne_bytes(header.comm),
            pid: header.pid,
            tgid: header.tgid,
            kind: u32::from_le_bytes([
                header.version,
                header.hook,
                header.context,
                header.ip_summed,
            ]),
            flags: (header.flags & TOLD) | (u32::from(header.gso_size != 0) * SUPER_FRAME),
        }
    }

    /// A thread's frames differ in their context, and in whether they are super-frames with a
    /// checksum to come: places of their own, so that they don't take turns in one.
    #[inline]
    fn place(&self) -> usize {
        let context = self.kind >> 16 & 0b11;
        // Set in `CHECKSUM_PARTIAL`, and not in the two values that a sent frame has else.
        let partial = self.kind >> 25 & 1;
        let kind = context | partial << 2 | (self.flags & SUPER_FRAME) << 3;
        (self.pid.wrapping_mul(16) | kind) as usize % PLACES
    }
}

/// The packet's [`epb_flags`].
fn flags(header: &RecordHeader) -> u32 {
    let mut flags = epb_flags::OUTBOUND;
    if header.ip_summed == CHECKSUM_PARTIAL {
        flags |= epb_flags::CHECKSUM_NOT_READY;
    }
    if header.gso_size != 0 {
        flags |= epb_flags::SEGMENTATION_OFFLOADED;
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zerocopy::FromZeros;

    proptest! {
        /// Whatever was said of others before, what is said of a frame is as if it were the first.
        #[test]
        fn what_is_known_of_a_frame_is_its_own(
            frames in proptest::collection::vec(
                // Few of each, so that places are shared and each fact is once the only difference.
                (0u8..2, 0u32..3, 0u32..2, 0u8..5, (1u8..5, 0u32..4, 0u32..3), 0u8..5, 0u16..2),
                1..60,
            ),
        ) {
            let mut senders = Senders::new();
            for (name, pid, tgid, context, (hook, cut, noted), ip_summed, gso_size) in frames {
                let mut header = RecordHeader::new_zeroed();
                header.version = skbcap_common::VERSION;
                header.comm[1] = name;
                // The last one is the first one's place.
                header.pid = [0, 1, PLACES as u32][pid as usize];
                (header.tgid, header.context) = (tgid, context);
                header.hook = hook;
                header.flags = cut << 2 | noted << 7 | Flags::HAS_SOCKET.0;
                (header.ip_summed, header.gso_size) = (ip_summed, gso_size);
                let frame = Frame { header: &header, data: &[], current: None };
                let known = senders.options(&frame).clone();
                let mut first = Senders::new();
                prop_assert_eq!(&known, first.options(&frame));
            }
        }
    }
}
