//! Recordings: what the kernel side yielded, in a file, to be read again without a kernel.
//!
//! A `.ring` file is [`MAGIC`] and then chunks, little-endian, each a kind and a length (4 bytes
//! each) and so many bytes, padded to 8:
//!
//! | kind | contents |
//! |---|---|
//! | 1 origin | hook (1), snapshot length (4), wall clock less monotonic clock in ns (8), then hardware, operating system and program as lines |
//! | 2 record | ring (4), zero (4), a record as it lay in the ring, without padding at its end |
//! | 3 clock | from when on, monotonic (8), wall clock less monotonic clock (8), both in ns |
//! | 4 counters | the counters of all rings together, in the order of [`Counters`] (8 each) |
//! | 5 drops | network namespace (4), ifindex (4), frames dropped (8) |
//!
//! Knows records and counters; nothing of what becomes of them.

mod counters;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use skbcap_common::{
    CurrentTask, Flags, Hook, InterfaceDrops, RecordHeader,
    record::{CURRENT_LEN, HEADER_LEN, record_len},
};
use zerocopy::{FromBytes, IntoBytes};

use crate::{
    clock::{Offset, Step},
    decode::{DecodeError, Frame},
    geometry::Geometry,
    output::Origin,
    ring::{OwnedMemory, Writer},
    stats::Stats,
};

pub use self::counters::Counters;

/// How a recording begins; the last two bytes are the version of this format.
pub const MAGIC: [u8; 8] = *b"SKBRNG01";

const ORIGIN: u32 = 1;
const RECORD: u32 = 2;
const CLOCK: u32 = 3;
const COUNTERS: u32 = 4;
const DROPS: u32 = 5;

/// What stands at the beginning of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where the frames were taken.
    pub hook: Hook,
    /// The most bytes of a frame that were captured.
    pub snaplen: u32,
    /// Wall clock less monotonic clock at the start, in nanoseconds.
    pub offset_ns: i64,
    /// The machine it was made on.
    pub origin: Origin,
}

/// Writes a recording.
#[derive(Debug)]
pub struct Recorder<W: Write> {
    out: W,
}

impl<W: Write> Recorder<W> {
    /// Begins a recording.
    ///
    /// # Errors
    ///
    /// What `out` says.
    pub fn new(mut out: W, header: &Header) -> io::Result<Self> {
        out.write_all(&MAGIC)?;
        let Header {
            hook,
            snaplen,
            offset_ns,
            origin,
        } = header;
        let lines = [&origin.hardware, &origin.os, &origin.application];
        let lines: Vec<&str> = lines
            .into_iter()
            .chain(&origin.comments)
            .map(String::as_str)
            .collect();
        let mut this = Self { out };
        this.chunk(
            ORIGIN,
            &[
                &[*hook as u8, 0, 0, 0],
                &snaplen.to_le_bytes(),
                &offset_ns.to_le_bytes(),
                lines.join("\n").as_bytes(),
            ],
        )?;
        Ok(this)
    }

    /// Adds a frame's record, which came from ring number `ring`.
    ///
    /// # Errors
    ///
    /// What the output says.
    pub fn record(&mut self, ring: u32, frame: &Frame<'_>) -> io::Result<()> {
        let head = [ring.to_le_bytes(), [0; 4]].concat();
        let (header, data) = (frame.header.as_bytes(), frame.data);
        let Some(current) = frame.current else {
            return self.chunk(RECORD, &[&head, header, data]);
        };
        let padding = &[0; 8][..data.len().next_multiple_of(8) - data.len()];
        let current = current.as_bytes();
        self.chunk(RECORD, &[&head, header, data, padding, current])
    }

    /// Adds that the wall clock was set.
    ///
    /// # Errors
    ///
    /// What the output says.
    pub fn clock(&mut self, step: &Step) -> io::Result<()> {
        let Step {
            at_monotonic_ns,
            new_offset_ns,
            ..
        } = step;
        self.chunk(
            CLOCK,
            &[&at_monotonic_ns.to_le_bytes(), &new_offset_ns.to_le_bytes()],
        )
    }

    /// Ends the recording with the kernel side's counters.
    ///
    /// # Errors
    ///
    /// What the output says.
    pub fn finish(&mut self, stats: &Stats, drops: &[InterfaceDrops]) -> io::Result<()> {
        for drop in drops {
            self.chunk(DROPS, &[drop.as_bytes()])?;
        }
        self.chunk(COUNTERS, &[Counters::of(stats).as_bytes()])?;
        self.out.flush()
    }

    fn chunk(&mut self, kind: u32, parts: &[&[u8]]) -> io::Result<()> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        self.out.write_all(&kind.to_le_bytes())?;
        self.out.write_all(&(len as u32).to_le_bytes())?;
        for part in parts {
            self.out.write_all(part)?;
        }
        self.out.write_all(&[0; 8][..len.next_multiple_of(8) - len])
    }
}

/// A recording that was read.
#[derive(Debug)]
pub struct Recording {
    /// What stands at its beginning.
    pub header: Header,
    /// When the wall clock was set: from when on, and its new offset.
    pub steps: Vec<Step>,
    /// The kernel side's counters.
    pub counters: Counters,
    /// The kernel side's drops by interface.
    pub drops: Vec<InterfaceDrops>,
    /// The rings, with all their records.
    pub rings: Vec<OwnedMemory>,
}

/// Why a file is no recording.
#[derive(Debug, thiserror::Error)]
#[error("not a recording of this skbcap: at byte {offset}, {problem}")]
pub struct RecordingError {
    /// Where in the file.
    offset: usize,
    /// What is wrong there.
    problem: String,
}

