//! A capture that is written to a file server: what the kernel sends there for it is left out.

mod nfs;
mod rpc;

use std::ffi::CString;
use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use skbcap_tests::capture::{self, Packet};

use self::nfs::Server;
use crate::expressions::PROGRAM;
use crate::lab::{Pair, Space, has_module};
use crate::limits::sequences;
use crate::program::out;
use crate::skbcap::{Hook, Skbcap, verify};

/// Datagrams that are sent while a capture is written.
const COUNT: u64 = 40;

/// The port that is the server's own, and the one that only its port mapper tells of.
const PORT: u16 = 2049;
const OTHER_PORT: u16 = 2050;

/// How a capture is written, each to a server of its own.
struct Case {
    name: &'static str,
    address: &'static str,
    /// The port that it is mounted by; the one that its port mapper tells, if there is none.
    port: Option<u16>,
    /// The command line, in a shell whose directory is the server's.
    command: String,
    /// Files that it writes.
    files: usize,
}

fn cases() -> Vec<Case> {
    let hooks = Hook::with_xmit();
    let mut hooks = hooks.iter().cycle();
    let mut case = |name, address, command: &str| Case {
        name,
        address,
        port: Some(PORT),
        command: format!("{command} --hook {}", hooks.next().expect("there is one")),
        files: 1,
    };
    vec![
        case("plain", "10.0.0.11", "skbcap -U -w out"),
        // Both ends' frames.
        Case {
            port: None,
            ..case("mapped", "10.0.0.12", "skbcap -U -w out --netns all")
        },
        // On two devices, on the lower one with a tag.
        case("vlan", "10.0.5.2", "skbcap -U -w out"),
        case("ipv6", "fd00::2", "skbcap -U -w out --print"),
        case("stdout", "10.0.0.13", "> out skbcap -U -w -"),
        case("selected", "10.0.0.14", &format!("{PROGRAM} -U ip -w out")),
        Case {
            files: 3,
            ..case("rotated", "10.0.0.15", "skbcap -U -w out -C 3k")
        },
    ]
}

/// What the server is sent for the output is left out, and nothing else.
pub(crate) fn own_frames_nfs() -> Result<()> {
    ensure!(has_module("nfs") && has_module("nfsv3"), "no NFS");
    let pair = Pair::new("nfs")?;
    addresses(&pair)?;
    // So that nobody answers that there is nobody.
    let _listener = pair.b.within(|| Ok(UdpSocket::bind("10.0.0.2:9")?))?;
    for case in cases() {
        run(&pair, &case).with_context(|| format!("{}: {}", case.name, case.command))?;
    }
    Ok(())
}

/// One behind a VLAN, one of IPv6, and some more.
fn addresses(pair: &Pair) -> Result<()> {
    ensure!(has_module("8021q"), "no VLANs");
    for (space, device, end, peer) in [(&pair.a, "va", 1, 2), (&pair.b, "vb", 2, 1)] {
        space.sysctl(&format!("net/ipv6/conf/{device}/disable_ipv6"), "0")?;
        space.ip(&format!("address add fd00::{end}/64 dev {device} nodad"))?;
        space.ip(&format!(
            "neigh add fd00::{peer} lladdr 02:00:00:00:00:0{peer} dev {device} nud permanent"
        ))?;
        space.ip(&format!("link add link {device} name v5 type vlan id 5"))?;
        space.ip(&format!("address add 10.0.5.{end}/24 dev v5"))?;
        space.ip("link set dev v5 up")?;
        space.ip(&format!(
            "neigh add 10.0.5.{peer} lladdr 02:00:00:00:00:0{peer} dev v5 nud permanent"
        ))?;
    }
    for end in 11..=15 {
        pair.b.ip(&format!("address add 10.0.0.{end}/24 dev vb"))?;
        pair.a.ip(&format!(
            "neigh add 10.0.0.{end} lladdr 02:00:00:00:00:02 dev va nud permanent"
        ))?;
    }
    Ok(())
}

