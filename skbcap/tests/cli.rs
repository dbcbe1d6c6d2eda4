//! What a user sees who types something and captures nothing: help, version, errors, statuses.
//!
//! Each test runs the command and compares what it says with a file in `fixtures/cli`.
//! `SKBCAP_BLESS=1 cargo test -p skbcap --test cli` writes the files anew.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// A command line, as one would type it, and all that comes of it.
fn session(arguments: &[&str]) -> String {
    session_in(Path::new("."), arguments)
}

/// As [`session`], in a directory of its own.
fn session_in(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_skbcap"))
        .args(arguments)
        .current_dir(directory)
        .env_remove("COLUMNS")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let mut session = String::from("$ skbcap");
    for argument in arguments {
        let is_plain = !argument.is_empty() && !argument.contains([' ', '\n']);
        if is_plain {
            write!(session, " {argument}").unwrap();
        } else {
            write!(session, " {argument:?}").unwrap();
        }
    }
    session.push('\n');
    session.push_str(std::str::from_utf8(&output.stdout).unwrap());
    for line in std::str::from_utf8(&output.stderr).unwrap().lines() {
        writeln!(session, "stderr: {line}").unwrap();
    }
    writeln!(session, "status: {}", output.status.code().unwrap()).unwrap();
    session
}

fn compare(name: &str, said: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures/cli")
        .join(name);
    if std::env::var_os("SKBCAP_BLESS").is_some() {
        std::fs::write(&path, said).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        said == wanted,
        "{name} differs; SKBCAP_BLESS=1 writes it anew. It is now:\n{said}"
    );
}

#[test]
fn help() {
    compare("help.txt", &session(&["--help"]));
    compare("help-diff.txt", &session(&["diff", "--help"]));
    compare("help-verify.txt", &session(&["verify", "--help"]));
    assert_eq!(
        session(&["-h"]).split_once('\n').unwrap().1,
        session(&["--help"]).split_once('\n').unwrap().1
    );
}

/// The command was not run then.
#[test]
fn bad_usage_beside_a_command_is_status_2_too() {
    let lines: [&[&str]; 8] = [
        &["--hok", "--", "true"],
        &["-c", "0", "--", "true"],
        &["-w", "-", "--", "true"],
        &["-D", "--", "true"],
        &["--check", "--", "true"],
        &["-r", "a.pcap", "--", "true"],
        &["--", "no-such-command"],
        &["--", "../fixtures/cli/help.txt"],
    ];
    let said: Vec<String> = lines.iter().map(|line| session(line)).collect();
    compare("command.txt", &said.join("\n"));
}

#[test]
fn version() {
    let said = session(&["--version"]);
    assert_eq!(
        said,
        format!(
            "$ skbcap --version\nskbcap {}\nstatus: 0\n",
            env!("CARGO_PKG_VERSION")
        )
    );
}

