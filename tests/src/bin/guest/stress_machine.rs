//! Machines that change while a capture runs: CPUs, devices and namespaces come and go; so do
//! captures. The law holds.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::lab::{Pair, Space, run, words_of};
use crate::law::{self, Counts, send, settle, start_sending};
use crate::program::out;
use crate::share;
use crate::skbcap::{Done, Hook, Skbcap};

/// Options of a capture whose rings none of these tests fills but where it says so.
const LARGE: &str = "-s 2000 -B 16384";

/// Whether this is somebody's machine, and not a guest.
pub(crate) fn is_host() -> bool {
    std::env::var_os("SKBCAP_OUT").is_some()
}

/// A CPU, switched off and on.
struct Cpu(u32);

impl Cpu {
    fn set(&self, online: bool) -> Result<()> {
        let path = format!("/sys/devices/system/cpu/cpu{}/online", self.0);
        fs::write(&path, if online { "1" } else { "0" }).with_context(|| path)
    }
}

impl Drop for Cpu {
    fn drop(&mut self) {
        // Other tests want it; a guest that has lost it fails them, and says so.
        let _ = self.set(true);
    }
}

/// A CPU with a ring goes and comes back: its ring is its own again. One that comes after the start
/// has none, and each of its frames is counted, for its interface.
pub(crate) fn stress_cpus() -> Result<()> {
    ensure!(!is_host(), "not on a host, whose CPUs others need");
    let pair = Pair::new("cpus")?;
    let cpu = Cpu(2);
    let on_it = |words: &str| -> Result<u64> {
        let mut command = words_of(&format!("taskset -c 2 traffic udp to=10.0.0.2:9 {words}"));
        law::sent(&pair.a.run(&mut command)?)
    };
    for hook in share::mine(Hook::all())? {
        let words = format!("--hook {hook} {LARGE}");
        let skbcap = Skbcap::start(&pair.a, &format!("cpus-{hook}"), &words)?;
        let mut sent = on_it("count=100")?;
        let senders = start_sending(
            &pair.a,
            &format!("s-{hook}"),
            "threads=4 count=300 gap_us=2000",
        )?;
        for _ in 0..3 {
            cpu.set(false)?;
            sent += send(&pair.a, "count=50")?;
            cpu.set(true)?;
            sent += on_it("count=100")?;
        }
        sent += law::sent(&senders.finish()?)?;
        let (_, counts) = settle(skbcap, sent)?;
        ensure!(
            counts.captured + counts.missed >= sent,
            "{hook}: {counts:?}"
        );

        cpu.set(false)?;
        let skbcap = Skbcap::start(&pair.a, &format!("late-{hook}"), &words)?;
        cpu.set(true)?;
        let late = on_it("count=100")?;
        let (done, counts) = settle(skbcap, late)?;
        ensure!(counts.no_ring + counts.missed >= late, "{hook}: {counts:?}");
        // Not one frame of it was captured: its interface is there for its losses.
        let described = format!("netns={} ifindex=", pair.a.inode()?);
        let interfaces = &done.capture.report.interfaces;
        let lost = interfaces
            .iter()
            .find(|interface| interface.description.starts_with(&described))
            .context("no interface")?;
        ensure!(lost.name.is_empty() && lost.dropped == Some(counts.no_ring));
    }
    Ok(())
}

/// Namespaces with their devices, and devices alone, are made and removed while frames leave by
/// them, also while the rings are full.
pub(crate) fn stress_devices() -> Result<()> {
    let pair = Pair::new("devices")?;
    for hook in share::mine(Hook::all())? {
        removed_devices(&pair.a, hook)?;
        removed_namespace(hook)?;
        if is_host() {
            println!("all namespaces of a host are not captured in");
        } else {
            removed_namespaces(hook, 10)?;
        }
    }
    Ok(())
}

/// A device with its address; what is sent to the address behind it leaves by it. Its peer takes it,
/// and answers nothing.
fn device(number: u32, batch: &mut String) {
    let address = device_address(number);
    for line in [
        format!("link add x{number} type veth peer name y{number}"),
        format!("link set dev x{number} arp off"),
        format!("address add {address}/31 dev x{number}"),
        format!("link set dev y{number} up"),
        format!("link set dev x{number} up"),
    ] {
        batch.push_str(&line);
        batch.push('\n');
    }
}

fn device_address(number: u32) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::from_bits(u32::from_be_bytes([10, 128, 0, 0]) + 2 * number)
}