fn run(pair: &Pair, case: &Case) -> Result<()> {
    let address: IpAddr = case.address.parse()?;
    let port = case.port.unwrap_or(OTHER_PORT);
    let server = Server::start(&pair.b, address, port)?;
    let mounted = Mounted::new(&pair.a, case)?;
    let local = Skbcap::start(&pair.a, &format!("{}-local", case.name), "")?;
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec {}", case.command)]);
    let mut skbcap = pair
        .a
        .start(case.name, command.current_dir(&mounted.directory))?;
    skbcap.wait_stderr("skbcap: listening on")?;
    pair.a.sh(&format!(
        "traffic udp to=10.0.0.2:9 count={COUNT} gap_us=20000"
    ))?;
    let status = skbcap.interrupt()?;
    let said = skbcap.stderr()?;
    println!("{}: {}\n{said}", case.name, case.command);
    ensure!(status.success(), "{status}");
    let local = local.stop()?;
    mounted.end()?;

    let told =
        format!("the output lies on {address} (nfs): frames to and from its TCP port {port} are");
    ensure!(said.contains(&told), "it does not say {told}");
    let mut packets = Vec::new();
    let files = server.files();
    ensure!(files.len() >= case.files, "{} files", files.len());
    for (name, bytes) in files {
        let path = out(&format!("{}-{name}.pcapng", case.name));
        fs::write(&path, &bytes)?;
        verify(&path)?;
        let capture = capture::parse_pcapng(&bytes)?;
        let is_told = |comments: &Vec<String>| comments.iter().any(|it| it.contains(&told));
        ensure!(capture.sections.iter().all(is_told), "a section without it");
        packets.extend(capture.packets);
    }
    let packets: Vec<Packet> = packets
        .into_iter()
        .filter(|it| !is_neighbours(it))
        .collect();
    let numbers = sequences(&packets)?;
    ensure!(numbers == (0..COUNT).collect::<Vec<_>>(), "{numbers:?}");
    let filtered = said.lines().find(|line| {
        line.ends_with("filtered: not what the expression selects, or the output's own traffic")
    });
    let filtered = filtered.context("nothing is filtered")?;
    let there = local.capture.packets.iter();
    let there = there.filter(|packet| is_of(packet, port)).count();
    println!(
        "{}: {filtered}; {there} frames in another's file",
        case.name
    );
    ensure!(there > COUNT as usize / 4, "{there} frames to the server");
    Ok(())
}

/// Whether it is exchanged with this port by TCP, behind a tag or not.
fn is_of(packet: &Packet, port: u16) -> bool {
    let transport = SlicedPacket::from_ethernet(&packet.data)
        .ok()
        .and_then(|packet| packet.transport);
    match transport {
        Some(TransportSlice::Tcp(tcp)) => {
            [tcp.source_port(), tcp.destination_port()].contains(&port)
        }
        _ => false,
    }
}

/// Whether it is what IPv6's neighbours say to each other.
fn is_neighbours(packet: &Packet) -> bool {
    let Ok(packet) = SlicedPacket::from_ethernet(&packet.data) else {
        return false;
    };
    let is_ipv6 = matches!(packet.net, Some(NetSlice::Ipv6(_)));
    is_ipv6 && matches!(packet.transport, Some(TransportSlice::Icmpv6(_)))
}

/// A server's directory, mounted.
struct Mounted {
    directory: PathBuf,
    is_mounted: bool,
}

impl Mounted {
    /// In the namespace of whoever mounts it, which writes to it at once, so that frames are sent.
    fn new(space: &Space, case: &Case) -> Result<Self> {
        let directory = Path::new("/tmp").join(format!("nfs-{}", case.name));
        fs::create_dir_all(&directory)?;
        let address = case.address;
        let proto = if address.contains(':') { "tcp6" } else { "tcp" };
        let mut options = format!(
            "vers=3,nolock,proto={proto},addr={address},mountaddr={address},mountvers=3,mountproto={proto}"
        );
        if let Some(port) = case.port {
            options.push_str(&format!(",port={port},mountport={port}"));
        }
        let source = if address.contains(':') {
            format!("[{address}]:/")
        } else {
            format!("{address}:/")
        };
        let options = CString::new(options)?;
        space.within(|| {
            mount(
                source.as_str(),
                &directory,
                "nfs",
                MountFlags::SYNCHRONOUS,
                options.as_c_str(),
            )
            .with_context(|| format!("cannot mount {source} with {options:?}"))
        })?;
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let volumes =
            space.within(|| Ok(fs::read_to_string("/proc/thread-self/net/nfsfs/volumes")?))?;
        let name = directory.display().to_string();
        let line = mounts.lines().find(|line| line.contains(&name));
        println!("{}\n{volumes}", line.context("it is not mounted")?);
        Ok(Self {
            directory,
            is_mounted: true,
        })
    }

    fn end(mut self) -> Result<()> {
        self.is_mounted = false;
        unmount(&self.directory, UnmountFlags::empty()).context("cannot unmount")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // What is left of it would keep a guest from ending.
        if self.is_mounted {
            let _ = unmount(&self.directory, UnmountFlags::FORCE | UnmountFlags::DETACH);
        }
    }
}
