//! Filter expressions: `skbcap -r FILE EXPRESSION` selects the frames that `tcpdump -r` selects,
//! and the interpreter that does it makes of any program what libpcap's does.
//!
//! Both need libpcap, and tcpdump in PATH, which must be there: `cargo xtask test` sees to it;
//! `SKBCAP_SKIP_READERS=1` says that they are not, and that it is known.

mod interpreter;
mod library;
mod loops;
mod peers;
mod translation;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use skbcap::diff::Capture;
use skbcap_tests::expressions::{self, corpus};
use skbcap_tests::frames;

/// Golden captures that tcpdump reads.
const GOLDEN: [&str; 7] = [
    "chronyd",
    "clock",
    "linktypes-sll2",
    "linktypes-split.can-socketcan",
    "linktypes-split.raw",
    "stream",
    "vlan",
];

fn is_skipped() -> bool {
    env::var_os("SKBCAP_SKIP_READERS").is_some()
}

/// A directory of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("skbcap-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).expect("a file");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// skbcap, with a libpcap that it finds.
fn skbcap() -> Command {
    let test = env::current_exe().expect("a test has a path");
    let dir = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    let binary = dir.join("skbcap");
    assert!(
        binary.exists(),
        "no {}: run `cargo build`, or `cargo test --workspace`",
        binary.display()
    );
    library::command(&binary)
}

/// tcpdump, as whoever runs it.
fn tcpdump() -> Command {
    let mut command = Command::new("tcpdump");
    command.args(["-Z", "root"]);
    command
}

fn output(mut command: Command) -> Output {
    command.output().unwrap_or_else(|error| {
        panic!(
            "{command:?}: {error}; `cargo xtask fetch` gets tcpdump and names the directory for \
             PATH, SKBCAP_SKIP_READERS=1 does without"
        )
    })
}

/// What an expression selects: time in microseconds, length and bytes of each frame; or why not.
type Selected = Result<Vec<(u64, u32, Vec<u8>)>, String>;

fn selected(mut command: Command, file: &Path, expression: &str) -> Selected {
    command.arg("-r").arg(file).args(["-w", "-", expression]);
    let output = output(command);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    if !output.status.success() {
        // skbcap shows the place below.
        let programs = ["skbcap: ", "tcpdump: "];
        let prefixed = |line: &'_ str| {
            programs
                .iter()
                .find_map(|program| line.strip_prefix(program))
                .map(str::to_owned)
        };
        let message = said
            .lines()
            .rev()
            .find_map(prefixed)
            .expect("PROGRAM: what is wrong");
        return Err(message);
    }
    let capture = Capture::read(&output.stdout).expect("a capture");
    assert_eq!(capture.trouble, None);
    let frame =
        |frame: &skbcap::diff::Frame<'_>| (frame.time_ns / 1000, frame.len, frame.data.to_vec());
    Ok(capture.frames.iter().map(frame).collect())
}

/// Both agree; how many frames of the file they select.
fn compare(file: &Path, expression: &str) -> Result<usize, String> {
    let ours = selected(skbcap(), file, expression);
    let theirs = selected(tcpdump(), file, expression);
    let shown: String = expression.chars().take(200).collect();
    assert!(
        ours == theirs,
        "{}: {shown}: skbcap selects {:?}, tcpdump {:?}",
        file.display(),
        ours.map(|frames| frames.len()),
        theirs.map(|frames| frames.len()),
    );
    ours.map(|frames| frames.len())
}

#[test]
fn expressions_select_what_they_select_for_tcpdump() {
    if is_skipped() {
        return;
    }
    let scratch = Scratch::new("corpus");
    let made = [
        ("ethernet", frames::ETHERNET),
        ("raw", frames::RAW),
        ("sll", frames::SLL),
        ("sll2", frames::SLL2),
    ];
    let mut files: Vec<PathBuf> = made
        .iter()
        .map(|(name, link_type)| scratch.file(&format!("{name}.pcap"), &frames::pcap(*link_type)))
        .collect();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden");
    files.extend(GOLDEN.map(|name| golden.join(format!("{name}.pcapng"))));
    let corpus = corpus();
    let total = Capture::read(&frames::pcap(frames::ETHERNET))
        .expect("a capture")
        .frames
        .len();
    // Of Ethernet's frames, what each selects.
    let counts = thread::scope(|scope| {
        let halves = corpus.chunks(corpus.len().div_ceil(2));
        let halves: Vec<_> = halves
            .map(|half| {
                let files = &files;
                scope.spawn(move || {
                    let each = half.iter().map(|expression| {
                        for file in &files[1..] {
                            let _ = compare(file, expression);
                        }
                        compare(&files[0], expression)
                    });
                    each.collect::<Vec<_>>()
                })
            })
            .collect();
        let counts = halves
            .into_iter()
            .map(|half| half.join().expect("it agrees"));
        counts.flatten().collect::<Vec<_>>()
    });
    // The corpus asks for what there is: else all agree on nothing.
    let some = counts
        .iter()
        .filter(|count| matches!(count, Ok(1..)) && **count != Ok(total))
        .count();
    assert!(
        some >= 120,
        "{some} of {} expressions divide the frames",
        counts.len()
    );
}

