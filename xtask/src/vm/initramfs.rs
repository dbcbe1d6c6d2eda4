//! What a guest runs from: three archives, one behind another, uncompressed:
//! the base (Debian's tools), the kernel's modules, and the programs under
//! test. The first two change rarely and lie in the cache.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::cpio::Archive;
use crate::cache::Cache;
use crate::kernels::Image;
use crate::run::output;
use crate::tools::Tools;

/// Debian's programs in the guest, by their place below `usr`.
const PROGRAMS: &[&str] = &[
    "bin/busybox",
    "bin/chrt",
    "bin/dash",
    "bin/dumpcap",
    "bin/iperf3",
    "bin/kmod",
    "bin/nsenter",
    "bin/ping",
    "bin/setpriv",
    "bin/taskset",
    "bin/tcpdump",
    "bin/unshare",
    "bin/wg",
    "sbin/bpftool",
    "sbin/bridge",
    "sbin/capsh",
    "sbin/ethtool",
    "sbin/getcap",
    "sbin/mkfs.ext4",
    "sbin/mkfs.xfs",
    "sbin/modprobe",
    "sbin/nft",
    "sbin/setcap",
    "sbin/tc",
    "bin/ip",
    "bin/ss",
];

/// Libraries that programs load without saying so (pthread_cancel does).
const LIBRARIES: &[&str] = &["libgcc_s.so.1"];

/// Small files: enough for name lookups, and a user who is not root. tcpdump
/// gives its privileges to a user of its own name.
const FILES: &[(&str, &str)] = &[
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\n\
         tcpdump:x:100:100::/nonexistent:/bin/false\n\
         user:x:1000:1000::/tmp:/bin/sh\n\
         nobody:x:65534:65534::/nonexistent:/bin/false\n",
    ),
    (
        "etc/group",
        "root:x:0:\ntcpdump:x:100:\nuser:x:1000:\nnogroup:x:65534:\n",
    ),
    ("etc/hosts", "127.0.0.1 localhost guest\n::1 localhost\n"),
    (
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files\n",
    ),
];

/// The modules' directories, or beginnings of names, that guests may need;
/// whatever these depend on comes with them.
const MODULES: &[&str] = &[
    "kernel/arch/x86/crypto/",
    "kernel/crypto/",
    "kernel/drivers/block/brd.ko",
    "kernel/drivers/block/loop.ko",
    "kernel/drivers/block/virtio_blk.ko",
    "kernel/drivers/char/hw_random/",
    "kernel/drivers/net/",
    "kernel/drivers/virtio/",
    "kernel/fs/nfs/nfs.ko",
    "kernel/fs/nfs/nfsv3.ko",
    "kernel/fs/xfs/xfs.ko",
    "kernel/lib/",
    "kernel/net/",
];
/// And of those, what no guest needs.
const NO_MODULES: &[&str] = &[
    "kernel/drivers/net/ethernet/",
    "kernel/drivers/net/wireless/",
    "kernel/net/9p/",
    "kernel/net/bluetooth/",
    "kernel/net/ceph/",
    "kernel/net/sunrpc/",
];

/// The first two archives for a kernel.
pub(crate) struct System {
    base: PathBuf,
    modules: PathBuf,
}

impl System {
    /// Makes them, unless they are there.
    pub(crate) fn get(cache: &Cache, tools: &Tools, kernel: &Image) -> Result<Self> {
        let lists = format!("{PROGRAMS:?} {LIBRARIES:?} {FILES:?}");
        let stamp = format!("1 {}\n{lists}", Tools::stamp());
        let base = cache.directory("guest/base", &stamp, |dir| {
            println!("making the guests' base");
            write_base(tools, &dir.join("cpio"))
        })?;
        let (modules_dir, release) = kernel.modules()?;
        let stamp = format!("1 {release} {MODULES:?} {NO_MODULES:?}");
        let modules = cache.directory(&format!("guest/{}", kernel.name), &stamp, |dir| {
            println!("making the modules of {release} for guests");
            write_modules(&modules_dir, &release, &dir.join("cpio"))
        })?;
        Ok(Self {
            base: base.join("cpio"),
            modules: modules.join("cpio"),
        })
    }

