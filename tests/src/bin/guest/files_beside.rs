//! skbcap and tcpdump side by side, each into its own file, and what the two must have in common.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use skbcap::diff::{Capture, Difference, Explanation, Options, compare, explain};

use crate::lab::{Space, words_of};
use crate::program::{Program, out};
use crate::skbcap::command;

/// A tcpdump of what leaves by a device.
pub(crate) fn tcpdump(space: &Space, device: &str, words: &str) -> Result<(Program, PathBuf)> {
    let name = format!("tcpdump-{device}");
    let file = out(&format!("{name}.pcap"));
    let mut command = words_of(&format!(
        "tcpdump -n -Z root -B 16384 --nano -Q out -i {device}"
    ));
    command.args(words.split_whitespace()).arg("-w").arg(&file);
    Ok((space.start(&name, &mut command)?, file))
}

pub(crate) fn end_tcpdump(program: &mut Program) -> Result<()> {
    let status = program.interrupt()?;
    let said = program.stderr()?;
    ensure!(
        status.success() && said.contains("\n0 packets dropped by kernel"),
        "tcpdump ended with {status}:\n{said}"
    );
    Ok(())
}

/// A skbcap with the words, which writes `NAME.pcapng`, and perhaps files beside it.
pub(crate) fn skbcap(space: &Space, name: &str, words: &str) -> Result<(Program, PathBuf)> {
    let file = out(&format!("{name}.pcapng"));
    let mut command = command(words);
    command.arg("-w").arg(&file);
    let mut program = space.start(&format!("skbcap-{name}"), &mut command)?;
    program.wait_stderr("skbcap: listening on")?;
    Ok((program, file))
}

/// Ends it well. What it said.
pub(crate) fn end_skbcap(program: &mut Program) -> Result<String> {
    let status = program.interrupt()?;
    let said = program.stderr()?;
    ensure!(status.success(), "skbcap ended with {status}:\n{said}");
    Ok(said)
}

/// `N` of the line `N WHAT`; 0 without such a line.
pub(crate) fn count(said: &str, what: &str) -> Result<u64> {
    let line = said.lines().find_map(|line| line.strip_suffix(what));
    line.map_or(Ok(0), |number| Ok(number.trim().parse()?))
}

/// All that was seen is written or accounted for.
pub(crate) fn adds_up(said: &str) -> Result<u64> {
    let captured = count(said, " frames captured")?;
    let rest = [
        " filtered: another namespace or interface",
        " not written: unsupported link type",
    ];
    let rest: u64 = rest
        .iter()
        .map(|what| count(said, what))
        .sum::<Result<_>>()?;
    let seen = count(said, " frames seen")?;
    ensure!(captured + rest == seen, "it does not add up:\n{said}");
    Ok(captured)
}

/// Frames of ours that are all there were, but for those that this kernel's kprobe missed: ours on
/// the left, tcpdump's on the right. Every difference is one of `differences`.
pub(crate) fn same(
    found: &Explanation<'_>,
    differences: &[Difference],
    may_lack: bool,
) -> Result<()> {
    let [ours, theirs] = &found.only;
    ensure!(ours.is_empty(), "{} frames of ours only", ours.len());
    let all = found.matched + found.pairs.len();
    // As in `beside`: a few in a hundred are the most that a kprobe ever missed.
    let may_lack = if may_lack { 1 + all / 50 } else { 0 };
    ensure!(
        theirs.len() <= may_lack,
        "{} of {all} are missing",
        theirs.len()
    );
    for pair in &found.pairs {
        for difference in pair.differences.iter() {
            ensure!(
                differences.contains(&difference),
                "{difference}: {:?}",
                found.relation(pair)
            );
        }
    }
    Ok(())
}

/// Explains the files; of ours the frames of one device, or all.
pub(crate) fn compared<T>(
    [ours, theirs]: [&Path; 2],
    device: Option<&str>,
    look: impl FnOnce(&Explanation<'_>) -> Result<T>,
) -> Result<T> {
    let bytes = [fs::read(ours)?, fs::read(theirs)?];
    let captures = [Capture::read(&bytes[0])?, Capture::read(&bytes[1])?];
    let options = Options {
        interfaces: device.into_iter().map(str::to_owned).collect(),
    };
    let report = compare(&captures[0], &captures[1], &options);
    look(&explain(report, &[], None))
        .with_context(|| format!("{} and {}: {device:?}", ours.display(), theirs.display()))
}
