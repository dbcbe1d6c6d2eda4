//! A frame's line: time, interface, sender, packet.

use std::io::{self, Write};
use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use skbcap_common::Context;

use super::bytes::Bytes;
use super::packet;
use crate::annotation::Annotation;
use crate::decode::Frame;
use crate::escape::escape_into;
use crate::pcapng::LinkType;

/// Where this machine is, asked once: `TZ`, else `/etc/localtime`, else UTC.
static LOCAL: LazyLock<TimeZone> = LazyLock::new(TimeZone::system);

/// What a line tells of: a frame, just captured or out of a file.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Nanoseconds since 1970 UTC.
    pub wall_time_ns: u64,
    /// The interface's name, if it is known.
    pub interface: Option<&'a [u8]>,
    /// Which way the frame went, if it is known.
    pub direction: Option<Direction>,
    /// What was running when it was sent, if it is known.
    pub sender: Option<Sender<'a>>,
    /// The bytes kept.
    pub data: &'a [u8],
    /// Bytes of the frame as sent.
    pub wire_len: u32,
    /// How it begins.
    pub link_type: LinkType,
}

/// Which way a frame went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It was received.
    In,
    /// It was sent.
    Out,
}

/// What `current` held when a frame was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender<'a> {
    /// The thread's name.
    pub comm: &'a [u8],
    /// The thread.
    pub pid: u32,
    /// The process.
    pub tgid: u32,
    /// What the CPU was doing.
    pub context: Context,
}

impl<'a> Line<'a> {
    /// The line of a frame that was just captured.
    #[must_use]
    pub fn of(frame: &Frame<'a>, link_type: LinkType, wall_time_ns: u64) -> Self {
        Self {
            wall_time_ns,
            interface: Some(frame.interface_name()),
            direction: Some(Direction::Out),
            sender: Some(Sender {
                comm: frame.comm(),
                pid: frame.header.pid,
                tgid: frame.header.tgid,
                context: frame.context(),
            }),
            data: frame.data,
            wire_len: frame.header.len,
            link_type,
        }
    }
}

impl<'a> From<&'a Annotation<Vec<u8>>> for Sender<'a> {
    fn from(annotation: &'a Annotation<Vec<u8>>) -> Self {
        Self {
            comm: &annotation.comm,
            pid: annotation.pid,
            tgid: annotation.tgid,
            context: annotation.context,
        }
    }
}

/// Writes one line about a frame, such as
///
/// ```text
/// 12:00:00.123456 eth0 Out chronyd[1058] IP 192.0.2.24.51207 > 192.0.2.1.123: UDP, length 48
/// ```
///
/// The time is local, in microseconds, cut and not rounded. What is not known is left out.
///
/// The sender is what `current` held, `comm[tgid]`, where a task was at work. In an interrupt
/// `current` is merely whom it came upon, so that is what the line says:
/// `(softirq on chronyd[1058])`, or `(softirq)` where it came upon the idle task. Where the kernel
/// could not be asked for the context, it is `(perhaps chronyd[1058])`.
///
/// # Errors
///
/// What `out` says.
pub fn write_line(out: &mut impl Write, line: &Line<'_>) -> io::Result<()> {
    write_line_in(out, line, &LOCAL)
}

/// As [`write_line`], in any time zone.
pub(super) fn write_line_in(
    out: &mut impl Write,
    line: &Line<'_>,
    zone: &TimeZone,
) -> io::Result<()> {
    write_time(out, line.wall_time_ns, zone)?;
    if let Some(interface) = line.interface {
        write!(out, " {}", escaped(interface))?;
    }
    match line.direction {
        Some(Direction::In) => out.write_all(b" In")?,
        Some(Direction::Out) => out.write_all(b" Out")?,
        None => {}
    }
    if let Some(sender) = &line.sender {
        out.write_all(b" ")?;
        write_sender(out, sender)?;
    }
    out.write_all(b" ")?;
    let bytes = Bytes::new(line.data, line.wire_len as usize);
    packet::write(out, bytes, line.link_type.0)?;
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

fn write_sender(out: &mut impl Write, sender: &Sender<'_>) -> io::Result<()> {
    let tgid = sender.tgid;
    let comm = escaped(sender.comm);
    let interrupt = match sender.context {
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
