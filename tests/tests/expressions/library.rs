//! A libpcap for programs of this machine.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A command that runs `program` where libpcap can be opened.
///
/// The tcpdump in PATH may be the wrapper that `cargo xtask fetch` makes: `exec 'LOADER'
/// --library-path 'DIRECTORY' 'tcpdump' "$@"`. Its libpcap then needs a newer C library than this
/// machine's, and `program` is run by the same loader; else libpcap is where tcpdump found its own.
pub(crate) fn command(program: &Path) -> Command {
    match wrapper() {
        Some((loader, libraries)) => {
            let mut command = Command::new(loader);
            command.arg("--library-path").arg(libraries).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// The loader and the libraries that a wrapper in PATH runs tcpdump by.
fn wrapper() -> Option<(String, String)> {
    let path = env::var_os("PATH")?;
    let tcpdump = env::split_paths(&path)
        .map(|dir| dir.join("tcpdump"))
        .find(|file| file.is_file())?;
    let text = String::from_utf8(fs::read(tcpdump).ok()?).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("exec '"))?;
    let (loader, rest) = line.split_once("' --library-path '")?;
    let (libraries, _) = rest.split_once('\'')?;
    Some((loader.to_owned(), libraries.to_owned()))
}
