//! Lists of CPUs, as the kernel prints them: `0-3,8`.
//!
//! Owns the format and where the lists are. Must not know: what anyone does with a CPU.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

/// No kernel is built for more (`CONFIG_NR_CPUS` is at most 8192 on x86-64); a list may not ask for
/// more memory.
const MAX_CPUS: u32 = 1 << 16;

/// Why a list of CPUs can't be told.
#[derive(Debug, thiserror::Error)]
pub enum CpuListError {
    /// The file could not be read.
    #[error("cannot read the list of CPUs in {}: {source}; is /sys mounted?", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The text is no list.
    #[error("\"{0}\" is no list of CPUs such as 0-3,8")]
    Format(String),
}

/// CPUs that may ever come online: the numbers that rings and per-CPU values are kept for.
///
/// # Errors
///
/// [`CpuListError`].
pub fn possible() -> Result<BTreeSet<u32>, CpuListError> {
    read("possible")
}

/// CPUs that run now.
///
/// # Errors
///
/// [`CpuListError`].
pub fn online() -> Result<BTreeSet<u32>, CpuListError> {
    read("online")
}

fn read(name: &str) -> Result<BTreeSet<u32>, CpuListError> {
    let path = PathBuf::from("/sys/devices/system/cpu").join(name);
    match fs::read_to_string(&path) {
        Ok(text) => parse(&text),
        Err(source) => Err(CpuListError::Read { path, source }),
    }
}

/// The CPUs in a list: numbers and ranges, separated by commas. An empty list has none.
///
/// Source: `lib/vsprintf.c:bitmap_list_string@5.10`.
///
/// # Errors
///
/// [`CpuListError::Format`].
pub fn parse(text: &str) -> Result<BTreeSet<u32>, CpuListError> {
    let text = text.trim();
    let mut cpus = BTreeSet::new();
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.parse::<u32>(), last.parse::<u32>()) {
            (Ok(first), Ok(last)) if first <= last && last < MAX_CPUS => cpus.extend(first..=last),
            _ => return Err(CpuListError::Format(text.into())),
        }
    }
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_numbers_and_ranges() {
        let list = |text| parse(text).unwrap().into_iter().collect::<Vec<_>>();
        assert_eq!(list("0-3,8\n"), [0, 1, 2, 3, 8]);
        assert_eq!(list("0"), [0]);
        assert_eq!(list("\n"), [0; 0]);
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "a",
            "0-",
            "3-1",
            "0,,1",
            "-1",
            "0-4294967295",
            "99999999999",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn this_machine_has_a_cpu() {
        if let (Ok(possible), Ok(online)) = (possible(), online()) {
            assert!(!online.is_empty() && online.is_subset(&possible));
        }
    }
}
