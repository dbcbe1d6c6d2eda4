//! Cgroups (v2) as the directories that they are, and the processes in them.
//!
//! Must not know: what they are asked for.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `CGROUP2_SUPER_MAGIC`, include/uapi/linux/magic.h.
const CGROUP2: u64 = 0x6367_7270;

/// Why a path stands for no cgroup.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// It could not be opened.
    #[error(
        "cannot open the cgroup {} (--cgroup takes a directory such as \
         /sys/fs/cgroup/system.slice/ssh.service)",
        path.display()
    )]
    Open {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is something else: a file, a directory of another file system, or of cgroup v1.
    #[error(
        "{} is no cgroup: --cgroup takes a directory of cgroup v2, such as \
         /sys/fs/cgroup/system.slice/ssh.service",
        path.display()
    )]
    NoCgroup {
        /// The path.
        path: PathBuf,
    },
}

/// A cgroup, kept open: it stays the one that it is.
#[derive(Clone, Debug)]
pub struct Cgroup {
    directory: Arc<File>,
    path: PathBuf,
}

impl Cgroup {
    /// The one of this path.
    ///
    /// # Errors
    ///
    /// [`CgroupError`], as its variants say.
    pub fn open(path: &Path) -> Result<Self, CgroupError> {
        let open = |source| CgroupError::Open {
            path: path.into(),
            source,
        };
        let directory = File::open(path).map_err(open)?;
        let is_directory = directory.metadata().map_err(open)?.is_dir();
        let system = rustix::fs::fstatfs(&directory).map_err(|error| open(error.into()))?;
        if !is_directory || system.f_type.cast_unsigned() != CGROUP2 {
            return Err(CgroupError::NoCgroup { path: path.into() });
        }
        Ok(Self {
            directory: Arc::new(directory),
            path: path.into(),
        })
    }

    /// The processes in it and in all that are below, by their ids as they are seen from here. Those
    /// that come or go meanwhile may be among them or not.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let mut processes = Vec::new();
        let mut directories = vec![self.path.clone()];
        while let Some(directory) = directories.pop() {
            // One that is gone has none; a threaded one's stand in the one above it.
            let said = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            processes.extend(said.lines().filter_map(|line| line.parse::<u32>().ok()));
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
            let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            directories.extend(below.map(|entry| entry.path()));
        }
        processes
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_no_cgroups() {
        for path in ["/proc", "/proc/self/status", "/dev/null"] {
            let error = Cgroup::open(Path::new(path)).unwrap_err();
            assert!(matches!(error, CgroupError::NoCgroup { .. }), "{error}");
        }
        let error = Cgroup::open(Path::new("/nonexistent")).unwrap_err();
        assert!(matches!(error, CgroupError::Open { .. }), "{error}");
    }

    /// Where this machine has cgroup v2 at its usual place, every process is in it.
    #[test]
    fn the_root_has_all() {
        if let Ok(root) = Cgroup::open(Path::new("/sys/fs/cgroup")) {
            assert!(root.processes().contains(&std::process::id()));
        }
    }
}