/// `-F` is the expression, comments and all, and goes before that of the command line.
#[test]
fn an_expression_can_stand_in_a_file() {
    if is_skipped() {
        return;
    }
    let scratch = Scratch::new("expression-file");
    let file = scratch.file("ethernet.pcap", &frames::pcap(frames::ETHERNET));
    let expression = scratch.file("expression", b"tcp # and not\n# udp\n  port 443\n");
    let with_file = |mut command: Command| {
        command.arg("-F").arg(&expression);
        selected(command, &file, "udp").expect("an expression")
    };
    let ours = with_file(skbcap());
    assert_eq!(ours, with_file(tcpdump()));
    assert_eq!(
        ours,
        selected(skbcap(), &file, "tcp port 443").expect("one")
    );
}

/// What stands behind another link type is not selected, and that is said; an expression for no
/// link type of the file is an error, in libpcap's words.
#[test]
fn link_types_that_an_expression_is_not_for_are_told() {
    if is_skipped() {
        return;
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden");
    let run = |words: &[&str]| {
        let mut command = skbcap();
        command
            .arg("-r")
            .arg(golden.join("linktypes.pcapng"))
            .args(words);
        let output = output(command);
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        let lines = output.stdout.split(|&byte| byte == b'\n').count() - 1;
        (output.status.code(), lines, said)
    };
    let (status, lines, said) = run(&["ether[0] & 1 = 0 and vlan 7"]);
    assert_eq!((status, lines), (Some(0), 2), "{said}");
    let (status, _, said) = run(&["ether src 2:0:0:0:0:1"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.starts_with("skbcap: no raw frames are selected: ethernet addresses"),
        "{said}"
    );
    let (status, lines, said) = run(&["udp", "prot", "9"]);
    let told = "skbcap: can't parse filter expression: syntax error\n  udp prot 9\n      ^\n";
    assert_eq!((status, lines, said.as_str()), (Some(2), 0, told));
}

/// A caret below the word that libpcap stumbled over.
#[test]
fn a_wrong_word_is_marked() {
    if is_skipped() {
        return;
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden/chronyd.pcapng");
    let wrong = [
        ("adn", "^"),
        ("tcp prot 80", "    ^"),
        ("tcp port 80 adn host 1.2.3.4", "            ^"),
        ("tcp and", "       ^"),
        ("(tcp", "    ^"),
        ("tcp) or udp", "   ^"),
        ("tcp port 99999 or udp", "         ^"),
        ("net 10.1.2.3/8 and tcp", "    ^"),
        ("ether host 1", "           ^"),
        ("ether host 1 and tcp", "           ^"),
        ("tcp[13] & 2 != 0 udp", "                 ^"),
        ("vlan 5000 and tcp", "     ^"),
        ("inbound and tcp", "^"),
        ("udp @", "    ^"),
    ];
    for (expression, caret) in wrong {
        let mut command = skbcap();
        let output = output({
            command.arg("-r").arg(&golden).arg(expression);
            command
        });
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        let shown = format!("\n  {expression}\n  {caret}\n");
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.ends_with(&shown), "{said}");
    }
}

/// What is too long for libpcap, and for the kernel, is told, and what to do.
#[test]
fn too_long_an_expression_is_told() {
    if is_skipped() {
        return;
    }
    let scratch = Scratch::new("too-long");
    let file = scratch.file("ethernet.pcap", &frames::pcap(frames::ETHERNET));
    let expression = scratch.file("expression", expressions::pairs(20_000).as_bytes());
    let mut command = skbcap();
    command.arg("-r").arg(&file).arg("-F").arg(&expression);
    let output = output(command);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    let told = "skbcap: libpcap can't compile an expression this long (it says: out of memory): \
                networks (net) and ranges of ports (portrange) say much in few words\n";
    assert_eq!((output.status.code(), said.as_str()), (Some(2), told));
}
