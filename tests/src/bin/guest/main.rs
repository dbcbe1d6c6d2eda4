//! The guest's test runner: `guest --list` names the tests, `guest run NAME`
//! runs one, as root, in a virtual machine of `cargo xtask vm`. What a test
//! prints is its log, and the files it leaves in `/out` come to the host.

mod boot;

use std::env;
use std::process::ExitCode;

use anyhow::{Result, bail};

/// A test: its name; what it wants of its guest, as docs/development.md says;
/// itself.
type Test = (&'static str, &'static str, fn() -> Result<()>);

/// All tests, in the order in which they run.
const TESTS: &[Test] = &[
    ("boot", "", boot::boot),
    ("tcpdump_runs", "", boot::tcpdump_runs),
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["--list"] => {
            for (name, wants, _) in TESTS {
                println!("{}", format!("{name} {wants}").trim_end());
            }
            Ok(())
        }
        ["run", wanted] => match TESTS.iter().find(|(name, ..)| *name == wanted) {
            Some((_, _, test)) => test(),
            None => bail!("there is no test {wanted}"),
        },
        _ => bail!("usage: guest --list, guest run NAME"),
    }
}
