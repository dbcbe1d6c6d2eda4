//! `skbcap verify`: captures to check.

use std::path::PathBuf;

use clap::Args;

use super::Answer;

const VERIFY_EXAMPLES: &str = "\
Exit status, the worst of all files:
  0  each adds up: every block is sound, every frame accounted for
  1  one does not, or does not say enough to tell
  2  trouble: not pcapng, or bad usage";

/// Captures to check.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = VERIFY_EXAMPLES,
    max_term_width = 100,
    args_override_self = true,
    disable_help_flag = true
)]
pub struct Verify {
    /// A capture: pcapng, of any program
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// How it is told
    #[command(flatten)]
    pub answer: Answer,
}
