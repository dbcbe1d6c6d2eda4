//! Who sent each frame, held against what is known to be so: a table, in which nothing may be wrong.
//!
//! Beside the capture under test runs one that makes no claim, whose `current`, taken at face value,
//! shows what the claims correct.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fixtures::mark;
use skbcap_common::By;
use skbcap_tests::capture::{More, Packet, Segment};

use crate::lab::{Pair, Space, words_of};
use crate::program::out;
use crate::report::senders;
use crate::skbcap::{Skbcap, command};

/// What is known of a frame.
enum Truth {
    /// These processes, one of which would do: none wrote its bytes, but they hold its socket.
    OneOf(BTreeSet<u32>),
    /// Likewise; or no process, when the kernel already answers for a socket that is closed.
    Closed(BTreeSet<u32>),
    /// All of these wrote bytes in it.
    All(BTreeSet<u32>),
    /// No process.
    Kernel,
}

/// How many frames were said to be whose.
#[derive(Debug, Default)]
struct Row {
    frames: u64,
    right: u64,
    shared: u64,
    kernel: u64,
    unknown: u64,
    wrong: u64,
    face_value_wrong: u64,
    first_wrong: Option<String>,
}

impl Row {
    fn judge(&mut self, more: &More, truth: &Truth) {
        let who = &more.who;
        let named =
            |set: &BTreeSet<u32>, all: bool| set.contains(&who.tgid) && (!all || set.len() == 1);
        let count = match (who.by, truth) {
            (Some(By::Task | By::Socket), Truth::OneOf(set) | Truth::Closed(set))
                if named(set, false) =>
            {
                &mut self.right
            }
            (Some(By::Task | By::Socket), Truth::All(set)) if named(set, true) => &mut self.right,
            (Some(By::Kernel), Truth::Kernel | Truth::Closed(_)) => &mut self.kernel,
            (Some(By::Shared), Truth::OneOf(set) | Truth::Closed(set) | Truth::All(set))
                if set.iter().all(|one| who.writers.contains(one)) =>
            {
                &mut self.shared
            }
            (Some(By::Unknown), _) => &mut self.unknown,
            _ => {
                self.first_wrong.get_or_insert_with(|| more.comment.clone());
                &mut self.wrong
            }
        };
        *count += 1;
        self.frames += 1;
    }

    fn judge_face_value(&mut self, more: &More, truth: &Truth) {
        let right = match truth {
            Truth::OneOf(set) => set.contains(&more.who.tgid),
            Truth::Closed(set) => more.who.tgid == 0 || set.contains(&more.who.tgid),
            Truth::All(set) => set.len() == 1 && set.contains(&more.who.tgid),
            // The idle task stands for nobody.
            Truth::Kernel => more.who.tgid == 0,
        };
        self.face_value_wrong += u64::from(!right);
    }
}

