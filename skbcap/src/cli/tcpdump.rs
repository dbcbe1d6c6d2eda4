//! tcpdump's other flags, for the sake of those whose fingers know them: some are always so here and
//! taken without a word, the others get an error that says what to use instead.
//!
//! None stands in the help; `docs/tcpdump.md` has the table of all.

use std::ffi::OsString;

use clap::{ArgAction, Args};

/// What is hidden in the help.
#[derive(Clone, Debug, Default, Args)]
pub struct Tcpdump {
    /// `-b`, `-f`, `-H`, `-K`, `-l`, `-N`, `-O`, `-p`, `-S`, `-u`: as it is here anyway.
    #[command(flatten)]
    pub always: Always,

    #[command(flatten)]
    pub(crate) refused: Refused,
}

/// As it is here anyway.
#[derive(Clone, Debug, Default, Args)]
pub struct Always {
    /// `-b`: AS numbers, of which none is shown.
    #[arg(short = 'b', action = ArgAction::Count, hide = true)]
    pub asdot: u8,
    /// `-f`: foreign addresses as numbers.
    #[arg(short = 'f', action = ArgAction::Count, hide = true)]
    pub foreign: u8,
    /// `-H`: 802.11s, of which nothing is shown.
    #[arg(short = 'H', action = ArgAction::Count, hide = true)]
    pub mesh: u8,
    /// `-K`: checksums are not verified.
    #[arg(short = 'K', long = "dont-verify-checksums", action = ArgAction::Count, hide = true)]
    pub unverified: u8,
    /// `-l`: lines come when frames do.
    #[arg(short = 'l', action = ArgAction::Count, hide = true)]
    pub line_buffered: u8,
    /// `-N`: no domains, for there are no names.
    #[arg(short = 'N', action = ArgAction::Count, hide = true)]
    pub short_names: u8,
    /// `-O`: an optimizer changes no result.
    #[arg(short = 'O', long = "no-optimize", action = ArgAction::Count, hide = true)]
    pub unoptimized: u8,
    /// `-p`: nothing is put into promiscuous mode.
    #[arg(short = 'p', long = "no-promiscuous-mode", action = ArgAction::Count, hide = true)]
    pub not_promiscuous: u8,
    /// `-S`: sequence numbers as they are in the packet.
    #[arg(short = 'S', long = "absolute-tcp-sequence-numbers", action = ArgAction::Count, hide = true)]
    pub absolute: u8,
    /// `-u`: NFS, of which nothing is shown.
    #[arg(short = 'u', action = ArgAction::Count, hide = true)]
    pub nfs: u8,
    /// `--immediate-mode`: frames come as they are sent.
    #[arg(long = "immediate-mode", action = ArgAction::Count, hide = true)]
    pub immediate: u8,
    /// `--micro`: times are in microseconds, unless `--nano` says else.
    #[arg(long, action = ArgAction::Count, hide = true)]
    pub micro: u8,
}

/// What means something that isn't offered.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Refused {
    #[arg(short = 'd', action = ArgAction::Count, hide = true)]
    dump_code: u8,
    #[arg(short = 'E', value_name = "SECRET", hide = true)]
    decrypt: Option<OsString>,
    #[arg(short = 'I', long = "monitor-mode", action = ArgAction::Count, hide = true)]
    monitor: u8,
    #[arg(
        short = 'j',
        long = "time-stamp-type",
        value_name = "TYPE",
        hide = true
    )]
    clock: Option<OsString>,
    #[arg(short = 'J', long = "list-time-stamp-types", action = ArgAction::Count, hide = true)]
    clocks: u8,
    #[arg(short = 'L', long = "list-data-link-types", action = ArgAction::Count, hide = true)]
    link_types: u8,
    #[arg(short = 'm', value_name = "MODULE", hide = true)]
    module: Option<OsString>,
    #[arg(short = 'M', value_name = "SECRET", hide = true)]
    secret: Option<OsString>,
    #[arg(short = 'Q', long = "direction", value_name = "DIRECTION", hide = true)]
    direction: Option<OsString>,
    #[arg(short = 'T', value_name = "TYPE", hide = true)]
    packet_type: Option<OsString>,
    #[arg(short = 'V', value_name = "FILE", hide = true)]
    files: Option<OsString>,
    #[arg(short = 'y', value_name = "TYPE", hide = true)]
    device_link_type: Option<OsString>,
    #[arg(short = 'z', value_name = "COMMAND", hide = true)]
    after_rotation: Option<OsString>,
    #[arg(long = "time-stamp-precision", value_name = "PRECISION", hide = true)]
    precision: Option<OsString>,
    #[arg(long = "list-remote-interfaces", value_name = "URL", hide = true)]
    remote: Option<OsString>,
}

/// A flag that isn't offered, and what to do instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{flag} is not offered: {instead}")]
pub struct NotOffered {
    /// As it is typed.
    pub flag: &'static str,
    /// One clause.
    pub instead: &'static str,
}

impl Tcpdump {
    /// Whether `--time-stamp-precision` asks for nanoseconds.
    #[must_use]
    pub fn nanoseconds(&self) -> bool {
        let precision = self.refused.precision.as_ref();
        precision.is_some_and(|precision| precision == "nano")
    }

