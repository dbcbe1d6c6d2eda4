//! What this process may still reach for once it listens: as little as Landlock, in this kernel's
//! version, can leave it.
//!
//! Owns the rules. Must not know what is written where, and why.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::fs::{Mode, OFlags};

/// The newest of Landlock's versions of which something is asked for; an older one forbids less.
const NEWEST: ABI = ABI::V9;

/// What is forbidden, by the version of Landlock that came with it (security/landlock in the kernel;
/// Linux 5.13, 6.2, 6.7, 6.10, 6.12, 7.1).
const FORBIDDEN: [(ABI, &str); 6] = [
    (ABI::V1, "making and writing files elsewhere, programs"),
    (ABI::V3, "cutting files elsewhere"),
    (ABI::V4, "TCP"),
    (ABI::V5, "ioctl on devices"),
    (ABI::V6, "Unix sockets without a path"),
    (ABI::V9, "Unix sockets with a path"),
];

/// What Landlock is to leave, once it is entered.
#[derive(Debug)]
pub struct Landlock {
    directories: Vec<OwnedFd>,
}

/// What came of entering it.
#[derive(Debug)]
pub struct Confined {
    by: By,
    /// Some file systems (9p without a cache) know a directory again only as long as it is open:
    /// <https://github.com/landlock-lsm/linux/issues/45>.
    _directories: Vec<OwnedFd>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// Landlock of a version that is known here.
    Version(ABI),
    /// Landlock is not among the security modules that were chosen at boot.
    Off,
    /// The kernel was built without Landlock, or a container's seccomp hides it.
    Missing,
}

impl Landlock {
    /// One in which files are written below these directories only, as they are now: not what takes
    /// their names, or is mounted on them, later.
    ///
    /// # Errors
    ///
    /// When one can't be opened.
    pub fn around<P: AsRef<Path>>(directories: &[P]) -> io::Result<Self> {
        let open = |directory: &P| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Ok(rustix::fs::open(directory.as_ref(), flags, Mode::empty())?)
        };
        let directories: io::Result<_> = directories.iter().map(open).collect();
        Ok(Self {
            directories: directories?,
        })
    }

    /// Enters it for good: this thread, and those that it starts from now on.
    ///
    /// Of what is forbidden, nothing touches what is open already, nor processes that were started
    /// before. Reading is left alone (the local time comes from files, at any time), with an exception
    /// that Landlock makes by itself: what `/proc` shows only to debuggers, such as another process's
    /// `exe`. Signals are left alone too: one is passed on to a command.
    ///
    /// # Errors
    ///
    /// When the kernel has Landlock and refuses: it takes no more than 16 sandboxes, each within
    /// another.
    pub fn enter(self) -> Result<Confined, RulesetError> {
        let mut ruleset = Ruleset::default()
            .handle_access(AccessFs::from_write(NEWEST) | AccessFs::Execute)?
            .handle_access(AccessNet::from_all(NEWEST))?
            .scope(Scope::AbstractUnixSocket)?
            .create()?;
        let written = AccessFs::MakeReg | AccessFs::WriteFile | AccessFs::Truncate;
        for directory in &self.directories {
            ruleset = ruleset.add_rule(PathBeneath::new(directory.as_fd(), written))?;
        }
        let status = ruleset.restrict_self()?;
        let by = match (status.ruleset, status.landlock) {
            (
                RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced,
                LandlockStatus::Available { effective_abi, .. },
            ) => By::Version(effective_abi),
            (_, LandlockStatus::NotEnabled) => By::Off,
            _ => By::Missing,
        };
        Ok(Confined {
            by,
            _directories: self.directories,
        })
    }
}

impl Confined {
    /// Whether anything is forbidden.
    #[must_use]
    pub fn is_any(&self) -> bool {
        matches!(self.by, By::Version(_))
    }
}

impl fmt::Display for Confined {
    /// One line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.by.fmt(f)
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = match *self {
            Self::Version(version) => version,
            Self::Off => return f.write_str("no sandbox by Landlock: it is switched off (lsm=)"),
            Self::Missing => return f.write_str("no sandbox by Landlock: this kernel offers none"),
        };
        let (forbidden, left): (Vec<_>, Vec<_>) =
            FORBIDDEN.iter().partition(|(since, _)| *since <= version);
        let words = |all: Vec<&(ABI, &'static str)>| {
            let words: Vec<_> = all.into_iter().map(|(_, what)| *what).collect();
            words.join(", ")
        };
        write!(
            f,
            "the sandbox (Landlock, version {version}) forbids: {}",
            words(forbidden)
        )?;
        if !left.is_empty() {
            write!(f, "; this kernel can't forbid: {}", words(left))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
