//! What the eBPF build needs beyond stable Rust: the pinned compiler, the
//! source of `core`, and a linker for bitcode. Knows nothing of our programs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt::{Apt, TRIXIE_BACKPORTS};
use crate::cache::Cache;
use crate::run::{output, run};

/// The one compiler that makes the committed eBPF object, byte for byte.
/// Raising it means rebuilding that object with `cargo xtask ebpf`.
pub(crate) const RUSTC: &str = "1.95.0";

const BPF_LINKER: &str = "0.13.0";
/// bpf-linker's feature for the LLVM inside that compiler.
const BPF_LINKER_LLVM: &str = "llvm-22";

/// The compiler and its parts.
pub(crate) struct Toolchain {
    /// rustc's sysroot.
    pub(crate) sysroot: PathBuf,
    /// The `library` directory of the standard library's source.
    pub(crate) library: PathBuf,
    /// The eBPF linker's executable.
    pub(crate) bpf_linker: PathBuf,
}

impl Toolchain {
    /// Finds, fetches or builds all parts.
    pub(crate) fn get(cache: &Cache) -> Result<Self> {
        let version = output(Command::new("rustc").arg("--version"))?;
        if version.split(' ').nth(1) != Some(RUSTC) {
            bail!(
                "the eBPF object is made by rustc {RUSTC}, and this is {}; \
                 `rustup toolchain install {RUSTC}` and `cargo +{RUSTC} xtask …`",
                version.trim_end()
            );
        }
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
        let sysroot = PathBuf::from(sysroot.trim_end());
        let library = library(cache, &sysroot)?;
        let bpf_linker = bpf_linker(cache, &sysroot)?;
        Ok(Self {
            sysroot,
            library,
            bpf_linker,
        })
    }
}

/// The standard library's source: rustup's component, else Debian's package.
fn library(cache: &Cache, sysroot: &Path) -> Result<PathBuf> {
    let component = sysroot.join("lib/rustlib/src/rust/library");
    if component.join("core").is_dir() {
        return Ok(component);
    }
    let added = run(Command::new("rustup").args(["component", "add", "rust-src"]));
    if component.join("core").is_dir() {
        return Ok(component);
    }
    if let Err(error) = added {
        println!("{error:#}; taking Debian's package instead");
    }
    debian_library(cache)
}

/// The source as Debian packages it, unpacked into the cache.
fn debian_library(cache: &Cache) -> Result<PathBuf> {
    let dir = cache.directory("rust-src", RUSTC, |dir| {
        let apt = Apt::new(cache, &TRIXIE_BACKPORTS)?;
        let versions = apt.versions("rust-src")?;
        let wanted = format!("{RUSTC}+");
        let version = versions.iter().find(|version| version.starts_with(&wanted));
        let version = version.with_context(|| {
            format!(
                "no rust-src {RUSTC} in {}, only {versions:?}",
                TRIXIE_BACKPORTS.name
            )
        })?;
        let debs = dir.join("debs");
        apt.download(&[format!("rust-src={version}")], &debs)?;
        crate::apt::unpack(&debs, dir)?;
        fs::remove_dir_all(&debs)?;
        Ok(())
    })?;
    Ok(dir.join(format!("usr/src/rustc-{RUSTC}/library")))
}

/// bpf-linker, built against the LLVM library that rustc itself ships.
fn bpf_linker(cache: &Cache, sysroot: &Path) -> Result<PathBuf> {
    let stamp = format!("bpf-linker {BPF_LINKER} for rustc {RUSTC}");
    let dir = cache.directory("bpf-linker", &stamp, |dir| {
        // The build looks for `lib/libLLVM.so` under LLVM_PREFIX. The links
        // are needed only while it is built: `ebpf` names the library's
        // place when it runs the linker.
        let lib = dir.join("llvm/lib");
        fs::create_dir_all(&lib)?;
        let name = llvm_library(sysroot)?;
        symlink(sysroot.join("lib").join(&name), lib.join(&name))?;
        symlink(&name, lib.join("libLLVM.so"))?;
        println!("building bpf-linker {BPF_LINKER}, once: a minute or two");
        run(Command::new("cargo")
            .args(["install", "bpf-linker", "--version", BPF_LINKER, "--locked"])
            .args(["--no-default-features", "--features", BPF_LINKER_LLVM])
            .arg("--root")
            .arg(dir)
            .arg("--target-dir")
            .arg(dir.join("build"))
            .env("LLVM_PREFIX", dir.join("llvm"))
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("RUSTFLAGS")
            // Not this repository's configuration.
            .current_dir(dir))?;
        fs::remove_dir_all(dir.join("build"))?;
        Ok(())
    })?;
    Ok(dir.join("bin/bpf-linker"))
}

/// The name of the LLVM library in `sysroot/lib`, as programs are linked to it.
fn llvm_library(sysroot: &Path) -> Result<String> {
    let lib = sysroot.join("lib");
    for entry in fs::read_dir(&lib).with_context(|| format!("cannot read {}", lib.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("libLLVM.so.") {
            return Ok(name);
        }
    }
    bail!(
        "no libLLVM.so.* in {}: bpf-linker is built against rustup's toolchain, \
         as `rustup toolchain install {RUSTC}` puts it there",
        lib.display()
    )
}
