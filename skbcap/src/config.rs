//! What was typed, resolved once into what can run.
//!
//! Owns the ranges and their messages. Opens nothing, asks no kernel: interfaces and namespaces
//! are looked up by who attaches, files opened by [`crate::output`].

use std::ffi::OsString;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use skbcap_common::MAX_SNAPLEN;

mod error;
mod interfaces;
mod netns;
mod numbers;
mod rotate;
mod senders;
mod style;

pub use self::error::ConfigError;
pub use self::interfaces::Interface;
pub use self::netns::NetnsChoice;
pub use self::numbers::MAX_BUFFER_KIB;
pub(crate) use self::numbers::count;
pub use self::rotate::Rotate;
pub use self::senders::{Senders, Sides};
pub(crate) use self::style::style;
pub use crate::cli::HookChoice;
use crate::cli::{Cli, LinkTypeChoice};
use crate::filter::Text;
use crate::namespaces::Namespaces;
use crate::print::Style;
use crate::process::Fields;
use crate::sll2;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where frames go.
    pub output: Output,
    /// When the next file begins.
    pub rotate: Rotate,
    /// Whether frames are written out as they come, to a file too.
    pub packet_buffered: bool,
    /// Whether lines are printed while a file is written.
    pub print: bool,
    /// Who to become once privileges are not needed any more, by name.
    pub user: Option<String>,
    /// How lines look.
    pub style: Style,
    /// What becomes of different link types in a file.
    pub link_types: LinkTypes,
    /// What is said of processes besides their names and numbers.
    pub fields: Fields,
    /// The interfaces to capture on.
    pub interfaces: Sides<Interface>,
    /// The filter expression, if there is one.
    pub expression: Option<Text>,
    /// The command to run, in words, and whose frames to capture; empty for none.
    pub run: Vec<OsString>,
    /// Whose frames to capture.
    pub senders: Senders,
    /// Frames to write before the end, if there is to be one.
    pub count: Option<NonZeroU64>,
    /// How long to capture, if there is to be an end.
    pub time_limit: Option<Duration>,
    /// The most bytes of a frame to capture: 1 to [`MAX_SNAPLEN`].
    pub snaplen: u32,
    /// The buffer of all rings together, in bytes, where one was asked for.
    pub buffer_bytes: Option<u64>,
    /// Where frames are taken.
    pub hook: HookChoice,
    /// Which network namespaces are captured in.
    pub netns: Namespaces<NetnsChoice>,
    /// The running kernel's BTF, where it is not to be read from `/sys`.
    pub btf: Option<PathBuf>,
    /// Whether to say what is done, step by step.
    pub debug: bool,
    /// Whether only to look at what this machine offers.
    pub check: bool,
    /// Whether only to list the interfaces.
    pub list_interfaces: bool,
    /// Where to record what the kernel side yields.
    pub record: Option<PathBuf>,
    /// The recording to read instead of a kernel.
    pub replay: Option<PathBuf>,
}

/// Where frames go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A line for each on standard output.
    Print,
    /// pcapng in a file.
    File(PathBuf),
    /// pcapng on standard output.
    Stdout,
}

/// What becomes of frames of different link types in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkTypes {
    /// They stand in one file, each as it is.
    #[default]
    Mixed,
    /// They stand in one file, all behind the same header.
    Sll2,
    /// Each has a file of its own.
    Split,
}

impl Config {
    /// Resolves what was typed.
    ///
    /// # Errors
    ///
    /// When it cannot be run on any machine.
    pub fn resolve(cli: Cli) -> Result<Self, ConfigError> {
        if let Some(refused) = cli.tcpdump.refused() {
            return Err(refused.into());
        }
        if cli.only_count > 0 {
            return Err(ConfigError::CountWithoutFile);
        }
        match cli.expression.first() {
            Some(word) if word == "diff" => return Err(ConfigError::LateDiff),
            Some(word) if word == "verify" => return Err(ConfigError::LateVerify),
            _ => {}
        }
        let expression = Text::given(&cli.expression, cli.expression_file.as_deref());
        if expression.is_some() && cli.replay.is_some() {
            return Err(ConfigError::ExpressionToReplay);
        }
        if cli.record.is_some() && cli.replay.is_some() {
            return Err(ConfigError::RecordAndReplay);
        }
        if let (Some(option), true) = (cli.senders.given(), cli.replay.is_some()) {
            return Err(ConfigError::SendersToReplay(option));
        }
        let style = style(&cli)?;
        let output = output(cli.write.clone());
        if !cli.run.is_empty() {
            let no_capture = [
                (cli.check, "--check"),
                (cli.list_interfaces, "-D"),
                (cli.replay.is_some(), "--replay"),
            ];
            if let Some((_, option)) = no_capture.into_iter().find(|(given, _)| *given) {
                return Err(ConfigError::CommandWith(option));
            }
            if output == Output::Stdout {
                return Err(ConfigError::CommandAndStdout);
            }
        }
        let rotate = Rotate::resolve(&cli, &output)?;
        if cli.print && output == Output::Stdout {
            return Err(ConfigError::PrintAndStdout);
        }
        let link_types = link_types(cli.link_type, cli.split_link_types, &output)?;
        let fields = cli.fields.as_deref().map(str::parse::<Fields>);
        let fields = fields.transpose()?.unwrap_or_default();
        let netns = netns::resolve(&cli.netns, &cli.not_netns)?;
        let mut snaplen = cli.snaplen.map_or(Ok(MAX_SNAPLEN), numbers::snaplen)?;
        if link_types == LinkTypes::Sll2 {
            snaplen = snaplen.max(sll2::MIN_SNAPLEN);
        }
        Ok(Self {
            output,
            rotate,
            packet_buffered: cli.packet_buffered > 0,
            print: cli.print,
            user: cli.user,
            style,
            link_types,
            fields,
            time_limit: cli.time_limit.map(numbers::time_limit).transpose()?,
            interfaces: interfaces::resolve(&cli.interfaces, &cli.not_interfaces)?,
            expression,
            run: cli.run,
            senders: Senders::resolve(&cli.senders)?,
            count: cli.count.map(count).transpose()?,
            snaplen,
            buffer_bytes: cli.buffer_kib.map(numbers::buffer_bytes).transpose()?,
            hook: cli.hook,
            netns,
            btf: cli.btf,
            debug: cli.debug,
            check: cli.check,
            list_interfaces: cli.list_interfaces,
            record: cli.record,
            replay: cli.replay,
        })
    }
}

