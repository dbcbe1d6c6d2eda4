//! The writer alone: records in memory, through order, clock, annotation and pcapng, to a file and
//! to /dev/null; beside it a plain copy of the same bytes. `cargo xtask bench writer` runs it.
//!
//! Both take turns, ring load by ring load, so that what disturbs one disturbs the other. What is
//! read was written by this thread just before, on both sides; only reading and writing counts.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rustix::time::ClockId;
use skbcap::{
    capture::{End, Pipeline},
    clock::Offset,
    config::{LinkTypes, Output},
    geometry,
    order::Order,
    output::{AnySink, FileOutput, Origin, Pcapng},
    ring::{OwnedMemory, Ring, Writer},
};
use skbcap_common::{Context, Hook, MAX_SNAPLEN, RecordHeader};
use zerocopy::FromZeros as _;

/// Frames' lengths: the shortest that a cable takes and the longest, and a super-frame.
const LENGTHS: [usize; 3] = [64, 1514, 65_549];
/// As many as this machine's CPUs would be, if it had two.
const RINGS: u32 = 2;
/// Threads that send, by turns.
const SENDERS: u32 = 8;
/// Frames that one sends before it is the next one's turn.
const RUN: u64 = 16;
/// Bytes of frames that a measurement takes, without what a file puts around them.
const BYTES: usize = 128 << 20;
/// Measurements, of which the median is told.
const ROUNDS: usize = 5;
/// What the copy hands to one `write(2)`, as much as skbcap does.
const BLOCK: usize = 256 << 10;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `writer DIRECTORY` measures everything, files in DIRECTORY; `writer count LENGTH FRAMES` takes
/// so many frames once, to /dev/null, for a tool that counts instructions.
fn run() -> Result<()> {
    // Cargo adds `--bench`.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["count", len, frames] => {
            let mut bench = Bench::new(len.parse()?, Path::new("/dev/null"))?;
            let mut left: usize = frames.parse()?;
            while left > 0 {
                left -= bench.fill(left);
                bench.drain()?;
            }
            bench.finish()
        }
        [directory] => measure_all(Path::new(directory)),
        _ => anyhow::bail!("writer DIRECTORY | writer count LENGTH FRAMES"),
    }
}

fn measure_all(directory: &Path) -> Result<()> {
    let ours = directory.join("writer.pcapng");
    let theirs = directory.join("copy");
    println!("frame | to        | skbcap, ns | copy, ns | frames/s | of the copy's");
    for len in LENGTHS {
        for to_file in [false, true] {
            let (name, ours, theirs): (_, &Path, &Path) = if to_file {
                ("a file", &ours, &theirs)
            } else {
                ("/dev/null", Path::new("/dev/null"), Path::new("/dev/null"))
            };
            let mut rounds = (0..ROUNDS)
                .map(|_| measure(len, ours, theirs))
                .collect::<Result<Vec<_>>>()?;
            rounds.sort_by(|a, b| a.share().total_cmp(&b.share()));
            let median = rounds[ROUNDS / 2];
            println!(
                "{len:5} | {name:9} | {:10.1} | {:8.1} | {:8.0} | {:.2} ({:.2} to {:.2})",
                median.ours,
                median.copy,
                1e9 / median.ours,
                median.share(),
                rounds[0].share(),
                rounds[ROUNDS - 1].share(),
            );
        }
    }
    std::fs::remove_file(ours)?;
    std::fs::remove_file(theirs)?;
    Ok(())
}

/// Nanoseconds of this thread's processor time for each frame.
#[derive(Clone, Copy, Debug)]
struct Cost {
    ours: f64,
    copy: f64,
}

impl Cost {
    fn share(self) -> f64 {
        self.copy / self.ours
    }
}

