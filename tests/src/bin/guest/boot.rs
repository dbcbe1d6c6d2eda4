//! Whether the guest itself is what the other tests count on.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The kernel runs, has its modules, its BTF and its probes.
pub(crate) fn boot() -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let release = release.trim();
    println!("kernel {release}");
    let modules = Path::new("/lib/modules").join(release).join("modules.dep");
    ensure!(modules.exists(), "no {}", modules.display());
    for path in [
        "/sys/kernel/btf/vmlinux",
        "/sys/kernel/tracing/kprobe_events",
        "/sys/fs/bpf",
    ] {
        ensure!(Path::new(path).exists(), "no {path}");
    }
    let added = Command::new("ip")
        .args([
            "link", "add", "dev", "veth0", "type", "veth", "peer", "name", "veth1",
        ])
        .status()
        .context("cannot start ip")?;
    ensure!(added.success(), "cannot make a veth pair: {added}");
    let deleted = Command::new("ip")
        .args(["link", "delete", "dev", "veth0"])
        .status()?;
    ensure!(deleted.success(), "cannot delete it: {deleted}");
    Ok(())
}

/// The tool that captures are compared with is there.
pub(crate) fn tcpdump_runs() -> Result<()> {
    let output = Command::new("tcpdump")
        .arg("--version")
        .output()
        .context("cannot start it")?;
    print!("{}", String::from_utf8_lossy(&output.stderr));
    fs::write("/out/version", &output.stderr)?;
    ensure!(
        output.status.success(),
        "tcpdump --version: {}",
        output.status
    );
    Ok(())
}
