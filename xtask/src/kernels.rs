//! The kernels that tests boot: Debian's cloud kernels, each with its modules,
//! unpacked into the cache. Owns which kernels there are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::apt::{self, Apt, BOOKWORM, BULLSEYE, Release, TRIXIE_BACKPORTS};
use crate::cache::Cache;
use crate::run::quiet;
use crate::tools::Tools;

/// A kernel that is tested.
pub(crate) struct Kernel {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// Where Debian has it.
    release: &'static Release,
    /// The package that depends on the newest build of it.
    meta: &'static str,
    /// What its version starts with.
    version: &'static str,
    /// Whether another version does where the release no longer has that one: Debian drops a newest
    /// kernel the day it has a newer one.
    moves: bool,
}

/// All of them, oldest first.
///
/// To raise the newest one, change its `version` here, and nothing else.
pub(crate) const KERNELS: [Kernel; 4] = [
    Kernel {
        name: "5.10",
        release: &BULLSEYE,
        meta: "linux-image-cloud-amd64",
        version: "5.10.",
        moves: false,
    },
    Kernel {
        name: "6.1",
        release: &BOOKWORM,
        meta: "linux-image-cloud-amd64",
        version: "6.1.",
        moves: false,
    },
    Kernel {
        name: "6.12",
        release: &BOOKWORM,
        meta: "linux-image-6.12-cloud-amd64",
        version: "6.12.",
        moves: false,
    },
    Kernel {
        name: "newest",
        release: &TRIXIE_BACKPORTS,
        meta: "linux-image-cloud-amd64",
        version: "7.3.",
        moves: true,
    },
];

/// A kernel in the cache.
pub(crate) struct Image {
    /// What it is called.
    pub(crate) name: &'static str,
    /// Its directory: `vmlinuz` and `lib/modules`.
    dir: PathBuf,
}

impl Image {
    /// The file to boot.
    pub(crate) fn vmlinuz(&self) -> PathBuf {
        self.dir.join("vmlinuz")
    }

    /// The directory that has this kernel's `modules.dep`, and its release.
    pub(crate) fn modules(&self) -> Result<(PathBuf, String)> {
        let all = self.dir.join("lib/modules");
        let entry = fs::read_dir(&all)
            .with_context(|| format!("cannot read {}", all.display()))?
            .next()
            .with_context(|| format!("{} is empty", all.display()))??;
        Ok((
            entry.path(),
            entry.file_name().to_string_lossy().into_owned(),
        ))
    }
}

impl Kernel {
    /// Fetches the kernel, unless it is there.
    pub(crate) fn get(&self, cache: &Cache, tools: &Tools) -> Result<Image> {
        let stamp = format!("{} {} {} 1", self.release.name, self.meta, self.version);
        let name = format!("kernels/{}", self.name);
        let dir = cache.directory(&name, &stamp, |dir| self.fetch(cache, tools, dir))?;
        Ok(Image {
            name: self.name,
            dir,
        })
    }

    fn fetch(&self, cache: &Cache, tools: &Tools, dir: &Path) -> Result<()> {
        let apt = Apt::new(cache, self.release)?;
        let packages = self.packages(&apt)?;
        let debs = dir.join("debs");
        apt.download(&packages, &debs)?;
        println!("unpacking kernel {}: {}", self.name, packages.join(" "));
        let unpacked = dir.join("unpacked");
        fs::create_dir_all(&unpacked)?;
        apt::unpack(&debs, &unpacked)?;
        let vmlinuz = find(&unpacked, &|name| name.starts_with("vmlinuz"))?;
        let [vmlinuz] = &vmlinuz[..] else {
            bail!("not one kernel but {vmlinuz:?}")
        };
        fs::rename(vmlinuz, dir.join("vmlinuz"))?;
        // Debian 13 has lib below usr.
        let lib = ["usr/lib", "lib"].map(|lib| unpacked.join(lib));
        let lib = lib.iter().find(|lib| lib.join("modules").is_dir());
        let lib = lib.with_context(|| format!("no modules in {packages:?}"))?;
        fs::create_dir_all(dir.join("lib"))?;
        fs::rename(lib.join("modules"), dir.join("lib/modules"))?;
        fs::remove_dir_all(&unpacked)?;
        fs::remove_dir_all(&debs)?;

        let packed = find(&dir.join("lib/modules"), &|name| name.ends_with(".ko.xz"))?;
        if !packed.is_empty() {
            quiet(
                tools
                    .command("xz")?
                    .args(["--decompress", "--threads=0"])
                    .args(&packed),
            )?;
        }
        let image = Image {
            name: self.name,
            dir: dir.to_owned(),
        };
        let (_, release) = image.modules()?;
        quiet(
            tools
                .command("depmod")?
                .arg("--basedir")
                .arg(dir)
                .arg(&release),
        )
    }

    /// The packages that make up this kernel: what the meta-package depends on
    /// that is named like it, one level after another.
    fn packages(&self, apt: &Apt) -> Result<Vec<String>> {
        let depends = apt.depends(self.meta)?;
        let mut images = depends.iter().filter_map(|name| {
            let version = name.strip_prefix("linux-image-")?;
            let is_version = version.starts_with(|c: char| c.is_ascii_digit());
            is_version.then_some((name, version))
        });
        let is_it = |(_, version): &(&String, &str)| version.starts_with(self.version);
        let image = match images.clone().find(is_it) {
            None if self.moves => images.next(),
            found => found,
        };
        let Some((image, version)) = image else {
            bail!(
                "{} of {} is no longer {}*: it depends on {}",
                self.meta,
                self.release.name,
                self.version,
                depends.join(" ")
            );
        };
        if !version.starts_with(self.version) {
            println!(
                "{}: Debian has {version}, not {}*: that is taken; raise the version in \
                 xtask/src/kernels.rs, and see that the tests pass on it",
                self.name, self.version
            );
        }
        let mut packages = BTreeSet::new();
        let mut open = vec![image.clone()];
        while let Some(name) = open.pop() {
            let of_kernel = name.starts_with("linux-") && name.ends_with("-cloud-amd64");
            if of_kernel && packages.insert(name.clone()) {
                open.extend(apt.depends(&name)?);
            }
        }
        Ok(packages.into_iter().collect())
    }
}

/// All files below `dir` whose name fits.
fn find(dir: &Path, fits: &dyn Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(find(&entry.path(), fits)?);
        } else if fits(&entry.file_name().to_string_lossy()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}
