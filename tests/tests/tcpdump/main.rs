//! tcpdump's command lines, with tcpdump replaced by skbcap: `invocations.txt` lists them.
//!
//! tcpdump is looked for in PATH and must be there: `cargo xtask test` sees to it;
//! `SKBCAP_SKIP_READERS=1` says that it is not, and that it is known.

#[path = "../expressions/library.rs"]
mod library;

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const FILES: [(&str, &str); 5] = [
    ("STREAM", "stream"),
    ("VLAN", "vlan"),
    ("CHRONYD", "chronyd"),
    ("LOSSES", "losses"),
    ("RAW", "linktypes-split.raw"),
];

/// A command line's beginning that runs the binary that cargo built beside this test, with a libpcap
/// that it finds.
fn skbcap() -> String {
    let test = env::current_exe().expect("a test has a path");
    let dir = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    let command = library::command(&dir.join("skbcap"));
    let mut line = quoted(command.get_program());
    for word in command.get_args() {
        line.push(' ');
        line.push_str(&quoted(word));
    }
    line
}

fn quoted(word: &OsStr) -> String {
    format!("'{}'", word.to_str().expect("UTF-8"))
}

/// What a command line left: its output, and its files.
struct Run {
    output: Output,
    files: Vec<(String, Vec<u8>)>,
}

/// Runs a command line in an empty directory, where pcap files of these names are.
fn run(line: &str, program: &str, more: &str) -> Run {
    let directory = tempfile::tempdir().expect("a directory");
    let mut line = line.replace("tcpdump ", &format!("{program} {more}"));
    for (word, name) in FILES {
        // As pcap: so tcpdump's own copies are of the format that it reads.
        let file = pcaps().join(format!("{name}.pcap"));
        line = line.replace(word, file.to_str().expect("UTF-8"));
    }
    let output = Command::new("sh")
        .args(["-c", &line])
        .current_dir(directory.path())
        .env("TZ", "UTC")
        .output()
        .expect("a shell");
    let mut files: Vec<_> = fs::read_dir(directory.path())
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy();
            (name.into_owned(), fs::read(&path).expect("a file"))
        })
        .collect();
    files.sort();
    Run { output, files }
}

/// The golden captures as pcap, which tcpdump writes.
fn pcaps() -> &'static Path {
    use std::sync::OnceLock;
    static PCAPS: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = PCAPS.get_or_init(|| {
        let directory = tempfile::tempdir().expect("a directory");
        for (_, name) in FILES {
            let golden = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join(format!("../fixtures/golden/{name}.pcapng"));
            let output = Command::new("tcpdump")
                .args(["-Z", "root", "-r"])
                .arg(golden)
                .arg("-w")
                .arg(directory.path().join(format!("{name}.pcap")))
                .output()
                .expect("tcpdump runs: `cargo xtask fetch` gets it");
            assert!(output.status.success(), "{output:?}");
        }
        directory
    });
    made.path()
}

#[test]
fn tcpdumps_command_lines() {
    if env::var_os("SKBCAP_SKIP_READERS").is_some() {
        return;
    }
    let all = include_str!("invocations.txt").lines();
    let lines: Vec<&str> = all.filter(|line| !line.starts_with('#')).collect();
    assert!(lines.len() >= 50, "only {}", lines.len());
    let ours = skbcap();
    for line in lines {
        // Debian's drops privileges to a user who has no business here.
        let theirs = run(line, "tcpdump", "-Z root ");
        let mine = run(line, &ours, "");
        let said = String::from_utf8_lossy(&mine.output.stderr);
        assert_eq!(mine.output.status, theirs.output.status, "{line}: {said}");
        assert!(mine.files == theirs.files, "{line}: other files");
        // Which frames: counted, for their lines differ.
        let count = |program, more: &str| run(line, program, more).output.stdout;
        if !line.contains("-w ") {
            let [theirs, mine] = [
                count("tcpdump", "-Z root --count "),
                count(&ours, "--count "),
            ]
            .map(|said| String::from_utf8(said).expect("UTF-8"));
            assert_eq!(mine, theirs, "{line}");
            assert!(
                mine.ends_with(" packets\n") || mine.ends_with(" packet\n"),
                "{line}: {mine}"
            );
        }
    }
}
