//! Sandboxes are entered for good: by a process that does nothing else.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::thread;

/// Tells the test that it is the process in the sandbox, and where.
const PLACE: &str = "SKBCAP_SANDBOX_TEST";

/// Where this process may try things, if it is the one for that.
pub(super) fn place() -> Option<PathBuf> {
    env::var_os(PLACE).map(PathBuf::from)
}

/// Runs the calling test once more, alone and in another process.
pub(super) fn again(place: impl Into<OsString>) -> ExitStatus {
    let own_name = thread::current().name().unwrap().to_owned();
    Command::new(env::current_exe().unwrap())
        .args(["--exact", &own_name, "--nocapture"])
        .env(PLACE, place.into())
        .status()
        .unwrap()
}
