//! What `--fields` says, in lines and in JSON: of a capture, and of a file that is read.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::lab::{Pair, words_of};
use crate::program::Program;
use crate::report::senders;
use crate::skbcap::{Skbcap, command};

/// Datagrams of each process.
const COUNT: usize = 3;

/// Sends some; the number of the process.
fn send(pair: &Pair) -> Result<u32> {
    let said = pair
        .a
        .sh(&format!("traffic udp to=10.0.0.2:9 sizes=64 count={COUNT}"))?;
    Ok(senders(&said)?.first().context("no sender")?.tgid)
}

/// Starts a capture that prints, and waits until it listens.
fn print(pair: &Pair, name: &str, words: &str) -> Result<Program> {
    let mut program = pair.a.start(name, &mut command(words))?;
    program.wait_stderr("skbcap: listening on")?;
    Ok(program)
}

/// The objects of a process's frames.
fn objects(printed: &str, tgid: u32) -> Result<Vec<Value>> {
    let objects = printed.lines().map(serde_json::from_str::<Value>);
    let objects: Vec<Value> = objects.collect::<Result<_, _>>()?;
    let ours = objects
        .into_iter()
        .filter(|object| object["tgid"] == tgid)
        .collect::<Vec<_>>();
    ensure!(ours.len() == COUNT, "{} frames of {tgid}", ours.len());
    Ok(ours)
}

/// Whether an object says what is so of a process of root's that this one started.
fn judge(object: &Value) -> Result<()> {
    let exe = object["exe"].as_str().context("no exe")?;
    let start = object["start"].as_str().context("no start")?;
    let is_so = exe.ends_with("traffic")
        && start.contains('.')
        && object["uid"] == 0
        && object["parent"] == std::process::id()
        && object["netns"].as_u64().is_some()
        && object["owner"].is_null();
    ensure!(is_so, "{object}");
    Ok(())
}

/// The test.
pub(crate) fn who_fields_lines() -> Result<()> {
    let pair = Pair::new("who-lines")?;
    let json = print(&pair, "who-lines-json", "-i va --fields all --json")?;
    let text = print(&pair, "who-lines-text", "-i va --fields uid,netns")?;
    let file = Skbcap::start(&pair.a, "who-lines", "-i va --fields all --print --json")?;
    let tgid = send(&pair)?;
    std::thread::sleep(std::time::Duration::from_millis(300));
    let [json, text] = [json, text].map(|mut program| -> Result<String> {
        program.signal(rustix::process::Signal::INT)?;
        program.wait()?;
        program.stdout()
    });
    for object in objects(&json?, tgid)? {
        judge(&object)?;
    }
    let netns = pair.a.inode()?;
    let (text, behind) = (text?, format!("traffic[{tgid}] [uid=0 netns={netns}] IP "));
    let found = text.lines().filter(|line| line.contains(&behind)).count();
    ensure!(found == COUNT, "{found} times {behind:?} in:\n{text}");

    // A file's lines, as it was written and as it is read.
    let path = file.file.clone();
    file.program.signal(rustix::process::Signal::INT)?;
    let printed = file.program.finish()?;
    let mut read = words_of("skbcap --json -r");
    let read = crate::lab::run(read.arg(&path))?;
    ensure!(
        objects(&printed, tgid)? == objects(&read, tgid)?,
        "{printed}\nwas printed, and read:\n{read}"
    );
    for object in objects(&read, tgid)? {
        judge(&object)?;
    }
    println!("{COUNT} frames of {tgid} in lines, objects and a file");
    Ok(())
}
