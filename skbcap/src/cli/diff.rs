//! `skbcap diff`: two captures to compare.

use std::path::PathBuf;

use clap::Args;

use super::Answer;
use crate::diff::Difference;

const DIFF_EXAMPLES: &str = "\
Differences that have a name, for --ignore:
  checksum      filled in later: unfinished on one side, right on the other
  segmentation  a super-frame on one side, its segments on the other
  vlan          a VLAN tag on one side only
  cooked        another link-layer header: Ethernet, cooked (SLL, SLL2), or none
  cut           fewer bytes kept than the file's snapshot length says
  order         the same frames in another order

Exit status:
  0  the same frames
  1  different
  2  trouble: no capture, a broken one, or bad usage";

/// Two captures to compare.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = DIFF_EXAMPLES,
    max_term_width = 100,
    args_override_self = true,
    disable_help_flag = true
)]
pub struct Diff {
    /// A capture: pcap or pcapng, of any program
    #[arg(value_name = "OURS")]
    pub ours: PathBuf,

    /// Another
    #[arg(value_name = "THEIRS")]
    pub theirs: PathBuf,

    /// Differences that count as none: a list of names, see below
    #[arg(
        long,
        value_name = "NAMES",
        value_enum,
        value_delimiter = ',',
        hide_possible_values = true
    )]
    pub ignore: Vec<Difference>,

    /// Compare this interface's frames only; may be repeated [default: all]
    #[arg(long = "iface", value_name = "NAME")]
    pub interfaces: Vec<String>,

    /// Excuse frames of one side that lie outside of the time both captures share, or within
    /// SECONDS of its ends
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub window: Option<String>,

    /// Show this many pairs, and this many frames of each side [default: 10]
    #[arg(
        short = 'n',
        value_name = "COUNT",
        default_value_t = 10,
        hide_default_value = true
    )]
    pub show: usize,

    /// How it is told
    #[command(flatten)]
    pub answer: Answer,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    #[test]
    fn a_comparison_is_no_capture() {
        let cli = Cli::try_parse_from(["skbcap", "diff", "a", "b", "--ignore=vlan,order"]).unwrap();
        let Some(Command::Diff(diff)) = cli.command else {
            panic!("no subcommand");
        };
        assert_eq!(diff.ignore, [Difference::Vlan, Difference::Order]);
        let cli = Cli::try_parse_from(["skbcap", "tcp", "diff"]).unwrap();
        assert_eq!(cli.expression, ["tcp", "diff"]);
        assert!(Cli::try_parse_from(["skbcap", "diff", "a"]).is_err());
    }
}
