//! What a user sees who types something and captures nothing: help, version, errors, statuses.
//!
//! Each test runs the command and compares what it says with a file in `fixtures/cli`.
//! `SKBCAP_BLESS=1 cargo test -p skbcap --test cli` writes the files anew.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// A command line, as one would type it, and all that comes of it.
fn session(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_skbcap"))
        .args(arguments)
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
    assert_eq!(
        session(&["-h"]).split_once('\n').unwrap().1,
        session(&["--help"]).split_once('\n').unwrap().1
    );
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
    let lines: [&[&str]; 23] = [
        &["-Q", "in"],
        &["--hok", "queue"],
        &["--hook", "tc"],
        &["-w"],
        &["-w", ""],
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
        &["--netns", ""],
        &["--netns", "0"],
        &["--netns", "4294967296"],
        &["--btf", ""],
        &["--record", "a.ring", "--replay", "b.ring"],
        &["tcp", "port", "443"],
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