fn ip_batch(space: &Space, batch: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(["-n", space.name(), "-batch", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().context("cannot start ip")?;
    let mut stdin = child.stdin.take().context("a pipe")?;
    stdin.write_all(batch.as_bytes())?;
    drop(stdin);
    let status = child.wait()?;
    ensure!(status.success(), "ip -batch: {status}");
    Ok(())
}

/// A datagram by each of the devices from the first on.
fn spread(space: &Space, devices: u32, rounds: u32) -> Result<u64> {
    let to = std::net::Ipv4Addr::from_bits(device_address(0).to_bits() + 1);
    let words =
        format!("traffic spread to={to}:9 step=2 across={devices} rounds={rounds} size=200");
    law::sent(&space.sh(&words)?)
}

fn removed_devices(space: &Space, hook: Hook) -> Result<()> {
    let words = format!("--hook {hook} -s 400 -B 128");
    let skbcap = Skbcap::start(space, &format!("devices-{hook}"), &words)?;
    let mut sent = 0;
    for round in 0..10 {
        let mut batch = String::new();
        device(0, &mut batch);
        ip_batch(space, &batch)?;
        let is_stopped = round % 2 == 1;
        if is_stopped {
            skbcap.program.signal(Signal::STOP)?;
        }
        sent += spread(space, 1, 400)?;
        space.ip("link delete dev x0")?;
        if is_stopped {
            skbcap.program.signal(Signal::CONT)?;
        }
        sleep(Duration::from_millis(50));
    }
    let (done, counts) = settle(skbcap, sent)?;
    ensure!(counts.ring_full > 0, "the rings were not full");
    // Under each number that it had, it is another.
    let interfaces = &done.capture.report.interfaces;
    ensure!(interfaces.len() == 10, "{interfaces:?}");
    Ok(())
}

/// The one namespace that is captured in goes; skbcap stays and ends well.
fn removed_namespace(hook: Hook) -> Result<()> {
    let space = Space::new("gone")?;
    let mut batch = String::new();
    device(0, &mut batch);
    ip_batch(&space, &batch)?;
    let words = format!("--hook {hook} {LARGE}");
    let skbcap = Skbcap::start(&space, &format!("gone-{hook}"), &words)?;
    let sent = spread(&space, 1, 100)?;
    drop(space);
    sleep(Duration::from_millis(200));
    settle(skbcap, sent)?;
    Ok(())
}

/// All namespaces are captured in, and they come and go.
fn removed_namespaces(hook: Hook, rounds: u32) -> Result<()> {
    let base = Space::new("base")?;
    let words = format!("--hook {hook} {LARGE} --netns all");
    let skbcap = Skbcap::start(&base, &format!("namespaces-{hook}"), &words)?;
    let mut sent = 0;
    for round in 0..rounds {
        let space = Space::new(&format!("come-{round}"))?;
        let mut batch = String::new();
        device(0, &mut batch);
        ip_batch(&space, &batch)?;
        sent += spread(&space, 1, 100)?;
    }
    let (_, counts) = settle(skbcap, sent)?;
    ensure!(counts.captured + counts.missed >= sent, "{counts:?}");
    Ok(())
}

/// Frames by two thousand interfaces: each is described once, and losses of more interfaces than the
/// kernel side's tables hold are counted all the same.
pub(crate) fn stress_interfaces() -> Result<()> {
    interfaces(if is_host() { 300 } else { 2000 })
}

/// See [`stress_interfaces`].
pub(crate) fn interfaces(number: u32) -> Result<()> {
    let space = Space::new("many")?;
    let mut batch = String::new();
    for number in 0..number {
        device(number, &mut batch);
    }
    ip_batch(&space, &batch)?;
    for hook in share::mine(Hook::all())? {
        let words = format!("--hook {hook} -s 400 -B 256");
        let skbcap = Skbcap::start(&space, &format!("many-{hook}"), &words)?;
        let mut sent = 0;
        // In pieces that the rings can hold.
        for _ in 0..2 {
            sent += spread(&space, number, 1)?;
            sleep(Duration::from_millis(100));
        }
        skbcap.program.signal(Signal::STOP)?;
        sent += spread(&space, number, 3)?;
        skbcap.program.signal(Signal::CONT)?;
        sleep(Duration::from_millis(200));
        sent += spread(&space, number, 1)?;
        sleep(Duration::from_millis(100));
        let (done, counts) = settle(skbcap, sent)?;
        many_told(&done, &counts, number as usize)?;
    }
    Ok(())
}

fn many_told(done: &Done, counts: &Counts, number: usize) -> Result<()> {
    let interfaces = &done.capture.report.interfaces;
    let with_frames = interfaces.iter().filter(|one| one.packets > 0).count();
    let unknown = interfaces
        .iter()
        .filter(|one| !one.description.starts_with("netns="));
    let unlisted: u64 = unknown.filter_map(|one| one.dropped).sum();
    println!(
        "{} interfaces, {with_frames} with frames; {unlisted} of {} losses without one",
        interfaces.len(),
        counts.ring_full
    );
    ensure!(counts.ring_full > number as u64, "the rings were not full");
    ensure!(with_frames * 2 > number, "{with_frames} with frames");
    // More than 256 on each CPU have no place.
    ensure!(number < 1000 || unlisted > 0, "all losses have their place");
    Ok(())
}

/// Captures begin and end, and leave nothing in the kernel.
pub(crate) fn stress_attach() -> Result<()> {
    attach(share::mine((0..16).collect())?.len())
}

/// See [`stress_attach`].
pub(crate) fn attach(times: usize) -> Result<()> {
    let pair = Pair::new("attach")?;
    let hooks = Hook::all();
    let before = programs()?;
    for time in 0..times {
        let hook = hooks[time % hooks.len()];
        let words = format!("--hook {hook} -s 200 -B 64");
        let skbcap = Skbcap::start(&pair.a, "attach", &words)?;
        let sent = send(&pair.a, "count=5")?;
        let done = skbcap.stop()?;
        let counts = Counts::of(&done).with_context(|| format!("the {time}th time"))?;
        ensure!(counts.captured == sent, "the {time}th time: {counts:?}");
    }
    let after = programs()?;
    ensure!(
        before == after,
        "programs before: {before:?}, after: {after:?}"
    );
    Ok(())
}

/// Programs that the kernel holds, where there is a tool to tell.
fn programs() -> Result<Option<usize>> {
    let tool = PathBuf::from("/usr/sbin/bpftool");
    if is_host() || !tool.exists() {
        return Ok(None);
    }
    // A program that is let go is freed a little later.
    sleep(Duration::from_millis(500));
    let list = run(Command::new(tool).args(["prog", "show"]))?;
    fs::write(out("programs"), &list)?;
    let is_program = |line: &&str| line.starts_with(|first: char| first.is_ascii_digit());
    Ok(Some(list.lines().filter(is_program).count()))
}
