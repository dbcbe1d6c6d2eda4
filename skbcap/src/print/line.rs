//! A frame's line: time, interface, sender, packet.

use std::io::{self, Write};
use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use skbcap_common::Context;

use super::bytes::Bytes;
use super::packet;
use crate::decode::Frame;
use crate::escape::escape_into;

/// Where this machine is, asked once: `TZ`, else `/etc/localtime`, else UTC.
static LOCAL: LazyLock<TimeZone> = LazyLock::new(TimeZone::system);

/// Writes one line about `frame`, such as
///
/// ```text
/// 12:00:00.123456 eth0 Out chronyd[1058] IP 192.0.2.24.51207 > 192.0.2.1.123: UDP, length 48
/// ```
///
/// The time is local, in microseconds, cut and not rounded; `link_type` is a `LINKTYPE_*` number.
///
/// The sender is what `current` held, `comm[tgid]`, where a task was at work. In an interrupt
/// `current` is merely whom it came upon, so that is what the line says:
/// `(softirq on chronyd[1058])`, or `(softirq)` where it came upon the idle task. Where the kernel
/// could not be asked for the context, it is `(perhaps chronyd[1058])`.
///
/// # Errors
///
/// What `out` says.
pub fn write_line(
    out: &mut impl Write,
    frame: &Frame<'_>,
    link_type: u16,
    wall_time_ns: u64,
) -> io::Result<()> {
    write_line_in(out, frame, link_type, wall_time_ns, &LOCAL)
}

/// As [`write_line`], in any time zone.
pub(super) fn write_line_in(
    out: &mut impl Write,
    frame: &Frame<'_>,
    link_type: u16,
    wall_time_ns: u64,
    zone: &TimeZone,
) -> io::Result<()> {
    write_time(out, wall_time_ns, zone)?;
    write!(out, " {} Out ", escaped(frame.interface_name()))?;
    write_sender(out, frame)?;
    out.write_all(b" ")?;
    let bytes = Bytes::new(frame.data, frame.header.len as usize);
    packet::write(out, bytes, link_type)?;
    out.write_all(b"\n")
}

fn write_time(out: &mut impl Write, wall_time_ns: u64, zone: &TimeZone) -> io::Result<()> {
    // 64 bits of nanoseconds reach to the year 2554, and jiff to 9999.
    let time = Timestamp::from_nanosecond(wall_time_ns.into()).unwrap_or(Timestamp::UNIX_EPOCH);
    let time = zone.to_datetime(time);
    let micros = time.subsec_nanosecond() / 1000;
    write!(
        out,
        "{:02}:{:02}:{:02}.{micros:06}",
        time.hour(),
        time.minute(),
        time.second()
    )
}

fn write_sender(out: &mut impl Write, frame: &Frame<'_>) -> io::Result<()> {
    let tgid = frame.header.tgid;
    let comm = escaped(frame.comm());
    let interrupt = match frame.context() {
        Context::Task => return write!(out, "{comm}[{tgid}]"),
        Context::Unknown => return write!(out, "(perhaps {comm}[{tgid}])"),
        Context::Softirq => "softirq",
        Context::Hardirq => "hardirq",
    };
    if tgid == 0 {
        write!(out, "({interrupt})")
    } else {
        write!(out, "({interrupt} on {comm}[{tgid}])")
    }
}

/// A name that can't steer a terminal.
fn escaped(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    escape_into(&mut text, name, b"");
    text
}
