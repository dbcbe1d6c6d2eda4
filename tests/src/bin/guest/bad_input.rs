//! What cannot be done is said, with what to do about it, and nothing is lost.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::lab::{Pair, Space, run, words_of};
use crate::program::out;
use crate::skbcap::command;

/// Runs skbcap, which must fail; what it said, in one line.
fn refused(space: &Space, command: &mut Command) -> Result<String> {
    let output = space.within(|| {
        command
            .output()
            .with_context(|| format!("cannot start {command:?}"))
    })?;
    let said = String::from_utf8_lossy(&output.stderr)
        .trim_end()
        .to_owned();
    println!("{command:?}: {}: {said}", output.status);
    ensure!(
        matches!(output.status.code(), Some(1 | 2)),
        "{}: {said}",
        output.status
    );
    ensure!(
        said.lines().count() == 1 && said.starts_with("skbcap: "),
        "not one line of skbcap's:\n{said}"
    );
    let parts: Vec<&str> = said.split(": ").collect();
    ensure!(
        parts.windows(2).all(|pair| pair[0] != pair[1]),
        "told twice: {said}"
    );
    Ok(said)
}

/// The message has all of these in it.
fn says(said: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(said.contains(word), "no {word:?} in: {said}");
    }
    Ok(())
}

/// Names, files and privileges that aren't there.
pub(crate) fn bad_input() -> Result<()> {
    let pair = Pair::new("badinput")?;
    let space = &pair.a;
    let file = out("kept.pcapng");
    let kept = file.to_str().context("an odd name")?;
    fs::write(kept, "not to be lost")?;

    let said = refused(space, command(&format!("-w {kept}")).uid(65534))?;
    says(&said, &["CAP_", "setcap"])?;
    let said = refused(space, &mut command(&format!("-i nowhere0 -w {kept}")))?;
    says(&said, &["nowhere0", "va", "lo"])?;
    let said = refused(
        space,
        &mut command(&format!("--netns /run/netns/none -w {kept}")),
    )?;
    says(&said, &["/run/netns/none"])?;
    let said = refused(space, &mut command(&format!("--netns {kept} -w {kept}")))?;
    says(&said, &[kept])?;
    let said = refused(space, &mut command(&format!("--netns 4194000 -w {kept}")))?;
    says(&said, &["4194000"])?;
    let said = refused(space, &mut command(&format!("--btf /none.btf -w {kept}")))?;
    says(&said, &["/none.btf"])?;
    let said = refused(space, &mut command(&format!("--btf {kept} -w {kept}")))?;
    says(&said, &[kept])?;
    for words in [
        "-s 262145",
        "-s x",
        "-B 0",
        "-B 1",
        "-c 0",
        "-c x",
        "--hook tc",
    ] {
        let (option, value) = words.split_once(' ').context("two words")?;
        let said = refused(space, &mut command(&format!("{words} -w {kept}")))?;
        says(&said, &[option])?;
        ensure!(said.contains(value) || option == "-B", "{said}");
    }
    // Nothing of the file was touched by any of these.
    ensure!(
        fs::read_to_string(kept)? == "not to be lost",
        "{kept} is changed"
    );

    let dir = out("dir");
    fs::create_dir(&dir)?;
    let dir = dir.to_str().context("an odd name")?;
    let said = refused(space, &mut command(&format!("-w {dir}")))?;
    says(&said, &[dir, "directory"])?;
    let said = refused(space, &mut command("-w /nowhere/x.pcapng"))?;
    says(&said, &["/nowhere/x.pcapng", "No such file"])?;
    fs::remove_dir(dir)?;
    fs::remove_file(kept)?;
    Ok(())
}

/// A kernel that hands nothing of itself to anybody.
pub(crate) fn lockdown() -> Result<()> {
    run(&mut words_of(
        "mount -t securityfs securityfs /sys/kernel/security",
    ))?;
    let state = fs::read_to_string("/sys/kernel/security/lockdown");
    println!("lockdown: {state:?}");
    let space = Space::new("lockdown")?;
    let said = refused(&space, &mut command("-c 1 -w /out/lockdown.pcapng"))?;
    says(&said, &["lockdown", "confidentiality"])?;
    ensure!(!fs::exists("/out/lockdown.pcapng")?, "a file was made");
    Ok(())
}