/// Rows, and the table that they make.
#[derive(Default)]
struct Table(Vec<(&'static str, Row)>);

impl Table {
    /// Captures in a namespace while `traffic` runs, which then tells the truth about each frame;
    /// `None`: the frame is not of this row.
    fn row<T: Fn(&Packet) -> Option<Truth>>(
        &mut self,
        name: &'static str,
        space: &Space,
        traffic: impl FnOnce() -> Result<T>,
    ) -> Result<()> {
        let number = self.0.len();
        let under_test = Skbcap::launch(space, &format!("who{number}"), "")?;
        let mut plain = command("");
        plain.env("SKBCAP_ATTRIBUTION", "none");
        let plain = Skbcap::launch_with(space, &format!("who{number}-plain"), &mut plain)?;
        let (under_test, plain) = (under_test.listen()?, plain.listen()?);
        let truth = traffic().with_context(|| name.to_owned())?;
        // What TCP still has to say.
        sleep(Duration::from_millis(400));
        let (done, plain) = (under_test.stop()?, plain.stop()?);
        let mut row = Row::default();
        for packet in &done.capture.packets {
            if let Some(truth) = truth(packet) {
                row.judge(packet.more(), &truth);
            }
        }
        for packet in &plain.capture.packets {
            ensure!(
                packet.more().who.by.is_none(),
                "a claim where none was to be made"
            );
            if let Some(truth) = truth(packet) {
                row.judge_face_value(packet.more(), &truth);
            }
        }
        println!("{name}: {row:?}");
        self.0.push((name, row));
        Ok(())
    }

    fn text(&self) -> String {
        let mut text = String::from(
            "row\tframes\tright\tshared\tkernel\tunknown\twrong\twrong at face value\n",
        );
        for (name, row) in &self.0 {
            // Writing to a String can't fail.
            let _ = writeln!(
                text,
                "{name}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
                row.frames,
                row.right,
                row.shared,
                row.kernel,
                row.unknown,
                row.wrong,
                row.face_value_wrong
            );
        }
        text
    }
}

fn set(of: &[u32]) -> BTreeSet<u32> {
    of.iter().copied().collect()
}

/// The sides of a stream to port 80: whatever goes there is the client's, the rest the server's.
fn sides(client: u32, server: u32) -> impl Fn(&Packet) -> Option<Truth> {
    let end = End::default();
    move |packet| {
        let tcp = packet.tcp()?;
        Some(match tcp.ports {
            (_, 80) if end.is_before(&tcp) => Truth::Closed(set(&[client])),
            (_, 80) => Truth::OneOf(set(&[client])),
            (80, _) => Truth::OneOf(set(&[server])),
            _ => return None,
        })
    }
}

/// Where one side of a stream ends. What that side sends behind it acknowledges only, and may be sent
/// in TIME-WAIT, without a socket of the process's.
#[derive(Default)]
struct End(Cell<Option<u32>>);

impl End {
    fn is_before(&self, tcp: &Segment<'_>) -> bool {
        if tcp.fin {
            self.0.set(Some(
                tcp.sequence.wrapping_add(tcp.payload.len() as u32 + 1),
            ));
        }
        !tcp.fin && tcp.payload.is_empty() && self.0.get() == Some(tcp.sequence)
    }
}

/// A stream between two spaces, and who its ends were.
fn stream(from: &Space, to: &Space, at: &str, send: &str) -> Result<(u32, u32)> {
    let mut server = words_of(&format!("traffic tcp-serve at={at}"));
    let mut server = to.start("server", &mut server)?;
    server.wait_stdout("listening")?;
    let said = from.sh(&format!("traffic {send} to={at}"))?;
    let server_pid = server.id();
    server.finish()?;
    let client = senders(&said)?.first().context("no sender")?.tgid;
    Ok((client, server_pid))
}

/// A frame of a stream whose every 8 bytes are their writer: those, else any of the `hands`.
fn written(packet: &Packet, hands: &BTreeSet<u32>, server: u32, end: &End) -> Option<Truth> {
    let tcp = packet.tcp()?;
    match tcp.ports {
        (80, _) => Some(Truth::OneOf(set(&[server]))),
        (_, 80) if end.is_before(&tcp) => Some(Truth::Closed(hands.clone())),
        (_, 80) if tcp.payload.is_empty() => Some(Truth::OneOf(hands.clone())),
        (_, 80) => {
            let words = tcp.payload.as_chunks::<8>().0;
            let pids = words.iter().map(|word| u64::from_be_bytes(*word) as u32);
            Some(Truth::All(pids.collect()))
        }
        _ => None,
    }
}

/// The table.
pub(crate) fn who_sent_it() -> Result<()> {
    let mut table = Table::default();
    datagrams(&mut table)?;
    streams(&mut table)?;
    hands(&mut table)?;
    nobody(&mut table)?;
    let text = table.text();
    print!("{text}");
    fs::write(out("who.tsv"), &text)?;
    for (name, row) in &table.0 {
        ensure!(row.frames > 0, "{name}: no frame");
        ensure!(row.wrong == 0, "{name}: {:?}", row.first_wrong);
        ensure!(row.unknown * 1000 <= row.frames, "{name}: {row:?}");
    }
    let face_value: u64 = table.0.iter().map(|(_, row)| row.face_value_wrong).sum();
    ensure!(face_value > 0, "there was nothing to correct");
    Ok(())
}

fn datagrams(table: &mut Table) -> Result<()> {
    let pair = Pair::new("who-udp")?;
    let a = &pair.a;
    table.row("UDP, threads", a, || {
        let said = a.sh("traffic udp to=10.0.0.2:9 sizes=16,1400,4000 count=50 threads=3")?;
        let threads: BTreeSet<u32> = senders(&said)?.iter().map(|one| one.pid).collect();
        let process = senders(&said)?.first().context("no thread")?.tgid;
        Ok(move |packet: &Packet| {
            let (9, payload) = packet.udp()? else {
                return None;
            };
            // The claim is about a thread too.
            let sent = mark::read(payload)?.pid;
            let is_thread = threads.contains(&sent) && packet.more().who.pid == sent;
            Some(Truth::OneOf(if is_thread {
                set(&[process])
            } else {
                BTreeSet::new()
            }))
        })
    })?;
    table.row("UDP on loopback", a, || {
        let said = a.sh("traffic udp to=127.0.0.1:9 sizes=100 count=50")?;
        let process = senders(&said)?.first().context("no sender")?.tgid;
        Ok(move |packet: &Packet| {
            Some(match packet.udp() {
                Some(_) => Truth::OneOf(set(&[process])),
                // Nobody listens: the kernel says so.
                None => Truth::Kernel,
            })
        })
    })?;
    table.row("packet socket", a, || {
        // By their sizes one knows whose they are.
        let mut processes = Vec::new();
        for size in [100, 200] {
            let said = a.sh(&format!("traffic packet device=va size={size}"))?;
            processes.push(senders(&said)?.first().context("no sender")?.tgid);
        }
        Ok(move |packet: &Packet| {
            let process = processes[usize::from(packet.len > 150)];
            Some(Truth::OneOf(set(&[process])))
        })
    })
}

fn streams(table: &mut Table) -> Result<()> {
    let pair = Pair::new("who-tcp")?;
    let (a, b) = (&pair.a, &pair.b);
    table.row("TCP on loopback, both ways", a, || {
        let (client, server) = stream(a, a, "127.0.0.1:80", "tcp-send bytes=4000000")?;
        Ok(sides(client, server))
    })?;
    table.row("TCP, the sender", a, || {
        let (client, server) = stream(a, b, "10.0.0.2:80", "tcp-send bytes=4000000")?;
        Ok(sides(client, server))
    })?;
    table.row("TCP, the receiver", b, || {
        let (client, server) = stream(a, b, "10.0.0.2:80", "tcp-send bytes=4000000")?;
        Ok(sides(client, server))
    })?;
    let file = out("who-file");
    a.sh(&format!(
        "traffic stream-file file={} bytes=2000000",
        file.display()
    ))?;
    table.row("sendfile", a, || {
        let send = format!("sendfile file={}", file.display());
        let (client, server) = stream(a, b, "10.0.0.2:80", &send)?;
        Ok(sides(client, server))
    })?;
    // A host may have no netem.
    if a.sh("tc qdisc add dev va root netem loss 3% delay 1ms limit 10000")
        .is_ok()
    {
        table.row("TCP with losses, retransmitted", a, || {
            let (client, server) = stream(a, b, "10.0.0.2:80", "tcp-send bytes=2000000")?;
            Ok(sides(client, server))
        })?;
    }
    Ok(())
}

fn hands(table: &mut Table) -> Result<()> {
    let pair = Pair::new("who-hands")?;
    let (a, b) = (&pair.a, &pair.b);
    for (name, writers, older) in [
        ("TCP, socket inherited by the writer", 1, false),
        ("TCP, two processes write to a socket", 2, false),
        ("TCP, socket older than the capture", 0, true),
        ("TCP, older, two processes write", 2, true),
    ] {
        let go = out("who-go");
        let _ = fs::remove_file(&go);
        let mut server = b.start("server", &mut words_of("traffic tcp-serve at=10.0.0.2:80"))?;
        server.wait_stdout("listening")?;
        let hand = format!(
            "traffic tcp-hand to=10.0.0.2:80 bytes=40000 writers={writers} after={}",
            go.display()
        );
        let start = || {
            let mut client = a.start("client", &mut words_of(&hand))?;
            client.wait_stdout("connected")?;
            Ok::<_, anyhow::Error>(client)
        };
        let before = if older { Some(start()?) } else { None };
        table.row(name, a, || {
            let client = match before {
                Some(client) => client,
                None => start()?,
            };
            fs::write(&go, "")?;
            let said = client.finish()?;
            let server_pid = server.id();
            server.finish()?;
            let hands: BTreeSet<u32> = senders(&said)?.iter().map(|one| one.tgid).collect();
            let end = End::default();
            // Of a frame without bytes, to be among the holders is all that can be right.
            Ok(move |packet: &Packet| {
                let who = &packet.more().who;
                match written(packet, &hands, server_pid, &end)? {
                    Truth::OneOf(_) | Truth::Closed(_) if who.by == Some(By::Shared) => {
                        let named = who.writers.iter().copied().filter(|&one| one != 0);
                        let named: BTreeSet<u32> = named.collect();
                        Some(Truth::OneOf(if named.is_subset(&hands) {
                            named
                        } else {
                            hands.clone()
                        }))
                    }
                    truth => Some(truth),
                }
            })
        })?;
    }
    Ok(())
}

fn nobody(table: &mut Table) -> Result<()> {
    let pair = Pair::new("who-kernel")?;
    let (a, b) = (&pair.a, &pair.b);
    a.ip("neigh del 10.0.0.2 dev va")?;
    b.ip("neigh del 10.0.0.1 dev vb")?;
    table.row("ping and ARP, the asking side", a, || {
        let mut ping = a.start("ping", &mut words_of("ping -n -c 5 -i 0.2 10.0.0.2"))?;
        let process = ping.id();
        ping.wait()?;
        Ok(move |packet: &Packet| {
            Some(match packet.data.get(12..14)? {
                [8, 0] => Truth::OneOf(set(&[process])),
                _ => Truth::Kernel,
            })
        })
    })?;
    table.row("ping and ARP, the answering side", b, || {
        a.sh("ping -n -c 5 -i 0.2 10.0.0.2")?;
        Ok(|_: &Packet| Some(Truth::Kernel))
    })?;
    table.row("TCP, refused", b, || {
        for _ in 0..3 {
            a.sh("traffic tcp-refused to=10.0.0.2:81")?;
        }
        Ok(|packet: &Packet| packet.tcp().map(|_| Truth::Kernel))
    })
}
