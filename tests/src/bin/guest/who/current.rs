//! `--fields current`: what was current at the hook, whoever sent, held against what a capture that makes
//! no claim took at the same hook.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use skbcap_common::Context;
use skbcap_tests::capture::Packet;

use super::Both;
use super::fields::said;
use crate::lab::{Pair, words_of};
use crate::report::senders;
use crate::skbcap::Hook;

/// A frame as both captures know it: the device, and its bytes.
type Key<'p> = (&'p str, &'p [u8]);

fn key(packet: &Packet) -> Key<'_> {
    (&packet.more().device, &packet.data)
}

/// At one hook.
fn at(hook: Hook) -> Result<()> {
    let pair = Pair::new("who-current")?;
    let words = format!("--hook {hook} --netns all --fields current");
    let both = Both::launch(&pair.a, &format!("who-current-{hook}"), &words)?.listen()?;
    let serve = "traffic tcp-workers at=10.0.0.2:80 how=pass bytes=200000 times=2";
    let mut server = pair.b.start("current-server", &mut words_of(serve))?;
    server.wait_stdout("listening")?;
    pair.a.sh("traffic tcp-take to=10.0.0.2:80 times=2")?;
    let sent = pair.a.sh("traffic udp to=10.0.0.2:9 sizes=64 count=3")?;
    let sender = senders(&sent)?.first().context("no sender")?.clone();
    std::thread::sleep(Duration::from_millis(300));
    let [ours, plain] = both.stop()?;
    drop(server.child.stdin.take());
    server.finish()?;

    let mut currents: HashMap<Key<'_>, Vec<String>> = HashMap::new();
    for packet in &plain.capture.packets {
        let who = &packet.more().who;
        let comm = String::from_utf8_lossy(&who.comm).replace('/', "\\x2f");
        let current = format!("{comm}/{}/{}", who.pid, who.tgid);
        currents.entry(key(packet)).or_default().push(current);
    }
    let (mut compared, mut softirqs, mut sent) = (0, 0, 0);
    for packet in &ours.capture.packets {
        let current = said(packet, "current")?;
        if packet.udp().is_some_and(|(to, _)| to == 9) && packet.more().device == "va" {
            sent += 1;
            let expected = format!("traffic/{}/{}", sender.pid, sender.tgid);
            ensure!(current == expected, "{current}, not {expected}");
        }
        // A frame whose bytes come twice is not told from the other.
        if let Some([other]) = currents.get(&key(packet)).map(Vec::as_slice) {
            compared += 1;
            ensure!(
                current == other,
                "{}, and at face value {other}",
                packet.more().comment
            );
            softirqs += u32::from(packet.more().who.context == Context::Softirq);
        }
    }
    println!("{hook}: {compared} frames, {softirqs} of them in softirqs, {sent} datagrams");
    ensure!(sent == 3 && compared > 50 && softirqs > 5);
    Ok(())
}

/// The test.
pub(crate) fn who_current() -> Result<()> {
    // Behind the queueing discipline the other capture tells who was current before it.
    Hook::all().into_iter().try_for_each(at)
}
