//! Capturing only what some processes, threads, names or users send.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::{Pid, Signal, kill_process};
use skbcap_tests::capture::{self, Packet};

use crate::lab::Pair;
use crate::limits::sequences;
use crate::program::Program;
use crate::share;
use crate::skbcap::{Hook, Skbcap};

/// Captures at a time.
const AT_ONCE: usize = 6;

/// Which of the three programs that send, and which threads of theirs.
struct Senders {
    /// As root.
    root: Program,
    /// As nobody, under another name.
    nobody: Program,
    /// Of two threads.
    threads: Program,
    /// Those.
    ids: Vec<u32>,
}

impl Senders {
    fn start(pair: &Pair) -> Result<Self> {
        let traffic = env::split_paths(&env::var_os("PATH").context("no PATH")?)
            .map(|directory| directory.join("traffic"))
            .find(|file| file.exists())
            .context("no traffic")?;
        let other = env::temp_dir().join("other");
        fs::copy(traffic, &other)?;
        let words = |more: &str| {
            let mut words = vec!["udp", "to=10.0.0.2:9", "count=1000000", "gap_us=20000"];
            words.extend(more.split_whitespace());
            words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        let start = |name: &str, command: &mut Command| pair.a.start(name, command);
        let root = start("root", Command::new("traffic").args(words("")))?;
        let nobody = start("nobody", Command::new(other).args(words("")).uid(65534))?;
        let threads = start("threads", Command::new("traffic").args(words("threads=2")))?;
        let tasks = format!("/proc/{}/task", threads.id());
        let mut ids = Vec::new();
        while ids.len() < 2 {
            sleep(Duration::from_millis(20));
            ids.clear();
            for entry in fs::read_dir(&tasks)? {
                let id: u32 = entry?.file_name().to_string_lossy().parse()?;
                if id != threads.id() {
                    ids.push(id);
                }
            }
        }
        ids.sort_unstable();
        Ok(Self {
            root,
            nobody,
            threads,
            ids,
        })
    }

    /// What to ask for, and the threads whose frames that are.
    fn cases(&self) -> Vec<(String, Vec<u32>)> {
        let (root, nobody) = (self.root.id(), self.nobody.id());
        let threads = self.threads.id();
        let (first, second) = (self.ids[0], self.ids[1]);
        vec![
            (format!("--pid {root}"), vec![root]),
            (format!("--not-pid {threads}"), vec![root, nobody]),
            ("--comm other".to_owned(), vec![nobody]),
            ("--uid nobody".to_owned(), vec![nobody]),
            (format!("--tid {first}"), vec![first]),
            (format!("--pid {threads} --not-tid {first}"), vec![second]),
            (
                format!("--pid {root} --pid {threads}"),
                vec![root, first, second],
            ),
            (
                "--comm o?h* --comm sender-[1-9]".to_owned(),
                vec![nobody, second],
            ),
            ("--not-comm sender-*".to_owned(), vec![root, nobody]),
            ("--not-uid 0".to_owned(), vec![nobody]),
            (format!("--uid 0 --not-pid {root}"), vec![first, second]),
            (format!("--pid {root} --comm other"), vec![]),
        ]
    }
}

/// Of each of these threads all frames from its first to its last, and of no other any.
pub(crate) fn judge(packets: Vec<Packet>, wanted: &[u32]) -> Result<()> {
    let mut by_thread = BTreeMap::<u32, Vec<Packet>>::new();
    for packet in packets {
        let thread = packet.more().who.pid;
        by_thread.entry(thread).or_default().push(packet);
    }
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    let found: Vec<u32> = by_thread.keys().copied().collect();
    ensure!(found == wanted, "frames of {found:?}, not {wanted:?}");
    for (thread, packets) in by_thread {
        let mut numbers = sequences(&packets)?;
        numbers.sort_unstable();
        let first = numbers[0];
        let all: Vec<u64> = (first..first + numbers.len() as u64).collect();
        ensure!(numbers == all, "{thread}: some are missing of {numbers:?}");
        ensure!(numbers.len() > 5, "{thread}: {numbers:?}");
    }
    Ok(())
}

/// Each option, and what it turns round.
pub(crate) fn senders() -> Result<()> {
    let pair = Pair::new("senders")?;
    let senders = Senders::start(&pair)?;
    let cases = senders.cases();
    let mut parts = Vec::new();
    for hook in Hook::with_xmit() {
        // Where it comes about differently, some will do.
        let some = if hook == Hook::all()[0] { 12 } else { 5 };
        parts.extend(cases[..some].chunks(AT_ONCE).map(|cases| (hook, cases)));
    }
    for (hook, cases) in share::mine(parts)? {
        let mut captures = Vec::new();
        for (number, (words, _)) in cases.iter().enumerate() {
            let words = format!("--hook {hook} {words}");
            let name = format!("sender-{number}");
            captures.push(Skbcap::launch(&pair.a, &name, &words)?);
        }
        let captures: Result<Vec<_>> = captures.into_iter().map(Skbcap::listen).collect();
        let captures = captures?;
        sleep(Duration::from_secs(1));
        for (capture, (words, wanted)) in captures.into_iter().zip(cases) {
            let done = capture.stop()?;
            let filtered = done.count("filtered: another sender")?;
            let packets = done.capture.packets;
            println!("{hook} {words}: {} frames, {filtered} not", packets.len());
            judge(packets, wanted).with_context(|| format!("{hook} {words}"))?;
        }
    }
    Ok(())
}

/// What skbcap sends itself, when its output is a connection, it does not capture.
pub(crate) fn own_frames() -> Result<()> {
    let pair = Pair::new("own")?;
    let listener = pair.b.within(|| Ok(TcpListener::bind("10.0.0.2:80")?))?;
    let output = pair.a.within(|| Ok(TcpStream::connect("10.0.0.2:80")?))?;
    let (mut input, _) = listener.accept()?;
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        input.read_to_end(&mut bytes).map(|_| bytes)
    });
    let mut skbcap = crate::skbcap::command("-w -");
    skbcap.stdout(OwnedFd::from(output)).stderr(Stdio::piped());
    let mut child = pair.a.within(|| Ok(skbcap.spawn()?))?;
    // Its standard output, which this process would keep open.
    drop(skbcap);
    let mut said = BufReader::new(child.stderr.take().context("no pipe")?);
    let mut line = String::new();
    while !line.contains("listening on") {
        line.clear();
        ensure!(said.read_line(&mut line)? > 0, "it does not listen");
    }
    pair.a
        .sh("traffic udp to=10.0.0.2:9 count=20 gap_us=50000")?;
    kill_process(Pid::from_child(&child), Signal::INT)?;
    let mut rest = String::new();
    said.read_to_string(&mut rest)?;
    println!("{rest}");
    let status = child.wait()?;
    ensure!(status.success(), "{status}: {rest}");
    let bytes = reader
        .join()
        .map_err(|_| anyhow!("the reader panicked"))??;
    let packets = capture::parse_pcapng(&bytes)?.packets;
    let numbers = sequences(&packets)?;
    ensure!(numbers == (0..20).collect::<Vec<u64>>(), "{numbers:?}");
    ensure!(rest.contains("filtered: another sender"), "{rest}");
    Ok(())
}

