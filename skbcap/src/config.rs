//! What was typed, resolved once into what can run.
//!
//! Owns the ranges and their messages. Opens nothing, asks no kernel: interfaces and namespaces
//! are looked up by who attaches, files opened by [`crate::output`].

use std::ffi::{OsStr, OsString};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use skbcap_common::MAX_SNAPLEN;
use skbcap_common::config::MAX_INTERFACES;

mod error;
mod rotate;
mod senders;

pub use self::error::ConfigError;
pub use self::rotate::Rotate;
pub use self::senders::{Senders, Sides};
pub use crate::cli::HookChoice;
use crate::cli::{Cli, LinkTypeChoice};
use crate::filter::Text;
use crate::print::{Detail, Dump, DumpForm, Style, TimeStyle};
use crate::process::Fields;
use crate::sll2;

/// The largest `-B`: 2 GiB, libpcap's own bound (an `int` of bytes).
pub const MAX_BUFFER_KIB: u64 = 2 << 20;

/// `IFNAMSIZ` less the NUL byte.
const MAX_INTERFACE_NAME: usize = 15;

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
    /// Names of the interfaces to capture on; empty for all.
    pub interfaces: Vec<String>,
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
    pub netns: NetnsChoice,
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

/// Which network namespaces are captured in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetnsChoice {
    /// The one that skbcap was started in.
    Own,
    /// All.
    All,
    /// The one that a file stands for, such as `/run/netns/NAME`.
    Path(PathBuf),
    /// The one of a process.
    Pid(u32),
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
        if !fields.is_empty() && output == Output::Print {
            return Err(ConfigError::FieldsWithoutFile);
        }
        let mut snaplen = cli.snaplen.map_or(Ok(MAX_SNAPLEN), snaplen)?;
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
            time_limit: cli.time_limit.map(time_limit).transpose()?,
            interfaces: interfaces(cli.interfaces)?,
            expression,
            run: cli.run,
            senders: Senders::resolve(&cli.senders)?,
            count: cli.count.map(count).transpose()?,
            snaplen,
            buffer_bytes: cli.buffer_kib.map(buffer_bytes).transpose()?,
            hook: cli.hook,
            netns: cli.netns.as_deref().map_or(Ok(NetnsChoice::Own), netns)?,
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

