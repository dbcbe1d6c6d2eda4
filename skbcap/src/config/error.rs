//! Why a command line cannot be run.

use skbcap_common::MAX_SNAPLEN;
use skbcap_common::config::MAX_INTERFACES;
use skbcap_common::devices::MAX_NAMESPACES;
use skbcap_common::sender::{MAX_CGROUPS, MAX_PATTERNS};

use super::MAX_BUFFER_KIB;
use super::interfaces::MAX_INTERFACE_NAME;
use crate::cli::NotOffered;
use crate::glob::GlobError;
use crate::process::UnknownField;

/// A command line that cannot be run. One line each, saying what can be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// `-c` is no count.
    #[error("invalid packet count {0}: -c takes a number from 1 on")]
    Count(String),
    /// `-s` is no length.
    #[error("invalid snaplen {0}: -s takes bytes, 1 to {MAX_SNAPLEN}, or 0 for {MAX_SNAPLEN}")]
    Snaplen(String),
    /// `-B` is no size.
    #[error("invalid packet buffer size {0}: -B takes KiB, 1 to {MAX_BUFFER_KIB}")]
    Buffer(String),
    /// `-i` is nothing that the kernel would call a device.
    #[error(
        "invalid interface name '{}': a name has 1 to {MAX_INTERFACE_NAME} bytes and no '/', ':' \
         or space; 'ip link' lists those there are",
        .0.escape_debug()
    )]
    InterfaceName(String),
    /// More `-i` than the kernel side compares with.
    #[error(
        "{0} interfaces are too many: -i and --not-interface can be given {MAX_INTERFACES} times; \
         a pattern such as 'veth*' takes many at once"
    )]
    TooManyInterfaces(usize),
    /// `-i` is a pattern that nothing matches.
    #[error("invalid interface name '{}': {why}", .typed.escape_debug())]
    InterfacePattern {
        /// What was typed.
        typed: String,
        /// Why it is none.
        why: GlobError,
    },
    /// `--not-interface any`.
    #[error("--not-interface any leaves nothing to capture on: name one, or a pattern")]
    NoInterface,
    /// `--netns` is empty, or a number but no process's.
    #[error(
        "invalid network namespace '{0}': --netns takes 'self', 'all', \
         a file such as /run/netns/NAME, or a process id"
    )]
    Netns(String),
    /// `--not-netns`, and not all to leave it out of.
    #[error(
        "--not-netns leaves a network namespace out of all that there are, and --netns names those \
         to capture in: leave one of the options out"
    )]
    NetnsAndNot,
    /// `--not-netns all`.
    #[error(
        "--not-netns all leaves nothing to capture in: it takes 'self', a file such as \
             /run/netns/NAME, or a process id"
    )]
    AllLeftOut,
    /// More of them than the kernel side compares with.
    #[error(
        "{0} network namespaces are too many: --netns and --not-netns can be given \
         {MAX_NAMESPACES} times"
    )]
    TooManyNamespaces(usize),
    /// `--fields` names something else.
    #[error("--fields")]
    Fields(#[from] UnknownField),
    /// `--linktype sll2`, and no file.
    #[error("--linktype sll2 says how frames are written: add -w FILE, or -w -")]
    Sll2WithoutFile,
    /// `--split-linktype`, and no file.
    #[error("--split-linktype names its files after -w FILE: add one, other than -")]
    SplitWithoutFile,
    /// `-C` is no size.
    #[error(
        "invalid file size {}: -C takes millions of bytes, or a number with k, m or g for KiB, MiB \
         or GiB, from 1 on", .0.escape_debug()
    )]
    FileSize(String),
    /// `-G` is no time.
    #[error("invalid number of seconds {}: -G takes a whole number from 1 on", .0.escape_debug())]
    RotateSeconds(String),
    /// `-W` is no number.
    #[error("invalid number of files {}: -W takes a number from 1 on", .0.escape_debug())]
    FileCount(String),
    /// `-W`, and nothing that would end a file.
    #[error("-W says how many files there may be: add -C SIZE or -G SECONDS")]
    FilesWithoutEnd,
    /// `-C` or `-G`, and no file.
    #[error("{0} begins another file: add -w FILE, other than -")]
    RotateWithoutFile(&'static str),
    /// `-C` or `-G`, and `--split-linktype`.
    #[error("{0} and --split-linktype exclude each other: use --linktype sll2, or -i")]
    RotateAndSplit(&'static str),
    /// `--print`, and pcapng on standard output.
    #[error("--print and -w - both want standard output: write to a file")]
    PrintAndStdout,
    /// `--time-limit` is no time.
    #[error("invalid time limit {}: --time-limit takes seconds, such as 60 or 0.5", .0.escape_debug())]
    TimeLimit(String),
    /// A flag of tcpdump's.
    #[error(transparent)]
    NotOffered(#[from] NotOffered),
    /// `--count`, and nothing to read.
    #[error("--count counts the frames of a file: add -r FILE; -c COUNT stops a capture")]
    CountWithoutFile,
    /// `--json`, and what makes lines.
    #[error("--json and {0} exclude each other: an object has all that there is")]
    JsonAnd(&'static str),
    /// Both of these.
    #[error("--linktype sll2 leaves one link type, and --split-linktype nothing to split")]
    Sll2AndSplit,
    /// A filter expression, and `--replay`.
    #[error("--replay takes no filter expression: a recording holds what was selected")]
    ExpressionToReplay,
    /// `-t` six times or more.
    #[error("-t can be given five times at most: -t, -tt, -ttt, -tttt, -ttttt")]
    TooManyT,
    /// An option that says how to capture, and `-r`.
    #[error("{0} is about capturing, and -r reads a file: leave one of them out")]
    NotWithRead(&'static str),
    /// An id that no process or thread has.
    #[error("invalid id '{}': {option} takes a number from 1 on", .typed.escape_debug())]
    Process {
        /// The option.
        option: &'static str,
        /// What was typed.
        typed: String,
    },
    /// `--uid` is empty.
    #[error("invalid user '{0}': --uid takes a user's name or number")]
    User(String),
    /// `--comm` is a pattern that nothing matches.
    #[error("invalid name '{}': {why}; --comm takes a pattern such as 'chrony*'", .typed.escape_debug())]
    Name {
        /// What was typed.
        typed: String,
        /// Why it is none.
        why: GlobError,
    },
    /// More patterns than the kernel side compares with.
    #[error("{0} names are too many: --comm and --not-comm can be given {MAX_PATTERNS} times")]
    TooManyNames(usize),
    /// More cgroups than the kernel side compares with.
    #[error(
        "{0} cgroups are too many: --cgroup and --not-cgroup can be given {MAX_CGROUPS} times; \
         one takes in all below it"
    )]
    TooManyCgroups(usize),
    /// Senders are asked for, and nothing is captured.
    #[error("--replay takes no {0}: a recording holds what was selected")]
    SendersToReplay(&'static str),
    /// A command, and pcapng on standard output.
    #[error("the command keeps standard output, so -w - can't have it: write to a file")]
    CommandAndStdout,
    /// A command, and an option that captures nothing.
    #[error(
        "{0} captures nothing, so there is no use for a command behind --: leave one of them out"
    )]
    CommandWith(&'static str),
    /// `diff` behind options of a capture.
    #[error("diff comes first and takes options of its own: skbcap diff [OPTIONS] OURS THEIRS")]
    LateDiff,
    /// `verify` behind options of a capture.
    #[error("verify comes first and takes options of its own: skbcap verify [OPTIONS] FILE...")]
    LateVerify,
    /// `--record` and `--replay` together.
    #[error("--record and --replay exclude each other: a recording needs no second copy")]
    RecordAndReplay,
}
