//! What a guest leaves on its disk: how many blocks follow, then an archive for
//! each test, in a directory of its name. A disk without results is no error.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// A block: the first says how many follow.
const BLOCK: u64 = 4096;
/// How much the results may take. The file is sparse.
const SIZE: u64 = 2 << 30;

/// Makes an empty disk.
pub(crate) fn create(disk: &Path) -> Result<()> {
    File::create(disk)
        .and_then(|file| file.set_len(SIZE))
        .with_context(|| format!("cannot make {}", disk.display()))
}

/// What a test left in a file of its results, if it passed and left one.
pub(super) fn of_passed(dir: &Path, file: &str) -> Option<String> {
    let verdict = fs::read_to_string(dir.join("verdict")).ok()?;
    let left = fs::read_to_string(dir.join(file)).ok()?;
    verdict.starts_with("ok").then_some(left)
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
/// any.
pub(crate) fn unpack(disk: &Path, dir: &Path) -> Result<bool> {
    let mut file = File::options().read(true).write(true).open(disk)?;
    let mut first = [0; 40];
    file.read_exact(&mut first)?;
    let first = String::from_utf8_lossy(&first);
    let Some((blocks, _)) = first
        .strip_prefix("skbcap-guest ")
        .and_then(|rest| rest.split_once('\n'))
    else {
        return Ok(false);
    };
    let blocks: u64 = blocks.parse().context("the disk's first line")?;
    file.set_len(BLOCK * (1 + blocks))?;
    file.seek(SeekFrom::Start(BLOCK))?;
    fs::create_dir_all(dir)?;
    // Zeros stand between the archives; a guest's clock is not ours.
    let status = Command::new("tar")
        .args(["--extract", "--ignore-zeros", "--touch"])
        .args(["--no-same-owner", "--directory"])
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
