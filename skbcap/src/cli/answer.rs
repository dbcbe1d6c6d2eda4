//! How a subcommand that looks at captures says what it found.

use clap::Args;

/// In words, as JSON, or by its exit status alone.
#[derive(Clone, Debug, Args)]
pub struct Answer {
    /// Write all of it as JSON
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,

    /// Write nothing: the exit status says it
    #[arg(short = 'q')]
    pub quiet: bool,

    /// Print this help
    #[arg(short = 'h', long, action = clap::ArgAction::HelpShort)]
    pub help: Option<bool>,
}
