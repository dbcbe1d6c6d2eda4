//! Captures in several files, from recorded rings: each adds up by itself, and all together hold the
//! frames of one; and their names are those that tcpdump gives its own.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use skbcap_tests::capture::{Packet, parse_pcapng};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures")
        .join(name)
        .canonicalize()
        .expect("it is there")
}

/// skbcap in a directory.
fn skbcap(directory: &Path, words: &[&str]) -> Output {
    let test = env::current_exe().expect("a test has a path");
    let dir = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    let mut command = Command::new(dir.join("skbcap"));
    command.args(words).current_dir(directory).env("TZ", "UTC");
    command.output().expect("skbcap runs")
}

fn replay(directory: &Path, ring: &str, words: &[&str]) -> String {
    let ring = fixture(&format!("rings/{ring}.ring"));
    let words = [&["--replay", ring.to_str().expect("UTF-8")], words].concat();
    let output = skbcap(directory, &words);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.success(), "{words:?}: {said}");
    said
}

/// The names in a directory, shorter ones first: the order of numbers.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().into_string())
        .map(|name| name.expect("UTF-8"))
        .collect();
    names.sort_by_key(|name| (name.len(), name.clone()));
    names
}

/// The packets of a file, less what depends on the file: its section's number.
fn packets(path: &Path) -> Vec<Packet> {
    let capture = parse_pcapng(&fs::read(path).expect("a file")).expect("a faultless file");
    let mut packets = capture.packets;
    for packet in &mut packets {
        if let Some(more) = &mut packet.more {
            more.section = 0;
        }
    }
    packets
}

fn verify(directory: &Path, names: &[String]) {
    let mut words = vec!["verify"];
    words.extend(names.iter().map(String::as_str));
    let output = skbcap(directory, &words);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}

#[test]
fn all_files_together_are_one() {
    let scratch = tempfile::tempdir().expect("a directory");
    for ring in ["chronyd", "stream", "losses", "vlan", "clock"] {
        let one = fixture(&format!("golden/{ring}.pcapng"));
        let directory = scratch.path().join(ring);
        fs::create_dir(&directory).expect("a directory");
        let said = replay(&directory, ring, &["-w", "out", "-C", "1k"]);
        let counts = fs::read_to_string(fixture(&format!("golden/{ring}.counts")));
        assert_eq!(said, counts.expect("a file"));
        let names = names(&directory);
        assert!(names.len() > 1, "{ring}: {names:?}");
        assert_eq!(names[..2], ["out", "out1"]);
        let parts = names.iter().map(|name| packets(&directory.join(name)));
        assert!(parts.flatten().eq(packets(&one)), "{ring}");
        verify(&directory, &names);
        // A part that is tampered with is found out.
        let first = directory.join("out");
        let bytes = fs::read(&first).expect("a file");
        let said = String::from_utf8_lossy(&bytes);
        let at = said.find("part=1 captured=").expect("what it holds");
        // Lossy text is longer, never shorter: look for the same bytes in the file itself.
        let needle = &said.as_bytes()[at..at + 16];
        let at = bytes.windows(16).position(|here| here == needle);
        let mut wrong = bytes.clone();
        wrong[at.expect("it is there") + 16] ^= 1;
        fs::write(&first, wrong).expect("a file");
        let output = skbcap(&directory, &["verify", "out"]);
        assert_eq!(output.status.code(), Some(1), "{ring}");
    }
}

/// `-C SIZE -W COUNT` keeps the last COUNT files.
#[test]
fn files_in_turn() {
    let scratch = tempfile::tempdir().expect("a directory");
    replay(scratch.path(), "losses", &["-w", "out", "-C", "1k"]);
    let all = names(scratch.path());
    let last: Vec<_> = all[all.len() - 3..]
        .iter()
        .flat_map(|name| packets(&scratch.path().join(name)))
        .collect();
    let ring = tempfile::tempdir().expect("a directory");
    replay(ring.path(), "losses", &["-w", "out", "-C", "1k", "-W", "3"]);
    let kept = names(ring.path());
    assert_eq!(kept, ["out0", "out1", "out2"]);
    let mut found: Vec<_> = kept
        .iter()
        .flat_map(|name| packets(&ring.path().join(name)))
        .collect();
    found.sort_by_key(|packet| packet.time_ns);
    assert_eq!(found, last);
    verify(ring.path(), &kept);
}

