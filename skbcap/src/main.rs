//! The command: parses, runs, and says in one line and one number what went wrong.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use skbcap::capture::SenderError;
use skbcap::cli::{self, Cli, Command};
use skbcap::command::{self, CommandError};
use skbcap::config::{Config, ConfigError};
use skbcap::diff::command::DiffError;
use skbcap::filter::FilterError;
use skbcap::geometry::GeometryError;
use skbcap::kernel::netns::{NetnsError, UnknownInterface};
use skbcap::kernel::preflight::Refusal;
use skbcap::output::OpenError;
use skbcap::privilege::UserError;
use skbcap::savefile::{Choice, SavefileError};
use skbcap::verify::command::VerifyError;

/// Trouble while running.
const FAILED: u8 = 1;

/// A command line that can't be run, or not on this machine. Nothing was attached.
const BAD_USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            let word = std::env::args_os().nth(1);
            report(&cli::one_line(&error, word.as_deref()));
            return BAD_USAGE.into();
        }
        Err(help) => {
            // A reader that wants no more help is no trouble.
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
    };
    run(cli).unwrap_or_else(|error| {
        report(&told(&error));
        if let Some(fault) = error.downcast_ref().and_then(FilterError::fault) {
            // Whoever closed standard error doesn't want it.
            let _ = writeln!(io::stderr(), "{fault}");
        }
        status(&error).into()
    })
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match &cli.command {
        Some(Command::Diff(diff)) => return Ok(skbcap::diff::command::run(diff)?),
        Some(Command::Verify(verify)) => return Ok(skbcap::verify::command::run(verify)?),
        None => {}
    }
    if let Some(choice) = Choice::resolve(&cli)? {
        return skbcap::savefile::run(&choice);
    }
    let config = Config::resolve(cli)?;
    skbcap::capture::run(&config)
}

/// Whether a command is to be run, whose exit statuses are not to be taken for skbcap's.
fn has_command() -> bool {
    let mut words = std::env::args_os().skip_while(|word| word != "--");
    words.nth(1).is_some()
}

/// Whether it is this machine that doesn't do what was rightly asked for.
fn is_machines(error: &anyhow::Error) -> bool {
    error.is::<Refusal>()
        || matches!(
            error.downcast_ref(),
            Some(SenderError::NoClaims { .. } | SenderError::PidNamespace)
        )
}

fn status(error: &anyhow::Error) -> u8 {
    if error.is::<DiffError>() {
        return DiffError::STATUS;
    }
    if error.is::<VerifyError>() {
        return VerifyError::STATUS;
    }
    if let Some(status) = error.downcast_ref().and_then(CommandError::status) {
        return status;
    }
    if has_command() && is_machines(error) {
        return command::FAILED;
    }
    if error.is::<ConfigError>()
        || error.is::<GeometryError>()
        || error.is::<OpenError>()
        || error.is::<NetnsError>()
        || error.is::<UnknownInterface>()
        || error.is::<Refusal>()
        || error.is::<FilterError>()
        || error.is::<SavefileError>()
        || error.is::<UserError>()
        || error.is::<SenderError>()
        || error.is::<CommandError>()
    {
        BAD_USAGE
    } else if has_command() {
        command::FAILED
    } else {
        FAILED
    }
}

/// What went wrong, and why: causes that the words before them don't have already.
fn told(error: &anyhow::Error) -> String {
    let mut line = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !line.contains(&cause) {
            line.push_str(": ");
            line.push_str(&cause);
        }
    }
    line
}

/// One line, whatever names are in it.
fn report(message: &str) {
    let mut line = String::from("skbcap: ");
    for character in message.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    // Whoever closed standard error doesn't want it.
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let cause = || io::Error::other("no such file");
        let silent = anyhow::Error::from(cause()).context("cannot read a");
        assert_eq!(told(&silent), "cannot read a: no such file");
        let telling =
            anyhow::Error::from(cause()).context("cannot read b: no such file (is it b?)");
        assert_eq!(told(&telling), "cannot read b: no such file (is it b?)");
    }
}
