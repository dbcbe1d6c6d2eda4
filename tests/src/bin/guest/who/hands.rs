//! Sockets in several hands, one after the other or at a time.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use skbcap_common::By;

use super::table::{Cases, Place, Streams, Truth, set};
use crate::lab::{Pair, Space, run, words_of};
use crate::program::{Program, out};
use crate::report::senders;

/// A connected client that waits to be told to write, or to have others write; and its server.
struct Hand {
    client: Program,
    server: Program,
    go: PathBuf,
    port: u16,
    name: &'static str,
}

impl Hand {
    fn connect(pair: &Pair, port: u16, writers: u32, name: &'static str) -> Result<Self> {
        let go = out(&format!("who-go-{port}"));
        let _ = fs::remove_file(&go);
        let mut serve = words_of(&format!("traffic tcp-serve at=10.0.0.2:{port}"));
        let mut server = pair.b.start(&format!("server-{port}"), &mut serve)?;
        server.wait_stdout("listening")?;
        let hand = format!(
            "traffic tcp-hand to=10.0.0.2:{port} bytes=20000 writers={writers} after={}",
            go.display()
        );
        let mut client = pair
            .a
            .start(&format!("client-{port}"), &mut words_of(&hand))?;
        client.wait_stdout("connected")?;
        Ok(Self {
            client,
            server,
            go,
            port,
            name,
        })
    }

    fn write(self, cases: &mut Cases, pair: &Pair) -> Result<()> {
        fs::write(&self.go, "")?;
        let said = self.client.finish()?;
        let server = self.server.id();
        self.server.finish()?;
        let hands: BTreeSet<u32> = senders(&said)?.iter().map(|one| one.tgid).collect();
        let streams = Streams::marked(self.port, hands.clone(), set(&[server]));
        let va = vec![Place::new(&pair.a, "va")?];
        // Of a frame without bytes, to be among the holders is all that can be right.
        cases.add(self.name, va, move |packet| {
            let who = &packet.more().who;
            match streams.truth(packet)? {
                Truth::OneOf(_) | Truth::Closed(_) if who.by == Some(By::Shared) => {
                    let named = who.writers.iter().copied().filter(|&one| one != 0);
                    let named: BTreeSet<u32> = named.collect();
                    Some(if named.is_subset(&hands) {
                        Truth::OneOf(named)
                    } else {
                        Truth::Wrong
                    })
                }
                truth => Some(truth),
            }
        });
        Ok(())
    }
}

/// Those that are there before the capture.
pub(super) struct Older(Vec<Hand>);

impl Older {
    pub(super) fn connect(pair: &Pair) -> Result<Self> {
        Ok(Self(vec![
            Hand::connect(pair, 90, 0, "TCP, socket older than the capture")?,
            Hand::connect(pair, 91, 2, "TCP, older, two processes write")?,
        ]))
    }
}

pub(super) fn rows(cases: &mut Cases, pair: &Pair, older: Older) -> Result<()> {
    for hand in older.0 {
        hand.write(cases, pair)?;
    }
    for (port, writers, name) in [
        (92, 1, "TCP, socket inherited by the writer"),
        (93, 2, "TCP, two processes write to a socket"),
    ] {
        Hand::connect(pair, port, writers, name)?.write(cases, pair)?;
    }
    for (port, how, name) in [
        (94, "reuse", "TCP, two workers by SO_REUSEPORT"),
        (95, "fork", "TCP, two workers of one listening socket"),
        (96, "activate", "TCP, socket activation"),
        (97, "accept", "TCP, accepted for a worker that inherits"),
        (98, "pass", "TCP, passed to a worker by SCM_RIGHTS"),
    ] {
        workers(cases, pair, port, how, name)?;
    }
    left_behind(cases, pair)
}

