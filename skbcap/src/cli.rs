//! What was typed: the command line's definition, from which help is made too.
//!
//! Owns the names, groups and texts of the options. Numbers are kept as they were typed: what they
//! mean, and whether they can be meant, is for [`crate::config`] to say. Knows nothing of kernels
//! or files.

use std::ffi::OsString;
use std::path::PathBuf;

mod answer;
mod diff;
mod one_line;
mod senders;
mod tcpdump;
mod verify;

pub use self::answer::Answer;
pub use self::diff::Diff;
pub use self::one_line::one_line;
pub use self::senders::SenderOptions;
pub use self::tcpdump::{NotOffered, Tcpdump};
pub use self::verify::Verify;

use clap::{Parser, Subcommand, ValueEnum};

const FILES: &str = "Reading files";
const OUTPUT: &str = "Output";
const LINES: &str = "Lines";
const CAPTURE: &str = "What to capture";
const KERNEL: &str = "Kernel";
const OTHER: &str = "Other";

const EXAMPLES: &str = "\
Examples:
  skbcap                             print a line for each frame this host sends
  skbcap -i eth0 -w out.pcapng       write eth0's frames to a file, until Ctrl-C
  skbcap -i eth0 'tcp port 443'      only what a filter expression selects
  skbcap --comm 'chrony*' udp        only what such a thread sends, and is UDP
  skbcap -c 100 -w out.pcapng        stop by itself after 100 frames
  skbcap -w - | wireshark -k -i -    watch live in Wireshark
  skbcap --netns all -i any          every network namespace, containers too
  skbcap -w out.pcapng -- curl https://example.org
                                     what a command and its children send, until it ends
  skbcap -r out.pcapng tcp port 443  print what a capture holds, filtered
  skbcap --check                     what this machine offers, and what it lacks
  skbcap diff out.pcapng dump.pcap   whether two captures hold the same frames
  skbcap verify out.pcapng           whether a capture's own counts add up

Exit status:
  0  all went well, Ctrl-C and a closed pipe included
  1  trouble while running
  2  bad usage, or not on this machine: nothing was captured
With -- COMMAND: the command's own; 128 and the signal that ended it; 2 for bad usage, which a
command is that isn't there; 126 or 127 if the kernel won't run it; 125 for other trouble";

/// The command line as it was typed.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "skbcap",
    version,
    about = "Captures every frame a Linux host sends, whole, with the process that sent it",
    after_help = EXAMPLES,
    max_term_width = 100,
    args_override_self = true,
    disable_help_flag = true,
    disable_version_flag = true,
    disable_help_subcommand = true,
    args_conflicts_with_subcommands = true,
    subcommand_value_name = "COMMAND",
    override_usage = "skbcap [OPTIONS] [EXPRESSION] [-- COMMAND [ARG]...]\n       skbcap -r FILE [OPTIONS] [EXPRESSION]\n       skbcap diff [OPTIONS] OURS THEIRS\n       skbcap verify [OPTIONS] FILE..."
)]
pub struct Cli {
    /// What to do instead of capturing.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Write pcapng to FILE instead of printing lines; - is standard output
    #[arg(short = 'w', value_name = "FILE", help_heading = OUTPUT)]
    pub write: Option<PathBuf>,

    /// Begin another file, FILE1, FILE2 and so on, when one has more than SIZE million bytes; with
    /// k, m or g: KiB, MiB, GiB
    #[arg(short = 'C', value_name = "SIZE", allow_negative_numbers = true, help_heading = OUTPUT)]
    pub file_size: Option<String>,

