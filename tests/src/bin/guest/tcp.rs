//! Streams: super-frames, pages of files, loopback, and the ways to find those pages.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use fixtures::mark;
use skbcap::annotation::Cut;
use skbcap_tests::capture::Packet;
use skbcap_tests::compare::{Some3, compare};

use crate::beside::{Beside, Outcome, Point};
use crate::devices::compare_ethernet;
use crate::frames::both;
use crate::lab::{Pair, Space, words_of};
use crate::program::out;
use crate::share;
use crate::skbcap::{Hook, Skbcap, command};

/// Bytes of a stream that has super-frames, even where a guest is slow.
const BULK: u64 = 3 << 20;

/// Runs a stream from one namespace to another. `send` is a verb of `traffic` with its keys.
pub(crate) fn stream(from: &Space, to: &Space, at: &str, send: &str, bytes: u64) -> Result<()> {
    let mut server = words_of(&format!("traffic tcp-serve at={at}"));
    let mut server = to.start("server", &mut server)?;
    server.wait_stdout("listening")?;
    from.sh(&format!("traffic {send} to={at}"))?;
    let said = server.finish()?;
    ensure!(said.contains(&format!("received={bytes}")), "{said}");
    Ok(())
}

fn bulk(pair: &Pair) -> Result<()> {
    let send = format!("tcp-send bytes={BULK}");
    stream(&pair.a, &pair.b, "10.0.0.2:80", &send, BULK)
}

/// Super-frames, and what comes back, in all namespaces at once.
pub(crate) fn tcp_bulk() -> Result<()> {
    let pair = Pair::new("bulk")?;
    // As sendfile_17_frags says: else a busy machine has small super-frames only.
    pair.a.sysctl("net/ipv4/tcp_min_tso_segs", "45")?;
    // Nor may a window be smaller than such a frame: neither the sender's at first, nor the receiver's.
    pair.a
        .ip("route change 10.0.0.0/24 dev va src 10.0.0.1 initcwnd 180")?;
    pair.b.sysctl("net/ipv4/tcp_rmem", "4096 4194304 6291456")?;
    let outcome = both(&pair, || bulk(&pair))?;
    outcome.same(10)?;
    super_frames(&outcome)
}

/// The same in one namespace that is named: the other end's frames are not captured.
pub(crate) fn tcp_bulk_netns() -> Result<()> {
    let pair = Pair::new("netns")?;
    let points = [Point {
        space: &pair.b,
        device: "vb",
    }];
    let words = format!("--netns {}", pair.a.path().display());
    // Started in b, and told to look into a.
    let beside = Beside::start(&points, &words)?;
    bulk(&pair)?;
    let outcome = beside.stop()?;
    for (hook, done) in &outcome.skbcap {
        let of_a = done.of("va", pair.a.inode()?);
        ensure!(
            of_a.len() == done.capture.packets.len() && of_a.len() > 10,
            "{hook}: {} of {} packets are a's",
            of_a.len(),
            done.capture.packets.len()
        );
        whole_stream(&of_a, 80, BULK)?;
    }
    Ok(())
}

fn super_frames(outcome: &Outcome) -> Result<()> {
    let longest = outcome.tcpdump[0].packets.iter().map(|packet| packet.len);
    let longest = longest.max().unwrap_or_default();
    println!("the longest frame: {longest} bytes");
    ensure!(longest > 60_000, "no super-frame of 64 KiB");
    Ok(())
}

/// Every byte of the stream to `port` is in some frame, as sent.
fn whole_stream(packets: &[Packet], port: u16, bytes: u64) -> Result<()> {
    let mut pieces = BTreeMap::new();
    for segment in packets.iter().filter_map(Packet::tcp) {
        if segment.ports.1 == port && segment.payload.len() >= 16 {
            let (offset, whole) = place(segment.payload)?;
            // A retransmit may begin where a longer segment began.
            let longest = pieces.entry(offset).or_insert(whole);
            *longest = whole.max(*longest);
        }
    }
    let mut next = 0;
    for (offset, len) in pieces {
        // A segment's first piece of a word is the end of the one before it.
        ensure!(
            offset <= next + 16,
            "bytes {next} to {offset} are in no frame"
        );
        next = next.max(offset + len);
    }
    ensure!(next + 16 >= bytes, "{next} bytes of {bytes}");
    Ok(())
}

/// Where a piece of a marked stream belongs, and how much of it there is from its first whole word
/// on; every byte is checked.
fn place(payload: &[u8]) -> Result<(u64, u64)> {
    for skip in 0..8 {
        let Some(word) = payload[skip..].first_chunk() else {
            break;
        };
        let offset = u64::from_be_bytes(*word);
        let len = (payload.len() - skip) / 8 * 8;
        if offset % 8 == 0
            && offset < 1 << 32
            && mark::stream(offset, len) == payload[skip..skip + len]
        {
            return Ok((offset, len as u64));
        }
    }
    anyhow::bail!("a payload of {} bytes that was not sent", payload.len())
}