impl Recording {
    /// Reads a recording.
    ///
    /// # Errors
    ///
    /// When `bytes` are not one, or end in the middle.
    pub fn read(bytes: &[u8]) -> Result<Self, RecordingError> {
        let problem = |offset, problem: String| RecordingError { offset, problem };
        if bytes.get(..8) != Some(&MAGIC) {
            return Err(problem(0, "another beginning".into()));
        }
        let mut header = None;
        let mut steps: Vec<Step> = Vec::new();
        let mut counters = Counters::default();
        let mut drops = Vec::new();
        let mut records: Vec<Vec<Record<'_>>> = Vec::new();
        let mut at = 8;
        while at < bytes.len() {
            let cut = || problem(at, "the file ends in the middle of a chunk".into());
            let (kind, len) = bytes.get(at..at + 8).map(halves).ok_or_else(cut)?;
            let body = bytes.get(at + 8..at + 8 + len as usize).ok_or_else(cut)?;
            let short = || problem(at, format!("a chunk of kind {kind} is too short"));
            match kind {
                ORIGIN => header = Some(read_header(body).ok_or_else(short)?),
                RECORD => {
                    let (ring, _) = body.get(..8).map(halves).ok_or_else(short)?;
                    let ring = ring as usize;
                    if ring > u16::MAX.into() {
                        return Err(problem(at, format!("a ring number {ring}")));
                    }
                    if records.len() <= ring {
                        records.resize_with(ring + 1, Vec::new);
                    }
                    let (header, data) =
                        RecordHeader::read_from_prefix(&body[8..]).map_err(|_| short())?;
                    let (data, current) = split(&header, data).ok_or_else(|| {
                        let error = DecodeError::Short {
                            needed: u64::from(HEADER_LEN) + u64::from(header.captured_len),
                            available: body.len() as u64 - 8,
                        };
                        problem(at, error.to_string())
                    })?;
                    records[ring].push((header, data, current));
                }
                CLOCK => {
                    let (from, offset) = body.split_at_checked(8).ok_or_else(short)?;
                    let old = steps.last().map_or_else(
                        || {
                            header
                                .as_ref()
                                .map_or(0, |header: &Header| header.offset_ns)
                        },
                        |step| step.new_offset_ns,
                    );
                    steps.push(Step {
                        at_monotonic_ns: u64::read_from_bytes(from).map_err(|_| short())?,
                        old_offset_ns: old,
                        new_offset_ns: i64::read_from_bytes(offset).map_err(|_| short())?,
                    });
                }
                COUNTERS => counters = Counters::read(body).ok_or_else(short)?,
                DROPS => drops.push(InterfaceDrops::read_from_bytes(body).map_err(|_| short())?),
                _ => return Err(problem(at, format!("an unknown chunk of kind {kind}"))),
            }
            at += 8 + (len as usize).next_multiple_of(8);
        }
        let header = header.ok_or_else(|| problem(8, "no origin".into()))?;
        let rings = records.iter().map(|records| load(records)).collect();
        Ok(Self {
            header,
            steps,
            counters,
            drops,
            rings,
        })
    }

    /// The wall clock's offset at the start.
    #[must_use]
    pub fn offset(&self) -> Offset {
        Offset {
            at_monotonic_ns: 0,
            offset_ns: self.header.offset_ns,
            uncertainty_ns: 0,
        }
    }
}

/// A record that was read: the frame's bytes, and what was current.
type Record<'a> = (RecordHeader, &'a [u8], Option<CurrentTask>);

/// What follows a header, in its two parts.
fn split<'a>(header: &RecordHeader, rest: &'a [u8]) -> Option<(&'a [u8], Option<CurrentTask>)> {
    let len = header.captured_len as usize;
    if !Flags(header.flags).contains(Flags::CURRENT) {
        return (rest.len() == len).then_some((rest, None));
    }
    let (data, current) = rest.split_at_checked(len.next_multiple_of(8))?;
    let current = CurrentTask::read_from_bytes(current).ok()?;
    Some((&data[..len], Some(current)))
}

/// A ring that holds all of `records`.
fn load(records: &[Record<'_>]) -> OwnedMemory {
    let longest = records
        .iter()
        .map(|(_, data, _)| data.len())
        .max()
        .unwrap_or(0) as u32;
    let slack_len = record_len(longest) + CURRENT_LEN;
    let segment_len = slack_len.next_multiple_of(1 << 12);
    let bytes: u64 = records
        .iter()
        .map(|(_, data, _)| u64::from(record_len(data.len() as u32) + CURRENT_LEN))
        .sum();
    let memory = OwnedMemory::new(Geometry {
        segment_len,
        // A record begins in each segment's nominal length, so this is never too few.
        segments: (bytes / u64::from(segment_len) + 1) as u32,
        slack_len,
        value_len: segment_len + slack_len,
        chunk_len: longest,
    });
    let mut writer = Writer::new(memory.as_memory());
    for (header, data, current) in records {
        assert!(
            writer.put(header, data, current.as_ref()),
            "a ring made to hold all of its records"
        );
    }
    memory
}

fn read_header(body: &[u8]) -> Option<Header> {
    let snaplen = u32::read_from_bytes(body.get(4..8)?).ok()?;
    let offset_ns = i64::read_from_bytes(body.get(8..16)?).ok()?;
    let text = String::from_utf8_lossy(&body[16..]);
    let mut lines = text.split('\n').map(str::to_owned);
    let origin = Origin {
        hardware: lines.next()?,
        os: lines.next()?,
        application: lines.next()?,
        comments: lines.collect(),
    };
    Some(Header {
        hook: Hook::from_byte(*body.first()?)?,
        snaplen,
        offset_ns,
        origin,
    })
}

fn halves(bytes: &[u8]) -> (u32, u32) {
    let half = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
    (half(0), half(4))
}