#[test]
fn bad_usage_is_one_line_and_status_2() {
    let seventeen: Vec<String> = (0..17).map(|number| format!("-ieth{number}")).collect();
    let seventeen: Vec<&str> = seventeen.iter().map(String::as_str).collect();
    let lines: [&[&str]; 78] = [
        &["-i", "veth/*"],
        &["-i", "????????????????"],
        &["--not-interface", "any"],
        &["--not-interface", "a b"],
        &["--netns", "self", "--not-netns", "1"],
        &["--not-netns", "all"],
        &["--not-netns", "0"],
        &["-r", "a.pcap", "--not-netns", "self"],
        &["-r", "a.pcap", "--not-interface", "lo"],
        &["--not-cgroup=/"; 17],
        &["-r", "a.pcap", "--cgroup", "/"],
        &["--pid", "abc"],
        &["--not-pid", "0"],
        &["--tid", "-1"],
        &["--comm", ""],
        &["--not-comm", "sixteen-bytes-xx"],
        &["--uid", ""],
        &["-r", "a.pcap", "--not-uid", "0"],
        &["-Q", "in"],
        &["--hok", "queue"],
        &["--hook", "tc"],
        &["-w"],
        &["-w", ""],
        &["--linktype", "sll"],
        &["--linktype", "sll2"],
        &["--split-linktype"],
        &["--split-linktype", "-w", "-"],
        &["--split-linktype", "--linktype", "sll2", "-w", "out.pcapng"],
        &["--replay", "../fixtures/rings/clock.ring", "-w", "."],
        &["--replay", "../fixtures/rings/clock.ring", "-w", "no/out"],
        &["-w", "out.pcapng", "-C", "0"],
        &["-w", "out.pcapng", "-C", "9x"],
        &["-w", "out.pcapng", "-G", "0"],
        &["-w", "out.pcapng", "-G", "1.5"],
        &["-w", "out.pcapng", "-C", "1", "-W", "0"],
        &["-w", "out.pcapng", "-W", "3"],
        &["-C", "1"],
        &["-w", "-", "-G", "1"],
        &["-w", "out.pcapng", "-C", "1", "--split-linktype"],
        &["-w", "-", "--print"],
        &["-r", "a.pcap", "-D"],
        &["--time-limit", "0"],
        &["--time-limit", "soon"],
        &["-r", "a.pcap", "--time-limit", "1"],
        &["-c", "0"],
        &["-c", "-1"],
        &["-c", "many"],
        &["-s", "262145"],
        &["-s", "-1"],
        &["-B", "0"],
        &["-B", "2097153"],
        &["-i", ""],
        &["-i", "sixteen-bytes-no"],
        &["-i", "a/b"],
        &["-i", "a\nb"],
        &seventeen,
        &["--fields", "foo"],
        &["--netns", ""],
        &["--netns", "0"],
        &["--netns", "4294967296"],
        &["--btf", ""],
        &["--record", "a.ring", "--replay", "b.ring"],
        &["--replay", "a.ring", "tcp", "port", "443"],
        &["-c", "1", "diff", "a", "b"],
        &["diff", "a"],
        &["diff", "a", "b", "--ignore", "bytes"],
        &["diff", "a", "b", "--window", "-1"],
        &["diff", "a", "b", "--json", "-q"],
        &["verify"],
        &["verify", "a", "--json", "-q"],
        &["-c", "1", "verify", "a"],
        &["-F", "expression"],
        &["-r", "missing.pcap"],
        &["-r", "/dev/null"],
        &["-r", "a.pcap", "-i", "eth0"],
        &["-r", "a.pcap", "-c", "0"],
        &["-r", "a.pcap", "-F", "missing"],
        &["-tttttt"],
    ];
    let mut said = String::new();
    for line in lines {
        let session = session(line);
        assert_eq!(session.lines().count(), 3, "{session}");
        assert!(session.ends_with("status: 2\n"), "{session}");
        said.push_str(&session);
    }
    compare("bad-usage.txt", &said);
}

/// A UDP packet on Ethernet, its checksums right, with this IP id and time to live.
const UDP: &str = "020000000002020000000001080045000021000100004011\
                   66c90a0000010a0000021388003500\
                   0d944268656c6c6f";

fn hex(text: &str) -> Vec<u8> {
    let text: Vec<char> = text
        .chars()
        .filter(|digit| !digit.is_whitespace())
        .collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    text.chunks(2).map(byte).collect()
}

/// A pcap of these frames, a millisecond apart.
fn pcap(frames: &[Vec<u8>], later_us: u32) -> Vec<u8> {
    let words = |words: &[u32]| {
        words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect::<Vec<_>>()
    };
    let mut bytes = words(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, 1]);
    for (number, frame) in frames.iter().enumerate() {
        let len = frame.len() as u32;
        let time_us = 1000 * number as u32 + later_us;
        bytes.extend(words(&[1_700_000_000, time_us, len, len]));
        bytes.extend(frame);
    }
    bytes
}

