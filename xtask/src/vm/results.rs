//! What a guest leaves on its disk: an exit code, then an archive with a
//! directory for each test. Reads only; a disk without results is no error.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Where the archive begins.
const ARCHIVE: u64 = 4096;
/// How much the results may take. The file is sparse.
const SIZE: u64 = 2 << 30;

/// Makes an empty disk.
pub(crate) fn create(disk: &Path) -> Result<()> {
    File::create(disk)
        .and_then(|file| file.set_len(SIZE))
        .with_context(|| format!("cannot make {}", disk.display()))
}

/// Empties the directory of a test's results.
pub(crate) fn clear(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display())),
    }
}

/// Unpacks the results into `dir`. `false`: the guest did not come to write
/// them.
pub(crate) fn unpack(disk: &Path, dir: &Path) -> Result<bool> {
    let mut file = File::open(disk)?;
    let mut magic = [0; 13];
    file.read_exact(&mut magic)?;
    if &magic != b"skbcap-guest " {
        return Ok(false);
    }
    file.seek(SeekFrom::Start(ARCHIVE))?;
    fs::create_dir_all(dir)?;
    let status = Command::new("tar")
        .args(["--extract", "--no-same-owner", "--directory"])
        .arg(dir)
        .stdin(Stdio::from(file))
        .status()
        .context("cannot start tar")?;
    ensure!(
        status.success(),
        "cannot unpack the results on {}: {status}",
        disk.display()
    );
    Ok(true)
}