/// Senders that aren't there are named, before anything is attached.
pub(crate) fn senders_missing() -> Result<()> {
    let pair = Pair::new("nosenders")?;
    let senders = Senders::start(&pair)?;
    let thread = senders.ids[0];
    let process = senders.threads.id();
    for (words, says) in [
        ("--pid 4194000".to_owned(), "no process 4194000".to_owned()),
        (
            "--not-pid 4194000".to_owned(),
            "no process 4194000".to_owned(),
        ),
        (
            format!("--pid {thread}"),
            format!("{thread} is a thread of process {process}"),
        ),
        ("--tid 4194000".to_owned(), "no thread 4194000".to_owned()),
        ("--uid nemo".to_owned(), "no user 'nemo'".to_owned()),
        ("--pid abc".to_owned(), "invalid id 'abc'".to_owned()),
        ("--comm sixteen-bytes-xx".to_owned(), "15 bytes".to_owned()),
    ] {
        let mut command = crate::skbcap::command(&words);
        let output = pair.a.within(|| Ok(command.output()?))?;
        let said = String::from_utf8_lossy(&output.stderr);
        println!("{words}: {}: {said}", output.status);
        ensure!(
            output.status.code() == Some(2) && said.contains(&says) && said.lines().count() == 1,
            "{words}: {}: {said}",
            output.status
        );
    }
    Ok(())
}
