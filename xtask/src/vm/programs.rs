//! The programs under test, built for guests: static, so that they run on the
//! guest's few files, in a target directory of their own, so that they do not
//! undo the host's builds; and skbcap once more, as users build it, because a
//! static program can't open libpcap. Knows nothing of guests.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::plan::{self, Test};
use crate::repository;
use crate::run::output;

/// The crates whose binaries go into the guest.
const CRATES: [&str; 3] = ["skbcap", "fixtures", "skbcap-tests"];

/// What the skbcap that can open libpcap is called there.
const DYNAMIC: &str = "skbcap-libpcap";

/// The binaries and the tests that they know.
pub(crate) struct Programs {
    /// The executables.
    pub(crate) paths: Vec<PathBuf>,
}

impl Programs {
    /// Builds them with a profile of the workspace's.
    pub(crate) fn build(profile: &str) -> Result<Self> {
        println!("building the guests' programs");
        let mut command = Command::new("cargo");
        command
            .current_dir(repository())
            .args(["build", "--locked", "--bins"]);
        command.args(["--profile", profile, "--target-dir", "target/guest"]);
        // With a target, build scripts and macros are not static.
        command.args(["--target", "x86_64-unknown-linux-gnu"]);
        command.args(["--message-format", "json-render-diagnostics"]);
        for name in CRATES {
            command.args(["--package", name]);
        }
        command.env("RUSTFLAGS", "-Ctarget-feature=+crt-static");
        command.env_remove("CARGO_ENCODED_RUSTFLAGS");
        let messages = output(command.stderr(std::process::Stdio::inherit()))?;
        let executables = messages.lines().filter_map(executable);
        let mut paths: Vec<PathBuf> = executables.map(PathBuf::from).collect();
        paths.push(Self::dynamic(profile)?);
        Ok(Self { paths })
    }

    /// skbcap with the host's C library, so that it can open libpcap, under a name of its own. Not as
    /// the host's own is built: unoptimised, its start takes seconds in a guest.
    fn dynamic(profile: &str) -> Result<PathBuf> {
        let mut command = Command::new("cargo");
        command
            .current_dir(repository())
            .args([
                "build",
                "--locked",
                "--package",
                "skbcap",
                "--bin",
                "skbcap",
            ])
            // Nobody counts its instructions, and so it need not take its time.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            // Where what the host runs during a build lies already.
            .args(["--profile", profile, "--target-dir", "target/guest"])
            .args(["--message-format", "json-render-diagnostics"]);
        let messages = output(command.stderr(std::process::Stdio::inherit()))?;
        let built = messages.lines().find_map(executable);
        let built = built.context("cargo built no skbcap")?;
        let path = repository().join("target/guest").join(DYNAMIC);
        fs::copy(built, &path).with_context(|| format!("cannot copy {built}"))?;
        Ok(path)
    }

    /// The tests, from the test runner itself: it runs on the host as well.
    pub(crate) fn tests(&self) -> Result<Vec<Test>> {
        let runner = self.paths.iter().find(|path| path.ends_with("guest"));
        let runner = runner.context("no crate has a binary named guest")?;
        plan::parse(&output(Command::new(runner).arg("--list"))?)
    }
}

/// The executable that one of cargo's messages names, if it does.
fn executable(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("\"executable\":\"")?;
    let (path, _) = rest.split_once('"')?;
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::executable;

    #[test]
    fn only_programs_have_an_executable() {
        let program = r#"{"reason":"compiler-artifact","executable":"/t/guest","fresh":true}"#;
        assert_eq!(executable(program), Some("/t/guest"));
        let library = r#"{"reason":"compiler-artifact","executable":null,"fresh":true}"#;
        assert_eq!(executable(library), None);
    }
}
