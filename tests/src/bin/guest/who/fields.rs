//! What `--fields` says of processes, held against what they are; also of those that are no more, and
//! of two that had the same number.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::time::{ClockId, clock_gettime};
use skbcap_tests::capture::{Capture, Packet};

use super::{brief, hands};
use crate::lab::{Pair, words_of};
use crate::program::out;
use crate::report::senders;
use crate::skbcap::Skbcap;

/// A user that is not root.
const USER: u32 = 1234;
/// Clock ticks in a second, as /proc counts them on every architecture that skbcap runs on.
const TICKS: u64 = 100;
/// Where a TCP header's flags stand in a frame.
const TCP_FLAGS: usize = 14 + 20 + 13;
/// What they are in the answer to a connection that is asked for.
const SYN_ACK: u8 = 0x12;

/// The value of a key in a packet's comment.
pub(super) fn value<'p>(packet: &'p Packet, key: &str) -> Option<&'p str> {
    let mut words = packet.more().comment.split(' ');
    words.find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

/// A value that must be there.
pub(super) fn said<'p>(packet: &'p Packet, key: &str) -> Result<&'p str> {
    let said = value(packet, key);
    said.with_context(|| format!("no {key} in {}", packet.more().comment))
}

/// When a process that is there was started, in ticks.
fn started(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, behind_name) = stat.rsplit_once(") ").context("no name")?;
    let start = behind_name.split(' ').nth(19).context("no start")?;
    Ok(start.parse()?)
}

/// A start as it is said, in ticks.
fn ticks(start: &str) -> Result<u64> {
    let (seconds, rest) = start.split_once('.').context("no fraction")?;
    let ns: u64 = rest.parse()?;
    ensure!(rest.len() == 9, "{start}");
    Ok(seconds.parse::<u64>()? * TICKS + ns / (1_000_000_000 / TICKS))
}

/// The time since the start of the machine, in the same.
fn ticks_now() -> Result<u64> {
    let now = clock_gettime(ClockId::Boottime);
    Ok(u64::try_from(now.tv_sec)? * TICKS + now.tv_nsec as u64 / (1_000_000_000 / TICKS))
}

pub(super) fn of_port(capture: &Capture, device: &str, port: u16) -> Vec<Packet> {
    let of_port = |packet: &&Packet| {
        let tcp = packet.tcp().map(|tcp| tcp.ports);
        let udp = packet.udp().map(|(to, _)| to);
        packet.more().device == device
            && (tcp.is_some_and(|ports| ports.0 == port || ports.1 == port) || udp == Some(port))
    };
    capture.packets.iter().filter(of_port).cloned().collect()
}

