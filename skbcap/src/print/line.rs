//! A frame's line: time, interface, sender, packet.

use std::io::{self, Write};
use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use skbcap_common::Context;

use super::bytes::Bytes;
use super::style::{Style, TimeStyle};
use super::{dump, packet};
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

/// Writes lines, each as the [`Style`] says.
#[derive(Clone, Debug)]
pub struct Printer {
    style: Style,
    zone: TimeZone,
    /// The times of the first line and of the last, in microseconds.
    first_us: Option<u64>,
    last_us: u64,
}

impl Printer {
    /// Lines in local time.
    #[must_use]
    pub fn new(style: Style) -> Self {
        Self::in_zone(style, LOCAL.clone())
    }

    /// Lines in any time zone.
    pub(super) fn in_zone(style: Style, zone: TimeZone) -> Self {
        Self {
            style,
            zone,
            first_us: None,
            last_us: 0,
        }
    }

    /// Writes one line about a frame, such as
    ///
    /// ```text
    /// 12:00:00.123456 eth0 Out chronyd[1058] IP 192.0.2.24.51207 > 192.0.2.1.123: UDP, length 48
    /// ```
    ///
    /// and its bytes below it, where the style asks for them. Times are in microseconds, cut and
    /// not rounded. What is not known is left out.
    ///
    /// The sender is what `current` held, `comm[tgid]`, where a task was at work. In an interrupt
    /// `current` is merely whom it came upon, so that is what the line says:
    /// `(softirq on chronyd[1058])`, or `(softirq)` where it came upon the idle task. Where the
    /// kernel could not be asked for the context, it is `(perhaps chronyd[1058])`.
    ///
    /// # Errors
    ///
    /// What `out` says.
    pub fn write(&mut self, out: &mut impl Write, line: &Line<'_>) -> io::Result<()> {
        self.write_time(out, line.wall_time_ns / 1000)?;
        if let Some(interface) = line.interface {
            write!(out, "{} ", escaped(interface))?;
        }
        match line.direction {
            Some(Direction::In) => out.write_all(b"In ")?,
            Some(Direction::Out) => out.write_all(b"Out ")?,
            None => {}
        }
        if let Some(sender) = &line.sender {
            write_sender(out, sender)?;
            out.write_all(b" ")?;
        }
        let bytes = Bytes::new(line.data, line.wire_len as usize);
        if self.style.link_layer {
            packet::write_link_layer(out, bytes, line.link_type.0)?;
        }
        packet::write(out, bytes, line.link_type.0)?;
        out.write_all(b"\n")?;
        match self.style.dump {
            Some(style) => {
                let skipped = if style.link_layer {
                    0
                } else {
                    packet::link_layer_len(line.data, line.link_type.0)
                };
                dump::write(
                    out,
                    line.data.get(skipped..).unwrap_or_default(),
                    style.form,
                )
            }
            None => Ok(()),
        }
    }

    /// The time and a space, or nothing.
    fn write_time(&mut self, out: &mut impl Write, time_us: u64) -> io::Result<()> {
        let first_us = *self.first_us.get_or_insert_with(|| {
            self.last_us = time_us;
            time_us
        });
        let last_us = std::mem::replace(&mut self.last_us, time_us);
        match self.style.time {
            TimeStyle::None => Ok(()),
            TimeStyle::Local => self.write_local(out, time_us, false),
            TimeStyle::LocalWithDate => self.write_local(out, time_us, true),
            TimeStyle::Epoch => {
                write!(out, "{}.{:06} ", time_us / MICROS, time_us % MICROS)
            }
            TimeStyle::SinceLast => write_distance(out, last_us, time_us),
            TimeStyle::SinceFirst => write_distance(out, first_us, time_us),
        }
    }

    fn write_local(&self, out: &mut impl Write, time_us: u64, with_date: bool) -> io::Result<()> {
        // 64 bits of nanoseconds reach to the year 2554, and jiff to 9999.
        let time = i64::try_from(time_us).map_or(Ok(Timestamp::MAX), Timestamp::from_microsecond);
        let time = self.zone.to_datetime(time.unwrap_or(Timestamp::UNIX_EPOCH));
        if with_date {
            write!(
                out,
                "{:04}-{:02}-{:02} ",
                time.year(),
                time.month(),
                time.day()
            )?;
        }
        let (hour, minute, second) = (time.hour(), time.minute(), time.second());
        let micros = time.subsec_nanosecond() / 1000;
        write!(out, "{hour:02}:{minute:02}:{second:02}.{micros:06} ")
    }
}

const MICROS: u64 = 1_000_000;

/// From one time to another, with its sign, a space for plus, as tcpdump has it.
fn write_distance(out: &mut impl Write, from_us: u64, to_us: u64) -> io::Result<()> {
    let sign = if to_us < from_us { '-' } else { ' ' };
    let distance = to_us.abs_diff(from_us);
    let seconds = distance / MICROS;
    let (hours, minutes, micros) = (seconds / 3600, seconds / 60 % 60, distance % MICROS);
    write!(
        out,
        "{sign}{hours:02}:{minutes:02}:{:02}.{micros:06} ",
        seconds % 60
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
