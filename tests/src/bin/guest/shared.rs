//! Frames that are of several processes, asked for by one of them.

use std::fs;
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow, ensure};
use skbcap_common::By;
use skbcap_tests::capture::Packet;

use crate::files::until;
use crate::lab::{Pair, words_of};
use crate::program::out;
use crate::share;
use crate::skbcap::{Hook, Skbcap};

/// Bytes that each holder writes, 512 at a time.
const BYTES: u64 = 40 * 512;

/// Who reads all that comes by a connection.
struct Reader {
    read: Arc<AtomicU64>,
    thread: JoinHandle<io::Result<()>>,
}

impl Reader {
    fn of(mut connection: TcpStream) -> Self {
        let read = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&read);
        let thread = thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                match connection.read(&mut bytes)? {
                    0 => return Ok(()),
                    some => count.fetch_add(some as u64, Ordering::Relaxed),
                };
            }
        });
        Self { read, thread }
    }

    /// Waits until so many bytes were read: then they were sent, which the end of whoever wrote them
    /// does not say.
    fn wait_for(&self, bytes: u64) -> Result<()> {
        until("what was written", || {
            Ok(self.read.load(Ordering::Relaxed) == bytes)
        })
    }

    fn finish(self) -> Result<()> {
        let read = self.thread.join();
        Ok(read.map_err(|_| anyhow!("the reader panicked"))??)
    }
}

/// A connection out of the first space, and who reads at its other end.
fn connect(pair: &Pair) -> Result<(TcpStream, Reader)> {
    let listener = pair.b.within(|| Ok(TcpListener::bind("10.0.0.2:0")?))?;
    let address = listener.local_addr()?;
    let stream = pair.a.within(|| Ok(TcpStream::connect(address)?))?;
    let (far_end, _) = listener.accept()?;
    Ok((stream, Reader::of(far_end)))
}

/// A process that has the connection, and writes to it once there is a file.
fn holder(stream: &TcpStream, after: &Path) -> Result<Child> {
    let words = format!("traffic tcp-handed bytes={BYTES} after={}", after.display());
    let mut command = words_of(&words);
    command.stdin(Stdio::from(OwnedFd::from(stream.try_clone()?)));
    Ok(command.stdout(Stdio::null()).spawn()?)
}

fn finish(mut holder: Child) -> Result<()> {
    let status = holder.wait()?;
    ensure!(status.success(), "a holder of the connection: {status}");
    Ok(())
}

/// Whether a frame's comment says that it is this process's, or also this one's.
fn is_of(packet: &Packet, process: u32) -> bool {
    let who = &packet.more().who;
    match who.by {
        Some(By::Task | By::Socket) => who.tgid == process,
        Some(By::Shared) => who.writers.contains(&process),
        _ => false,
    }
}

fn is_shared(packet: &Packet) -> bool {
    packet.more().who.by == Some(By::Shared)
}

/// `--pid` takes what is of any of a socket's writers, and `--not-pid` turns away the same: exactly what
/// the comments of an unfiltered capture say. The socket is older than the captures, so that whoever
/// has it may have written.
pub(crate) fn shared_senders() -> Result<()> {
    let pair = Pair::new("shared")?;
    for hook in share::mine(Hook::with_xmit())? {
        let (stream, reader) = connect(&pair)?;
        let (another, its_reader) = connect(&pair)?;
        let (go, later) = (out("shared-go"), out("shared-later"));
        let one = holder(&stream, &go)?;
        let other = holder(&stream, &go)?;
        let idle = holder(&stream, &later)?;
        drop(stream);
        // Of a connection that stays open until the captures have ended.
        let outsider = holder(&another, &go)?;
        let outsider_id = outsider.id();

        let cases = [
            String::new(),
            format!("--pid {}", one.id()),
            format!("--pid {}", other.id()),
            format!("--not-pid {}", one.id()),
            format!("--pid {} --not-pid {}", one.id(), other.id()),
            format!("--pid {outsider_id}"),
            format!("--not-pid {outsider_id}"),
        ];
        let mut captures = Vec::new();
        for (number, words) in cases.iter().enumerate() {
            let words = format!("--hook {hook} -i va {words}");
            captures.push(Skbcap::launch(
                &pair.a,
                &format!("shared-{number}"),
                words.trim_end(),
            )?);
        }
        let captures: Result<Vec<_>> = captures.into_iter().map(Skbcap::listen).collect();
        let captures = captures?;
        fs::write(&go, "")?;
        let (one_id, other_id) = (one.id(), other.id());
        for writer in [one, other, outsider] {
            finish(writer)?;
        }
        reader.wait_for(2 * BYTES)?;
        its_reader.wait_for(BYTES)?;
        let mut files = Vec::new();
        for capture in captures {
            files.push(capture.stop()?.capture.packets);
        }
        fs::write(&later, "")?;
        finish(idle)?;
        drop(another);
        for reader in [reader, its_reader] {
            reader.finish()?;
        }
        for file in [go, later] {
            fs::remove_file(file)?;
        }

        let all = files.first().context("no capture")?;
        let shared = all.iter().filter(|packet| is_shared(packet)).count();
        println!("{hook}: {} frames, {shared} shared", all.len());
        // 40 writes each, and what nobody else has to do with.
        ensure!(shared > 30, "{hook}: {shared} of {} are shared", all.len());
        ensure!(all.iter().any(|packet| is_of(packet, outsider_id)));
        let of = |wanted: &dyn Fn(&Packet) -> bool| -> Vec<&[u8]> {
            let wanted = all.iter().filter(|packet| wanted(packet));
            wanted.map(|packet| packet.data.as_slice()).collect()
        };
        let wanted = [
            of(&|_| true),
            of(&|packet| is_of(packet, one_id)),
            of(&|packet| is_of(packet, other_id)),
            of(&|packet| !is_of(packet, one_id)),
            of(&|packet| is_of(packet, one_id) && !is_of(packet, other_id)),
            of(&|packet| is_of(packet, outsider_id)),
            of(&|packet| !is_of(packet, outsider_id)),
        ];
        for ((words, file), wanted) in cases.iter().zip(&files).zip(wanted) {
            let found: Vec<&[u8]> = file.iter().map(|packet| packet.data.as_slice()).collect();
            println!("{hook} {words}: {} frames", found.len());
            ensure!(
                found == wanted,
                "{hook} {words}: {} frames, not {}",
                found.len(),
                wanted.len()
            );
        }
    }
    Ok(())
}
