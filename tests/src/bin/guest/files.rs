//! A capture in several files, told to go on by signals, and with few privileges.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use skbcap_tests::capture;

use crate::lab::Pair;
use crate::limits::sequences;
use crate::program::{Program, out};
use crate::skbcap::{Hook, command, verify};

/// Waits until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds()? {
        ensure!(Instant::now() < end, "{what} does not come");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A field of `/proc/PID/status`.
pub(crate) fn status_of(program: &Program, field: &str) -> Result<String> {
    let status = fs::read_to_string(format!("/proc/{}/status", program.child.id()))?;
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix(field));
    let value = line.with_context(|| format!("no {field} in {status}"))?;
    Ok(value.trim_start_matches(':').trim().to_owned())
}

/// The packets of these files, each of which adds up.
pub(crate) fn payloads(files: &[PathBuf]) -> Result<Vec<u64>> {
    let mut all = Vec::new();
    for file in files {
        verify(file)?;
        all.extend(sequences(&capture::read_pcapng(file)?.packets)?);
    }
    Ok(all)
}

/// SIGHUP: another file, or the same name anew; SIGUSR1: counts; SIGUSR2: what was taken is there.
/// Nothing is lost in between, by size, by signal and at the end.
pub(crate) fn rotated_files() -> Result<()> {
    let pair = Pair::new("files")?;
    for hook in Hook::all() {
        let name = |suffix: &str| out(&format!("files-{hook}.pcapng{suffix}"));
        let words = format!("--hook {hook} -i va -w {}", name("").display());
        let mut skbcap = pair
            .a
            .start(&format!("skbcap-{hook}"), &mut command(&words))?;
        skbcap.wait_stderr("skbcap: listening on")?;
        let send = |first: u64| {
            pair.a
                .sh(&format!("traffic udp to=10.0.0.2:9 count=10 first={first}"))
        };
        send(0)?;
        skbcap.signal(Signal::USR2)?;
        until("the flush", || {
            let bytes = fs::read(name(""))?;
            Ok(capture::parse_pcapng(&bytes).is_ok_and(|capture| capture.packets.len() == 10))
        })?;
        skbcap.signal(Signal::HUP)?;
        until("the next file", || Ok(name("1").exists()))?;
        send(10)?;
        // A file that was moved away makes room for another of its name.
        fs::rename(name("1"), name(".old"))?;
        skbcap.signal(Signal::HUP)?;
        until("its name", || Ok(name("1").exists()))?;
        send(20)?;
        skbcap.signal(Signal::USR1)?;
        skbcap.wait_stderr("frames captured")?;
        send(30)?;
        let status = skbcap.interrupt()?;
        ensure!(status.success(), "{status}: {}", skbcap.stderr()?);
        let files = [name(""), name(".old"), name("1")];
        let wanted: Vec<u64> = (0..40).collect();
        let found = payloads(&files)?;
        ensure!(found == wanted, "{hook}: {found:?}");
    }
    Ok(())
}

/// `-Z`: once it listens it is somebody else, and may do nothing; its files are that user's. Without
/// it, root keeps no capability. Either way the counts at the end are whole. `--check` tells what will be
/// kept.
pub(crate) fn privileges() -> Result<()> {
    let pair = Pair::new("privileges")?;
    let dir = out("privileges");
    fs::create_dir(&dir)?;
    std::os::unix::fs::chown(&dir, Some(65534), None)?;
    let check = pair.a.sh("skbcap --check")?;
    let said = check.lines().find(|line| line.starts_with("kept while"));
    let said = said.context("--check does not say what is kept")?;
    println!("{said}");
    for hook in Hook::all() {
        for user in ["", "-Z nobody "] {
            let word = if user.is_empty() { "root" } else { "nobody" };
            let uid = if user.is_empty() { 0 } else { 65534 };
            let file = dir.join(format!("{hook}-{word}.pcapng"));
            let words = format!(
                "--debug --hook {hook} -i va {user}-C 1k -w {}",
                file.display()
            );
            let mut skbcap = pair
                .a
                .start(&format!("skbcap-{hook}-{word}"), &mut command(&words))?;
            skbcap.wait_stderr("skbcap: listening on")?;
            let uids = status_of(&skbcap, "Uid")?;
            ensure!(
                uids.split_whitespace().all(|one| one == uid.to_string()),
                "{uids}"
            );
            let kept = u64::from_str_radix(&status_of(&skbcap, "CapPrm")?, 16)?;
            let effective = u64::from_str_radix(&status_of(&skbcap, "CapEff")?, 16)?;
            println!("{hook}, {word}: capabilities {kept:#x}");
            ensure!(kept == effective, "{effective:#x}");
            // CAP_BPF where this kernel counts for nobody else, CAP_DAC_OVERRIDE for root's files.
            let allowed = 1 << 39 | u64::from(uid == 0) << 1;
            ensure!(kept & !allowed == 0, "{kept:#x}");
            if hook == Hook::all()[0] {
                let keeps_bpf = kept & 1 << 39 != 0;
                ensure!(said.contains("CAP_BPF (") == keeps_bpf, "{said}: {kept:#x}");
            }
            ensure!(status_of(&skbcap, "NoNewPrivs")? == "1");
            pair.a.sh("traffic udp to=10.0.0.2:9 count=40")?;
            let status = skbcap.interrupt()?;
            let said = skbcap.stderr()?;
            ensure!(status.success(), "{status}: {said}");
            let next = PathBuf::from(format!("{}1", file.display()));
            ensure!(fs::metadata(&next)?.uid() == uid, "not {word}'s");
            let mut files = vec![file.clone()];
            for number in 1.. {
                let file = PathBuf::from(format!("{}{number}", file.display()));
                if !file.exists() {
                    break;
                }
                files.push(file);
            }
            let wanted: Vec<u64> = (0..40).collect();
            ensure!(payloads(&files)? == wanted, "{said}");
        }
    }
    Ok(())
}
