//! When one file is enough: `-C`, `-G` and `-W`, resolved.

use std::num::{NonZeroU32, NonZeroU64};

use super::{ConfigError, Output};
use crate::cli::Cli;

/// The largest `-G`: about 68 years, tcpdump's own bound (an `int` of seconds).
const MAX_SECONDS: u32 = i32::MAX.unsigned_abs();

/// When the next file begins, and how many there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotate {
    /// Before a frame, if the file has more than so many bytes (`-C`).
    pub bytes: Option<NonZeroU64>,
    /// Before a frame, if it comes so many seconds after the file began, or later (`-G`).
    pub seconds: Option<NonZeroU32>,
    /// With `-C`: after so many files the first is written anew; with `-G` alone: so many files,
    /// then the end (`-W`).
    pub files: Option<NonZeroU32>,
}

impl Rotate {
    /// Whether files end by themselves.
    #[must_use]
    pub fn is_asked_for(self) -> bool {
        self.bytes.is_some() || self.seconds.is_some()
    }

    /// Resolves what was typed.
    pub(crate) fn resolve(cli: &Cli, output: &Output) -> Result<Self, ConfigError> {
        let rotate = Self {
            bytes: cli.file_size.as_deref().map(bytes).transpose()?,
            seconds: cli.rotate_seconds.as_deref().map(seconds).transpose()?,
            files: cli.file_count.as_deref().map(files).transpose()?,
        };
        let option = match (rotate.bytes, rotate.seconds) {
            (Some(_), _) => "-C",
            (None, Some(_)) => "-G",
            (None, None) if rotate.files.is_some() => return Err(ConfigError::FilesWithoutEnd),
            (None, None) => return Ok(rotate),
        };
        if !matches!(output, Output::File(_)) {
            return Err(ConfigError::RotateWithoutFile(option));
        }
        if cli.split_link_types {
            return Err(ConfigError::RotateAndSplit(option));
        }
        Ok(rotate)
    }
}

/// Millions of bytes; with a suffix KiB, MiB or GiB, as newer tcpdumps have it.
fn bytes(typed: &str) -> Result<NonZeroU64, ConfigError> {
    let (digits, unit) = match typed.as_bytes().last() {
        Some(b'k' | b'K') => (&typed[..typed.len() - 1], 1 << 10),
        Some(b'm' | b'M') => (&typed[..typed.len() - 1], 1 << 20),
        Some(b'g' | b'G') => (&typed[..typed.len() - 1], 1 << 30),
        _ => (typed, 1_000_000),
    };
    let wrong = || ConfigError::FileSize(typed.to_owned());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    // A file's length is an `off_t`.
    let bytes = number
        .checked_mul(unit)
        .filter(|&bytes| i64::try_from(bytes).is_ok());
    bytes.and_then(NonZeroU64::new).ok_or_else(wrong)
}

fn seconds(typed: &str) -> Result<NonZeroU32, ConfigError> {
    let number = typed.parse().ok().filter(|&number| number <= MAX_SECONDS);
    number
        .and_then(NonZeroU32::new)
        .ok_or_else(|| ConfigError::RotateSeconds(typed.to_owned()))
}

fn files(typed: &str) -> Result<NonZeroU32, ConfigError> {
    let number = typed.parse().ok().filter(|&number| number <= MAX_SECONDS);
    number
        .and_then(NonZeroU32::new)
        .ok_or_else(|| ConfigError::FileCount(typed.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn resolve(words: &[&str]) -> Result<Rotate, ConfigError> {
        let cli = Cli::try_parse_from([&["skbcap"], words].concat()).unwrap();
        let output = super::super::output(cli.write.clone());
        Rotate::resolve(&cli, &output)
    }

    #[test]
    fn sizes_are_millions_unless_they_have_a_suffix() {
        let bytes = |typed| resolve(&["-w", "a", "-C", typed]).unwrap().bytes;
        assert_eq!(bytes("2"), NonZeroU64::new(2_000_000));
        assert_eq!(bytes("2k"), NonZeroU64::new(2048));
        assert_eq!(bytes("2M"), NonZeroU64::new(2 << 20));
        assert_eq!(bytes("2g"), NonZeroU64::new(2 << 30));
        for wrong in ["0", "-1", "x", "", "k", "1.5", "9223372036855"] {
            assert_eq!(
                resolve(&["-w", "a", "-C", wrong]),
                Err(ConfigError::FileSize(wrong.into()))
            );
        }
    }

    #[test]
    fn files_are_numbered_where_there_are_files() {
        assert_eq!(
            resolve(&["-w", "a", "-W", "3"]),
            Err(ConfigError::FilesWithoutEnd)
        );
        assert_eq!(
            resolve(&["-w", "-", "-G", "3"]),
            Err(ConfigError::RotateWithoutFile("-G"))
        );
        assert_eq!(
            resolve(&["-C", "3"]),
            Err(ConfigError::RotateWithoutFile("-C"))
        );
        assert_eq!(
            resolve(&["-C", "3", "-w", "a", "--split-linktype"]),
            Err(ConfigError::RotateAndSplit("-C"))
        );
        for wrong in ["0", "-3", "x", "2147483648"] {
            assert!(resolve(&["-w", "a", "-G", wrong]).is_err());
            assert!(resolve(&["-w", "a", "-C", "1", "-W", wrong]).is_err());
        }
    }
}