#[test]
fn two_captures_compared() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
    let frames: Vec<Vec<u8>> = (1..=5)
        .map(|id| {
            let mut frame = hex(UDP);
            frame[19] = id;
            frame[25] -= id - 1;
            frame
        })
        .collect();
    let mut theirs = frames.clone();
    theirs[0][44] = 0xff; // payload
    theirs[1][22] = 63; // time to live
    theirs[2].splice(40..42, [0x14, 0x21]); // the pseudo-header's sum
    theirs[3].splice(12..12, [0x81, 0, 0, 7]);
    theirs[4][19] = 200;
    theirs[4][45] = 0;
    theirs[4][4] = 9;
    theirs.push(frames[4].clone());
    let whole = pcap(&frames, 0);
    write("ours.pcap", &whole);
    write("later.pcap", &pcap(&frames, 250));
    write("theirs.pcap", &pcap(&theirs, 7));
    write(
        "named.pcap",
        &pcap(&[&frames[..2], &theirs[2..4], &frames[4..]].concat(), 7),
    );
    write("cut.pcap", &whole[..whole.len() - 9]);
    write("none.pcap", b"");
    write("text.txt", b"What is this?");
    let lines: [&[&str]; 13] = [
        &["ours.pcap", "later.pcap"],
        &["ours.pcap", "theirs.pcap"],
        &["ours.pcap", "theirs.pcap", "-n", "1"],
        &["ours.pcap", "theirs.pcap", "-q"],
        &["ours.pcap", "theirs.pcap", "--json"],
        &["ours.pcap", "named.pcap"],
        &["ours.pcap", "named.pcap", "--ignore", "checksum,vlan"],
        &["ours.pcap", "cut.pcap"],
        &["ours.pcap", "cut.pcap", "--json", "--window", "0.0001"],
        &["ours.pcap", "none.pcap"],
        &["ours.pcap", "text.txt"],
        &["ours.pcap", "missing.pcap"],
        &["ours.pcap", "."],
    ];
    let sessions = lines.map(|line| session_in(directory.path(), &[&["diff"], line].concat()));
    compare("diff.txt", &sessions.concat());
}

/// A real capture with losses, and what can happen to it.
#[test]
fn a_capture_verified() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden");
    let whole = fs::read(golden.join("losses.pcapng")).unwrap();
    let clock = fs::read(golden.join("clock.pcapng")).unwrap();
    // The blocks' places: each begins where the one before it ends.
    let mut starts = vec![0];
    while let Some(word) = whole.get(starts[starts.len() - 1] + 4..) {
        let len = u32::from_le_bytes(*word.first_chunk().unwrap());
        starts.push(starts[starts.len() - 1] + len as usize);
    }
    let block = |n: usize| &whole[starts[n]..starts[n + 1]];
    write("whole.pcapng", &whole);
    write("clock.pcapng", &clock);
    write("cut.pcapng", &whole[..starts[100] + 20]);
    write("killed.pcapng", &whole[..starts[100]]);
    write(
        "missing.pcapng",
        &[&whole[..starts[5]], &whole[starts[6]..]].concat(),
    );
    let before = &whole[..starts[5]];
    let turned = [before, block(6), block(5), &whole[starts[7]..]].concat();
    write("turned.pcapng", &turned);
    let mut sniffed = whole[..starts[20]].to_vec();
    let name = b"skbcap 0.1.0";
    let at = sniffed.windows(12).position(|here| here == name).unwrap();
    sniffed[at..at + 12].copy_from_slice(b"sniff\x1b[1m 33");
    write("sniffed.pcapng", &sniffed);
    write("none.pcapng", b"");
    write("dump.pcap", &pcap(&[hex(UDP)], 0));
    let lines: [&[&str]; 13] = [
        &["whole.pcapng"],
        &["whole.pcapng", "clock.pcapng", "--json"],
        &["whole.pcapng", "-q"],
        &["cut.pcapng"],
        &["cut.pcapng", "--json"],
        &["killed.pcapng", "-q"],
        &["killed.pcapng", "clock.pcapng"],
        &["missing.pcapng"],
        &["turned.pcapng"],
        &["sniffed.pcapng"],
        &["none.pcapng", "whole.pcapng", "--json"],
        &["dump.pcap"],
        &["missing.nowhere"],
    ];
    let sessions = lines.map(|line| session_in(directory.path(), &[&["verify"], line].concat()));
    compare("verify.txt", &sessions.concat());
}
