//! Devices of several link types at once: captured into a file for each type, or behind one header
//! for all, beside a tcpdump for each device and one for all.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use skbcap::diff::{Capture, Difference, Options, compare, explain};
use skbcap_tests::capture;

use crate::beside::LAST_BLOCK;
use crate::files_beside::{
    adds_up, compared, count, end_skbcap, end_tcpdump, same, skbcap, tcpdump,
};
use crate::lab::{Pair, has_module, run, words_of};
use crate::program::{Program, out};
use crate::skbcap::Hook;

pub(crate) const ARPHRD_CAN: u16 = 280;
/// Classical CAN, extended identifier 0x123, five bytes; and CAN FD with its flag set.
pub(crate) const CAN: &str = "2301008005000000 68656c6c6f000000";
const CAN_FD_HEAD: &str = "23010080 40 04 0000";

/// A device to send by.
struct Device {
    name: &'static str,
    /// What the file for its frames is called, between the name and the extension.
    part: &'static str,
    /// How its frames may differ from those in tcpdump's file.
    differences: &'static [Difference],
    /// How to send by it.
    send: Vec<String>,
}

impl Device {
    /// One with an IP network behind it.
    fn ip(
        name: &'static str,
        part: &'static str,
        differences: &'static [Difference],
        to: &str,
    ) -> Self {
        let send = vec![format!("traffic udp to={to}:9 sizes=1,100,1400,3000")];
        Self {
            name,
            part,
            differences,
            send,
        }
    }
}

/// Whatever this kernel has of devices that differ in their link types.
fn devices(pair: &Pair) -> Result<(Vec<Device>, Vec<Program>)> {
    const CHECKSUM: &[Difference] = &[Difference::Checksum];
    // libpcap makes a header there.
    const COOKED: &[Difference] = &[Difference::Checksum, Difference::Cooked];
    let a = &pair.a;
    let _ = has_module("tun");
    let carriers = vec![
        a.tun("ta", libc::ARPHRD_NONE, "10.9.0")?,
        a.tun("tp", libc::ARPHRD_PPP, "10.10.0")?,
        // Few kernels here have a CAN device.
        a.tun("tc", ARPHRD_CAN, "10.13.0")?,
    ];
    let mut devices = vec![
        Device::ip("va", "", &[], "10.0.0.2"),
        Device::ip("ta", ".raw", CHECKSUM, "10.9.0.2"),
        Device::ip("tp", ".raw", COOKED, "10.10.0.2"),
    ];
    if has_module("8021q") {
        a.ip("link add link va name va.7 type vlan id 7")?;
        a.ip("address add 10.7.0.1/24 dev va.7")?;
        a.ip("link set dev va.7 up")?;
        a.ip("neigh add 10.7.0.2 lladdr 02:00:00:00:00:02 dev va.7 nud permanent")?;
        devices.push(Device::ip("va.7", "", &[], "10.7.0.2"));
    }
    if has_module("ip_gre") {
        a.ip("link add gre1 type gre local 10.0.0.1 remote 10.0.0.2")?;
        a.ip("address add 10.11.0.1/24 dev gre1")?;
        a.ip("link set dev gre1 up")?;
        devices.push(Device::ip("gre1", ".raw", COOKED, "10.11.0.2"));
    }
    if has_module("wireguard") {
        a.ip("link add wg0 type wireguard")?;
        let key = out("wireguard.key");
        fs::write(&key, run(&mut words_of("wg genkey"))?)?;
        // Any 32 bytes are a public key. Nobody answers: what is sent waits behind the device.
        a.sh(&format!(
            "wg set wg0 private-key {} peer {}= endpoint 10.0.0.2:51820 allowed-ips 10.12.0.0/24",
            key.display(),
            "A".repeat(43)
        ))?;
        a.ip("address add 10.12.0.1/24 dev wg0")?;
        a.ip("link set dev wg0 up")?;
        devices.push(Device::ip("wg0", ".raw", CHECKSUM, "10.12.0.2"));
    }
    let frame = |protocol: u16, hex: &str| {
        let hex = hex.replace(' ', "");
        format!("traffic frame device=tc protocol={protocol} hex={hex}")
    };
    let fd = format!("{CAN_FD_HEAD}{}", "5a".repeat(64));
    devices.push(Device {
        name: "tc",
        part: ".can-socketcan",
        differences: &[],
        send: vec![frame(0x0c, CAN), frame(0x0d, &fd)],
    });
    // What is in a frame whose type field is a length: spanning tree's, as a bridge sends it.
    let bpdu = format!("0180c2000000 020000000001 0026 424203 {}", "00".repeat(35));
    let bpdu = bpdu.replace(' ', "");
    devices[0]
        .send
        .push(format!("traffic frame device=va protocol=4 hex={bpdu}"));
    Ok((devices, carriers))
}