pub(crate) fn output(write: Option<PathBuf>) -> Output {
    match write {
        None => Output::Print,
        Some(path) if path.as_os_str() == "-" => Output::Stdout,
        Some(path) => Output::File(path),
    }
}

fn link_types(
    choice: LinkTypeChoice,
    split: bool,
    output: &Output,
) -> Result<LinkTypes, ConfigError> {
    match (choice, split, output) {
        (LinkTypeChoice::Sll2, true, _) => Err(ConfigError::Sll2AndSplit),
        (LinkTypeChoice::Sll2, false, Output::Print) => Err(ConfigError::Sll2WithoutFile),
        (LinkTypeChoice::Sll2, false, _) => Ok(LinkTypes::Sll2),
        (LinkTypeChoice::Device, true, Output::File(_)) => Ok(LinkTypes::Split),
        (LinkTypeChoice::Device, true, _) => Err(ConfigError::SplitWithoutFile),
        (LinkTypeChoice::Device, false, _) => Ok(LinkTypes::Mixed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    /// What these words mean.
    pub(super) fn resolve(arguments: &[&str]) -> Result<Config, ConfigError> {
        let cli = Cli::try_parse_from([&["skbcap"], arguments].concat()).unwrap();
        Config::resolve(cli)
    }

    /// Why these words mean nothing.
    pub(super) fn refused(arguments: &[&str]) -> String {
        resolve(arguments).unwrap_err().to_string()
    }

    #[test]
    fn nothing_typed_is_the_default() {
        assert_eq!(
            resolve(&[]).unwrap(),
            Config {
                output: Output::Print,
                rotate: Rotate::default(),
                packet_buffered: false,
                print: false,
                user: None,
                style: Style::default(),
                time_limit: None,
                link_types: LinkTypes::Mixed,
                fields: Fields::default(),
                interfaces: Sides::default(),
                expression: None,
                run: vec![],
                senders: Senders::default(),
                count: None,
                snaplen: 262_144,
                buffer_bytes: None,
                hook: HookChoice::Auto,
                netns: Namespaces::Only(vec![NetnsChoice::Own]),
                btf: None,
                debug: false,
                check: false,
                list_interfaces: false,
                record: None,
                replay: None,
            }
        );
    }

    #[test]
    fn values_mean_what_they_mean_to_tcpdump() {
        let config = resolve(&["-s0", "-B", "4096", "-c", "7", "-w", "-"]).unwrap();
        assert_eq!(config.snaplen, 262_144);
        assert_eq!(config.buffer_bytes, Some(4 << 20));
        assert_eq!(config.count, NonZeroU64::new(7));
        assert_eq!(config.output, Output::Stdout);
        assert_eq!(
            resolve(&["-w", "./-"]).unwrap().output,
            Output::File("./-".into())
        );
    }

    #[test]
    fn link_types_need_a_file() {
        let link_types = |words: &[&str]| resolve(words).map(|config| config.link_types);
        let split = "--split-linktype";
        assert_eq!(link_types(&["-w", "a", split]), Ok(LinkTypes::Split));
        assert_eq!(
            link_types(&["-w", "-", "--linktype", "sll2"]),
            Ok(LinkTypes::Sll2)
        );
        assert_eq!(link_types(&["--linktype", "device"]), Ok(LinkTypes::Mixed));
        assert_eq!(
            link_types(&["--linktype", "sll2"]),
            Err(ConfigError::Sll2WithoutFile)
        );
        for words in [&[split][..], &["-w", "-", split]] {
            assert_eq!(link_types(words), Err(ConfigError::SplitWithoutFile));
        }
        assert_eq!(
            link_types(&["-w", "a", split, "--linktype", "sll2"]),
            Err(ConfigError::Sll2AndSplit)
        );
    }

    /// A header that is cut has no protocol.
    #[test]
    fn sll2s_header_is_never_cut() {
        let snaplen = |words: &[&str]| resolve(words).unwrap().snaplen;
        assert_eq!(snaplen(&["-s1", "-w", "a", "--linktype", "sll2"]), 21);
        assert_eq!(snaplen(&["-s96", "-w", "a", "--linktype", "sll2"]), 96);
        assert_eq!(snaplen(&["-s1", "-w", "a"]), 1);
    }

    #[test]
    fn what_is_not_offered_is_said() {
        assert_eq!(
            resolve(&["--replay", "a", "tcp"]),
            Err(ConfigError::ExpressionToReplay)
        );
        assert_eq!(
            resolve(&["--record", "a", "--replay", "b"]),
            Err(ConfigError::RecordAndReplay)
        );
    }
}