/// The test.
pub(crate) fn who_fields() -> Result<()> {
    let pair = Pair::new("who-fields")?;
    let (a, b) = (&pair.a, &pair.b);
    let skbcap = Skbcap::start(a, "who-fields", "--netns all --fields all")?;

    // One process accepts, another is passed the connection.
    let serve = "traffic tcp-workers at=10.0.0.2:80 how=pass bytes=4096 times=2";
    let mut server = b.start("fields-server", &mut words_of(serve))?;
    server.wait_stdout("listening")?;
    a.sh("traffic tcp-take to=10.0.0.2:80 times=2")?;
    let mut worker = 0;
    for _ in 0..100 {
        if let Some(said) = senders(&server.stdout()?)?.first() {
            worker = said.tgid;
            break;
        }
        sleep(Duration::from_millis(20));
    }
    let (worker_start, program) = (
        started(worker)?,
        fs::read_link(format!("/proc/{worker}/exe"))?,
    );

    // Processes that are gone at once, of another user.
    let mut gone = BTreeSet::new();
    for _ in 0..10 {
        let mut udp = words_of("traffic udp to=10.0.0.2:9 sizes=64 count=3");
        gone.insert(
            senders(&a.run(udp.uid(USER))?)?
                .first()
                .context("no sender")?
                .tgid,
        );
    }

    let earliest = ticks_now()?;
    let brief = brief::Sent::by_program(a, Some(USER))?;
    let latest = ticks_now()?;

    // Two processes, one after the other, with one number.
    let go = out("who-fields-go");
    let _ = fs::remove_file(&go);
    let late = format!("traffic tcp-serve at=10.0.0.2:99 after={}", go.display());
    let mut late = b.start("fields-late", &mut words_of(&late))?;
    late.wait_stdout("listening")?;
    let left = a.sh("traffic tcp-leave to=10.0.0.2:99 bytes=180000")?;
    let left = senders(&left)?.first().context("no sender")?.tgid;
    let reused = hands::reuse(a, left, Some(USER))?;
    fs::write(&go, "")?;
    late.finish()?;
    sleep(Duration::from_millis(200));
    let done = skbcap.stop()?;
    let (master, netns) = (server.id(), b.inode()?);
    let master_start = started(master)?;
    drop(server.child.stdin.take());
    server.finish()?;

    let (mut passed, mut answers) = (0, 0);
    for packet in of_port(&done.capture, "vb", 80) {
        if packet.data.get(TCP_FLAGS) == Some(&SYN_ACK) {
            // Of a request, which is its listener's.
            answers += 1;
            ensure!(
                packet.more().who.tgid == master
                    && said(&packet, "exe")? == program.to_string_lossy()
                    && ticks(said(&packet, "start")?)? == master_start
                    && said(&packet, "netns")? == netns.to_string(),
                "{}, not of {master}, {program:?}, {master_start}, {netns}",
                packet.more().comment
            );
        }
        if packet.more().who.tgid != worker {
            // Before it is passed on, it is its creator's.
            ensure!(
                value(&packet, "owner").is_none(),
                "{}",
                packet.more().comment
            );
            continue;
        }
        passed += 1;
        ensure!(
            said(&packet, "owner")? == format!("traffic/{master}")
                && said(&packet, "exe")? == program.to_string_lossy()
                && said(&packet, "uid")? == "0"
                && ticks(said(&packet, "start")?)? == worker_start
                && said(&packet, "parent")? == master.to_string()
                && said(&packet, "netns")? == netns.to_string(),
            "{}, not of {worker}, {program:?}, {worker_start}, {master}, {netns}",
            packet.more().comment
        );
    }
    let datagrams = of_port(&done.capture, "va", 9);
    let mut starts = BTreeSet::new();
    for packet in &datagrams {
        let exe = said(packet, "exe")?;
        // It was gone before we asked for its path, if not.
        let is_it = exe == program.to_string_lossy() || exe == "traffic";
        ensure!(
            is_it && gone.contains(&packet.more().who.tgid) && said(packet, "uid")? == "1234",
            "{}",
            packet.more().comment
        );
        ensure!(
            value(packet, "owner").is_none(),
            "{}",
            packet.more().comment
        );
        starts.insert((packet.more().who.tgid, said(packet, "start")?.to_owned()));
    }
    println!(
        "{passed} frames of a passed socket, {answers} answers to connections, {} datagrams",
        datagrams.len()
    );
    ensure!(answers >= 2 && passed > 10 && datagrams.len() == 30 && starts.len() == gone.len());

    let datagrams = of_port(&done.capture, "va", brief::PORT);
    ensure!(datagrams.len() == brief.count());
    for packet in &datagrams {
        let exe = said(packet, "exe")?;
        let start = ticks(said(packet, "start")?)?;
        ensure!(
            brief.is_right(packet)
                && (exe == program.to_string_lossy() || exe == "traffic")
                && said(packet, "uid")? == "1234"
                && said(packet, "parent")? == brief.parent.to_string()
                && (earliest..=latest).contains(&start),
            "{}, not of {}, {program:?}, {earliest} to {latest}",
            packet.more().comment,
            brief.parent
        );
    }

    let old = of_port(&done.capture, "va", 99);
    let mut first = None;
    for packet in old.iter().filter(|packet| packet.more().who.tgid == left) {
        let start = said(packet, "start")?;
        ensure!(
            *first.get_or_insert(start) == start && said(packet, "uid")? == "0",
            "{}",
            packet.more().comment
        );
    }
    let first = first.context("nothing was left behind")?;
    let port = reused.context("no process got the number")?;
    let new = of_port(&done.capture, "va", port);
    println!(
        "{} frames of one process {left}, {} of the next",
        old.len(),
        new.len()
    );
    ensure!(!new.is_empty());
    for packet in &new {
        ensure!(
            packet.more().who.tgid == left
                && ticks(said(packet, "start")?)? >= ticks(first)?
                && said(packet, "start")? != first
                && said(packet, "uid")? == "1234",
            "{}",
            packet.more().comment
        );
    }
    Ok(())
}
