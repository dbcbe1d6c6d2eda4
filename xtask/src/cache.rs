//! The cache: everything that is fetched or built once and shared by all
//! checkouts of one user. Owns its place, its lock and its stamps; what lies
//! in it belongs to the modules that put it there.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The cache directory, which exists from here on.
pub(crate) struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// `$SKBCAP_CACHE`, else `skbcap` in the user's cache directory.
    pub(crate) fn open() -> Result<Self> {
        let dir = if let Some(dir) = env::var_os("SKBCAP_CACHE") {
            PathBuf::from(dir)
        } else if let Some(dir) = env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
            Path::new(&dir).join("skbcap")
        } else {
            let home = env::var_os("HOME").context("set SKBCAP_CACHE: there is no HOME")?;
            Path::new(&home).join(".cache/skbcap")
        };
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        Ok(Self { dir })
    }

    /// The path of `name` in the cache.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Makes the directory `name` unless it is there with this `stamp`.
    ///
    /// `make` gets an empty directory beside the final one, which takes its
    /// place only when `make` is done: an interrupted fetch leaves nothing
    /// half made. Other checkouts wait meanwhile.
    pub(crate) fn directory(
        &self,
        name: &str,
        stamp: &str,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let dir = self.path(name);
        let stamp_path = dir.join(".stamp");
        let current = || fs::read_to_string(&stamp_path).is_ok_and(|found| found == stamp);
        if current() {
            return Ok(dir);
        }
        let _lock = self.lock()?;
        if current() {
            return Ok(dir);
        }
        let new = self.path(&format!("{name}.new"));
        remove(&new)?;
        fs::create_dir_all(&new).with_context(|| format!("cannot make {}", new.display()))?;
        make(&new).with_context(|| format!("cannot make {}", dir.display()))?;
        fs::write(new.join(".stamp"), stamp)?;
        remove(&dir)?;
        fs::rename(&new, &dir).with_context(|| format!("cannot rename {}", new.display()))?;
        Ok(dir)
    }

    /// Waits until no other process is filling the cache.
    fn lock(&self) -> Result<File> {
        let path = self.path("lock");
        let file =
            File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
        if file.try_lock().is_err() {
            println!("waiting for another process to release {}", path.display());
            file.lock()
                .with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Ok(file)
    }
}

/// Removes a directory that may not be there.
fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
