//! Running other programs: printed before they run, and an error that names
//! the whole command when one fails. Knows nothing of what they are for.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Prints `command` and runs it, its output going where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("+ {}", shown(command));
    quiet(command)
}

/// Runs `command` without printing it; its output goes where ours goes.
pub(crate) fn quiet(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", shown(command));
    }
    Ok(())
}

/// Runs `command` and returns what it wrote to its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let out = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !out.status.success() {
        let stderr = String::from_utf8_lossy(&out.stderr);
        bail!(
            "{} failed: {}\n{}",
            shown(command),
            out.status,
            stderr.trim_end()
        );
    }
    String::from_utf8(out.stdout)
        .with_context(|| format!("{} wrote something that is not UTF-8", shown(command)))
}

/// `command` as a person would type it, less the environment.
fn shown(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        let arg = arg.to_string_lossy();
        if arg.is_empty() || arg.contains([' ', '"', '$', '\u{1f}']) {
            write!(text, " '{arg}'").expect("writing to a string");
        } else {
            write!(text, " {arg}").expect("writing to a string");
        }
    }
    text
}