    /// Begin another file when so many seconds are over; FILE is a format for strftime(3) then
    #[arg(
        short = 'G',
        value_name = "SECONDS",
        allow_negative_numbers = true,
        help_heading = OUTPUT
    )]
    pub rotate_seconds: Option<String>,

    /// With -C: COUNT files in turn; with -G alone: end after COUNT files
    #[arg(short = 'W', value_name = "COUNT", allow_negative_numbers = true, help_heading = OUTPUT)]
    pub file_count: Option<String>,

    /// Write each frame to the file as it comes
    #[arg(
        short = 'U',
        long = "packet-buffered",
        action = clap::ArgAction::Count,
        help_heading = OUTPUT
    )]
    pub packet_buffered: u8,

    /// As root: become USER before FILE is made
    #[arg(short = 'Z', long = "relinquish-privileges", value_name = "USER", help_heading = OUTPUT)]
    pub user: Option<String>,

    /// Print lines, too, while writing to FILE
    #[arg(long, help_heading = OUTPUT)]
    pub print: bool,

    /// Read frames from a pcap or pcapng FILE instead of capturing; - is standard input
    #[arg(short = 'r', value_name = "FILE", help_heading = FILES)]
    pub read: Option<PathBuf>,

    /// With -r: print only how many frames there are
    #[arg(long = "count", action = clap::ArgAction::Count, help_heading = FILES)]
    pub only_count: u8,

    /// Lines without a time; -tt: seconds since 1970; -ttt: since the line before; -tttt: date and
    /// time; -ttttt: since the first line
    #[arg(short = 't', action = clap::ArgAction::Count, help_heading = LINES)]
    pub times: u8,

    /// Lines with the link layer's header
    #[arg(short = 'e', action = clap::ArgAction::Count, help_heading = LINES)]
    pub link_layer: u8,

    /// The packet's bytes below its line, in hexadecimal; -xx: with the link layer's header
    #[arg(short = 'x', action = clap::ArgAction::Count, help_heading = LINES)]
    pub hex: u8,

    /// The same, in hexadecimal and ASCII; -XX: with the link layer's header
    #[arg(short = 'X', action = clap::ArgAction::Count, help_heading = LINES)]
    pub hex_and_ascii: u8,

    /// The same, in ASCII; -AA: with the link layer's header
    #[arg(short = 'A', action = clap::ArgAction::Count, help_heading = LINES)]
    pub ascii: u8,

    /// Lines with a number each
    #[arg(short = '#', long = "number", action = clap::ArgAction::Count, help_heading = LINES)]
    pub number: u8,

    /// Less about each packet
    #[arg(short = 'q', long = "quiet", action = clap::ArgAction::Count, help_heading = LINES)]
    pub quiet: u8,

    /// More about each packet
    #[arg(short = 'v', long = "verbose", action = clap::ArgAction::Count, help_heading = LINES)]
    pub verbose: u8,

    /// Times in nanoseconds
    #[arg(long, action = clap::ArgAction::Count, help_heading = LINES)]
    pub nano: u8,

    /// A JSON object for each frame instead of a line
    #[arg(long, help_heading = LINES)]
    pub json: bool,

    /// Numbers, no names: always so, taken for tcpdump's sake
    #[arg(short = 'n', action = clap::ArgAction::Count, help_heading = LINES)]
    pub numeric: u8,

    /// Say more of each frame's process, in its comment or its line: owner (who created the
    /// socket, if not the sender), exe, uid, start, parent, netns, current (the task that was
    /// running, whoever sent), cgroup, container (its id), cmdline (which may hold
    /// secrets), with commas between; or all, which is all but cmdline
    #[arg(long, value_name = "LIST", help_heading = OUTPUT)]
    pub fields: Option<String>,

    /// Link types in the file: each device's own, or LINUX_SLL2's header for all, so that tcpdump
    /// reads them together [default: device]
    #[arg(
        long = "linktype",
        value_enum,
        value_name = "device|sll2",
        default_value_t = LinkTypeChoice::Device,
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = OUTPUT
    )]
    pub link_type: LinkTypeChoice,

    /// Write a file for each link type: Ethernet to FILE, raw IP to out.raw.pcapng if FILE is
    /// out.pcapng, and so on
    #[arg(long = "split-linktype", help_heading = OUTPUT)]
    pub split_link_types: bool,

    /// Take the filter expression from FILE
    #[arg(short = 'F', value_name = "FILE", help_heading = CAPTURE)]
    pub expression_file: Option<PathBuf>,

    /// Capture on this interface, or on all of a pattern with *, ? or [a-z], also those that are yet
    /// to come; may be repeated [default: any]
    #[arg(short = 'i', long = "interface", value_name = "IFACE", help_heading = CAPTURE)]
    pub interfaces: Vec<String>,

    /// Capture on all but this interface, or all but those of a pattern; may be repeated
    #[arg(long = "not-interface", value_name = "IFACE", help_heading = CAPTURE)]
    pub not_interfaces: Vec<String>,

    /// Stop after COUNT frames
    #[arg(short = 'c', value_name = "COUNT", allow_negative_numbers = true, help_heading = CAPTURE)]
    pub count: Option<String>,

    /// Stop after so many seconds
    #[arg(
        long = "time-limit",
        value_name = "SECONDS",
        allow_negative_numbers = true,
        help_heading = CAPTURE
    )]
    pub time_limit: Option<String>,

    /// Keep at most SNAPLEN bytes of a frame [default: 262144]
    #[arg(
        short = 's',
        long = "snapshot-length",
        value_name = "SNAPLEN",
        allow_negative_numbers = true,
        help_heading = CAPTURE
    )]
    pub snaplen: Option<String>,

    /// Capture in this network namespace: self, all, a file such as /run/netns/NAME, or the PID
    /// of a process in it; may be repeated [default: self]
    #[arg(
        long,
        value_name = "self|all|PATH|PID",
        allow_negative_numbers = true,
        help_heading = CAPTURE
    )]
    pub netns: Vec<OsString>,

    /// Capture in all network namespaces but this one; may be repeated
    #[arg(
        long,
        value_name = "self|PATH|PID",
        allow_negative_numbers = true,
        help_heading = CAPTURE
    )]
    pub not_netns: Vec<OsString>,

    /// Whose frames to capture.
    #[command(flatten)]
    pub senders: SenderOptions,

    /// Buffer for all CPUs together [default: 8192 a CPU, at most 262144]
    #[arg(
        short = 'B',
        long = "buffer-size",
        value_name = "KIB",
        allow_negative_numbers = true,
        help_heading = KERNEL
    )]
    pub buffer_kib: Option<String>,

    /// Take frames by a kprobe on __dev_queue_xmit, at the tracepoint net_dev_queue, or at
    /// net_dev_start_xmit, as tcpdump does; auto: the kprobe where the kernel has kprobes
    /// [default: auto]
    #[arg(
        long,
        value_enum,
        value_name = "auto|kprobe|queue|xmit",
        default_value_t = HookChoice::Auto,
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = KERNEL
    )]
    pub hook: HookChoice,

    /// The running kernel's BTF, where /sys/kernel/btf/vmlinux is missing
    #[arg(long, value_name = "FILE", help_heading = KERNEL)]
    pub btf: Option<PathBuf>,

    /// List the interfaces of --netns: number, name, state, link type, namespace; then end
    #[arg(short = 'D', long = "list-interfaces", help_heading = OTHER)]
    pub list_interfaces: bool,

    /// Say what this machine offers and lacks, and what skbcap would do; then end
    #[arg(long, help_heading = OTHER)]
    pub check: bool,

    /// Say what is done, step by step
    #[arg(long, help_heading = OTHER)]
    pub debug: bool,

    /// Print this help
    #[arg(short = 'h', long, action = clap::ArgAction::HelpShort, help_heading = OTHER)]
    pub help: Option<bool>,

    /// Print the version
    #[arg(long, action = clap::ArgAction::Version, help_heading = OTHER)]
    pub version: Option<bool>,

    /// Write what the kernel side yields to a recording, for tests
    #[arg(long, value_name = "FILE", hide = true)]
    pub record: Option<PathBuf>,

    /// Read a recording instead of a kernel: needs no privileges
    #[arg(long, value_name = "FILE", hide = true)]
    pub replay: Option<PathBuf>,

    /// What tcpdump has else.
    #[command(flatten)]
    pub tcpdump: Tcpdump,

    /// The filter expression, in words
    #[arg(hide = true)]
    pub expression: Vec<OsString>,

    /// The command whose frames are captured, in words
    #[arg(last = true, hide = true)]
    pub run: Vec<OsString>,
}

/// What can be done besides capturing.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Compare two captures, frame by frame
    Diff(Diff),
    /// Check whether a capture's own counts add up
    Verify(Verify),
}

/// How frames begin in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LinkTypeChoice {
    /// As the device has them.
    #[default]
    Device,
    /// With a header that is the same for all devices.
    Sll2,
}

/// Where frames are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum HookChoice {
    /// The kprobe where the kernel has kprobes, else the tracepoint.
    #[default]
    Auto,
    /// The kprobe at the entry of `__dev_queue_xmit`.
    Kprobe,
    /// The tracepoint `net_dev_queue`.
    Queue,
    /// The tracepoint `net_dev_start_xmit`.
    Xmit,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_last_of_a_repeated_option_counts_as_in_tcpdump() {
        let cli = Cli::try_parse_from(["skbcap", "-c1", "-c2", "-i", "eth0", "-i", "lo"]).unwrap();
        assert_eq!(cli.count.as_deref(), Some("2"));
        assert_eq!(cli.interfaces, ["eth0", "lo"]);
    }
}
