//! How lines look.

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// What stands before a line.
    pub time: TimeStyle,
    /// Whether the link layer's header is told (`-e`).
    pub link_layer: bool,
    /// Whether, and how, the bytes stand below a line.
    pub dump: Option<Dump>,
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
