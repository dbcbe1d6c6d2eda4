//! What a capture keeps of its rights once it listens: capabilities, and its user.

use std::io;

use rustix::thread::CapabilitySet;

use crate::{
    config::{Config, LinkTypes},
    kernel::{load::Kernel, missed::Misses},
    privilege::{self, User},
    process::Field,
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
         --split-linktype); CAP_SYS_PTRACE for --fields exe"
    ))
}

/// Whether a field needs `/proc/PID/exe`, which is shown to whom `ptrace` is allowed.
fn reads_programs(config: &Config) -> bool {
    config.fields.has(Field::Exe)
}
