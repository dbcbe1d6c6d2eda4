//! A frame as a JSON object on a line of its own: the schema is told in `docs/usage.md`.

use std::io::{self, Write};

use skbcap_common::Context;

use super::bytes::Bytes;
use super::packet;
use super::style::Detail;
use super::{Direction, Line};
use crate::annotation::by_word;
use crate::escape::escape_into;
use crate::json::{list, string};
use crate::link_type;
use crate::process::words::{self, Value};

const NANOS: u64 = 1_000_000_000;

/// Writes the object and the line's end. What is not known is left out.
pub(super) fn write(out: &mut impl Write, line: &Line<'_>, with_data: bool) -> io::Result<()> {
    let (seconds, nanos) = (line.wall_time_ns / NANOS, line.wall_time_ns % NANOS);
    // In a string: a number of so many digits is no double.
    write!(out, "{{\"time\": \"{seconds}.{nanos:09}\"")?;
    if let Some(interface) = line.interface {
        out.write_all(b", \"interface\": ")?;
        string(out, printable(interface))?;
    }
    match line.direction {
        Some(Direction::In) => out.write_all(b", \"direction\": \"in\"")?,
        Some(Direction::Out) => out.write_all(b", \"direction\": \"out\"")?,
        None => {}
    }
    if let Some(sender) = &line.sender {
        out.write_all(b", \"comm\": ")?;
        string(out, printable(sender.comm))?;
        let context = match sender.context {
            Context::Task => "task",
            Context::Softirq => "softirq",
            Context::Hardirq => "hardirq",
            Context::Unknown => "unknown",
        };
        let (pid, tgid) = (sender.pid, sender.tgid);
        write!(
            out,
            ", \"pid\": {pid}, \"tgid\": {tgid}, \"ctx\": \"{context}\""
        )?;
        if let Some(by) = sender.by {
            write!(out, ", \"by\": \"{}\"", by_word(by))?;
        }
        let writers = sender.writers.iter().take_while(|&&writer| writer != 0);
        for (at, writer) in writers.clone().enumerate() {
            let before = if at == 0 { ", \"writers\": [" } else { ", " };
            write!(out, "{before}{writer}")?;
        }
        if writers.count() > 0 {
            out.write_all(b"]")?;
        }
    }
    for (field, value) in words::read(line.more) {
        write!(out, ", \"{}\": ", field.word())?;
        match value {
            Value::Text(bytes) => string(out, printable(&bytes))?,
            Value::List(words) => list(out, words, |out, word| string(out, printable(&word)))?,
            Value::Number(number) => write!(out, "{number}")?,
            Value::Time(time) => string(out, time)?,
            Value::Process(comm, tgid) => {
                out.write_all(b"{\"comm\": ")?;
                string(out, printable(&comm))?;
                write!(out, ", \"tgid\": {tgid}}}")?;
            }
            Value::Thread(comm, pid, tgid) => {
                out.write_all(b"{\"comm\": ")?;
                string(out, printable(&comm))?;
                write!(out, ", \"pid\": {pid}, \"tgid\": {tgid}}}")?;
            }
        }
    }
    out.write_all(b", \"link_type\": ")?;
    string(out, link_type::name(line.link_type))?;
    let (len, captured) = (line.wire_len, line.data.len());
    write!(
        out,
        ", \"len\": {len}, \"captured\": {captured}, \"packet\": "
    )?;
    let mut text = Vec::new();
    let bytes = Bytes::new(line.data, line.wire_len as usize);
    packet::write(&mut text, bytes, line.link_type.0, Detail::Plain)?;
    string(out, String::from_utf8_lossy(&text))?;
    if with_data {
        out.write_all(b", \"data\": \"")?;
        for byte in line.data {
            write!(out, "{byte:02x}")?;
        }
        out.write_all(b"\"")?;
    }
    out.write_all(b"}\n")
}

/// As it stands in lines: what is no text is `\xNN`.
fn printable(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    escape_into(&mut text, name, b"");
    text
}
