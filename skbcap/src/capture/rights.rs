//! What a capture keeps of its rights once it listens: capabilities, its user, what it may write.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context;
use rustix::thread::CapabilitySet;

use crate::{
    config::{Config, LinkTypes, Output},
    kernel::{load::Kernel, missed::Misses},
    privilege::{self, User},
    process::Field,
    sandbox::Sandbox,
};

/// Gives up what the capture doesn't need any more, and becomes `user`. Returns what is kept.
pub(super) fn give_up(
    config: &Config,
    kernel: &Kernel,
    user: Option<&User>,
) -> io::Result<CapabilitySet> {
    let mut kept = CapabilitySet::empty();
    // Files that are yet to come are made in directories that may be others', by whoever we are.
    let may_come = config.rotate.is_asked_for() || config.link_types == LinkTypes::Split;
    if may_come && user.is_none() {
        kept |= CapabilitySet::DAC_OVERRIDE;
    }
    // Whose program is which, of other users' processes and of those with more capabilities.
    if reads_programs(config) {
        kept |= CapabilitySet::SYS_PTRACE;
    }
    kept |= to_be_told(kept, || kernel.missed().is_some())?;
    privilege::give_up(user, kept)?;
    Ok(rustix::thread::capabilities(None)?.permitted)
}

/// What is kept for the kernel to go on telling what it missed: by its version, it tells anybody who has
/// the program.
fn to_be_told(kept: CapabilitySet, tells: impl Fn() -> bool) -> io::Result<CapabilitySet> {
    if !tells() {
        return Ok(CapabilitySet::empty());
    }
    let before = privilege::only(kept)?;
    let still = tells();
    privilege::only(before)?;
    Ok(if still {
        CapabilitySet::empty()
    } else {
        CapabilitySet::BPF
    })
}

/// What any capture keeps on this kernel, and what some do, in words. `misses` tell what it missed,
/// where they tell.
pub(super) fn kept_in_words(misses: Option<&Misses>) -> io::Result<String> {
    let tells = || misses.is_some_and(|misses| misses.count().is_ok());
    let always = if to_be_told(CapabilitySet::empty(), tells)?.is_empty() {
        "no capability"
    } else {
        "CAP_BPF (to be told what a hook missed)"
    };
    Ok(format!(
        "kept while capturing: {always}; by root CAP_DAC_OVERRIDE for files yet to come (-C, -G, \
         --split-linktype); CAP_SYS_PTRACE for --fields exe and cmdline"
    ))
}

/// Whether a field needs `/proc/PID/exe`, which is shown to whom `ptrace` is allowed.
fn reads_programs(config: &Config) -> bool {
    config.fields.has(Field::Exe) || config.fields.has(Field::Cmdline)
}

/// A sandbox for the capture, once its output is open, which `is_live` if it is no regular file. By
/// whoever opened that: nobody else may get at the directories. Without Landlock where the capture needs
/// what that takes away by itself: the programs of other processes.
pub(super) fn sandbox(config: &Config, is_live: bool) -> anyhow::Result<Sandbox> {
    if reads_programs(config) {
        return Ok(Sandbox::of_calls());
    }
    let directories = match &config.output {
        Output::File(path) if !is_live => directories(path, config.rotate.seconds.is_some()),
        // No other file comes, and what is open stays so.
        Output::File(_) | Output::Stdout | Output::Print => Vec::new(),
    };
    Sandbox::around(&directories).context("cannot open the output's directory")
}

/// The directories below which all files lie that `-w PATH` may name, by the time too if `has_times`;
/// and the one that the file lies in, if its name leads elsewhere.
pub(super) fn directories(path: &Path, has_times: bool) -> Vec<PathBuf> {
    let is_fixed =
        |path: &&Path| !has_times || !path.as_os_str().as_encoded_bytes().contains(&b'%');
    let named = path.ancestors().skip(1).find(is_fixed);
    let named = named.filter(|named| !named.as_os_str().is_empty());
    let mut directories = vec![named.unwrap_or(Path::new(".")).to_owned()];
    if let Ok(file) = fs::canonicalize(path)
        && let Some(directory) = file.parent()
    {
        directories.push(directory.to_owned());
    }
    directories
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_lie_below_the_directory_before_the_first_percent_sign() {
        for (path, with_times, without) in [
            ("out.pcapng", ".", "."),
            ("./out.pcapng", ".", "."),
            ("/nowhere/out.pcapng", "/nowhere", "/nowhere"),
            ("/nowhere/%Y/%m/out.pcapng", "/nowhere", "/nowhere/%Y/%m"),
            ("/nowhere/%Y-out.pcapng", "/nowhere", "/nowhere"),
            ("%Y/out.pcapng", ".", "%Y"),
            ("/%H", "/", "/"),
            ("/%Y/%H", "/", "/%Y"),
        ] {
            assert_eq!(directories(path.as_ref(), true), [Path::new(with_times)]);
            assert_eq!(directories(path.as_ref(), false), [Path::new(without)]);
        }
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        fs::create_dir(dir.join("elsewhere")).unwrap();
        fs::write(dir.join("elsewhere/file"), "").unwrap();
        let link = dir.join("link");
        std::os::unix::fs::symlink("elsewhere/file", &link).unwrap();
        let found = directories(&link, false);
        assert_eq!(found, [dir.clone(), dir.join("elsewhere")]);
    }
}