    /// The first flag that was given and isn't offered.
    #[must_use]
    pub fn refused(&self) -> Option<NotOffered> {
        let Refused {
            dump_code,
            decrypt,
            monitor,
            clock,
            clocks,
            link_types,
            module,
            secret,
            direction,
            packet_type,
            files,
            device_link_type,
            after_rotation,
            precision,
            remote,
        } = &self.refused;
        let is_other = |value: &Option<OsString>, known: &[&str]| {
            let value = value.as_ref();
            value.is_some_and(|value| !known.iter().any(|known| value == known))
        };
        let all = [
            (
                is_other(direction, &["out"]),
                "-Q",
                "skbcap captures frames being sent, not those received: only -Q out, which is always \
                 so; for both use tcpdump",
            ),
            (*dump_code > 0, "-d", "tcpdump -d shows the same program"),
            (
                decrypt.is_some(),
                "-E",
                "frames are shown as they were sent; Wireshark decrypts",
            ),
            (
                *monitor > 0,
                "-I",
                "monitor mode is for receiving, which is not offered",
            ),
            (
                is_other(clock, &["host"]),
                "-j",
                "frames are dated when they are sent, by this machine's clock (-j host)",
            ),
            (*clocks > 0, "-J", "there is one kind of time: -j host"),
            (
                *link_types > 0,
                "-L",
                "-D lists each interface with its link type",
            ),
            (module.is_some(), "-m", "SNMP is not decoded"),
            (secret.is_some(), "-M", "checksums are not verified"),
            (
                packet_type.is_some(),
                "-T",
                "payloads are not decoded; write with -w, and have tcpdump or Wireshark do it",
            ),
            (
                files.is_some(),
                "-V",
                "-r reads one file; mergecap makes one of several; the version is --version",
            ),
            (
                device_link_type.is_some(),
                "-y",
                "frames are as their device has them, or behind one header with --linktype sll2",
            ),
            (
                after_rotation.is_some(),
                "-z",
                "nothing is run when a file is done; watch the directory instead",
            ),
            (
                is_other(precision, &["micro", "nano"]),
                "--time-stamp-precision",
                "it takes micro or nano",
            ),
            (
                remote.is_some(),
                "--list-remote-interfaces",
                "-D lists those of this machine",
            ),
        ];
        let given = all.into_iter().find(|(is_given, ..)| *is_given);
        given.map(|(_, flag, instead)| NotOffered { flag, instead })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::Cli;

    /// Flags with a value, and one that each takes.
    const VALUES: [(&str, &str); 22] = [
        ("-B", "4096"),
        ("-c", "1"),
        ("-C", "1"),
        ("-E", "x"),
        ("-F", "x"),
        ("-G", "1"),
        ("-i", "lo"),
        ("-j", "adapter"),
        ("-m", "x"),
        ("-M", "x"),
        ("-Q", "in"),
        ("-r", "x"),
        ("-s", "1"),
        ("-T", "rtp"),
        ("--time-stamp-precision", "nano"),
        ("-V", "x"),
        ("-w", "x"),
        ("-W", "1"),
        ("-y", "EN10MB"),
        ("-z", "gzip"),
        ("-Z", "root"),
        ("--list-remote-interfaces", "x"),
    ];

    /// What the table says of a flag is what becomes of it.
    #[test]
    fn the_table_is_true() {
        let table = include_str!("../../../docs/tcpdump.md");
        let rows = table.lines().filter(|line| line.starts_with("| `-"));
        let mut flags = 0;
        for row in rows {
            let mut cells = row.split('|').map(str::trim).skip(1);
            let (names, here) = (cells.next().unwrap(), cells.next().unwrap());
            for name in names.split('`').filter(|name| name.starts_with('-')) {
                flags += 1;
                if matches!(name, "-h" | "--help" | "--version") {
                    continue;
                }
                let mut words = vec!["skbcap", name];
                let value = VALUES.iter().find(|(flag, _)| *flag == name);
                words.extend(value.map(|(_, value)| *value));
                let cli = Cli::try_parse_from(&words);
                let cli = cli.unwrap_or_else(|error| panic!("{words:?}: {error}"));
                let refused = cli.tcpdump.refused();
                match here {
                    "same" => assert_eq!(refused, None, "{name}"),
                    "not offered" => assert_eq!(refused.unwrap().flag, name),
                    // In some of their values, or not at all.
                    "differs" => assert!(refused.is_none_or(|refused| refused.flag == name)),
                    other => panic!("{name}: {other}"),
                }
            }
        }
        // tcpdump -h: 29 letters without a value, 22 with one, and words.
        for letter in "AbdDefhHIJKlLnNOpqStuUvxX#BcCEFGijmMQrsTVwWyzZ".chars() {
            assert!(
                table.contains(&format!("`-{letter}")),
                "-{letter} is missing"
            );
        }
        assert!(flags > 50, "{flags}");
        let out = Cli::try_parse_from(["skbcap", "-Q", "out", "-j", "host"]).unwrap();
        assert_eq!(out.tcpdump.refused(), None);
    }
}
