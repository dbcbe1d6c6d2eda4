//! `--fields cgroup`: the cgroup of each process and the container in its path, of processes that are
//! there, that are gone at once, and whose cgroup is gone with them.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use skbcap_tests::capture::Packet;

use super::fields::{said, value};
use crate::cgroups::mounted;
use crate::lab::Pair;
use crate::report::senders;
use crate::skbcap::Skbcap;

const ID: &str = "3f4e5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9f0011223344556677aa";
/// Datagrams of each process.
const COUNT: usize = 3;

/// A process that is in a cgroup from before its first instruction on, and sends: its number.
fn send(pair: &Pair, group: &Path) -> Result<u32> {
    let script = format!(
        "echo $$ >'{}/cgroup.procs' && exec traffic udp to=10.0.0.2:9 sizes=64 count={COUNT}",
        group.display()
    );
    let said = pair.a.run(Command::new("sh").args(["-c", &script]))?;
    Ok(senders(&said)?.first().context("no sender")?.tgid)
}

/// The test.
pub(crate) fn who_cgroup() -> Result<()> {
    let root = mounted()?;
    let pair = Pair::new("who-cgroup")?;
    let top = root.join(format!("skbcap-who-{}", std::process::id()));
    let container = top.join(format!("docker-{ID}.scope"));
    let spaced = top.join("a b=c");
    for group in [&container, &spaced] {
        fs::create_dir_all(group)?;
    }
    let skbcap = Skbcap::start(&pair.a, "who-cgroup", "-i va --fields cgroup,uid")?;
    let in_root = send(&pair, &root)?;
    let in_container = send(&pair, &container)?;
    let in_spaced = send(&pair, &spaced)?;
    // Those are not there any more, and it is not the first to ask.
    let again = send(&pair, &container)?;
    let short = top.join("short");
    fs::create_dir(&short)?;
    let in_short = send(&pair, &short)?;
    fs::remove_dir(&short)?;
    sleep(Duration::from_millis(300));
    let done = skbcap.stop()?;

    let name = top.file_name().context("no name")?.to_string_lossy();
    let all = &done.capture.packets;
    let of = |tgid| -> Result<Vec<&Packet>> {
        let of_it = all.iter().filter(|packet| packet.more().who.tgid == tgid);
        let of_it: Vec<&Packet> = of_it.collect();
        ensure!(of_it.len() == COUNT, "{} frames of {tgid}", of_it.len());
        Ok(of_it)
    };
    let expected = [
        (in_root, "/".to_owned(), None),
        (in_container, format!("/{name}/docker-{ID}.scope"), Some(ID)),
        (in_spaced, format!(r"/{name}/a\x20b\x3dc"), None),
        (again, format!("/{name}/docker-{ID}.scope"), Some(ID)),
    ];
    for (tgid, path, id) in expected {
        for packet in of(tgid)? {
            let is_so = said(packet, "cgroup")? == path && value(packet, "container") == id;
            ensure!(is_so, "{}, not {path}", packet.more().comment);
        }
    }
    let mut known = 0;
    for packet in of(in_short)? {
        // It may be gone before anybody asked; the rest is known all the same.
        let cgroup = value(packet, "cgroup");
        known += usize::from(cgroup.is_some());
        let is_so = cgroup.is_none_or(|cgroup| cgroup == format!("/{name}/short"));
        ensure!(
            is_so && said(packet, "uid")? == "0",
            "{}",
            packet.more().comment
        );
    }
    println!("{known} of {COUNT} frames say of which cgroup that is gone they were");
    for group in [&container, &spaced, &top] {
        fs::remove_dir(group)?;
    }
    Ok(())
}