    /// Writes a whole initramfs, with `payload` behind the two archives.
    pub(crate) fn write(&self, payload: &Payload<'_>, path: &Path) -> Result<()> {
        let mut out = BufWriter::new(File::create(path)?);
        for part in [&self.base, &self.modules] {
            let mut part = File::open(part)?;
            std::io::copy(&mut part, &mut out)?;
        }
        payload.write(&mut out)?;
        out.flush()
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The third archive: what changes from one run to the next.
pub(crate) struct Payload<'a> {
    /// Programs, which come to lie in `/skbcap`, first in PATH.
    pub(crate) programs: &'a [PathBuf],
    /// The tests to run, a line each: `NAME SECONDS`.
    pub(crate) tests: &'a str,
}

impl Payload<'_> {
    fn write(&self, out: &mut impl Write) -> Result<()> {
        let mut archive = Archive::new(out);
        archive.file("init", 0o755, include_bytes!("init.sh"))?;
        archive.file("skbcap/tests", 0o644, self.tests.as_bytes())?;
        for program in self.programs {
            let name = program
                .file_name()
                .context("a program has a name")?
                .to_string_lossy();
            archive.copy(&format!("skbcap/{name}"), 0o755, program)?;
        }
        archive.finish()?;
        Ok(())
    }
}

fn write_base(tools: &Tools, path: &Path) -> Result<()> {
    let mut archive = Archive::new(BufWriter::new(File::create(path)?));
    for dir in [
        "dev", "proc", "sys", "tmp", "run", "root", "etc", "usr/bin", "usr/sbin",
    ] {
        archive.directory(dir)?;
    }
    for link in ["bin", "sbin", "lib", "lib64"] {
        archive.symlink(link, &format!("usr/{link}"))?;
    }
    for (name, text) in FILES {
        archive.file(name, 0o644, text.as_bytes())?;
    }
    add(
        &mut archive,
        tools.root(),
        Path::new("usr/lib64/ld-linux-x86-64.so.2"),
    )?;
    for library in LIBRARIES {
        add(
            &mut archive,
            tools.root(),
            &Path::new("usr/lib/x86_64-linux-gnu").join(library),
        )?;
    }
    for program in PROGRAMS {
        let program = Path::new("usr").join(program);
        add(&mut archive, tools.root(), &program)?;
        if program.ends_with("busybox") {
            // Linked statically.
            continue;
        }
        for library in tools.needed(&tools.root().join(&program))? {
            if let Ok(library) = library.strip_prefix(tools.root()) {
                add(&mut archive, tools.root(), library)?;
            }
        }
    }
    // busybox's applets serve for the rest. The shell is dash: busybox's own
    // prefers its applets to the programs in PATH.
    archive.symlink("usr/bin/sh", "dash")?;
    let applets = output(Command::new(tools.find("busybox")?).arg("--list"))?;
    for applet in applets.lines() {
        let taken = ["bin", "sbin"]
            .iter()
            .any(|dir| archive.contains(&format!("usr/{dir}/{applet}")));
        if !taken {
            archive.symlink(&format!("usr/bin/{applet}"), "busybox")?;
        }
    }
    archive.finish()?.flush()?;
    Ok(())
}

/// Adds a file of the root; of a symbolic link also what it leads to.
fn add<W: Write>(archive: &mut Archive<W>, root: &Path, path: &Path) -> Result<()> {
    let full = root.join(path);
    let name = path.to_str().context("a path in Debian's root is ASCII")?;
    let metadata = fs::symlink_metadata(&full)
        .with_context(|| format!("Debian's root has no {}", full.display()))?;
    if !metadata.is_symlink() {
        return archive.copy(name, metadata.permissions().mode() & 0o777, &full);
    }
    let target = fs::read_link(&full)?;
    archive.symlink(name, &target.to_string_lossy())?;
    let resolved = full.canonicalize()?;
    let resolved = resolved
        .strip_prefix(root)
        .with_context(|| format!("{} leads out of the root", full.display()))?;
    add(archive, root, resolved)
}

fn write_modules(dir: &Path, release: &str, path: &Path) -> Result<()> {
    // FILE: FILE…, all that must be loaded before it.
    let text = fs::read_to_string(dir.join("modules.dep"))?;
    let needs: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .collect();
    let begins = |name: &str, list: &[&str]| list.iter().any(|begin| name.starts_with(begin));
    let mut files = BTreeSet::new();
    for (&file, others) in &needs {
        if begins(file, MODULES) && !begins(file, NO_MODULES) {
            files.insert(file);
            files.extend(others.split_whitespace());
        }
    }
    let mut archive = Archive::new(BufWriter::new(File::create(path)?));
    let place = format!("usr/lib/modules/{release}");
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("modules.") {
            archive.copy(&format!("{place}/{name}"), 0o644, &entry.path())?;
        }
    }
    for file in files {
        archive.copy(&format!("{place}/{file}"), 0o644, &dir.join(file))?;
    }
    archive.finish()?.flush()?;
    Ok(())
}