/// A file's own pages: frames of 17 fragments, with the file's bytes.
pub(crate) fn sendfile_17_frags() -> Result<()> {
    let pair = Pair::new("sendfile")?;
    // On a busy machine a stream is slow, and TCP makes small super-frames of a slow one
    // (net/ipv4/tcp_output.c: tcp_tso_autosize). 45 segments of 1448 bytes are as many as a frame
    // may have before the device's limit of 64 KiB has it cut up.
    pair.a.sysctl("net/ipv4/tcp_min_tso_segs", "45")?;
    // Nor may a window be smaller than such a frame: neither the sender's at first, nor the receiver's.
    pair.a
        .ip("route change 10.0.0.0/24 dev va src 10.0.0.1 initcwnd 180")?;
    pair.b.sysctl("net/ipv4/tcp_rmem", "4096 4194304 6291456")?;
    let file = out("file");
    let file = file.to_str().context("an odd name")?;
    words_of(&format!("traffic stream-file file={file} bytes={BULK}")).status()?;
    let outcome = both(&pair, || {
        let send = format!("sendfile file={file} from=2000");
        stream(&pair.a, &pair.b, "10.0.0.2:80", &send, BULK - 2000)
    })?;
    outcome.same(10)?;
    std::fs::remove_file(file)?;
    for (hook, done) in &outcome.skbcap {
        let mut most = 0;
        for packet in done.of("va", pair.a.inode()?) {
            let Some(segment) = packet.tcp().filter(|segment| segment.payload.len() >= 16) else {
                continue;
            };
            let (offset, len) = place(segment.payload)?;
            most = most.max((offset + len - 1) / 4096 - offset / 4096 + 1);
        }
        println!("{hook}: a frame from {most} pages");
        ensure!(most >= 17, "{hook}: no frame from more than {most} pages");
    }
    Ok(())
}

/// Loopback makes the longest frames. A few are longer than the device takes (64 KiB of payload in
/// one write): the kernel cuts those up behind skbcap and before tcpdump, in all versions.
pub(crate) fn loopback() -> Result<()> {
    let space = Space::new("loopback")?;
    let point = Point {
        space: &space,
        device: "lo",
    };
    let beside = Beside::start(&[point], "")?;
    let send = format!("tcp-send bytes={BULK}");
    stream(&space, &space, "127.0.0.1:80", &send, BULK)?;
    space.sh("ping -n -c 2 -i 0.2 127.0.0.1")?;
    let outcome = beside.stop()?;
    let seen = &outcome.tcpdump[0];
    let longest = seen.packets.iter().map(|packet| packet.len).max();
    ensure!(longest == Some(65_549), "no frame of 65,549 bytes");
    for (hook, done) in &outcome.skbcap {
        let ours = done.of("lo", seen.inode);
        let difference = compare(&seen.packets, &ours);
        let pick = |places: &[usize], of: &[Packet]| -> Vec<Packet> {
            places.iter().map(|&place| of[place].clone()).collect()
        };
        let theirs = pick(&difference.only_first, &seen.packets);
        let longer = pick(&difference.only_second, &ours);
        ensure!(
            longer.iter().all(|packet| packet.len > 65_549),
            "{longer:?}"
        );
        let cut_up = compare_ethernet(&theirs, &longer).with_context(|| {
            format!("{hook}:\n{}", Some3(&difference.only_first, &seen.packets))
        })?;
        println!("{hook}: {} frames, {cut_up} of them cut up", ours.len());
        ensure!(cut_up == longer.len());
    }
    Ok(())
}

/// Each way to find a fragment's bytes gives all of them; with none, frames are cut, and that is
/// said: at the start, on each, at the end.
pub(crate) fn page_bases() -> Result<()> {
    let pair = Pair::new("bases")?;
    for hook in share::mine(Hook::all())? {
        let mut running = Vec::new();
        // A host may hide its symbols or its memory; the guests' kernels do not.
        let host = std::env::var_os("SKBCAP_OUT").is_some();
        for way in ["kallsyms", "kcore", "search", "none"] {
            if host && matches!(way, "kallsyms" | "kcore") {
                println!("{way} is not tried on a host");
                continue;
            }
            let mut command = start_with(hook, way);
            let skbcap = Skbcap::launch_with(&pair.a, &format!("{hook}-{way}"), &mut command)?;
            running.push((way, skbcap));
        }
        let mut listening = Vec::new();
        for (way, skbcap) in running {
            listening.push((way, skbcap.listen().with_context(|| way.to_owned())?));
        }
        bulk(&pair)?;
        for (way, skbcap) in listening {
            let done = skbcap.stop()?;
            let cut = done.count("cut short")?;
            println!("{hook} {way}: {cut} cut short");
            let flagged = done.capture.packets.iter().filter(|packet| {
                packet.more().who.cut == Some(Cut::Unreadable)
                    && packet.data.len() < packet.len as usize
            });
            if way == "none" {
                ensure!(cut > 0 && flagged.count() as u64 == cut, "{}", done.said);
                ensure!(
                    done.said
                        .lines()
                        .any(|line| line.contains("cut") && !line.ends_with("cut short")),
                    "nothing said at the start:\n{}",
                    done.said
                );
            } else {
                ensure!(cut == 0 && flagged.count() == 0, "{way}: {}", done.said);
                whole_stream(&done.capture.packets, 80, BULK).context(way)?;
            }
        }
    }
    Ok(())
}

fn start_with(hook: Hook, way: &str) -> Command {
    let mut command = command(&format!("--hook {hook}"));
    command.env("SKBCAP_PAGE_BASES", way);
    // Else newer kernels copy fragments by themselves.
    command.env("SKBCAP_KFUNCS", "none");
    command
}
