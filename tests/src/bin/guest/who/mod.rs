//! Who sent each frame, held against what is known to be so: a table, in which nothing may be wrong.
//!
//! Beside the capture under test runs one that makes no claim, whose `current`, taken at face value,
//! shows what the claims correct. Both are started once: the rows differ by their ports, devices and
//! namespaces.

mod brief;
mod cgroup;
mod cmdline;
mod containers;
mod current;
mod datagrams;
mod fields;
mod hands;
mod lines;
mod many;
mod names;
mod passed;
mod polled;
mod queued;
mod streams;
mod table;

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

pub(crate) use self::cgroup::who_cgroup;
pub(crate) use self::cmdline::who_cmdline;
pub(crate) use self::current::who_current;
pub(crate) use self::fields::who_fields;
pub(crate) use self::lines::who_fields_lines;
pub(crate) use self::many::who_many_sockets;
use self::table::{Captures, Cases, Taken};
use crate::lab::{Pair, Space};
use crate::program::out;
use crate::skbcap::{Done, Skbcap, command};

/// A capture under test, and beside it one of the same that makes no claim.
struct Both {
    under_test: Skbcap,
    plain: Skbcap,
}

impl Both {
    /// Starts both, each with a name and words of the command line.
    fn launch(space: &Space, name: &str, words: &str) -> Result<Self> {
        let under_test = Skbcap::launch(space, name, words)?;
        let mut plain = command(words);
        plain.env("SKBCAP_ATTRIBUTION", "none");
        let plain = Skbcap::launch_with(space, &format!("plain-{name}"), &mut plain)?;
        Ok(Self { under_test, plain })
    }

    fn listen(self) -> Result<Self> {
        Ok(Self {
            under_test: self.under_test.listen()?,
            plain: self.plain.listen()?,
        })
    }

    /// What they left: of the one under test, and of the other.
    fn stop(self) -> Result<[Done; 2]> {
        Ok([self.under_test.stop()?, self.plain.stop()?])
    }
}

/// The table.
pub(crate) fn who_sent_it() -> Result<()> {
    let pair = Pair::new("who")?;
    let losing = Pair::new("who-loss")?;
    let older = hands::Older::connect(&pair)?;
    let words = "--netns all -B 65536";
    let both = Both::launch(&pair.a, "who.mixed", words)?;
    let both = both.listen()?;

    let mut cases = Cases::default();
    let idle = streams::Idle::start(&pair)?;
    hands::rows(&mut cases, &pair, older)?;
    datagrams::rows(&mut cases, &pair)?;
    brief::row(&mut cases, &pair)?;
    names::row(&mut cases, &pair)?;
    streams::rows(&mut cases, &pair, &losing)?;
    queued::paced(&mut cases)?;
    let driven = queued::drained(&mut cases)?;
    passed::rows(&mut cases, &pair)?;
    let poller = polled::row(&mut cases)?;
    containers::rows(&mut cases)?;
    idle.end(&mut cases, &pair)?;
    // What TCP still has to say.
    sleep(Duration::from_millis(400));

    let sent = both.stop()?;
    poller.check(&sent[1].capture)?;
    let mut captures = vec![Captures::of(Taken::Sent, &sent)];
    captures.extend(
        driven
            .as_ref()
            .map(|done| Captures::of(Taken::Driven, done)),
    );
    let table = cases.judge(&captures)?;
    let text = table.text();
    print!("{text}");
    fs::write(out("who.tsv"), &text)?;
    table.check()
}
