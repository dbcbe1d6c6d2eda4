//! `cargo xtask diff-bench`: two large captures, made here, and what comparing
//! them takes. Knows nothing of how they are compared.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::repository;
use crate::run::run;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Bytes of each capture, in MB
    #[arg(long, default_value_t = 1000)]
    megabytes: u64,
    /// Every frame of this length, instead of 64 to 1514 by turns
    #[arg(long)]
    frame_len: Option<u32>,
    /// Turn two neighbours and flip a byte in one of so many frames
    #[arg(long, default_value_t = 100_000)]
    one_in: u64,
}

/// Builds skbcap, writes the captures below the target directory, compares
/// them three times and removes them.
pub(crate) fn main(options: &Options) -> Result<()> {
    run(Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "-p", "skbcap"])
        .current_dir(repository()))?;
    let target = repository().join("target");
    let directory = target.join("diff-bench");
    fs::create_dir_all(&directory).context("cannot create the captures' directory")?;
    let measured = measure(options, &target.join("release/skbcap"), &directory);
    fs::remove_dir_all(&directory).context("cannot remove the captures")?;
    measured
}

fn measure(options: &Options, skbcap: &Path, directory: &Path) -> Result<()> {
    let [ours, theirs] = ["ours.pcap", "theirs.pcap"].map(|name| directory.join(name));
    let frames = write(options, &ours, false)?;
    write(options, &theirs, true)?;
    println!(
        "{} MB against {} MB, {frames} frames each",
        options.megabytes, options.megabytes
    );
    for _ in 0..3 {
        let begun = Instant::now();
        let mut child = Command::new(skbcap)
            .args(["diff", "-n", "0"])
            .args([&ours, &theirs])
            .stdin(Stdio::null())
            .spawn()
            .context("cannot start skbcap")?;
        let (status, own_kib) = watch(&mut child)?;
        let seconds = begun.elapsed().as_secs_f64();
        if status != Some(1) {
            bail!("skbcap diff ended with {status:?}, not 1");
        }
        let own = own_kib as f64 / 1024.0;
        let each = own_kib as f64 * 1024.0 / frames as f64;
        println!("{seconds:.2} s, {own:.0} MiB of its own at most ({each:.0} bytes a pair)");
    }
    Ok(())
}

/// Waits; the exit status, and the most memory, in KiB, that was the
/// process's own: the mapped files' pages are the page cache's.
fn watch(child: &mut Child) -> Result<(Option<i32>, u64)> {
    let mut most = 0;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for skbcap")? {
            return Ok((status.code(), most));
        }
        let status = fs::read_to_string(format!("/proc/{}/status", child.id()));
        let own = status.unwrap_or_default().lines().find_map(|line| {
            let value = line.strip_prefix("RssAnon:")?;
            value.trim().strip_suffix(" kB")?.parse().ok()
        });
        most = most.max(own.unwrap_or(0));
        thread::sleep(Duration::from_millis(2));
    }
}

/// Writes one pcap of made-up frames, the same each time but for what is
/// mutated; how many frames.
fn write(options: &Options, path: &Path, is_mutated: bool) -> Result<u64> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    for word in [0xa1b2_3c4d, 0x0004_0002, 0, 0, 262_144, 1u32] {
        out.write_all(&word.to_le_bytes())?;
    }
    let mut random = Random(1);
    let (mut written, mut number) = (24, 0);
    let mut held: Option<Vec<u8>> = None;
    while written < options.megabytes * 1_000_000 {
        let spread = 64 + random.next() % 1451;
        let len = options.frame_len.unwrap_or(spread as u32).max(64);
        let mut record = Vec::with_capacity(16 + len as usize + 8);
        for word in [
            1_700_000_000 + (number / 1_000_000) as u32,
            (number % 1_000_000) as u32 * 1000,
            len,
            len,
        ] {
            record.extend(word.to_le_bytes());
        }
        record.extend([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0]);
        record.extend((len as u16 - 14).to_be_bytes());
        record.extend((number as u16).to_be_bytes());
        record.extend([0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        while record.len() < 16 + len as usize {
            record.extend(random.next().to_le_bytes());
        }
        record.truncate(16 + len as usize);
        if is_mutated && number % options.one_in == 1 {
            record[60] ^= 1;
        }
        written += record.len() as u64;
        number += 1;
        if is_mutated && number % options.one_in == 0 {
            held = Some(record);
            continue;
        }
        out.write_all(&record)?;
        if let Some(record) = held.take() {
            out.write_all(&record)?;
        }
    }
    if let Some(record) = held {
        out.write_all(&record)?;
    }
    out.flush()?;
    Ok(number)
}

/// Knuth's linear congruential generator: repeatable, and fast enough.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 11
    }
}
