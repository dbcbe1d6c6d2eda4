//! What tshark, capinfos, editcap and tcpdump make of the files: the readers that users have.
//!
//! The programs are looked for in `PATH` and must be there; `SKBCAP_SKIP_READERS=1` says that they
//! are not, and that it is known.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use skbcap::diff;
use skbcap::pcapng::{
    Interface, InterfaceId, LinkType, MAX_SNAPLEN, Packet, PacketOptions, Section, Statistics,
    Writer, check, epb_flags,
};

const START_NS: u64 = 1_700_000_000_123_456_789;

/// A frame that a process named chronyd sends: Ethernet, IPv4, UDP to port 123.
const NTP: [u8; 90] = {
    let mut frame = [0; 90];
    let head = *b"\x34\x31\xc4\xb0\x6a\x8b\x3c\x7c\x3f\x20\x23\xbd\x08\x00\x45\x00\x00\x4c\x83\x93\
        \x40\x00\x40\x11\xd1\xa2\xc0\xa8\xb2\x18\xc0\xa8\xb2\x01\xc8\x07\x00\x7b\x00\x38\xe5\xb4\
        \x23\x00\x06\x20";
    let mut at = 0;
    while at < head.len() {
        frame[at] = head[at];
        at += 1;
    }
    let tail = *b"\x38\xbc\x17\x13\x12\x4a\x4c\xc0";
    at = 0;
    while at < tail.len() {
        frame[82 + at] = tail[at];
        at += 1;
    }
    frame
};

fn section(comments: &[&str]) -> Section {
    Section {
        hardware: "x86_64".into(),
        os: "Linux 6.12.0".into(),
        application: "skbcap 0.1.0".into(),
        comments: comments.iter().map(ToString::to_string).collect(),
    }
}

fn interface(name: &str, netns: u32, link_type: LinkType) -> Interface {
    Interface {
        name: name.into(),
        description: format!("netns={netns} ifindex=2"),
        link_type,
        os: "Linux 6.12.0".into(),
        filter: Some("udp".into()),
        comment: String::new(),
    }
}

fn packet<'a>(
    interface: InterfaceId,
    time_ns: u64,
    data: &'a [u8],
    options: &'a PacketOptions,
) -> Packet<'a> {
    Packet {
        interface,
        time_ns,
        data,
        len: data.len() as u32,
        options,
        dropped: 0,
    }
}

/// What is said of a packet of thread 2214 beside its comment: `flag`, and that it left the host.
fn options(comment: &str, flag: u32) -> PacketOptions {
    PacketOptions::new(comment, epb_flags::OUTBOUND | flag, Some((2211, 2214))).unwrap()
}

fn said(comment: &str) -> PacketOptions {
    options(comment, epb_flags::CHECKSUM_NOT_READY)
}

/// One section with two interfaces of one name; three packets, of which the last is long.
fn one_section() -> Writer<Vec<u8>> {
    let mut writer = Writer::new(Vec::new(), &section(&["one"]), MAX_SNAPLEN).unwrap();
    let eth0 = writer
        .interface(&interface("eth0", 1, LinkType::ETHERNET))
        .unwrap();
    let comment = "comm=chronyd pid=2214 tgid=2211 ctx=task";
    writer
        .packet(&packet(eth0, START_NS, &NTP, &said(comment)))
        .unwrap();
    // An interface that shows up late, of a name that is taken.
    let other = writer
        .interface(&interface("eth0", 2, LinkType::ETHERNET))
        .unwrap();
    let comment = r"comm=curl\x20pid\x3d1 pid=2214 tgid=2211 ctx=softirq";
    writer
        .packet(&Packet {
            dropped: 7,
            ..packet(other, START_NS + 1, &NTP, &said(comment))
        })
        .unwrap();
    // The longest packet that tshark takes, of a longer one.
    let mut long = NTP.to_vec();
    long.resize(MAX_SNAPLEN as usize, 0x5a);
    let comment = "comm=café pid=2214 tgid=2211 ctx=hardirq cut=bound";
    writer
        .packet(&Packet {
            len: 500_000,
            ..packet(
                eth0,
                START_NS + 2,
                &long,
                &options(comment, epb_flags::SEGMENTATION_OFFLOADED),
            )
        })
        .unwrap();
    for (interface, delivered, dropped) in [(eth0, 2, 0), (other, 1, 9)] {
        writer
            .statistics(&statistics(interface, START_NS, delivered, dropped))
            .unwrap();
    }
    writer
}

