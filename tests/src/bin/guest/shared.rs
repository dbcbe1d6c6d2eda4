//! Frames that are of several processes, asked for by one of them.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use skbcap_common::By;
use skbcap_tests::capture::Packet;

use crate::lab::{Pair, words_of};
use crate::program::out;
use crate::skbcap::{Hook, Skbcap};

/// A process that has the connection, and writes to it once there is a file.
fn holder(stream: &TcpStream, after: &Path) -> Result<Child> {
    let words = format!("traffic tcp-handed bytes=20000 after={}", after.display());
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

/// `--pid` takes what any of a socket's writers is, and `--not-pid` turns away the same; whoever only
/// has the socket is none.
pub(crate) fn shared_senders() -> Result<()> {
    let pair = Pair::new("shared")?;
    for hook in Hook::with_xmit() {
        let listener = pair.b.within(|| Ok(TcpListener::bind("10.0.0.2:90")?))?;
        let stream = pair.a.within(|| Ok(TcpStream::connect("10.0.0.2:90")?))?;
        let (mut far_end, _) = listener.accept()?;
        let reader = thread::spawn(move || std::io::copy(&mut far_end, &mut std::io::sink()));
        let (go, never) = (out("shared-go"), out("shared-never"));
        let one = holder(&stream, &go)?;
        let other = holder(&stream, &go)?;
        let idle = holder(&stream, &never)?;
        drop(stream);

        let cases = [
            String::new(),
            format!("--pid {}", one.id()),
            format!("--pid {}", other.id()),
            format!("--not-pid {}", one.id()),
            format!("--pid {} --not-pid {}", one.id(), other.id()),
            format!("--pid {}", idle.id()),
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
        for writer in [one, other] {
            finish(writer)?;
        }
        let mut files = Vec::new();
        for capture in captures {
            files.push(capture.stop()?.capture.packets);
        }
        fs::write(&never, "")?;
        finish(idle)?;
        reader
            .join()
            .map_err(|_| anyhow!("the reader panicked"))??;
        for file in [go, never] {
            fs::remove_file(file)?;
        }

        let all = files.first().context("no capture")?;
        let shared = all.iter().filter(|packet| is_shared(packet)).count();
        println!("{hook}: {} frames, {shared} shared", all.len());
        // 40 writes each; the first few are of one alone.
        ensure!(shared > 30, "{hook}: {shared} of {} are shared", all.len());
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
            Vec::new(),
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
