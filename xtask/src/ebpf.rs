//! The eBPF object: `skbcap-ebpf/` compiled, linked, stripped of what the
//! kernel does not read, and compared with the committed one. Owns every flag
//! that the object's bytes depend on.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use object::build::elf::{Builder, SectionData};
use object::elf;

use crate::cache::Cache;
use crate::repository;
use crate::run::{quiet, run};
use crate::stack;
use crate::toolchain::Toolchain;

/// The programs: binaries of skbcap-ebpf, and where each one's object lies.
const OBJECTS: [(&str, &str); 1] = [("skbcap", "skbcap/src/kernel/skbcap.bpf.o")];

/// The BPF instruction set. v3 (32-bit subregisters, all compares) is what
/// 5.10 takes at the most; the default makes slower code.
const TARGET_CPU: &str = "v3";

/// Builds every object and writes it to its place in the repository.
pub(crate) fn build(cache: &Cache) -> Result<()> {
    for (bytes, path) in compile(cache)? {
        let dir = path.parent().expect("a file in the repository");
        fs::create_dir_all(dir)?;
        let before = fs::read(&path).ok();
        fs::write(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
        let change = if before.as_ref() == Some(&bytes) {
            "unchanged"
        } else {
            "written"
        };
        println!("{}: {} bytes, {change}", shown(&path), bytes.len());
    }
    Ok(())
}

/// Builds every object and fails unless the committed ones are the same.
pub(crate) fn check(cache: &Cache) -> Result<()> {
    for (bytes, path) in compile(cache)? {
        let committed = fs::read(&path).with_context(|| {
            format!(
                "cannot read {}; `cargo xtask ebpf` makes it",
                path.display()
            )
        })?;
        if committed != bytes {
            let kept = path
                .file_name()
                .map(|name| repository().join("target").join(name));
            let kept = kept.expect("an object has a name");
            fs::write(&kept, &bytes)?;
            bail!(
                "{} is not what skbcap-ebpf's source gives ({} bytes there, {} built, kept as \
                 {}); run `cargo xtask ebpf` and commit the result",
                shown(&path),
                committed.len(),
                bytes.len(),
                shown(&kept)
            );
        }
        println!(
            "{}: {} bytes, as the source says",
            shown(&path),
            bytes.len()
        );
    }
    Ok(())
}

/// Runs clippy on the crate, as it is compiled.
pub(crate) fn lint(cache: &Cache) -> Result<()> {
    let mut command = cargo_for_bpf(cache, "clippy")?;
    run(command.args(["--", "-Dwarnings"]))
}

/// Compiles the crate; gives each object and its place.
fn compile(cache: &Cache) -> Result<Vec<(Vec<u8>, PathBuf)>> {
    run(&mut cargo_for_bpf(cache, "build")?)?;
    let mut objects = Vec::new();
    for (bin, path) in OBJECTS {
        let built = source().join("target/bpfel-unknown-none/release").join(bin);
        let data = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
        let deepest = stack::deepest(&data)?;
        println!(
            "stack: {} bytes of {} ({})",
            deepest.bytes,
            stack::MAX_STACK,
            deepest.calls.join(" → ")
        );
        let bytes = strip(&data).with_context(|| format!("cannot strip {}", built.display()))?;
        objects.push((bytes, repository().join(path)));
    }
    Ok(objects)
}

/// The crate's directory.
fn source() -> PathBuf {
    repository().join("skbcap-ebpf")
}

/// cargo's `subcommand` with everything that the object depends on.
fn cargo_for_bpf(cache: &Cache, subcommand: &str) -> Result<Command> {
    let source = source();
    let toolchain = Toolchain::get(cache)?;
    // The dependencies' sources must lie in place before their paths can be
    // remapped.
    quiet(cargo(&source).args(["fetch", "--quiet", "--locked"]))?;
    let mut command = cargo(&source);
    command
        .args([
            subcommand,
            "--release",
            "--locked",
            "--bins",
            "-Zbuild-std=core",
        ])
        .args(["--target", "bpfel-unknown-none", "--target-dir", "target"])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(&toolchain)?)
        .env(
            "CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER",
            &toolchain.bpf_linker,
        )
        // bpf-linker is linked to rustc's own LLVM.
        .env("LD_LIBRARY_PATH", toolchain.sysroot.join("lib"));
    if !toolchain.library.starts_with(&toolchain.sysroot) {
        // cargo has no other way to take the source from elsewhere.
        command.env("__CARGO_TESTS_ONLY_SRC_ROOT", &toolchain.library);
    }
    Ok(command)
}

/// cargo in `dir`, without the settings that would change the object.
fn cargo(dir: &Path) -> Command {
    const KEPT: [&str; 5] = [
        "CARGO_HOME",
        "CARGO_NET",
        "CARGO_HTTP",
        "CARGO_REGISTR",
        "CARGO_SOURCE",
    ];
    let mut command = Command::new("cargo");
    command.current_dir(dir);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let cargos = text.starts_with("CARGO_") && !KEPT.iter().any(|kept| text.starts_with(kept));
        if cargos || text.starts_with("RUSTC") || text.starts_with("RUSTFLAGS") {
            command.env_remove(&name);
        }
    }
    command
}

/// The compiler's flags, in CARGO_ENCODED_RUSTFLAGS' form.
fn rustflags(toolchain: &Toolchain) -> Result<OsString> {
    let mut flags: Vec<OsString> = vec![
        "--cfg=bpf_target_arch=\"x86_64\"".into(),
        // BTF is made from debug information.
        "-Cdebuginfo=2".into(),
        format!("-Ctarget-cpu={TARGET_CPU}").into(),
        "-Clink-arg=--btf".into(),
        "-Clink-arg=--disable-memory-builtins".into(),
    ];
    let mut remap = |from: &Path, to: &str| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flags.push(flag);
    };
    // Of several prefixes that fit, rustc takes the last.
    remap(repository(), "/skbcap");
    let registry = cargo_home()?.join("registry/src");
    let mut sources: Vec<PathBuf> = match fs::read_dir(&registry) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => Vec::new(),
    };
    sources.sort();
    for source in &sources {
        remap(source, "/registry");
    }
    remap(&toolchain.sysroot, "/sysroot");
    remap(&toolchain.library, "/rust/library");
    Ok(flags.join("\u{1f}".as_ref()))
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    let home = env::var_os("HOME").context("there is neither CARGO_HOME nor HOME")?;
    Ok(Path::new(&home).join(".cargo"))
}

/// Removes the debug information, all but BTF.
///
/// What `llvm-strip --strip-debug` does, without a dependence on its version.
fn strip(data: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(data)?;
    // Such a name bears a hash of the crate, into which cargo takes the directory of the build.
    let mut symbols = builder.symbols.iter();
    if let Some(symbol) = symbols.find(|symbol| symbol.name.starts_with(b"_R")) {
        bail!(
            "{} would have another name in another directory: give it #[inline(always)] if it is a \
             function, or #[unsafe(no_mangle)]",
            symbol.name
        );
    }
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        if name.starts_with(b".debug_") || name.starts_with(b".rel.debug_") {
            section.delete = true;
        }
    }
    builder.delete_orphans();
    // LLVM keeps section names and symbol names in one table, the builder
    // wants two.
    let names = builder.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = elf::SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    builder.set_section_sizes();
    let mut bytes = Vec::new();
    builder.write(&mut bytes)?;
    Ok(bytes)
}

/// A path as seen from the repository.
fn shown(path: &Path) -> std::path::Display<'_> {
    path.strip_prefix(repository()).unwrap_or(path).display()
}