/// One measurement: so many bytes through skbcap to `ours`, as many copied to `theirs`.
fn measure(len: usize, ours: &Path, theirs: &Path) -> Result<Cost> {
    // What skbcap makes of the frames, to be copied.
    let scratch = tempfile::NamedTempFile::new()?;
    let mut bench = Bench::new(len, scratch.path())?;
    let load = bench.fill(usize::MAX);
    bench.drain()?;
    bench.finish()?;
    let bytes = std::fs::read(scratch.path())?;
    ensure!(bytes.len() > load * len, "skbcap lost frames");

    let mut bench = Bench::new(len, ours)?;
    let mut copy = File::create(theirs)?;
    let mut source = vec![0; bytes.len()];
    let mut block = vec![0; BLOCK];
    let [mut ours, mut copied] = [Duration::ZERO; 2];
    let mut frames = 0;
    while frames * len < BYTES {
        frames += bench.fill(load);
        let begun = processor_time();
        bench.drain()?;
        ours += processor_time() - begun;

        source.copy_from_slice(&bytes);
        let begun = processor_time();
        for bytes in source.chunks(BLOCK) {
            let block = &mut block[..bytes.len()];
            block.copy_from_slice(bytes);
            copy.write_all(block)?;
        }
        copied += processor_time() - begun;
    }
    let begun = processor_time();
    bench.finish()?;
    ours += processor_time() - begun;
    let each = |time: Duration| time.as_nanos() as f64 / frames as f64;
    Ok(Cost {
        ours: each(ours),
        copy: each(copied),
    })
}

/// Processor time of this thread: what others run meanwhile doesn't count.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Rings, what writes into them, and the way from them to a file.
struct Bench {
    order: Order<'static>,
    writers: Vec<Writer<'static>>,
    pipeline: Pipeline,
    data: Vec<u8>,
    number: u64,
}

impl Bench {
    fn new(len: usize, path: &Path) -> Result<Self> {
        let buffer = geometry::default_buffer_bytes(RINGS, MAX_SNAPLEN, 0);
        let geometry = geometry::ring_geometry(buffer, RINGS, MAX_SNAPLEN, 0)?;
        // A few of them in a short life, and nothing to end a borrow by.
        let memories: &'static [OwnedMemory] = Box::leak(
            (0..RINGS)
                .map(|_| OwnedMemory::new(geometry))
                .collect::<Vec<_>>()
                .into_boxed_slice(),
        );
        let rings = memories.iter().enumerate();
        let output = FileOutput::open(&Output::File(PathBuf::from(path)))?
            .context("a file is no terminal")?;
        let sink = Pcapng::new(output, Origin::default(), MAX_SNAPLEN, LinkTypes::Mixed)?;
        let offset = Offset {
            at_monotonic_ns: 0,
            offset_ns: 1_700_000_000_000_000_000,
            uncertainty_ns: 0,
        };
        Ok(Self {
            order: Order::new(
                rings
                    .map(|(number, memory)| Ring::new(memory.as_memory(), number))
                    .collect(),
            ),
            writers: memories
                .iter()
                .map(|memory| Writer::new(memory.as_memory()))
                .collect(),
            pipeline: Pipeline::new(AnySink::Pcapng(Box::new(sink)), None, offset, None),
            data: (0..len).map(|at| at as u8).collect(),
            number: 0,
        })
    }

    /// Writes frames until a ring is full, at most so many; how many.
    fn fill(&mut self, at_most: usize) -> usize {
        for written in 0..at_most {
            let number = self.number;
            // Knuth's multiplier: which ring is next should not be guessable by the processor.
            let ring = (number.wrapping_mul(6_364_136_223_846_793_005) >> 40) as u32 % RINGS;
            let header = header(number, ring);
            let time_ns = || 1_000_000 + number * 700;
            if self.writers[ring as usize]
                .write(&header, &self.data, time_ns)
                .is_none()
            {
                return written;
            }
            self.number += 1;
        }
        at_most
    }

    /// Takes every frame, as a capture does. By this name instructions are counted.
    #[inline(never)]
    fn drain(&mut self) -> Result<()> {
        self.order.refresh(u64::MAX)?;
        let pipeline = &mut self.pipeline;
        self.order.each(usize::MAX, |frame| pipeline.take(&frame))?;
        self.order.release();
        ensure!(!self.pipeline.is_over(), "the output failed");
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.order.finish()?;
        let End { stats, result, .. } = self.pipeline.finish(&[], u64::MAX / 2);
        result?;
        ensure!(stats.written == self.number, "frames were lost");
        Ok(())
    }
}

/// Everything that a frame's header may hold and that costs something.
fn header(number: u64, cpu: u32) -> RecordHeader {
    let mut header = RecordHeader::new_zeroed();
    let thread = (number / RUN) as u32 % SENDERS;
    header.hook = Hook::Kprobe as u8;
    header.context = Context::Task as u8;
    header.cpu = cpu;
    header.tgid = 2200;
    header.pid = 2200 + thread;
    header.comm[..10].copy_from_slice(b"tokio-rt-w");
    header.netns = 4_026_531_840;
    header.ifindex = 2;
    header.ifname[..4].copy_from_slice(b"eth0");
    header.dev_type = 1;
    header
}