/// As tcpdump understands it: `-X` goes before `-x`, and both before `-A`.
pub(crate) fn style(cli: &Cli) -> Result<Style, ConfigError> {
    let time = match cli.times {
        0 => TimeStyle::Local,
        1 => TimeStyle::None,
        2 => TimeStyle::Epoch,
        3 => TimeStyle::SinceLast,
        4 => TimeStyle::LocalWithDate,
        5 => TimeStyle::SinceFirst,
        _ => return Err(ConfigError::TooManyT),
    };
    let forms = [
        (cli.hex_and_ascii, DumpForm::HexAndAscii),
        (cli.hex, DumpForm::Hex),
        (cli.ascii, DumpForm::Ascii),
    ];
    let dump = forms
        .into_iter()
        .find(|(times, _)| *times > 0)
        .map(|(times, form)| Dump {
            form,
            link_layer: times > 1,
        });
    if cli.json {
        let lines_only = [
            (cli.quiet, "-q"),
            (cli.verbose, "-v"),
            (cli.link_layer, "-e"),
            (cli.hex_and_ascii, "-X"),
            (cli.ascii, "-A"),
        ];
        let given = lines_only.into_iter().find(|(times, _)| *times > 0);
        if let Some((_, option)) = given {
            return Err(ConfigError::JsonAnd(option));
        }
    }
    Ok(Style {
        time,
        nanoseconds: cli.nano > 0 || cli.tcpdump.nanoseconds(),
        number: cli.number > 0,
        detail: match (cli.quiet, cli.verbose) {
            // tcpdump asks for -q first.
            (1.., _) => Detail::Quiet,
            (0, 1..) => Detail::Verbose,
            (0, 0) => Detail::Plain,
        },
        link_layer: cli.link_layer > 0,
        dump,
        json: cli.json,
        colour: false,
    })
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

fn interfaces(names: Vec<String>) -> Result<Vec<String>, ConfigError> {
    let mut wanted: Vec<String> = Vec::new();
    for name in &names {
        if !is_interface_name(name) {
            return Err(ConfigError::InterfaceName(name.clone()));
        }
        if !wanted.contains(name) {
            wanted.push(name.clone());
        }
    }
    if wanted.iter().any(|name| name == "any") {
        return Ok(Vec::new());
    }
    if wanted.len() > MAX_INTERFACES {
        return Err(ConfigError::TooManyInterfaces(wanted.len()));
    }
    Ok(wanted)
}

/// Whether the kernel would let a device be called that.
///
/// Source: `dev_valid_name`, `net/core/dev.c@6.12`. Its `isspace` takes Latin-1's no-break space
/// (0xa0) too, which as UTF-8 is half a character: not looked for.
fn is_interface_name(name: &str) -> bool {
    (1..=MAX_INTERFACE_NAME).contains(&name.len())
        && name != "."
        && name != ".."
        && !name
            .bytes()
            .any(|byte| matches!(byte, 0 | b'/' | b':' | b' ' | 9..=13))
}

pub(crate) fn count(typed: String) -> Result<NonZeroU64, ConfigError> {
    typed.parse().map_err(|_| ConfigError::Count(typed))
}

fn time_limit(typed: String) -> Result<Duration, ConfigError> {
    let seconds: Option<f64> = typed.parse().ok();
    let limit = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    // A longer one is none: 136 years.
    let most = Duration::from_secs(u32::MAX.into());
    let limit = limit.filter(|limit| (Duration::from_nanos(1)..=most).contains(limit));
    limit.ok_or(ConfigError::TimeLimit(typed))
}

fn snaplen(typed: String) -> Result<u32, ConfigError> {
    match typed.parse() {
        Ok(0) => Ok(MAX_SNAPLEN),
        Ok(bytes) if bytes <= MAX_SNAPLEN => Ok(bytes),
        _ => Err(ConfigError::Snaplen(typed)),
    }
}

fn buffer_bytes(typed: String) -> Result<u64, ConfigError> {
    match typed.parse::<u64>() {
        Ok(kib) if (1..=MAX_BUFFER_KIB).contains(&kib) => Ok(kib * 1024),
        _ => Err(ConfigError::Buffer(typed)),
    }
}

fn netns(typed: &OsStr) -> Result<NetnsChoice, ConfigError> {
    let Some(text) = typed.to_str() else {
        return Ok(NetnsChoice::Path(typed.into()));
    };
    let digits = text.strip_prefix('-').unwrap_or(text);
    Ok(match text {
        "" => return Err(ConfigError::Netns(String::new())),
        "self" => NetnsChoice::Own,
        "all" => NetnsChoice::All,
        _ if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            match text.parse() {
                Ok(pid @ 1..=0x7fff_ffff) => NetnsChoice::Pid(pid),
                _ => return Err(ConfigError::Netns(text.to_owned())),
            }
        }
        _ => NetnsChoice::Path(text.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn resolve(arguments: &[&str]) -> Result<Config, ConfigError> {
        let cli = Cli::try_parse_from([&["skbcap"], arguments].concat()).unwrap();
        Config::resolve(cli)
    }

    fn refused(arguments: &[&str]) -> String {
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
                interfaces: vec![],
                expression: None,
                run: vec![],
                senders: Senders::default(),
                count: None,
                snaplen: 262_144,
                buffer_bytes: None,
                hook: HookChoice::Auto,
                netns: NetnsChoice::Own,
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
    fn numbers_out_of_range_are_refused() {
        for count in ["0", "-1", "x", "1.5", "", "18446744073709551616"] {
            assert!(refused(&["-c", count]).starts_with(&format!("invalid packet count {count}:")));
        }
        for snaplen in ["262145", "-1", "x"] {
            assert!(refused(&["-s", snaplen]).starts_with("invalid snaplen"));
        }
        for buffer in ["0", "-1", "2097153", "8M"] {
            assert!(refused(&["-B", buffer]).starts_with("invalid packet buffer size"));
        }
    }

    #[test]
    fn interfaces_are_names_and_any_is_all() {
        assert_eq!(
            resolve(&["-i", "lo", "-i", "lo"]).unwrap().interfaces,
            ["lo"]
        );
        assert!(
            resolve(&["-i", "lo", "-i", "any"])
                .unwrap()
                .interfaces
                .is_empty()
        );
        for name in ["", ".", "..", "a/b", "eth0:1", "a b", "sixteen-bytes-no"] {
            assert!(
                refused(&["-i", name]).starts_with("invalid interface name"),
                "{name}"
            );
        }
        let names: Vec<String> = (0..17).map(|n| format!("-ieth{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(resolve(&names[..16]).unwrap().interfaces.len(), 16);
        assert_eq!(
            resolve(&names).unwrap_err(),
            ConfigError::TooManyInterfaces(17)
        );
    }

    #[test]
    fn namespaces_are_words_processes_or_files() {
        let netns = |typed| resolve(&["--netns", typed]).map(|config| config.netns);
        assert_eq!(netns("self"), Ok(NetnsChoice::Own));
        assert_eq!(netns("all"), Ok(NetnsChoice::All));
        assert_eq!(netns("1234"), Ok(NetnsChoice::Pid(1234)));
        assert_eq!(
            netns("/run/netns/7"),
            Ok(NetnsChoice::Path("/run/netns/7".into()))
        );
        assert_eq!(netns("./7"), Ok(NetnsChoice::Path("./7".into())));
        for pid in ["", "0", "-1", "4294967296"] {
            assert_eq!(netns(pid), Err(ConfigError::Netns(pid.into())));
        }
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
