//! Sandboxes are entered for good: by a process that does nothing else.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;

/// Tells the test that it is the process in the sandbox, and where.
const PLACE: &str = "SKBCAP_SANDBOX_TEST";

/// Where this process may try things, if it is the one for that.
pub(super) fn place() -> Option<PathBuf> {
    env::var_os(PLACE).map(PathBuf::from)
}

/// Runs the calling test once more, alone and in another process.
pub(super) fn again(place: impl AsRef<OsStr>) -> ExitStatus {
    let own_name = thread::current().name().unwrap().to_owned();
    Command::new(env::current_exe().unwrap())
        .args(["--exact", &own_name, "--nocapture"])
        .env(PLACE, place)
        .status()
        .unwrap()
}

/// Runs `inside` in another process and in a directory, where it leaves a file `done` at its end:
/// else it would not have been run at all.
pub(super) fn in_another_process(done: &str, inside: fn(&Path)) {
    if let Some(place) = place() {
        inside(&place);
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let status = again(place.path());
    assert!(status.success(), "{status}");
    println!("{}", fs::read_to_string(place.path().join(done)).unwrap());
}
