//! Processes in containers: each in a pid namespace and a cgroup of its own, and in a network
//! namespace behind a bridge of its host's.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::passed::{cable, masquerade};
use super::table::{Cases, Place, Streams, Truth};
use crate::lab::{Space, words_of};
use crate::report::senders;

/// A traffic program in a container.
pub(super) fn contained(space: &Space, words: &str) -> Command {
    let cgroup = format!("/sys/fs/cgroup/{}", space.name());
    // A host may not let us.
    let join = match fs::create_dir_all(&cgroup) {
        Ok(()) => format!("echo $$ >{cgroup}/cgroup.procs && "),
        Err(_) => String::new(),
    };
    let script = format!("{join}exec unshare --cgroup --pid --fork --kill-child traffic {words}");
    let mut command = words_of("dash -c");
    command.arg(script);
    command
}

/// The process that said this, as all but itself know it.
fn outer(said: &str) -> Result<u32> {
    let said = senders(said)?;
    let one = said.first().context("nobody said who it was")?;
    ensure!(one.tgid != one.outer, "{one:?} is in no namespace");
    Ok(one.outer)
}

pub(super) fn rows(cases: &mut Cases) -> Result<()> {
    let spaces = ["who-cont-1", "who-cont-2", "who-host", "who-world"].map(Space::new);
    let [one, two, host, world] = spaces;
    let (one, two, host, world) = (one?, two?, host?, world?);
    // A host may have no bridge.
    if host.ip("link add br0 type bridge").is_err() {
        return Ok(());
    }
    cable((&one, "eth0"), (&host, "h1"))?;
    cable((&two, "eth0"), (&host, "h2"))?;
    cable((&world, "eth0"), (&host, "out"))?;
    for device in ["h1", "h2"] {
        host.ip(&format!("link set dev {device} master br0"))?;
    }
    host.ip("link set dev br0 up")?;
    for (space, device, address) in [
        (&one, "eth0", "10.4.0.1"),
        (&two, "eth0", "10.4.0.2"),
        (&host, "br0", "10.4.0.254"),
        (&host, "out", "10.5.0.254"),
        (&world, "eth0", "10.5.0.1"),
    ] {
        space.ip(&format!("address add {address}/24 dev {device}"))?;
    }
    one.ip("route add default via 10.4.0.254")?;
    world.ip("route add default via 10.5.0.254")?;
    masquerade(&host, "out")?;

    let mut serve = contained(&two, "tcp-serve at=10.4.0.2:80");
    let mut server = two.start("contained", &mut serve)?;
    server.wait_stdout("listening")?;
    let send = "tcp-send to=10.4.0.2:80 bytes=300000";
    let client = outer(&one.run(&mut contained(&one, send))?)?;
    let streams = Streams::new(80, client, outer(&server.finish()?)?);
    let places = vec![
        Place::new(&one, "eth0")?,
        Place::new(&two, "eth0")?,
        Place::new(&host, "h1")?,
        Place::new(&host, "h2")?,
    ];
    cases.add(
        "TCP between containers, through their bridge, at each device, both ways",
        places,
        move |packet| Some(streams.truth(packet)?.of_any()),
    );

    let mut server = world.start("world", &mut words_of("traffic tcp-serve at=10.5.0.1:81"))?;
    server.wait_stdout("listening")?;
    let send = "tcp-send to=10.5.0.1:81 bytes=300000";
    let client = outer(&one.run(&mut contained(&one, send))?)?;
    let streams = Streams::new(81, client, server.id());
    server.finish()?;
    cases.add(
        "TCP of a container to the world, at its own device",
        vec![Place::new(&one, "eth0")?],
        move |packet| streams.truth(packet),
    );
    let places = vec![Place::new(&host, "br0")?, Place::new(&host, "out")?];
    cases.add(
        "the same, routed by its host, with NAT, both ways",
        places,
        |_| Some(Truth::Kernel),
    );
    cases.keep([one, two, host, world]);
    Ok(())
}