/// Files for each link type hold what a tcpdump on each device does; the one for all types what a
/// tcpdump on all devices does; and both the same.
pub(crate) fn link_types() -> Result<()> {
    let pair = Pair::new("types")?;
    let (devices, _carriers) = devices(&pair)?;
    let a = &pair.a;
    let mut tcpdumps = vec![tcpdump(a, "any", "-y LINUX_SLL2")?];
    for device in &devices {
        tcpdumps.push(tcpdump(a, device.name, "")?);
    }
    for (tcpdump, _) in &mut tcpdumps {
        tcpdump.wait_stderr("listening on")?;
    }
    let mut skbcaps = Vec::new();
    for hook in Hook::all() {
        let of = |what: &str, words: &str| {
            skbcap(
                a,
                &format!("{hook}-{what}"),
                &format!("--hook {hook} {words}"),
            )
        };
        skbcaps.push((
            hook,
            of("split", "--split-linktype")?,
            of("sll2", "--linktype sll2")?,
        ));
    }
    for device in &devices {
        for send in &device.send {
            a.sh(send)?;
        }
    }
    sleep(LAST_BLOCK);
    let mut ended = Vec::new();
    for (hook, mut split, mut sll2) in skbcaps {
        let said = [end_skbcap(&mut split.0)?, end_skbcap(&mut sll2.0)?];
        ended.push((hook, [split.1, sll2.1], said));
    }
    for (tcpdump, _) in &mut tcpdumps {
        end_tcpdump(tcpdump)?;
    }
    let [(_, any), each @ ..] = &tcpdumps[..] else {
        unreachable!("one was started");
    };
    for (hook, [split, sll2], [said_split, said_sll2]) in &ended {
        let may_lack = *hook == Hook::Kprobe;
        let part_of = |device: &Device| split.with_extension(format!("{}pcapng", &dotted(device)));
        for (device, (_, theirs)) in devices.iter().zip(each) {
            let ours = part_of(device);
            let frames = compared([&ours, theirs], Some(device.name), |found| {
                same(found, device.differences, may_lack)?;
                Ok(found.matched + found.pairs.len())
            })?;
            println!("{hook} {}: {frames} frames", device.name);
            ensure!(frames >= device.send.len(), "only {frames}");
            // The one header for all hides nothing of what is in the others' files.
            compared([sll2, &ours], Some(device.name), |found| {
                same(found, &[Difference::Cooked], may_lack).or_else(|error| match device.part {
                    // What is no Ethernet or IP is not looked into.
                    ".can-socketcan" => Ok(()),
                    _ => Err(error),
                })
            })?;
        }
        // Tags that are in metadata, libpcap loses here.
        let differences = [Difference::Checksum, Difference::Vlan];
        compared([sll2, any], None, |found| {
            same(found, &differences, may_lack)
        })?;
        tcpdump_reads(sll2, adds_up(said_sll2)?)?;

        let captured = adds_up(said_split)?;
        let mut parts: Vec<PathBuf> = devices.iter().map(part_of).collect();
        parts.sort();
        parts.dedup();
        // libpcap takes two raw IP interfaces for two link types.
        let raw = split.with_extension("raw.pcapng");
        let mut sum = 0;
        for part in &parts {
            let packets = capture::read_pcapng(part)?.packets.len() as u64;
            if *part != raw {
                tcpdump_reads(part, packets)?;
            }
            let told = format!("{packets} in {}: ", part.display());
            ensure!(said_split.contains(&told), "no line {told}:\n{said_split}");
            sum += packets;
        }
        ensure!(sum == captured, "{sum} in the files:\n{said_split}");
        let told = |said: &str| {
            said.lines()
                .filter(|line| line.starts_with("skbcap: "))
                .count()
        };
        let of_raw = said_split
            .matches("described behind another raw IP interface")
            .count();
        ensure!(
            (told(said_split), of_raw, told(said_sll2)) == (2, 1, 1),
            "not what should be told:\n{said_split}\n{said_sll2}"
        );
        // All others are opened once more, by every reader, when they have come to the host.
        fs::rename(&raw, raw.with_extension("kept"))?;
    }
    Ok(())
}

/// The part of a file's name before its extension: `raw.`, or nothing.
fn dotted(device: &Device) -> String {
    match device.part.strip_prefix('.') {
        Some(part) => format!("{part}."),
        None => String::new(),
    }
}

