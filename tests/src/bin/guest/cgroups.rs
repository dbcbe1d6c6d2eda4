//! Capturing only what the processes of some cgroups send.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab::{Pair, run, words_of};
use crate::limits::sequences;
use crate::program::Program;
use crate::senders::judge;
use crate::share;
use crate::skbcap::{Done, Hook, Skbcap};

/// Captures at a time.
const AT_ONCE: usize = 4;

/// Where cgroup v2 is mounted.
pub(crate) fn mounted() -> Result<PathBuf> {
    let root = PathBuf::from("/sys/fs/cgroup");
    if !root.join("cgroup.procs").exists() {
        run(&mut words_of("mount -t cgroup2 none /sys/fs/cgroup"))?;
    }
    Ok(root)
}

/// Three cgroups, one of them below another, without processes at their end.
struct Groups {
    first: PathBuf,
    deep: PathBuf,
    second: PathBuf,
}

impl Groups {
    fn new(root: &Path) -> Result<Self> {
        let top = root.join(format!("skbcap-{}", std::process::id()));
        let groups = Self {
            first: top.join("first"),
            deep: top.join("first/deep"),
            second: top.join("second"),
        };
        for directory in [&groups.deep, &groups.second] {
            fs::create_dir_all(directory)?;
        }
        Ok(groups)
    }
}

/// A program that sends, in a cgroup from its first instruction on.
fn sender(pair: &Pair, name: &str, group: &Path) -> Result<Program> {
    let script = format!(
        "echo $$ >{}/cgroup.procs && exec traffic udp to=10.0.0.2:9 count=1000000 gap_us=20000",
        group.display()
    );
    pair.a.start(name, Command::new("sh").args(["-c", &script]))
}

fn start(pair: &Pair, words: &[String]) -> Result<Vec<Skbcap>> {
    let mut captures = Vec::new();
    for (number, words) in words.iter().enumerate() {
        captures.push(Skbcap::launch(&pair.a, &format!("cgroup-{number}"), words)?);
    }
    captures.into_iter().map(Skbcap::listen).collect()
}

/// The whole subtree of a cgroup, of processes that were there, that come and that are moved.
pub(crate) fn cgroups() -> Result<()> {
    let root = mounted()?;
    let groups = Groups::new(&root)?;
    let Groups {
        first,
        deep,
        second,
    } = &groups;
    let pair = Pair::new("cgroups")?;
    let in_first = sender(&pair, "in-first", first)?;
    let in_deep = sender(&pair, "in-deep", deep)?;
    let in_second = sender(&pair, "in-second", second)?;
    let outside = sender(&pair, "outside", &root)?;
    sleep(Duration::from_millis(300));
    let [one, below, other, none] = [&in_first, &in_deep, &in_second, &outside].map(Program::id);
    let (first, deep, second) = (first.display(), deep.display(), second.display());
    // The last: of one that comes later, in the first.
    let cases = [
        (format!("--cgroup {first}"), vec![one, below], true),
        (format!("--cgroup {deep}"), vec![below], false),
        (
            format!("--cgroup {first} --cgroup {second}"),
            vec![one, below, other],
            true,
        ),
        (format!("--not-cgroup {first}"), vec![other, none], false),
        (
            format!("--cgroup {first} --not-cgroup {deep}"),
            vec![one],
            true,
        ),
        (
            format!("--cgroup {}", root.display()),
            vec![one, below, other, none],
            true,
        ),
        (
            format!("--not-cgroup {deep} --not-cgroup {second} --not-pid {none}"),
            vec![one],
            true,
        ),
        (format!("--cgroup {first} --pid {other}"), vec![], false),
    ];
    let rounds = share::turns(&Hook::with_xmit(), cases.len())?;
    let mut parts: Vec<(String, Vec<u32>, bool)> = Vec::new();
    for hooks in rounds {
        let with_hook = |(hook, (words, wanted, has_later)): (Hook, &(String, Vec<u32>, bool))| {
            (format!("--hook {hook} {words}"), wanted.clone(), *has_later)
        };
        parts.extend(hooks.into_iter().zip(&cases).map(with_hook));
    }
    for cases in parts.chunks(AT_ONCE) {
        let words: Vec<String> = cases.iter().map(|(words, ..)| words.clone()).collect();
        let captures = start(&pair, &words)?;
        let later = sender(&pair, "later", &groups.first)?;
        sleep(Duration::from_secs(1));
        for (capture, (words, wanted, has_later)) in captures.into_iter().zip(cases) {
            let done = capture.stop()?;
            println!("{words}: {} frames", done.capture.packets.len());
            let mut wanted = wanted.clone();
            wanted.extend(has_later.then_some(later.id()));
            judge(done.capture.packets, &wanted).with_context(|| words.clone())?;
        }
    }
    // It is in the other from its next write on.
    let words = [format!("--cgroup {second}"), format!("--cgroup {deep}")];
    let captures = start(&pair, &words)?;
    sleep(Duration::from_millis(500));
    fs::write(groups.deep.join("cgroup.procs"), other.to_string())?;
    sleep(Duration::from_millis(500));
    let done: Result<Vec<Done>> = captures.into_iter().map(Skbcap::stop).collect();
    let [before, after] = <[Done; 2]>::try_from(done?).ok().context("two captures")?;
    judge(before.capture.packets.clone(), &[other])?;
    judge(after.capture.packets.clone(), &[below, other])?;
    let of_it = after.capture.packets.into_iter();
    let of_it: Vec<_> = of_it
        .filter(|packet| packet.more().who.tgid == other)
        .collect();
    let last = sequences(&before.capture.packets)?.into_iter().max();
    let next = sequences(&of_it)?.into_iter().min();
    ensure!(
        last.map(|last| last + 1) == next,
        "{last:?} is the last of the one, {next:?} the first of the other"
    );
    missing(&pair)
}

/// What is no cgroup is refused before anything is attached.
fn missing(pair: &Pair) -> Result<()> {
    for (words, says) in [
        ("--cgroup /nowhere", "cannot open the cgroup /nowhere"),
        ("--not-cgroup /proc", "/proc is no cgroup"),
    ] {
        let mut command = crate::skbcap::command(words);
        let output = pair.a.within(|| Ok(command.output()?))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(2) && said.contains(says) && said.lines().count() == 1,
            "{words}: {}: {said}",
            output.status
        );
    }
    Ok(())
}
