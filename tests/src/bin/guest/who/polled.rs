//! Frames that are forwarded, and answers that are given, from within the system call of a process
//! that has nothing to do with them: it polls a device for a datagram of its own.

use anyhow::{Context as _, Result, ensure};
use skbcap_common::Context;
use skbcap_tests::capture::{Capture, Packet};

use super::passed::routed;
use super::streams::stream;
use super::table::{Cases, Place, Truth};
use crate::lab::words_of;
use crate::native::pass_all;

/// The process that polls.
pub(super) struct Poller(u32);

impl Poller {
    /// It must have been the one that ran while frames left, or there was nothing to get wrong:
    /// what a capture of the router has that makes no claim.
    pub(super) fn check(&self, face_value: &Capture) -> Result<()> {
        let of = |device: &str| {
            let packets = face_value.packets.iter().map(Packet::more);
            let within = packets.filter(|more| {
                more.device == device
                    && more.who.tgid == self.0
                    && more.who.context == Context::Task
            });
            within.count()
        };
        let [answered, forwarded] = ["pa", "pb"].map(of);
        println!("while one polled: {forwarded} frames forwarded, {answered} answers");
        ensure!(forwarded > 20 && answered > 0, "nobody polled");
        Ok(())
    }
}

/// A process on a router polls the device that frames come in by.
pub(super) fn row(cases: &mut Cases) -> Result<Poller> {
    let names = ["who-poll-from", "who-poll-via", "who-poll-to"];
    let [from, router, to] = routed(names, [("pa", "10.5.0"), ("pb", "10.6.0")])?;
    router.sysctl("net/ipv4/ip_forward", "1")?;
    // On every kernel what veth receives can be polled for if it has an XDP program.
    let link = router.ip("-o link show dev pa")?;
    let ifindex = link.split(':').next().context("no number")?.parse()?;
    let _polled = router.within(|| pass_all(ifindex))?;

    let poll = "traffic poll at=10.5.0.2:9";
    let mut poller = router.start("poller", &mut words_of(poll))?;
    poller.wait_stdout("listening")?;
    from.sh("traffic udp to=10.5.0.2:9 sizes=16")?;
    poller.wait_stdout("polling")?;
    from.sh("traffic udp to=10.6.0.1:9 sizes=100,1400 count=50 gap_us=1000")?;
    stream(&from, &to, "10.6.0.1:80", "tcp-send bytes=300000")?;
    from.sh("ping -n -c 20 -i 0.01 10.5.0.2")?;
    from.sh("traffic udp to=10.5.0.2:9 sizes=0")?;
    let process = poller.id();
    poller.finish()?;
    let places = vec![Place::new(&router, "pa")?, Place::new(&router, "pb")?];
    let name = "forwarded and answered from within a busy poller's system call";
    cases.add(name, places, |_| Some(Truth::Kernel));
    cases.keep([from, router, to]);
    Ok(Poller(process))
}
