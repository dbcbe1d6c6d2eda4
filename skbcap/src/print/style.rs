//! How lines look.

use std::io::{self, IsTerminal};

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// What stands before a line.
    pub time: TimeStyle,
    /// Whether times are in nanoseconds, and not in microseconds (`--nano`).
    pub nanoseconds: bool,
    /// Whether a number stands before each line (`-#`).
    pub number: bool,
    /// How much is told of a packet.
    pub detail: Detail,
    /// Whether the link layer's header is told (`-e`).
    pub link_layer: bool,
    /// Whether, and how, the bytes stand below a line.
    pub dump: Option<Dump>,
    /// Whether it is objects, and not lines (`--json`).
    pub json: bool,
    /// Whether a terminal shows it that knows colours.
    pub colour: bool,
}

impl Style {
    /// For standard output as it is.
    #[must_use]
    pub fn for_stdout(self) -> Self {
        self.for_terminal(io::stdout().is_terminal())
    }

    /// With colours and columns where a terminal shows them, unless `NO_COLOR` is set
    /// (<https://no-color.org>) or the terminal has none.
    #[must_use]
    pub fn for_terminal(self, is_terminal: bool) -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            colour: is_terminal && !is_set("NO_COLOR") && !is_dumb,
            ..self
        }
    }
}

/// How much is told of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// Addresses, ports, lengths (`-q`).
    Quiet,
    /// What most want.
    #[default]
    Plain,
    /// The IP header's fields, too (`-v`).
    Verbose,
}

/// What a line says of its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeStyle {
    /// Local time of day.
    #[default]
    Local,
    /// Nothing (`-t`).
    None,
    /// Seconds since 1970 UTC (`-tt`).
    Epoch,
    /// Since the line before (`-ttt`).
    SinceLast,
    /// Local date and time (`-tttt`).
    LocalWithDate,
    /// Since the first line (`-ttttt`).
    SinceFirst,
}

/// The bytes below a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dump {
    /// As what.
    pub form: DumpForm,
    /// Whether they begin with the link layer's header.
    pub link_layer: bool,
}

/// As what bytes are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpForm {
    /// In hexadecimal (`-x`).
    Hex,
    /// In hexadecimal and ASCII (`-X`).
    HexAndAscii,
    /// In ASCII (`-A`).
    Ascii,
}
