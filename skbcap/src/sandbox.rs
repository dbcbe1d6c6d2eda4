//! What this process may still reach for once it listens: as little as this kernel can leave it, of
//! files and more by Landlock, and of system calls by seccomp.
//!
//! Owns what belongs together. Must not know what is written where, and why.

pub mod landlock;
pub mod seccomp;

use std::io;
use std::path::Path;

use ::landlock::RulesetError;

use self::landlock::Landlock;

/// A sandbox that is yet to be entered.
#[derive(Debug)]
pub struct Sandbox {
    landlock: Option<Landlock>,
}

/// What came of entering it.
#[derive(Debug)]
pub struct Confined {
    /// By Landlock; [`None`] where that was not asked for.
    pub landlock: Option<landlock::Confined>,
    /// By seccomp.
    pub seccomp: seccomp::Confined,
}

impl Sandbox {
    /// One in which files are written below these directories only: see [`Landlock::around`].
    ///
    /// # Errors
    ///
    /// When one can't be opened.
    pub fn around<P: AsRef<Path>>(directories: &[P]) -> io::Result<Self> {
        Ok(Self {
            landlock: Some(Landlock::around(directories)?),
        })
    }

    /// One by seccomp alone, in which other processes can be looked at as before.
    #[must_use]
    pub fn of_calls() -> Self {
        Self { landlock: None }
    }

    /// Enters it for good, with all threads that are started from now on.
    ///
    /// # Errors
    ///
    /// Those of [`Landlock::enter`]. Where seccomp can't be had, [`Confined`] says so.
    pub fn enter(self) -> Result<Confined, RulesetError> {
        Ok(Confined {
            landlock: self.landlock.map(Landlock::enter).transpose()?,
            // Last: so it need not leave open what Landlock is entered by.
            seccomp: seccomp::enter(),
        })
    }
}

#[cfg(test)]
mod tests;
