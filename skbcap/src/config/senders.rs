//! Whose frames are wanted, as it was typed: `--pid`, `--tid`, `--comm`, `--uid`, `--cgroup`, and
//! their opposites.

use std::path::PathBuf;

use skbcap_common::sender::{MAX_CGROUPS, MAX_PATTERNS};

use super::ConfigError;
use crate::cli::SenderOptions;
use crate::glob::Glob;

/// Which senders are wanted; by default all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Senders {
    /// Processes, by their ids.
    pub processes: Sides<u32>,
    /// Threads, by their ids.
    pub threads: Sides<u32>,
    /// Users, by their names or ids.
    pub users: Sides<String>,
    /// Threads' names.
    pub names: Sides<Glob>,
    /// Processes' cgroups, by their directories.
    pub cgroups: Sides<PathBuf>,
}

/// Those that are wanted, and those that are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sides<T> {
    /// One of these is to match, if there are any.
    pub wanted: Vec<T>,
    /// None of these is.
    pub unwanted: Vec<T>,
}

impl<T> Default for Sides<T> {
    fn default() -> Self {
        Self {
            wanted: Vec::new(),
            unwanted: Vec::new(),
        }
    }
}

impl<T> Sides<T> {
    fn resolve(
        wanted: &[String],
        unwanted: &[String],
        what: impl Fn(&str) -> Result<T, ConfigError>,
    ) -> Result<Self, ConfigError> {
        let each = |typed: &[String]| -> Result<Vec<T>, ConfigError> {
            typed.iter().map(|text| what(text)).collect()
        };
        Ok(Self {
            wanted: each(wanted)?,
            unwanted: each(unwanted)?,
        })
    }

    /// Whether there is anything in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty() && self.unwanted.is_empty()
    }
}

impl Senders {
    pub(super) fn resolve(typed: &SenderOptions) -> Result<Self, ConfigError> {
        let id = |option| {
            move |text: &str| match text.parse() {
                Ok(id @ 1..=0x7fff_ffff) => Ok(id),
                _ => Err(ConfigError::Process {
                    option,
                    typed: text.to_owned(),
                }),
            }
        };
        let glob = |text: &str| {
            Glob::new(text.as_bytes()).map_err(|why| ConfigError::Name {
                typed: text.to_owned(),
                why,
            })
        };
        let user = |text: &str| match text {
            "" => Err(ConfigError::User(String::new())),
            _ => Ok(text.to_owned()),
        };
        let names = Sides::resolve(&typed.comm, &typed.not_comm, glob)?;
        let patterns = names.wanted.len() + names.unwanted.len();
        if patterns > MAX_PATTERNS as usize {
            return Err(ConfigError::TooManyNames(patterns));
        }
        let cgroups = Sides {
            wanted: typed.cgroup.clone(),
            unwanted: typed.not_cgroup.clone(),
        };
        let count = cgroups.wanted.len() + cgroups.unwanted.len();
        if count > MAX_CGROUPS as usize {
            return Err(ConfigError::TooManyCgroups(count));
        }
        Ok(Self {
            processes: Sides::resolve(&typed.pid, &typed.not_pid, id("--pid"))?,
            threads: Sides::resolve(&typed.tid, &typed.not_tid, id("--tid"))?,
            users: Sides::resolve(&typed.uid, &typed.not_uid, user)?,
            names,
            cgroups,
        })
    }

    /// Whether all are wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            processes,
            threads,
            users,
            names,
            cgroups,
        } = self;
        processes.is_empty()
            && threads.is_empty()
            && users.is_empty()
            && names.is_empty()
            && cgroups.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;

    #[test]
    fn what_is_repeated_adds_up() {
        let words = ["skbcap", "--pid", "1", "--pid=7", "--not-uid", "nobody"];
        let cli = Cli::try_parse_from(words).unwrap();
        let senders = Senders::resolve(&cli.senders).unwrap();
        assert_eq!(senders.processes.wanted, [1, 7]);
        assert_eq!(senders.users.unwanted, ["nobody"]);
        assert!(senders.threads.is_empty() && senders.names.is_empty() && !senders.is_empty());
        assert_eq!(cli.senders.given(), Some("--pid"));
    }

    #[test]
    fn patterns_are_as_many_as_the_kernel_side_takes() {
        let typed = |count: u32| SenderOptions {
            comm: (0..count).map(|number| format!("name{number}")).collect(),
            ..SenderOptions::default()
        };
        assert!(Senders::resolve(&typed(MAX_PATTERNS)).is_ok());
        assert_eq!(
            Senders::resolve(&typed(MAX_PATTERNS + 1)),
            Err(ConfigError::TooManyNames(65))
        );
    }
}
