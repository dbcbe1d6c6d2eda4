//! What was typed with `-r`, resolved.

use std::num::NonZeroU64;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::cli::{Cli, HookChoice, LinkTypeChoice};
use crate::config::{self, ConfigError, Output, Rotate};
use crate::filter::Text;
use crate::print::Style;

/// What is to be done with a capture file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The file.
    pub input: Input,
    /// The filter expression, if there is one.
    pub expression: Option<Text>,
    /// Where frames go.
    pub output: Output,
    /// When the next file begins.
    pub rotate: Rotate,
    /// Whether lines are printed while a copy is written.
    pub print: bool,
    /// Who to become once the file is open, by name.
    pub user: Option<String>,
    /// Whether only to count the frames.
    pub only_count: bool,
    /// How lines look.
    pub style: Style,
    /// Frames to take before the end, if there is to be one.
    pub count: Option<NonZeroU64>,
}

/// Where a capture comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A regular file.
    File(PathBuf),
    /// Standard input, read to its end first.
    Stdin,
}

impl Input {
    /// What it is called.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Stdin => Path::new("standard input"),
        }
    }
}

impl Input {
    /// Whether a file of this name is what is read.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        let id = |path: &Path| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.dev(), found.ino()))
        };
        match self {
            Self::File(input) => id(input).is_some_and(|input| id(path) == Some(input)),
            Self::Stdin => false,
        }
    }
}

impl Choice {
    /// Resolves what was typed; [`None`] without `-r`.
    ///
    /// # Errors
    ///
    /// When it can't be run on any machine.
    pub fn resolve(cli: &Cli) -> Result<Option<Self>, ConfigError> {
        let Some(path) = &cli.read else {
            return Ok(None);
        };
        if let Some(refused) = cli.tcpdump.refused() {
            return Err(refused.into());
        }
        if let Some(option) = only_to_capture(cli) {
            return Err(ConfigError::NotWithRead(option));
        }
        let output = config::output(cli.write.clone());
        let rotate = Rotate::resolve(cli, &output)?;
        if cli.print && output == Output::Stdout {
            return Err(ConfigError::PrintAndStdout);
        }
        let input = if path.as_os_str() == "-" {
            Input::Stdin
        } else {
            Input::File(path.clone())
        };
        Ok(Some(Self {
            input,
            expression: Text::given(&cli.expression, cli.expression_file.as_deref()),
            style: config::style(cli)?,
            output,
            rotate,
            print: cli.print,
            only_count: cli.only_count > 0,
            user: cli.user.clone(),
            count: cli.count.clone().map(config::count).transpose()?,
        }))
    }
}

/// An option that a file has no use for; `-s` and `-B` have none for tcpdump either, and are taken.
fn only_to_capture(cli: &Cli) -> Option<&'static str> {
    let given = [
        (!cli.interfaces.is_empty(), "-i"),
        (!cli.not_interfaces.is_empty(), "--not-interface"),
        (cli.time_limit.is_some(), "--time-limit"),
        (!cli.netns.is_empty(), "--netns"),
        (!cli.not_netns.is_empty(), "--not-netns"),
        (cli.hook != HookChoice::Auto, "--hook"),
        (cli.btf.is_some(), "--btf"),
        (cli.link_type != LinkTypeChoice::Device, "--linktype"),
        (cli.split_link_types, "--split-linktype"),
        (cli.check, "--check"),
        (cli.list_interfaces, "-D"),
        (cli.record.is_some(), "--record"),
        (cli.replay.is_some(), "--replay"),
        (!cli.run.is_empty(), "-- COMMAND"),
    ];
    given
        .into_iter()
        .find_map(|(is_given, option)| is_given.then_some(option))
        .or_else(|| cli.senders.given())
}
