//! Streams between two processes.

use anyhow::Result;

use super::datagrams::sender;
use super::table::{Cases, Place, Streams};
use crate::lab::{Pair, Space, words_of};
use crate::program::{Program, out};

/// A stream between two spaces, and who its ends were.
pub(super) fn stream(from: &Space, to: &Space, at: &str, send: &str) -> Result<Streams> {
    let mut server = words_of(&format!("traffic tcp-serve at={at}"));
    let mut server = to.start("server", &mut server)?;
    server.wait_stdout("listening")?;
    let client = sender(from, &format!("{send} to={at}"))?;
    let server_pid = server.id();
    server.finish()?;
    let port = at.rsplit(':').next().unwrap_or_default().parse()?;
    Ok(Streams::new(port, client, server_pid))
}

/// A client that says nothing for a while, and its server.
pub(super) struct Idle {
    client: Program,
    server: Program,
}

impl Idle {
    pub(super) fn start(pair: &Pair) -> Result<Self> {
        let serve = "traffic tcp-serve at=10.0.0.2:84";
        let mut server = pair.b.start("idle-server", &mut words_of(serve))?;
        server.wait_stdout("listening")?;
        let idle = "traffic tcp-idle to=10.0.0.2:84 ms=3500";
        let client = pair.a.start("idle-client", &mut words_of(idle))?;
        Ok(Self { client, server })
    }

    pub(super) fn end(self, cases: &mut Cases, pair: &Pair) -> Result<()> {
        let streams = Streams::new(84, self.client.id(), self.server.id());
        self.client.finish()?;
        self.server.finish()?;
        let places = vec![Place::new(&pair.a, "va")?, Place::new(&pair.b, "vb")?];
        cases.add("TCP, keepalives, both ways", places, move |packet| {
            streams.truth(packet)
        });
        Ok(())
    }
}

pub(super) fn rows(cases: &mut Cases, pair: &Pair, losing: &Pair) -> Result<()> {
    let (a, b) = (&pair.a, &pair.b);
    let streams = stream(a, a, "127.0.0.1:80", "tcp-send bytes=2000000")?;
    let lo = vec![Place::new(a, "lo")?];
    cases.add("TCP on loopback, both ways", lo, move |packet| {
        streams.truth(packet)
    });
    let streams = stream(a, b, "10.0.0.2:80", "tcp-send bytes=4000000")?;
    let again = streams.again();
    cases.add(
        "TCP, the sender",
        vec![Place::new(a, "va")?],
        move |packet| streams.truth(packet),
    );
    let vb = vec![Place::new(b, "vb")?];
    cases.add("TCP, the receiver", vb, move |packet| again.truth(packet));

    let file = out("who-file");
    a.sh(&format!(
        "traffic stream-file file={} bytes=2000000",
        file.display()
    ))?;
    let sendfile = format!("sendfile file={}", file.display());
    for (name, port, send) in [
        ("TCP by sendfile", 81, sendfile.as_str()),
        ("TCP by splice", 82, "splice bytes=1000000"),
        ("TCP, MSG_ZEROCOPY", 83, "pieces most=16"),
    ] {
        let streams = stream(a, b, &format!("10.0.0.2:{port}"), send)?;
        cases.add(name, vec![Place::new(a, "va")?], move |packet| {
            streams.truth(packet)
        });
    }

    // A host may have no netem.
    let netem = "tc qdisc add dev va root netem loss 3% delay 1ms limit 10000";
    if losing.a.sh(netem).is_ok() {
        let mut busy = words_of("sh -c");
        let busy = losing.a.start("busy", busy.arg("while :; do :; done"))?;
        let send = "tcp-send bytes=1500000";
        let streams = stream(&losing.a, &losing.b, "10.0.0.2:80", send)?;
        drop(busy);
        let places = vec![Place::new(&losing.a, "va")?];
        cases.add(
            "TCP with losses, retransmitted, another process busy",
            places,
            move |packet| streams.truth(packet),
        );
    }
    Ok(())
}
