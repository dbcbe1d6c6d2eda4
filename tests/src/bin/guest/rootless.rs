//! Somebody who is not root, with a skbcap that has capabilities (`setcap`).

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, thread::sleep, time::Duration};

use anyhow::{Context, Result, ensure};
use skbcap_tests::capture;

use crate::files::status_of;
use crate::lab::{Pair, run, words_of};
use crate::program::out;
use crate::report::senders;
use crate::skbcap::{Hook, verify};

/// The user: nobody, who has no groups either.
const USER: u32 = 65534;
/// What `skbcap --check` and docs/usage.md ask for.
const ALL: &str = "cap_bpf,cap_perfmon,cap_sys_admin,cap_sys_resource,cap_syslog+ep";
/// With the search for page bases and other namespaces gone.
const LEAST: &str = "cap_bpf,cap_perfmon,cap_sys_resource+ep";
/// Without what maps need before 5.11.
const LIMITED: &str = "cap_bpf,cap_perfmon+ep";

/// A file system that keeps capabilities; gone when it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(path: PathBuf) -> Result<Self> {
        fs::create_dir(&path)?;
        run(words_of("mount -t tmpfs none").arg(&path))?;
        chown(&path, Some(USER), None)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(Self(path))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = run(words_of("umount").arg(&self.0));
    }
}

/// A copy of skbcap with these capabilities.
fn copy(directory: &Path, capabilities: &str) -> Result<PathBuf> {
    let skbcap = env::split_paths(&env::var_os("PATH").context("no PATH")?)
        .map(|directory| directory.join("skbcap"))
        .find(|file| file.exists())
        .context("no skbcap")?;
    let copy = directory.join("skbcap");
    let _ = fs::remove_file(&copy);
    fs::copy(skbcap, &copy)?;
    run(Command::new("setcap").arg(capabilities).arg(&copy))?;
    Ok(copy)
}

fn as_user(program: &Path, words: &str) -> Command {
    let mut command = Command::new(program);
    command.args(words.split_whitespace()).uid(USER).gid(USER);
    command
}

/// Captures what root sends as root would, the frames' paged bytes and senders too; the file is the
/// user's, and no capability is left that the capture does not need.
fn captures(pair: &Pair, directory: &Path, program: &Path, hook: Hook) -> Result<()> {
    let file = directory.join(format!("{hook}.pcapng"));
    let words = format!("--hook {hook} -i va -w {}", file.display());
    let name = format!("rootless-{hook}");
    let mut skbcap = pair.a.start(&name, &mut as_user(program, &words))?;
    skbcap.wait_stderr("skbcap: listening on")?;
    let kept = u64::from_str_radix(&status_of(&skbcap, "CapPrm")?, 16)?;
    ensure!(kept & !(1 << 39) == 0, "{kept:#x} is kept");
    let said = pair
        .a
        .sh("traffic udp to=10.0.0.2:9 sizes=64,9000 count=20")?;
    let tgid = senders(&said)?.first().context("no sender")?.tgid;
    sleep(Duration::from_millis(100));
    let status = skbcap.interrupt()?;
    let said = skbcap.stderr()?;
    println!("{hook}: {said}");
    ensure!(status.success(), "{status}: {said}");
    ensure!(said.contains("\n0 cut short"), "paged bytes are missing");
    ensure!(fs::metadata(&file)?.uid() == USER, "not the user's");
    verify(&file)?;
    let packets = capture::read_pcapng(&file)?.packets;
    let ours = packets.iter().filter(|packet| {
        let more = packet.more();
        more.who.tgid == tgid && more.comment.contains("by=task")
    });
    // Those of 9,000 bytes are seven fragments each.
    let (ours, wanted) = (ours.count(), 20 + 20 * 7);
    ensure!(ours == wanted, "{ours} of {wanted} frames:\n{packets:#?}");
    Ok(())
}

/// The test.
pub(crate) fn without_root() -> Result<()> {
    let pair = Pair::new("rootless")?;
    let directory = Mounted::new(out("rootless"))?;
    let directory = &directory.0;
    let program = copy(directory, ALL)?;
    for hook in Hook::all() {
        captures(&pair, directory, &program, hook)?;
    }

    // Less than all: what is missing is named, and what can be done without is.
    let program = copy(directory, LEAST)?;
    let check = pair.a.run(&mut as_user(&program, "--check"))?;
    for line in ["CAP_BPF", "CAP_SYS_ADMIN"] {
        let found = check.lines().find(|said| said.starts_with(line));
        println!("{}", found.context("no such line")?);
    }
    ensure!(check.contains("skbcap captures here"), "{check}");
    let program = copy(directory, LIMITED)?;
    let output = pair
        .a
        .within(|| Ok(as_user(&program, "--check").output()?))?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let is_old = release.starts_with("5.10.");
    let is_told = said.contains("CAP_SYS_RESOURCE is missing");
    ensure!(is_told == is_old, "Linux {release}: {said}");
    Ok(())
}
