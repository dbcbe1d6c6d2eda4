//! Processes that are gone before anybody could ask /proc for them.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fixtures::mark;
use skbcap_tests::capture::Packet;

use super::table::{Cases, Place, Truth, set};
use crate::lab::{Pair, Space, words_of};
use crate::report::senders;

/// Less than this is brief.
const BRIEF: Duration = Duration::from_millis(1);
/// How many such processes are wanted, and how many there are if others lived longer: guests are
/// emulated, on machines with other work.
const WANTED: usize = 50;
const MOST: usize = 2000;
/// With fewer that are brief, a test is about something else.
const LEAST: usize = 10;
/// Where their datagrams go.
pub(super) const PORT: u16 = 16;

/// The processes, and how long each was there: rather less than it says.
pub(super) struct Sent {
    lives: BTreeMap<u32, Duration>,
    /// Who made them.
    pub(super) parent: u32,
}

impl Sent {
    /// Has a program make them, as a user if one is given.
    pub(super) fn by_program(space: &Space, user: Option<u32>) -> Result<Self> {
        let words = format!(
            "traffic brief to=10.0.0.2:{PORT} wanted={WANTED} most={MOST} us={}",
            BRIEF.as_micros()
        );
        let mut command = words_of(&words);
        if let Some(user) = user {
            command.uid(user);
        }
        let said = space.run(&mut command)?;
        let life = |line: &str| {
            let (pid, us) = line.strip_prefix("child=")?.split_once(" lived_us=")?;
            Some((pid.parse().ok()?, Duration::from_micros(us.parse().ok()?)))
        };
        let lives: BTreeMap<_, _> = said.lines().filter_map(life).collect();
        let parent = senders(&said)?.first().context("no parent")?.tgid;
        let brief = lives.values().filter(|&&life| life < BRIEF).count();
        let shortest = lives.values().min().context("no child")?;
        println!(
            "{brief} of {} processes lived under a millisecond, one of them {shortest:?}",
            lives.len()
        );
        ensure!(brief >= LEAST, "only {brief} processes were brief");
        Ok(Self { lives, parent })
    }

    /// How many processes there were.
    pub(super) fn count(&self) -> usize {
        self.lives.len()
    }

    /// Whether what is said of a datagram is what is in it: its process, and the name that this has
    /// given itself.
    pub(super) fn is_right(&self, packet: &Packet) -> bool {
        let who = &packet.more().who;
        sender_of(packet).is_some_and(|pid| {
            self.lives.contains_key(&pid)
                && who.tgid == pid
                && who.pid == pid
                && who.comm == format!("brief-{pid}").as_bytes()
        })
    }

    fn is_brief(&self, pid: u32) -> bool {
        self.lives.get(&pid).is_some_and(|&life| life < BRIEF)
    }
}

/// Who sent a datagram, by what is in it.
fn sender_of(packet: &Packet) -> Option<u32> {
    let (to, payload) = packet.udp()?;
    (to == PORT)
        .then(|| mark::read(payload))?
        .map(|mark| mark.pid)
}

/// A row of those that were brief; nothing may be wrong of the others either.
pub(super) fn row(cases: &mut Cases, pair: &Pair) -> Result<()> {
    let sent = Sent::by_program(&pair.a, None)?;
    let va = vec![Place::new(&pair.a, "va")?];
    let name = "UDP of processes that live under a millisecond";
    cases.add(name, va, move |packet| {
        let pid = sender_of(packet)?;
        match sent.is_right(packet) {
            true => sent.is_brief(pid).then(|| Truth::OneOf(set(&[pid]))),
            false => Some(Truth::Wrong),
        }
    });
    Ok(())
}
