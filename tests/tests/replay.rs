//! Recorded rings replayed, without root and without a kernel: the files byte for byte, the lines
//! as they are printed, the counts; and the readers that users have open each file.
//!
//! `SKBCAP_BLESS=1` writes anew what is expected. tshark, capinfos and tcpdump are looked for in
//! PATH and must be there: `cargo xtask test` sees to it; `SKBCAP_SKIP_READERS=1` says that they
//! are not, and that it is known.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use skbcap_tests::capture::parse_pcapng;

/// Below `fixtures`, where this test's files lie.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures")
        .join(name)
}

/// The binary that cargo built beside this test: it is another crate's.
fn skbcap() -> PathBuf {
    let test = env::current_exe().expect("a test has a path");
    let dir = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    let binary = dir.join("skbcap");
    assert!(
        binary.exists(),
        "no {}: run `cargo build`, or `cargo test --workspace`",
        binary.display()
    );
    binary
}

fn replay(ring: &Path, more: &[&str]) -> Output {
    let output = Command::new(skbcap())
        .arg("--replay")
        .arg(ring)
        .args(more)
        .env("TZ", "UTC")
        .output()
        .expect("skbcap runs");
    assert!(
        output.status.success(),
        "{}: {}",
        ring.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The file holds these bytes; or is made to.
fn golden(name: &str, bytes: &[u8]) {
    let path = fixture("golden").join(name);
    if env::var_os("SKBCAP_BLESS").is_some() {
        fs::write(&path, bytes).expect("fixtures/golden can be written");
    }
    let expected = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(
        expected == bytes,
        "{name} is another than fixtures/golden/{name}; if it should be, SKBCAP_BLESS=1 keeps it"
    );
}

fn check(name: &str) {
    let ring = fixture("rings").join(format!("{name}.ring"));
    assert!(
        ring.metadata().expect("the recording is there").len() < 100_000,
        "recordings are small"
    );
    let file = replay(&ring, &["-w", "-"]);
    golden(&format!("{name}.pcapng"), &file.stdout);
    verify(&fixture("golden").join(format!("{name}.pcapng")));
    golden(&format!("{name}.counts"), &file.stderr);
    golden(&format!("{name}.lines"), &replay(&ring, &[]).stdout);
    read_back(name, &file.stdout);
    let capture = parse_pcapng(&file.stdout).expect("a faultless file");
    readers(
        &fixture("golden").join(format!("{name}.pcapng")),
        capture.packets.len(),
    );
}

/// `-r` prints the file as the capture was printed, copies it byte for byte, and not onto itself.
fn read_back(name: &str, bytes: &[u8]) {
    let file = fixture("golden").join(format!("{name}.pcapng"));
    let read = |words: &[&str]| {
        let mut command = Command::new(skbcap());
        command.arg("-r").arg(&file).args(words).env("TZ", "UTC");
        command.output().expect("skbcap runs")
    };
    let lines = fs::read(fixture("golden").join(format!("{name}.lines"))).expect("just compared");
    assert!(read(&[]).stdout == lines, "{name} is printed otherwise");
    let first = read(&["-c", "1"]).stdout;
    assert!(lines.starts_with(&first) && first.iter().filter(|&&byte| byte == b'\n').count() == 1);
    assert!(
        read(&["-w", "-"]).stdout == bytes,
        "{name} is copied otherwise"
    );
    let onto_itself = read(&["-w", file.to_str().expect("UTF-8")]);
    assert_eq!(onto_itself.status.code(), Some(2));
    assert!(fs::read(&file).expect("still there") == bytes);
}

/// The file adds up by its own account.
fn verify(file: &Path) {
    let output = Command::new(skbcap()).arg("verify").arg(file).output();
    let output = output.expect("skbcap runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}

/// tshark, capinfos and tcpdump read as many packets as there are.
fn readers(file: &Path, packets: usize) {
    if env::var_os("SKBCAP_SKIP_READERS").is_some() {
        return;
    }
    let file = file.to_str().expect("the repository's path is UTF-8");
    let lines = read(
        "tshark",
        &["-n", "-r", file, "-T", "fields", "-e", "frame.number"],
    );
    assert_eq!(lines.lines().count(), packets, "tshark, {file}");
    let count = read("capinfos", &["-M", "-T", "-r", "-c", file]);
    let counted = count.split_whitespace().last().and_then(|n| n.parse().ok());
    assert_eq!(counted, Some(packets), "capinfos: {count}");
    let lines = read("tcpdump", &["-n", "-t", "-Z", "root", "-r", file]);
    let first = |line: &&str| !line.starts_with(['\t', ' ']);
    assert_eq!(
        lines.lines().filter(first).count(),
        packets,
        "tcpdump, {file}"
    );
}

fn read(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output();
    let output = output.unwrap_or_else(|error| {
        panic!(
            "{program}: {error}; `cargo xtask fetch` gets it and names the directory for PATH, \
             SKBCAP_SKIP_READERS=1 does without"
        )
    });
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words:?}: {stderr}");
    assert!(!stderr.contains("damaged"), "{program} {words:?}: {stderr}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The frame of the question, and datagrams of two threads.
#[test]
fn chronyd() {
    check("chronyd");
    let capture = fs::read(fixture("golden/chronyd.pcapng")).expect("it was just compared");
    let capture = parse_pcapng(&capture).expect("a faultless file");
    let first = &capture.packets[0];
    assert_eq!(first.data.len(), 90);
    assert_eq!(first.data[..6], [0x34, 0x31, 0xc4, 0xb0, 0x6a, 0x8b]);
    assert_eq!(
        first.data[82..],
        [0x38, 0xbc, 0x17, 0x13, 0x12, 0x4a, 0x4c, 0xc0]
    );
    assert_eq!(first.more().who.comm, b"chronyd");
}

/// A super-frame, which holds most of a stream.
#[test]
fn stream() {
    check("stream");
}

/// Tags that were in metadata.
#[test]
fn vlan() {
    check("vlan");
}

/// Frames lost for want of room, told of by the next one of each CPU.
#[test]
fn losses() {
    check("losses");
}

/// A clock that was set three times.
#[test]
fn clock() {
    check("clock");
}

/// A directory of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("skbcap-replay-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    /// skbcap in it, on the recording of many link types; the exit status and standard error.
    fn replay(&self, words: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(skbcap())
            .current_dir(&self.0)
            .arg("--replay")
            .arg(
                fixture("rings/linktypes.ring")
                    .canonicalize()
                    .expect("it is there"),
            )
            .args(words)
            .output()
            .expect("skbcap runs");
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        (output.status.code(), said)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("a directory");
        let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<String> = entries
            .map(|entry| name(entry).into_string().expect("UTF-8"))
            .collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What tshark finds in these fields of each packet, a line each.
fn fields(file: &Path, fields: &[&str]) -> Option<String> {
    if env::var_os("SKBCAP_SKIP_READERS").is_some() {
        return None;
    }
    let file = file.to_str().expect("UTF-8");
    let mut words = vec!["-n", "-r", file, "-T", "fields", "-E", "separator=|"];
    words.extend(fields.iter().flat_map(|field| ["-e", field]));
    Some(read("tshark", &words))
}

/// Ethernet, VLANs, raw IP, CAN, and a device of no link type, each where it belongs; every file
/// opens everywhere.
#[test]
fn link_types_split() {
    let scratch = Scratch::new("split");
    let (status, said) = scratch.replay(&["-w", "out.pcapng", "--split-linktype"]);
    assert_eq!(status, Some(0), "{said}");
    golden("linktypes-split.counts", said.as_bytes());
    let parts = ["out.can-socketcan.pcapng", "out.pcapng", "out.raw.pcapng"];
    assert_eq!(scratch.names(), parts);
    let mut packets = 0;
    for part in parts {
        let bytes = scratch.read(part);
        let golden_name = part.replace("out", "linktypes-split");
        golden(&golden_name, &bytes);
        let capture = parse_pcapng(&bytes).expect("a faultless file");
        readers(&fixture("golden").join(golden_name), capture.packets.len());
        packets += capture.packets.len();
        for interface in &capture.report.interfaces {
            // The statistics are there; that they add up, the parser has checked.
            assert_eq!(interface.dropped, Some(0), "{part}");
        }
        let comments = &capture.sections[0];
        let wanted = format!("split-linktype={}:", part_name(part));
        assert!(comments.iter().any(|comment| comment.starts_with(&wanted)));
    }
    let captured = format!("{packets} frames captured\n");
    assert!(said.contains(&captured), "{said}");
    let raw = fixture("golden/linktypes-split.raw.pcapng");
    if let Some(lines) = fields(&raw, &["ip.dst", "frame.interface_name"]) {
        assert_eq!(lines, "10.9.0.2|ta\n".repeat(2));
    }
    let can = fixture("golden/linktypes-split.can-socketcan.pcapng");
    if let Some(lines) = fields(&can, &["can.id", "can.flags.xtd"]) {
        // 0x123, extended, as it was given.
        assert!(lines == "291|1\n" || lines == "291|True\n", "{lines}");
    }
}

fn part_name(file: &str) -> &str {
    let middle = file
        .strip_prefix("out.")
        .and_then(|rest| rest.strip_suffix(".pcapng"));
    middle.unwrap_or("ethernet")
}

/// One header for all, and what is behind it is what each device sent.
#[test]
fn link_types_behind_sll2() {
    let scratch = Scratch::new("sll2");
    let (status, said) = scratch.replay(&["-w", "out.pcapng", "--linktype", "sll2"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(!said.contains("not written"), "{said}");
    let bytes = scratch.read("out.pcapng");
    golden("linktypes-sll2.pcapng", &bytes);
    let capture = parse_pcapng(&bytes).expect("a faultless file");
    let file = fixture("golden/linktypes-sll2.pcapng");
    readers(&file, capture.packets.len());
    let seen = [
        "frame.interface_name",
        "sll.hatype",
        "sll.pkttype",
        "ip.dst",
        "vlan.id",
    ];
    if let Some(lines) = fields(&file, &seen) {
        golden("linktypes-sll2.fields", lines.as_bytes());
    }

    // The same frames as in the files of their own types, but for the header.
    scratch.replay(&["-w", "split.pcapng", "--split-linktype"]);
    let diff = |theirs: &str, device: &str, words: &[&str]| {
        let output = Command::new(skbcap())
            .current_dir(&scratch.0)
            .args(["diff", "out.pcapng", theirs, "--iface", device])
            .args(words)
            .output()
            .expect("skbcap runs");
        let told = String::from_utf8(output.stdout).expect("UTF-8");
        (output.status.code(), told)
    };
    for (theirs, device) in [
        ("split.pcapng", "va"),
        ("split.pcapng", "va.7"),
        ("split.raw.pcapng", "ta"),
    ] {
        let (status, told) = diff(theirs, device, &[]);
        assert_eq!(status, Some(1), "{told}");
        assert!(told.contains("cooked"), "{told}");
        let (status, told) = diff(theirs, device, &["--ignore", "cooked"]);
        assert_eq!(status, Some(0), "{device}: {told}");
    }
}

/// The default: each frame as it was, and a word about who can open that.
#[test]
fn link_types_in_one_file() {
    let scratch = Scratch::new("mixed");
    let (status, said) = scratch.replay(&["-w", "out.pcapng"]);
    assert_eq!(status, Some(0), "{said}");
    golden("linktypes.counts", said.as_bytes());
    golden("linktypes.pcapng", &scratch.read("out.pcapng"));
    let file = fixture("golden/linktypes.pcapng");
    if let Some(lines) = fields(&file, &["frame.number"]) {
        let written = parse_pcapng(&scratch.read("out.pcapng")).expect("a faultless file");
        assert_eq!(lines.lines().count(), written.packets.len());
    }
}

/// A device has no files beside it.
#[test]
fn only_a_regular_file_is_split() {
    let scratch = Scratch::new("device");
    let (status, said) = scratch.replay(&["-w", "/dev/null", "--split-linktype"]);
    let told = "skbcap: /dev/null is no regular file: --split-linktype names its files after one\n";
    assert_eq!((status, said.as_str()), (Some(2), told));
}

/// What can't be made on the way is told with its name; what there is stays readable.
#[test]
fn a_part_that_can_not_be_made_is_named() {
    let scratch = Scratch::new("no-part");
    fs::create_dir(scratch.0.join("out.raw.pcapng")).expect("a directory in the way");
    let (status, said) = scratch.replay(&["-w", "out.pcapng", "--split-linktype"]);
    let told = "skbcap: cannot write to out.raw.pcapng; -w takes a file's name: Is a directory";
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains(told), "{said}");
    parse_pcapng(&scratch.read("out.pcapng")).expect("a faultless file");
}
