//! Lines as tcpdump prints them: its flags for times and bytes mean the same, letter for letter.
//!
//! tcpdump is looked for in PATH and must be there: `cargo xtask test` sees to it;
//! `SKBCAP_SKIP_READERS=1` says that it is not, and that it is known.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Golden captures that tcpdump reads.
const GOLDEN: [&str; 5] = [
    "chronyd",
    "linktypes-sll2",
    "linktypes-split.raw",
    "stream",
    "vlan",
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../fixtures/golden/{name}.pcapng"))
}

fn said(mut command: Command) -> Vec<u8> {
    let output = command.env("TZ", "America/New_York").output();
    let output = output.unwrap_or_else(|error| {
        panic!(
            "{command:?}: {error}; `cargo xtask fetch` gets tcpdump and names the directory for \
             PATH, SKBCAP_SKIP_READERS=1 does without"
        )
    });
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    output.stdout
}

/// What skbcap and tcpdump print of a file.
fn both(name: &str, flag: &str) -> [String; 2] {
    let test = env::current_exe().expect("a test has a path");
    let dir = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    let mut ours = Command::new(dir.join("skbcap"));
    ours.args(["-n", flag, "-r"]).arg(golden(name));
    let mut theirs = Command::new("tcpdump");
    theirs
        .args(["-Z", "root", "-n", flag, "-r"])
        .arg(golden(name));
    [ours, theirs].map(|command| String::from_utf8(said(command)).expect("ASCII"))
}

#[test]
fn bytes_look_as_in_tcpdump() {
    if env::var_os("SKBCAP_SKIP_READERS").is_some() {
        return;
    }
    let rows = |text: &str| -> Vec<String> {
        let is_row = |line: &&str| line.starts_with("\t0x");
        text.lines().filter(is_row).map(str::to_owned).collect()
    };
    // The others have CAN and LLC: tcpdump shows bytes of these by itself.
    for name in GOLDEN.into_iter().filter(|name| *name != "linktypes-sll2") {
        for flag in ["-x", "-xx", "-X", "-XX"] {
            let [ours, theirs] = both(name, flag);
            assert_eq!(rows(&ours), rows(&theirs), "{name} {flag}");
            assert!(!rows(&ours).is_empty());
        }
    }
}

#[test]
fn times_look_as_in_tcpdump() {
    if env::var_os("SKBCAP_SKIP_READERS").is_some() {
        return;
    }
    for name in GOLDEN {
        for (flag, words) in [
            ("-tt", 1),
            ("-ttt", 1),
            ("-tttt", 2),
            ("-ttttt", 1),
            ("-n", 1),
        ] {
            // Each packet's line, up to the interface's name or the protocol.
            let times = |text: &str| -> Vec<String> {
                let is_packet = |line: &&str| !line.starts_with('\t');
                let time = |line: &str| {
                    let space = if line.starts_with(' ') { " " } else { "" };
                    let words: Vec<&str> = line.split_whitespace().take(words).collect();
                    format!("{space}{}", words.join(" "))
                };
                text.lines().filter(is_packet).map(time).collect()
            };
            let [ours, theirs] = both(name, flag);
            assert_eq!(times(&ours), times(&theirs), "{name} {flag}");
        }
        let [without, _] = both(name, "-t");
        assert!(
            !without.contains("2026-") && !without.starts_with([' ', '0', '1', '2']),
            "{without}"
        );
    }
}

/// `-A` shows the text of a packet as tcpdump does.
#[test]
fn text_looks_as_in_tcpdump() {
    if env::var_os("SKBCAP_SKIP_READERS").is_some() {
        return;
    }
    let text = |said: &str| said.lines().skip(1).map(str::to_owned).next();
    for flag in ["-A", "-AA"] {
        let [ours, theirs] = both("chronyd", flag);
        assert_eq!(text(&ours), text(&theirs), "{flag}");
    }
}