/// A server of several processes, what of it leaves.
fn workers(cases: &mut Cases, pair: &Pair, port: u16, how: &str, name: &'static str) -> Result<()> {
    const TIMES: usize = 4;
    let mut serve = words_of(&format!(
        "traffic tcp-workers at=10.0.0.2:{port} how={how} bytes=8192 times={TIMES}"
    ));
    let mut server = pair.b.start(&format!("workers-{port}"), &mut serve)?;
    server.wait_stdout("listening")?;
    let take = format!("traffic tcp-take to=10.0.0.2:{port} times={TIMES}");
    let said = pair.a.sh(&take)?;
    let client = senders(&said)?.first().context("no client")?.tgid;
    let mut servers = set(&[server.id()]);
    // They say so behind their last byte.
    let mut said = String::new();
    for _ in 0..100 {
        said = server.stdout()?;
        if senders(&said)?.len() >= TIMES {
            break;
        }
        sleep(Duration::from_millis(20));
    }
    drop(server.child.stdin.take());
    server.finish()?;
    servers.extend(senders(&said)?.iter().map(|one| one.tgid));
    ensure!(
        servers.len() > 1,
        "{name}: no worker said who it was: {said}"
    );
    let streams = Streams::marked(port, set(&[client]), servers);
    let vb = vec![Place::new(&pair.b, "vb")?];
    cases.add(name, vb, move |packet| streams.truth(packet));
    Ok(())
}

/// A process ends before its bytes are on their way, and another gets its number.
fn left_behind(cases: &mut Cases, pair: &Pair) -> Result<()> {
    let go = out("who-go-99");
    let _ = fs::remove_file(&go);
    let serve = format!("traffic tcp-serve at=10.0.0.2:99 after={}", go.display());
    let mut server = pair.b.start("server-99", &mut words_of(&serve))?;
    server.wait_stdout("listening")?;
    let said = pair.a.sh("traffic tcp-leave to=10.0.0.2:99 bytes=180000")?;
    let process = senders(&said)?.first().context("no sender")?.tgid;
    let reused = reuse(&pair.a, process, None)?;
    // The kernel asks again and again whether there is room.
    sleep(Duration::from_millis(1200));
    fs::write(&go, "")?;
    let server_pid = server.id();
    server.finish()?;
    let streams = Streams::new(99, process, server_pid);
    let va = || Ok::<_, anyhow::Error>(vec![Place::new(&pair.a, "va")?]);
    cases.add(
        "TCP, zero-window probes and data of a process that is no more",
        va()?,
        move |packet| match streams.truth(packet)? {
            _ if packet.more().who.comm == b"reuser" => Some(Truth::Wrong),
            truth => Some(truth),
        },
    );
    if let Some(port) = reused {
        cases.add("UDP of a process with its number", va()?, move |packet| {
            let (to, _) = packet.udp()?;
            let is_named = packet.more().who.comm == b"reuser";
            (to == port).then(|| match is_named {
                true => Truth::OneOf(set(&[process])),
                false => Truth::Wrong,
            })
        });
    }
    Ok(())
}

/// Has a program of another name send datagrams as a process of that number; the port that they went
/// to. A host may not let us.
pub(super) fn reuse(space: &Space, pid: u32, user: Option<u32>) -> Result<Option<u16>> {
    const LAST: &str = "/proc/sys/kernel/ns_last_pid";
    let path = out("reuser");
    let _ = fs::remove_file(&path);
    let traffic = run(&mut words_of("which traffic"))?;
    symlink(traffic.trim(), &path)?;
    for port in 200..250 {
        let said = space.within(|| {
            if fs::write(LAST, (pid - 1).to_string()).is_err() {
                return Ok(None);
            }
            let mut reuser = Command::new(&path);
            let to = format!("to=10.0.0.2:{port}");
            reuser.args(["udp", &to, "sizes=64", "count=20"]);
            if let Some(user) = user {
                reuser.uid(user);
            }
            run(&mut reuser).map(Some)
        })?;
        let Some(said) = said else {
            return Ok(None);
        };
        if senders(&said)?.first().context("no sender")?.tgid == pid {
            return Ok(Some(port));
        }
    }
    Ok(None)
}
