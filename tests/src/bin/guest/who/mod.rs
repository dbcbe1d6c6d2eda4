//! Who sent each frame, held against what is known to be so: a table, in which nothing may be wrong.
//!
//! Beside the capture under test runs one that makes no claim, whose `current`, taken at face value,
//! shows what the claims correct. Both are started once: the rows differ by their ports, devices and
//! namespaces.

mod datagrams;
mod fields;
mod hands;
mod many;
mod passed;
mod streams;
mod table;

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

pub(crate) use self::fields::who_fields;
pub(crate) use self::many::who_many_sockets;
use self::table::Cases;
use crate::lab::Pair;
use crate::program::out;
use crate::skbcap::{Skbcap, command};

/// The table.
pub(crate) fn who_sent_it() -> Result<()> {
    let pair = Pair::new("who")?;
    let losing = Pair::new("who-loss")?;
    let older = hands::Older::connect(&pair)?;
    let words = "--netns all -B 65536";
    let under_test = Skbcap::launch(&pair.a, "who.mixed", words)?;
    let mut plain = command(words);
    plain.env("SKBCAP_ATTRIBUTION", "none");
    let plain = Skbcap::launch_with(&pair.a, "who-plain.mixed", &mut plain)?;
    let (under_test, plain) = (under_test.listen()?, plain.listen()?);

    let mut cases = Cases::default();
    let idle = streams::Idle::start(&pair)?;
    hands::rows(&mut cases, &pair, older)?;
    datagrams::rows(&mut cases, &pair)?;
    streams::rows(&mut cases, &pair, &losing)?;
    passed::rows(&mut cases, &pair)?;
    idle.end(&mut cases, &pair)?;
    // What TCP still has to say.
    sleep(Duration::from_millis(400));

    let (done, plain) = (under_test.stop()?, plain.stop()?);
    let table = cases.judge(&done.capture, &plain.capture)?;
    let text = table.text();
    print!("{text}");
    fs::write(out("who.tsv"), &text)?;
    table.check()
}
