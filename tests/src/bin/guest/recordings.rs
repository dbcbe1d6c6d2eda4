//! Recordings: what `--record` keeps gives the same packets by `--replay`. Those that are replayed
//! without a kernel, in `fixtures/rings`, were made here.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::lab::{Pair, words_of};
use crate::link_types::{ARPHRD_CAN, CAN};
use crate::program::out;
use crate::skbcap::{Hook, Skbcap, command};
use crate::tcp::stream;

/// A few frames of each sort; replayed without any privileges.
pub(crate) fn record_replay() -> Result<()> {
    let pair = Pair::new("record")?;
    // A host may lack it.
    let vlan = words_of("modprobe 8021q")
        .status()
        .is_ok_and(|status| status.success());
    if vlan {
        pair.a.ip("link add link va name va.7 type vlan id 7")?;
        pair.a.ip("address add 10.7.0.1/24 dev va.7")?;
        pair.a.ip("link set dev va.7 up")?;
        pair.a
            .ip("neigh add 10.7.0.2 lladdr 02:00:00:00:00:02 dev va.7 nud permanent")?;
    }
    let hooks = Hook::all();
    let (first, last) = (hooks[0], hooks[hooks.len() - 1]);
    record(&pair, "chronyd", first, "", |_| {
        pair.a.sh("chronyd raw device=va")?;
        pair.a
            .sh("traffic udp to=10.0.0.2:9 sizes=1,64,3000 threads=2")?;
        Ok(())
    })?;
    record(&pair, "stream", last, "", |_| {
        let send = "tcp-send bytes=70000";
        stream(&pair.a, &pair.b, "10.0.0.2:80", send, 70_000)
    })?;
    if vlan {
        record(&pair, "vlan", first, "-i va -i va.7", |_| {
            pair.a.sh("traffic udp to=10.7.0.2:9 sizes=1,100,3000")?;
            Ok(())
        })?;
    }
    // One file that tcpdump reads, too.
    record(&pair, "linktypes", first, "--linktype sll2", |_| {
        let _ = words_of("modprobe tun").status();
        let _carriers = [
            pair.a.tun("ta", libc::ARPHRD_NONE, "10.9.0")?,
            pair.a.tun("tc", ARPHRD_CAN, "10.10.0")?,
            pair.a.tun("ti", libc::ARPHRD_INFINIBAND, "10.11.0")?,
        ];
        let mut peers = vec!["10.0.0.2", "10.9.0.2", "10.11.0.2"];
        if vlan {
            peers.push("10.7.0.2");
        }
        for to in peers {
            pair.a.sh(&format!("traffic udp to={to}:9 sizes=1,100"))?;
        }
        let can = CAN.replace(' ', "");
        pair.a
            .sh(&format!("traffic frame device=tc protocol=12 hex={can}"))?;
        let bpdu = format!("0180c20000000200000000010026424203{}", "00".repeat(35));
        pair.a
            .sh(&format!("traffic frame device=va protocol=4 hex={bpdu}"))?;
        Ok(())
    })?;
    record(&pair, "losses", last, "-s 60 -B 64", |skbcap| {
        skbcap.program.signal(Signal::STOP)?;
        pair.a
            .sh("traffic udp to=10.0.0.2:9 sizes=100 count=1000")?;
        skbcap.program.signal(Signal::CONT)?;
        std::thread::sleep(Duration::from_millis(500));
        pair.a
            .sh("traffic udp to=10.0.0.2:9 sizes=100 threads=2 pin=true first=1000")?;
        Ok(())
    })
}

fn record(
    pair: &Pair,
    name: &str,
    hook: Hook,
    words: &str,
    traffic: impl FnOnce(&Skbcap) -> Result<()>,
) -> Result<()> {
    let ring = out(&format!("{name}.ring"));
    let ring = ring.to_str().context("an odd name")?;
    let form = words.strip_prefix("--linktype ").unwrap_or("device");
    let words = format!("--hook {hook} --record {ring} {words}");
    let skbcap = Skbcap::start(&pair.a, name, &words)?;
    traffic(&skbcap).with_context(|| name.to_owned())?;
    let live = skbcap.stop()?;
    let packets = live.capture.packets.len();
    println!(
        "{name}: {packets} packets, {} bytes",
        File::open(ring)?.metadata()?.len()
    );
    ensure!(packets > 0);
    let again = format!("{name}-again");
    // Not root, who could write what is anybody's.
    let file = File::create(out(&format!("{again}.pcapng")))?;
    file.set_permissions(Permissions::from_mode(0o666))?;
    let mut command = command(&format!("--replay {ring} --linktype {form}"));
    let again = Skbcap::launch_with(&pair.b, &again, command.uid(65534))?.finish()?;
    ensure!(
        live.capture.packets == again.capture.packets,
        "{name}: other packets"
    );
    ensure!(
        live.capture.sections == again.capture.sections,
        "{name}: another section"
    );
    let counts = |said: &str| -> Vec<String> {
        let lines = said
            .lines()
            .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
        lines.map(str::to_owned).collect()
    };
    ensure!(
        counts(&live.said) == counts(&again.said),
        "{name}: other counts:\n{}\nand again:\n{}",
        live.said,
        again.said
    );
    Ok(())
}
