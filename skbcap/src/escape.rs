//! Bytes that anybody may have chosen, made safe to print: names of processes and interfaces.
//!
//! Knows neither where the bytes came from nor where the text goes.

use std::fmt::Write;

/// Appends `bytes` to `out`: printable UTF-8 as it is, everything else as `\xNN`, a byte each.
///
/// A backslash and the ASCII characters in `special` count as not printable, so what is written can
/// be read back by [`unescape`], and holds none of `special`.
pub fn escape_into(out: &mut String, bytes: &[u8], special: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_printable(character) && !special.iter().any(|&byte| character == byte as char) {
                out.push(character);
            } else {
                escape_bytes(out, character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        escape_bytes(out, chunk.invalid());
    }
}

/// The bytes that [`escape_into`] was given; [`None`] where a backslash begins no `\xNN`.
#[must_use]
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let [b'x', high, low, tail @ ..] = rest else {
            return None;
        };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push((digit(*high)? * 16 + digit(*low)?) as u8);
        rest = tail;
    }
    Some(bytes)
}

fn escape_bytes(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String can't fail.
        let _ = write!(out, "\\x{byte:02x}");
    }
}

/// Whether a terminal shows the character as itself, in a place of its own: no control, format,
/// combining or unassigned character, no space but the plain one, no backslash.
fn is_printable(character: char) -> bool {
    match character {
        '\\' => false,
        ' '..='~' => true,
        // The standard library's own table of what needs no escape.
        _ => character.escape_debug().len() == 1 && !character.is_whitespace(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escape(bytes: &[u8], special: &[u8]) -> String {
        let mut out = String::new();
        escape_into(&mut out, bytes, special);
        out
    }

    #[test]
    fn what_can_be_read_stays() {
        assert_eq!(escape("café-日本".as_bytes(), b""), "café-日本");
        assert_eq!(escape(b"a b", b" "), r"a\x20b");
        assert_eq!(escape(b"a\\x20", b""), r"a\x5cx20");
        assert_eq!(escape(b"tab\tnl\n\x1b[31m", b""), r"tab\x09nl\x0a\x1b[31m");
        assert_eq!(escape(b"caf\xc3", b""), r"caf\xc3");
        // A right-to-left override and a no-break space would deceive the eye.
        assert_eq!(
            escape("a\u{202e}b\u{a0}c".as_bytes(), b""),
            r"a\xe2\x80\xaeb\xc2\xa0c"
        );
    }

    #[test]
    fn what_was_never_escaped_is_refused() {
        for text in ["\\", r"\x", r"\x4", r"\n", r"\xgg"] {
            assert_eq!(unescape(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_byte_comes_back(bytes: Vec<u8>) {
            let text = escape(&bytes, b" =");
            prop_assert!(!text.contains([' ', '=']) && text.lines().count() <= 1);
            prop_assert_eq!(unescape(&text), Some(bytes));
        }
    }
}