/// tcpdump opens the file, and finds so many packets.
fn tcpdump_reads(file: &Path, packets: u64) -> Result<()> {
    let mut command = words_of("tcpdump -n -Z root --count -r");
    let said = run(command.arg(file))?;
    ensure!(
        said.contains(&format!("{packets} packet")),
        "tcpdump finds {said} in {}, not {packets}",
        file.display()
    );
    Ok(())
}

/// A device that no file has a place for is named once, its frames counted, and nothing else is
/// lost by it; SLL2 has a place for it.
pub(crate) fn without_link_type() -> Result<()> {
    let pair = Pair::new("no-type")?;
    let a = &pair.a;
    let _ = has_module("tun");
    let _carrier = a.tun("ti", libc::ARPHRD_INFINIBAND, "10.9.0")?;
    let hook = Hook::Queue;
    let (mut own, own_file) = skbcap(a, "own", &format!("--hook {hook}"))?;
    let (mut split, split_file) = skbcap(a, "split", &format!("--hook {hook} --split-linktype"))?;
    let (mut sll2, sll2_file) = skbcap(a, "sll2", &format!("--hook {hook} --linktype sll2"))?;
    for to in ["10.9.0.2", "10.0.0.2", "10.9.0.2"] {
        a.sh(&format!("traffic udp to={to}:9 sizes=1,100"))?;
    }
    let (own, split, sll2) = (
        end_skbcap(&mut own)?,
        end_skbcap(&mut split)?,
        end_skbcap(&mut sll2)?,
    );
    for (said, file) in [(&own, &own_file), (&split, &split_file)] {
        ensure!(adds_up(said)? == 2, "{said}");
        let unsupported = count(said, " not written: unsupported link type")?;
        ensure!(unsupported == 4, "{said}");
        let named = "frames of ti are not written: its device type 32 has no link type";
        ensure!(said.matches(named).count() == 1, "{said}");
        let bytes = fs::read(file)?;
        let comment = b"not written: 4 frames of ti (netns=";
        let places = bytes
            .windows(comment.len())
            .filter(|bytes| bytes == comment);
        ensure!(places.count() == 1, "no comment in {}", file.display());
    }
    ensure!(
        adds_up(&sll2)? == 6 && !sll2.contains("not written"),
        "{sll2}"
    );
    let packets = capture::read_pcapng(&sll2_file)?.packets;
    let of_ti = packets
        .iter()
        .filter(|packet| packet.data[8..10] == [0, 32]);
    // IPv4, all of it: the device has no header.
    let whole = of_ti.filter(|packet| packet.data[..2] == [8, 0] && packet.data[20] == 0x45);
    ensure!(whole.count() == 4, "other frames of ti");
    Ok(())
}

/// What passes a netlink monitor is what tcpdump has of it, family and all.
pub(crate) fn netlink() -> Result<()> {
    let pair = Pair::new("netlink")?;
    let a = &pair.a;
    if !has_module("nlmon") {
        println!("this kernel has no nlmon");
        return Ok(());
    }
    a.ip("link add nlmon0 type nlmon")?;
    a.ip("link set dev nlmon0 up")?;
    let (mut dump, theirs) = tcpdump(a, "nlmon0", "")?;
    dump.wait_stderr("listening on")?;
    let (mut ours, file) = skbcap(a, "nlmon", "--hook queue -i nlmon0")?;
    a.ip("route show table all")?;
    a.ip("-d link show")?;
    a.sh("ss -a -n")?;
    end_skbcap(&mut ours)?;
    sleep(LAST_BLOCK);
    end_tcpdump(&mut dump)?;
    let bytes = [fs::read(&file)?, fs::read(&theirs)?];
    let captures = [Capture::read(&bytes[0])?, Capture::read(&bytes[1])?];
    let report = compare(&captures[0], &captures[1], &Options::default());
    // tcpdump was there a little earlier and stayed a little longer.
    let found = explain(report, &[], Some(Duration::ZERO));
    println!("{} messages, {:?} outside", found.matched, found.outside);
    same(&found, &[], false)?;
    ensure!(found.matched > 10, "only {} messages", found.matched);
    let families = |family: u16| {
        let frames = captures[0].frames.iter();
        frames
            .filter(|frame| frame.data[14..16] == family.to_be_bytes())
            .count()
    };
    // NETLINK_ROUTE and NETLINK_SOCK_DIAG.
    ensure!(families(0) > 0 && families(4) > 0, "a family is missing");
    tcpdump_reads(&file, captures[0].frames.len() as u64)
}
