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
    let capture = parse_pcapng(&file.stdout).expect("a faultless file");
    readers(
        &fixture("golden").join(format!("{name}.pcapng")),
        capture.packets.len(),
    );
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