/// Then a second section, with the clock set back, and an interface of its own.
fn all_there_is() -> Vec<u8> {
    let mut writer = one_section();
    writer
        .new_section(&section(&["two", "the clock was set back by 3600 s"]))
        .unwrap();
    let lo = writer
        .interface(&interface("lo", 1, LinkType::ETHERNET))
        .unwrap();
    let earlier = START_NS - 3_600_000_000_000;
    let comment = "comm=curl pid=2214 tgid=2211 ctx=task";
    writer
        .packet(&packet(lo, earlier, &NTP, &said(comment)))
        .unwrap();
    writer.statistics(&statistics(lo, earlier, 1, 0)).unwrap();
    writer.into_inner().unwrap()
}

fn statistics(interface: InterfaceId, start_ns: u64, delivered: u64, dropped: u64) -> Statistics {
    let end_ns = start_ns + 1_000_000_000;
    let received = delivered + dropped;
    Statistics {
        interface,
        start_ns,
        end_ns,
        received,
        dropped,
        delivered,
        comments: vec!["dropped_between=0 dropped_after=0".into(), "seen=1".into()],
    }
}

/// One Ethernet and one raw packet.
fn two_link_types() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &section(&[]), 96).unwrap();
    let eth0 = writer
        .interface(&interface("eth0", 1, LinkType::ETHERNET))
        .unwrap();
    writer
        .packet(&packet(eth0, START_NS, &NTP, &said("")))
        .unwrap();
    let wg0 = writer
        .interface(&interface("wg0", 1, LinkType::RAW))
        .unwrap();
    writer
        .packet(&packet(wg0, START_NS, &NTP[14..], &said("")))
        .unwrap();
    writer.into_inner().unwrap()
}

/// A capture in a file of its own, removed with it.
struct Capture(PathBuf);

impl Capture {
    /// Checked by our own checker before anybody else sees it.
    fn new(name: &str, bytes: &[u8]) -> Self {
        let report = check::check(bytes);
        assert_eq!(report.faults, [], "{name}");
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{name}.{}.pcapng", std::process::id()));
        fs::write(&path, bytes).unwrap();
        Self(path)
    }

