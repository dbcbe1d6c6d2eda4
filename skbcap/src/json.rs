//! JSON's pieces, for the commands that write it. Knows nothing of what they tell.

use std::fmt::Display;
use std::io::{self, Write};

/// An array, each item on a line of its own.
pub(crate) fn lines<W: Write, T>(
    out: &mut W,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut W, T) -> io::Result<()>,
) -> io::Result<()> {
    let mut is_empty = true;
    out.write_all(b"[")?;
    for item in items {
        out.write_all(if is_empty { b"\n    " } else { b",\n    " })?;
        is_empty = false;
        write(out, item)?;
    }
    out.write_all(if is_empty { b"]" } else { b"\n  ]" })
}

/// An array on one line.
pub(crate) fn list<W: Write, T>(
    out: &mut W,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut W, T) -> io::Result<()>,
) -> io::Result<()> {
    out.write_all(b"[")?;
    for (at, item) in items.into_iter().enumerate() {
        out.write_all(if at == 0 { b"" } else { b", " })?;
        write(out, item)?;
    }
    out.write_all(b"]")
}

/// A string, whatever is in it.
pub(crate) fn string(out: &mut impl Write, text: impl Display) -> io::Result<()> {
    out.write_all(b"\"")?;
    for character in text.to_string().chars() {
        match character {
            '"' | '\\' => write!(out, "\\{character}")?,
            '\0'..='\x1f' | '\x7f' => write!(out, "\\u{:04x}", character as u32)?,
            _ => write!(out, "{character}")?,
        }
    }
    out.write_all(b"\"")
}
