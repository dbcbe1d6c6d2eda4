//! Programs that tests need and machines rarely have in the right version:
//! a Debian root unpacked into the cache, from which the host runs QEMU and
//! the capture tools, and from which guests get their user space. Nothing is
//! installed, and nothing in it runs as part of the host's system.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::apt::{self, Apt, TRIXIE};
use crate::cache::Cache;
use crate::run::output;

/// What is in the root; each with all that it depends on.
const PACKAGES: &[&str] = &[
    "bpftool",
    "busybox-static",
    "dash",
    "e2fsprogs",
    "ethtool",
    "iperf3",
    "iproute2",
    "iputils-ping",
    "kmod",
    "libcap2-bin",
    "nftables",
    "qemu-system-x86",
    "tcpdump",
    "tshark",
    "util-linux",
    "wireguard-tools",
    "wireshark-common",
    "xfsprogs",
    "xz-utils",
];

/// The programs that tests on the host find in PATH.
const HOST_PROGRAMS: &[&str] = &[
    "capinfos", "dumpcap", "editcap", "mergecap", "tcpdump", "tshark", "xz",
];

/// The unpacked root.
pub(crate) struct Tools {
    root: PathBuf,
    bin: PathBuf,
}

impl Tools {
    /// Fetches the root, unless it is there.
    pub(crate) fn get(cache: &Cache) -> Result<Self> {
        let stamp = Self::stamp();
        let root = cache.directory("root", &stamp, |dir| fetch(cache, dir))?;
        let mut tools = Self {
            root,
            bin: PathBuf::new(),
        };
        tools.bin = cache.directory("bin", &stamp, |dir| tools.write_wrappers(dir))?;
        Ok(tools)
    }

    /// What the root is made of; what is made from it depends on this.
    pub(crate) fn stamp() -> String {
        format!("1 {} {}", TRIXIE.name, PACKAGES.join(" "))
    }

    /// The root's directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A directory for PATH, with wrappers around the host's programs.
    pub(crate) fn bin(&self) -> &Path {
        &self.bin
    }

    /// A program of the root, to be run on the host by the root's own dynamic
    /// loader: the host's C library may be older.
    pub(crate) fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(self.loader());
        command
            .arg("--library-path")
            .arg(self.libraries())
            .arg(self.find(program)?);
        command.envs(self.environment());
        Ok(command)
    }

    /// The path of a program, by its name or its place below `usr`.
    pub(crate) fn find(&self, program: &str) -> Result<PathBuf> {
        ["bin", "sbin", "lib"]
            .into_iter()
            .map(|dir| self.root.join("usr").join(dir).join(program))
            .find(|path| path.is_file())
            .with_context(|| format!("no {program} in {}", self.root.display()))
    }

    /// The libraries that a file of the root loads at its start.
    pub(crate) fn needed(&self, path: &Path) -> Result<Vec<PathBuf>> {
        let mut command = Command::new(self.loader());
        command
            .arg("--library-path")
            .arg(self.libraries())
            .arg("--list")
            .arg(path);
        // NAME => PATH (0xADDRESS)
        let text = output(&mut command)?;
        ensure!(
            !text.contains("not found"),
            "{} lacks a library:\n{text}",
            path.display()
        );
        let library = |line: &str| {
            let path = line.split_whitespace().find(|word| word.starts_with('/'))?;
            Some(PathBuf::from(path))
        };
        Ok(text.lines().filter_map(library).collect())
    }

    fn loader(&self) -> PathBuf {
        self.root.join("usr/lib64/ld-linux-x86-64.so.2")
    }

    fn libraries(&self) -> PathBuf {
        self.root.join("usr/lib/x86_64-linux-gnu")
    }

    /// Where Wireshark's programs find their data: they look beside their
    /// executable, which is the loader.
    fn environment(&self) -> [(&'static str, PathBuf); 3] {
        let libraries = self.libraries();
        [
            ("WIRESHARK_DATA_DIR", self.root.join("usr/share/wireshark")),
            ("WIRESHARK_EXTCAP_DIR", libraries.join("wireshark/extcap")),
            ("WIRESHARK_PLUGIN_DIR", libraries.join("wireshark/plugins")),
        ]
    }

    fn write_wrappers(&self, dir: &Path) -> Result<()> {
        for program in HOST_PROGRAMS {
            let mut text = String::from("#!/bin/sh\n");
            for (name, value) in self.environment() {
                writeln!(text, "export {name}='{}'", value.display())?;
            }
            writeln!(
                text,
                "exec '{}' --library-path '{}' '{}' \"$@\"",
                self.loader().display(),
                self.libraries().display(),
                self.find(program)?.display(),
            )?;
            let path = dir.join(program);
            fs::write(&path, text)?;
            fs::set_permissions(&path, Permissions::from_mode(0o755))?;
            output(Command::new(&path).arg("--version"))
                .with_context(|| format!("{program} of Debian's root does not run here"))?;
        }
        Ok(())
    }
}

fn fetch(cache: &Cache, dir: &Path) -> Result<()> {
    let apt = Apt::new(cache, &TRIXIE)?;
    let packages: Vec<_> = PACKAGES.iter().map(|&name| name.to_owned()).collect();
    let debs = dir.join("debs");
    apt.download(&apt.closure(&packages)?, &debs)?;
    // Programs say /bin and /lib64; the files are below /usr.
    for link in ["bin", "sbin", "lib", "lib64"] {
        fs::create_dir_all(dir.join("usr").join(link))?;
        symlink(Path::new("usr").join(link), dir.join(link))?;
    }
    println!("unpacking the tools");
    apt::unpack(&debs, dir)?;
    fs::remove_dir_all(&debs)?;
    Ok(())
}