/// `-G` names files after the frames' times; `-W` ends it.
#[test]
fn files_by_time() {
    let scratch = tempfile::tempdir().expect("a directory");
    replay(scratch.path(), "clock", &["-w", "at-%s", "-G", "1"]);
    let names_by_time = names(scratch.path());
    let one = packets(&fixture("golden/clock.pcapng"));
    let parts = names_by_time
        .iter()
        .map(|name| packets(&scratch.path().join(name)));
    let mut all: Vec<_> = parts.flatten().collect();
    let mut sorted = one.clone();
    all.sort_by_key(|packet| packet.time_ns);
    sorted.sort_by_key(|packet| packet.time_ns);
    assert_eq!(all, sorted);
    assert!(names_by_time.len() > 1);
    let first = one[0].time_ns / 1_000_000_000;
    assert!(
        names_by_time.contains(&format!("at-{first}")),
        "{names_by_time:?}"
    );
    verify(scratch.path(), &names_by_time);

    let limited = tempfile::tempdir().expect("a directory");
    let said = replay(limited.path(), "clock", &["-w", "%s", "-G", "1", "-W", "1"]);
    assert_eq!(names(limited.path()), [first.to_string()]);
    assert!(said.contains("the last of -W's files is done"), "{said}");
    assert!(said.contains("not written: beyond -c or -W"), "{said}");
    verify(limited.path(), &names(limited.path()));
}

/// A copy in several files: tcpdump gives its own the same names.
#[test]
fn a_copy_in_several_files() {
    let golden = fixture("golden/losses.pcapng");
    let golden = golden.to_str().expect("UTF-8");
    // 179 frames of 60 bytes or more: over 10 kB for skbcap; for tcpdump, whose unit is a million
    // bytes, a file of many such frames.
    for (words, wanted) in [
        (&["-C", "8k"][..], &["out", "out1", "out2", "out3"][..]),
        (&["-C", "8k", "-W", "2"], &["out0", "out1"]),
        (
            &["-C", "8k", "-W", "11"],
            &["out00", "out01", "out02", "out03"],
        ),
    ] {
        let scratch = tempfile::tempdir().expect("a directory");
        let output = skbcap(
            scratch.path(),
            &[&["-r", golden, "-w", "out"], words].concat(),
        );
        assert!(output.status.success(), "{output:?}");
        let names = names(scratch.path());
        assert_eq!(names, wanted, "{words:?}");
        if words.len() == 2 {
            let lines = |name: &str| skbcap(scratch.path(), &["-r", name]).stdout;
            let parts: Vec<u8> = names.iter().flat_map(|name| lines(name)).collect();
            assert!(parts == lines(golden));
        }
    }
}

/// The names are tcpdump's, and so is what stands in each file.
#[test]
fn names_are_tcpdumps() {
    if env::var_os("SKBCAP_SKIP_READERS").is_some() {
        return;
    }
    let scratch = tempfile::tempdir().expect("a directory");
    // 4 MB of frames of 1000 bytes.
    let mut pcap = Vec::new();
    let words =
        |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).collect() };
    pcap.extend(words(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, 1]));
    for number in 0..4000 {
        pcap.extend(words(&[1_700_000_000, number, 1000, 1000]));
        pcap.extend([0x5a; 1000]);
    }
    let input = scratch.path().join("input.pcap");
    fs::write(&input, pcap).expect("a file");
    let input = input.to_str().expect("UTF-8");
    for words in [
        &["-C", "1"][..],
        &["-C", "1", "-W", "2"],
        &["-C", "1", "-W", "11"],
        &["-C", "1", "-W", "1"],
        &["-C", "1", "-G", "3600"],
        &["-C", "1", "-G", "3600", "-W", "3"],
        &["-G", "3600"],
        &["-G", "3600", "-W", "1"],
    ] {
        let found = ["tcpdump", "skbcap"].map(|program| {
            let directory = scratch.path().join(program);
            fs::create_dir(&directory).expect("a directory");
            let out = directory.join("out-%Y");
            let name = out.to_str().expect("UTF-8");
            let words = [&["-r", input, "-w", name][..], words].concat();
            let output = if program == "tcpdump" {
                let mut command = Command::new(program);
                command.args(["-Z", "root"]).args(&words);
                command
                    .output()
                    .expect("tcpdump runs: `cargo xtask fetch` gets it")
            } else {
                skbcap(&directory, &words)
            };
            assert!(output.status.success(), "{words:?}: {output:?}");
            let names = names(&directory);
            let files = names
                .iter()
                .map(|name| fs::read(directory.join(name)).expect("a file"));
            let files: Vec<_> = files.collect();
            fs::remove_dir_all(&directory).expect("it was made");
            (names, files)
        });
        let [(their_names, theirs), (our_names, ours)] = found;
        assert_eq!(our_names, their_names, "{words:?}");
        assert!(ours == theirs, "{words:?}: the files differ");
    }
}