    /// A reader's exit status, standard output and standard error.
    fn read(&self, program: &str, before: &[&str], after: &[&str]) -> (bool, String, String) {
        let mut command = Command::new(program);
        // Nobody's own settings, names or time zone.
        if program == "tcpdump" {
            // As root it would become a user that need not exist, and may not read the file.
            command.args(["-Z", "root"]);
        }
        command.args(before).arg(&self.0).args(after);
        command
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .env("WIRESHARK_CONFIG_DIR", "/nonexistent");
        let output = command.output().unwrap_or_else(|error| {
            panic!(
                "{program} can't be run ({error}): this test needs tshark, capinfos, editcap and \
                 tcpdump in PATH (`cargo xtask test` puts them there; SKBCAP_SKIP_READERS=1 goes \
                 without)"
            )
        });
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    /// A reader's standard output; it must have nothing to complain of.
    fn read_well(&self, program: &str, before: &[&str], after: &[&str]) -> String {
        let (success, out, err) = self.read(program, before, after);
        assert!(success, "{program}: {err}");
        let complaints: Vec<&str> = err
            .lines()
            // What each of them says of any file, or when run as root.
            .filter(|line| !line.starts_with("reading from file") && !line.contains("as user"))
            .collect();
        assert_eq!(complaints, [""; 0], "{program}");
        out
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn skipped() -> bool {
    std::env::var_os("SKBCAP_SKIP_READERS").is_some_and(|value| value == "1")
}

#[test]
fn tshark_shows_everything() {
    if skipped() {
        return;
    }
    let capture = Capture::new("tshark", &all_there_is());
    let fields = |fields: &[&str], filter: &[&str]| -> Vec<String> {
        let mut after = vec!["-T", "fields", "-E", "separator=|"];
        after.extend(fields.iter().flat_map(|field| ["-e", field]));
        after.extend(filter);
        capture
            .read_well("tshark", &["-n", "-r"], &after)
            .lines()
            .map(Into::into)
            .collect()
    };
    assert_eq!(
        fields(
            &[
                "frame.time_epoch",
                "frame.interface_name",
                "frame.interface_description"
            ],
            &[]
        ),
        [
            "1700000000.123456789|eth0|netns=1 ifindex=2",
            "1700000000.123456790|eth0|netns=2 ifindex=2",
            "1700000000.123456791|eth0|netns=1 ifindex=2",
            "1699996400.123456789|lo|netns=1 ifindex=2",
        ]
    );
    // In this form tshark doubles a backslash.
    assert_eq!(
        fields(
            &[
                "frame.len",
                "frame.cap_len",
                "frame.packet_flags",
                "frame.comment"
            ],
            &[]
        ),
        [
            "90|90|0x00000202|comm=chronyd pid=2214 tgid=2211 ctx=task",
            r"90|90|0x00000202|comm=curl\\x20pid\\x3d1 pid=2214 tgid=2211 ctx=softirq",
            "500000|262144|0x00000802|comm=café pid=2214 tgid=2211 ctx=hardirq cut=bound",
            "90|90|0x00000202|comm=curl pid=2214 tgid=2211 ctx=task",
        ]
    );
    assert_eq!(
        fields(&["frame.number"], &["-Y", "frame.drop_count == 7"]),
        ["2"]
    );
    assert_eq!(
        fields(
            &["frame.number"],
            &[
                "-Y",
                "frame.packet_flags_direction == 2 && ntp && !frame.cap_len > 90"
            ]
        ),
        ["1", "2", "4"]
    );
}

/// The display filters of docs/format.md.
#[test]
fn the_documented_filters_find_their_frames() {
    if skipped() {
        return;
    }
    let capture = Capture::new("filters", &all_there_is());
    for (filter, expected) in [
        (r#"frame.comment contains "comm=curl ""#, "4"),
        (r#"frame.comment contains "comm=curl""#, "2 4"),
        (r#"frame.comment contains " tgid=2211 ""#, "1 2 3 4"),
        (r#"frame.comment contains " ctx=task""#, "1 4"),
        (r#"frame.interface_description contains "netns=2 ""#, "2"),
        ("frame.drop_count", "2"),
        ("frame.packet_flags & 0x800", "3"),
    ] {
        let after = ["-T", "fields", "-e", "frame.number", "-Y", filter];
        let found = capture.read_well("tshark", &["-n", "-r"], &after);
        assert_eq!(
            found.split_whitespace().collect::<Vec<_>>().join(" "),
            expected,
            "{filter}"
        );
    }
}

#[test]
fn capinfos_agrees() {
    if skipped() {
        return;
    }
    let capture = Capture::new("capinfos", &one_section().into_inner().unwrap());
    let out = capture.read_well("capinfos", &["-M"], &[]);
    for line in [
        "File encapsulation:  ether",
        "Number of packets:   3",
        "Strict time order:   True",
        "Capture hardware:    x86_64",
        "Capture application: skbcap 0.1.0",
        "Capture comment:     one",
        "Number of interfaces in file: 2",
        "Name = eth0",
        "Description = netns=2 ifindex=2",
        "Time precision = nanoseconds (9)",
        "Number of stat entries = 1",
    ] {
        assert!(out.contains(line), "{line:?} is not in:\n{out}");
    }
    // The long report of capinfos 4.4.19 crashes on every file of two sections: the table it is.
    let capture = Capture::new("sections", &all_there_is());
    let out = capture.read_well("capinfos", &["-T", "-M", "-m", "-c", "-E", "-o", "-Q"], &[]);
    assert!(out.ends_with(",\"ether\",\"4\",\"False\"\n"), "{out}");
}

#[test]
fn editcap_keeps_what_matters() {
    if skipped() {
        return;
    }
    let capture = Capture::new("editcap", &all_there_is());
    let edited = Capture(capture.0.with_extension("edited"));
    let path = edited.0.to_str().unwrap();
    capture.read_well("editcap", &[], &[path]);
    let fields = [
        "frame.interface_name",
        "frame.interface_description",
        "frame.comment",
    ];
    let mut after = vec!["-T", "fields"];
    after.extend(fields.iter().flat_map(|field| ["-e", field]));
    assert_eq!(
        edited.read_well("tshark", &["-n", "-r"], &after),
        capture.read_well("tshark", &["-n", "-r"], &after)
    );
}

#[test]
fn tcpdump_reads_every_packet() {
    if skipped() {
        return;
    }
    let capture = Capture::new("tcpdump", &all_there_is());
    let out = capture.read_well(
        "tcpdump",
        &["-nn", "-tt", "--nano", "-xx", "-r"],
        &["less", "200"],
    );
    let hex: String = NTP
        .chunks(2)
        .map(|pair| format!("{:02x}{:02x} ", pair[0], pair[1]))
        .collect();
    let mut found = Vec::new();
    for line in out.lines() {
        match line.strip_prefix("\t0x") {
            None => found.push((line.split(' ').next().unwrap().to_owned(), String::new())),
            Some(row) => {
                let (_, row) = row.split_once(":  ").unwrap();
                let hex = &mut found.last_mut().unwrap().1;
                hex.push_str(row.trim_end());
                hex.push(' ');
            }
        }
    }
    let times = [
        "1700000000.123456789",
        "1700000000.123456790",
        "1699996400.123456789",
    ];
    assert_eq!(found, times.map(|time| (time.to_owned(), hex.clone())));
    let out = capture.read_well("tcpdump", &["-nn", "-q", "-r"], &["greater", "200"]);
    assert_eq!(out.lines().count(), 1, "{out}");
}

/// tcpdump copies the packets into a pcap of microseconds: the same to `diff`, but for the time.
#[test]
fn tcpdump_s_copy_is_the_same_capture() {
    if skipped() {
        return;
    }
    let ours = all_there_is();
    let capture = Capture::new("copy", &ours);
    let copy = Capture(capture.0.with_extension("pcap"));
    capture.read_well("tcpdump", &["-r"], &["-w", copy.0.to_str().unwrap()]);
    let theirs = fs::read(&copy.0).unwrap();
    let (ours, theirs) = (
        diff::Capture::read(&ours).unwrap(),
        diff::Capture::read(&theirs).unwrap(),
    );
    let report = diff::compare(&ours, &theirs, &diff::Options::default());
    assert!(report.is_equal() && report.matched.len() == 4, "{report}");
    let skew = report.skew.unwrap();
    assert!((0..1000).contains(&skew.largest_ns), "{report}");
}

#[test]
fn raw_packets_are_read_as_ip() {
    if skipped() {
        return;
    }
    let mut writer = Writer::new(Vec::new(), &section(&[]), 96).unwrap();
    let wg0 = writer
        .interface(&interface("wg0", 1, LinkType::RAW))
        .unwrap();
    writer
        .packet(&packet(wg0, START_NS, &NTP[14..], &said("")))
        .unwrap();
    let capture = Capture::new("raw", &writer.into_inner().unwrap());
    let out = capture.read_well(
        "tshark",
        &["-n", "-r"],
        &["-T", "fields", "-e", "frame.protocols"],
    );
    assert_eq!(out.trim(), "raw:ip:udp:ntp");
    let out = capture.read_well("tcpdump", &["-nn", "-t", "-r"], &[]);
    assert!(
        out.starts_with("IP 192.168.178.24.51207 > 192.168.178.1.123: NTP"),
        "{out}"
    );
}

/// The limit that users are warned of. When this fails, tcpdump has learnt it: drop the warning.
#[test]
fn tcpdump_refuses_two_link_types() {
    if skipped() {
        return;
    }
    let capture = Capture::new("types", &two_link_types());
    let (success, _, err) = capture.read("tcpdump", &["-nn", "-r"], &[]);
    assert!(
        !success && err.contains("different from the type of the first interface"),
        "{err}"
    );
    let out = capture.read_well(
        "tshark",
        &["-n", "-r"],
        &["-T", "fields", "-e", "frame.protocols"],
    );
    assert_eq!(out, "eth:ethertype:ip:udp:ntp\nraw:ip:udp:ntp\n");
}
