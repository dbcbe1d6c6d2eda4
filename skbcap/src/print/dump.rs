//! A frame's bytes, below its line, as tcpdump shows them.

use std::io::{self, Write};

use super::style::DumpForm;

/// Bytes in a row of hexadecimal.
const ROW: usize = 16;

/// Writes all of `bytes`.
pub(super) fn write(out: &mut impl Write, bytes: &[u8], form: DumpForm) -> io::Result<()> {
    match form {
        DumpForm::Hex => write_rows(out, bytes, false),
        DumpForm::HexAndAscii => write_rows(out, bytes, true),
        DumpForm::Ascii => {
            // Lines of the packet's text stay lines; nothing else can steer a terminal.
            let shown = |&byte: &u8| match byte {
                b'\n' | b'\t' | b' ' => byte,
                _ => visible(byte),
            };
            let text: Vec<u8> = bytes.iter().map(shown).collect();
            out.write_all(&text)?;
            out.write_all(b"\n")
        }
    }
}

fn write_rows(out: &mut impl Write, bytes: &[u8], with_ascii: bool) -> io::Result<()> {
    for (at, row) in bytes.chunks(ROW).enumerate() {
        write!(out, "\t0x{:04x}: ", at * ROW)?;
        for pair in row.chunks(2) {
            out.write_all(b" ")?;
            for byte in pair {
                write!(out, "{byte:02x}")?;
            }
        }
        if with_ascii {
            // Two digits a byte, and a space before each pair.
            let missing = ROW * 2 + ROW / 2 - (row.len() * 2 + row.len().div_ceil(2));
            write!(out, "{:missing$}  ", "")?;
            let text: Vec<u8> = row.iter().map(|&byte| visible(byte)).collect();
            out.write_all(&text)?;
        }
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// An ASCII character that leaves a mark, or a dot.
fn visible(byte: u8) -> u8 {
    match byte {
        b'!'..=b'~' => byte,
        _ => b'.',
    }
}
