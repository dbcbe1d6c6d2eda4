//! Names that processes and devices gave themselves, made harmless for a terminal.

use std::fmt::{self, Display, Formatter, Write};

/// Bytes of a name as text: what is no printable character is shown as an escape, and so is the
/// backslash, so that no two names look alike.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a [u8]);

impl Display for Escaped<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '\'' | '"' => out.write_char(character)?,
                    // Control characters, but also those that turn the text's direction round.
                    _ => write!(out, "{}", character.escape_debug())?,
                }
            }
            for byte in chunk.invalid() {
                write!(out, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_but_text() {
        let cases: [(&[u8], &str); 6] = [
            (b"chronyd", "chronyd"),
            (b"Web Content", "Web Content"),
            (b"\x1b[2J\r\n", "\\u{1b}[2J\\r\\n"),
            ("f\u{fc}r \u{202e}gnp".as_bytes(), "f\u{fc}r \\u{202e}gnp"),
            (b"it's\\", "it's\\\\"),
            (b"cut \xe2\x82", "cut \\xe2\\x82"),
        ];
        for (name, text) in cases {
            assert_eq!(Escaped(name).to_string(), text);
        }
    }
}
