//! Names that the C library's resolver asks for.

use std::fs;

use anyhow::{Context, Result};

use super::table::{Cases, Place, Truth, set};
use crate::lab::{Pair, words_of};
use crate::program::out;
use crate::report::senders;

/// Processes that ask, each for the two kinds of addresses.
const TIMES: usize = 5;
/// Where the source port stands in the frame.
const FROM: std::ops::Range<usize> = 34..36;
const PORT: u16 = 53;

pub(super) fn row(cases: &mut Cases, pair: &Pair) -> Result<()> {
    let (resolv, nsswitch) = (out("resolv.conf"), out("nsswitch.conf"));
    fs::write(&resolv, "nameserver 10.0.0.2\n")?;
    fs::write(&nsswitch, "passwd: files\nhosts: dns\n")?;
    // A guest has none, and a mount needs a place.
    if !fs::exists("/etc/resolv.conf")? {
        fs::write("/etc/resolv.conf", "")?;
    }
    let serve = format!("traffic dns at=10.0.0.2:{PORT} count={}", 2 * TIMES);
    let mut server = pair.b.start("names", &mut words_of(&serve))?;
    server.wait_stdout("listening")?;
    let answers = set(&[server.id()]);
    let mut asked = Vec::new();
    for number in 0..TIMES {
        let name = format!("who-{number}");
        // Its own view of /etc, and nobody else's.
        let script = format!(
            "mount --bind {} /etc/resolv.conf && mount --bind {} /etc/nsswitch.conf && \
             exec traffic resolve name={name}.example",
            resolv.display(),
            nsswitch.display()
        );
        let mut resolve = words_of("unshare --mount dash -c");
        let said = pair.a.run(resolve.arg(script))?;
        let process = senders(&said)?.first().context("no sender")?.tgid;
        asked.push((name.into_bytes(), set(&[process])));
    }
    server.finish()?;
    let places = vec![Place::new(&pair.a, "va")?, Place::new(&pair.b, "vb")?];
    cases.add(
        "DNS by the C library's resolver, and its answers",
        places,
        move |packet| {
            let (to, payload) = packet.udp()?;
            if *packet.data.get(FROM)? == PORT.to_be_bytes() {
                return Some(Truth::OneOf(answers.clone()));
            }
            let is_of =
                |name: &[u8]| to == PORT && payload.windows(name.len()).any(|part| part == name);
            let (_, process) = asked.iter().find(|(name, _)| is_of(name))?;
            Some(Truth::OneOf(process.clone()))
        },
    );
    Ok(())
}
