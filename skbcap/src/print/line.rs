//! A frame's line: time, interface, sender, packet.

use std::io::{self, Write};
use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use skbcap_common::{By, Context, owner::WRITERS};

use super::bytes::Bytes;
use super::style::{Style, TimeStyle};
use super::{dump, json, packet};
use crate::annotation::Annotation;
use crate::decode::{Frame, is_process};
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
    /// What else is said of the sender, as in a comment: words with a space between. Empty: nothing.
    pub more: &'a str,
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
    /// Who sent it; `None` where that was not asked.
    pub by: Option<By>,
    /// Under [`By::Shared`], one of these did; 0 behind the last.
    pub writers: [u32; WRITERS],
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
                by: frame.by(),
                writers: frame.writers(),
            }),
            more: "",
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
            by: annotation.by,
            writers: annotation.writers,
        }
    }
}

/// Writes lines, each as the [`Style`] says.
#[derive(Clone, Debug)]
pub struct Printer {
    style: Style,
    zone: TimeZone,
    /// The times of the first line and of the last, in nanoseconds.
    first_ns: Option<u64>,
    last_ns: u64,
    /// Lines so far.
    lines: u64,
    /// On a terminal: how wide the interface and the sender have been.
    widths: [usize; 2],
}

/// A column that has once been wider than this is left to itself.
const MOST: usize = 28;

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
            first_ns: None,
            last_ns: 0,
            lines: 0,
            widths: [0; 2],
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
    /// Behind the sender stands in brackets what else is said of it.
    ///
    /// Who sent it is `comm[tgid]` where that could be shown, whoever was running; else `(kernel)`,
    /// `(one of 12, 34)` for a shared socket, `(perhaps comm[tgid])` or `(unknown)`.
    ///
    /// Where a record makes no claim, the sender is what `current` held, `comm[tgid]`, where a task
    /// was at work. In an interrupt `current` is merely whom it came upon, so that is what the line
    /// says: `(softirq on chronyd[1058])`, or `(softirq)` where it came upon the idle task. Where
    /// the kernel could not be asked for the context, it is `(perhaps chronyd[1058])`.
    ///
    /// # Errors
    ///
    /// What `out` says.
    pub fn write(&mut self, out: &mut impl Write, line: &Line<'_>) -> io::Result<()> {
        self.lines += 1;
        if self.style.json {
            return json::write(out, line, self.style.dump.is_some());
        }
        if self.style.number {
            write!(out, "{:5}  ", self.lines)?;
        }
        self.write_time(out, line.wall_time_ns)?;
        if let Some(interface) = line.interface {
            let name = escaped(interface);
            let width = self.width(0, &name);
            write!(out, "{name:width$} ")?;
        }
        match line.direction {
            Some(Direction::In) => out.write_all(b"In ")?,
            Some(Direction::Out) => out.write_all(b"Out ")?,
            None => {}
        }
        if let Some(sender) = &line.sender {
            let text = sender_text(sender);
            let width = self.width(1, &text);
            match (self.style.colour, is_process(sender.by, sender.context)) {
                (false, _) => write!(out, "{text:width$} ")?,
                (true, true) => write!(out, "\x1b[1;36m{text:width$}\x1b[m ")?,
                (true, false) => write!(out, "\x1b[2m{text:width$}\x1b[m ")?,
            }
        }
        if !line.more.is_empty() {
            write!(out, "[{}] ", line.more)?;
        }
        let bytes = Bytes::new(line.data, line.wire_len as usize);
        if self.style.link_layer {
            packet::write_link_layer(out, bytes, line.link_type.0)?;
        }
        packet::write(out, bytes, line.link_type.0, self.style.detail)?;
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
    fn write_time(&mut self, out: &mut impl Write, time_ns: u64) -> io::Result<()> {
        let first_ns = *self.first_ns.get_or_insert_with(|| {
            self.last_ns = time_ns;
            time_ns
        });
        let last_ns = std::mem::replace(&mut self.last_ns, time_ns);
        let fraction = self.fraction(time_ns);
        match self.style.time {
            TimeStyle::None => Ok(()),
            TimeStyle::Local => self.write_local(out, time_ns, false),
            TimeStyle::LocalWithDate => self.write_local(out, time_ns, true),
            TimeStyle::Epoch => {
                write!(out, "{}.{fraction} ", time_ns / NANOS)
            }
            TimeStyle::SinceLast => self.write_distance(out, last_ns, time_ns),
            TimeStyle::SinceFirst => self.write_distance(out, first_ns, time_ns),
        }
    }

    /// What stands behind the point: cut, and not rounded.
    fn fraction(&self, time_ns: u64) -> String {
        let nanos = time_ns % NANOS;
        if self.style.nanoseconds {
            format!("{nanos:09}")
        } else {
            format!("{:06}", nanos / 1000)
        }
    }

    /// How wide a column is on a terminal: as wide as it has been, so that those behind it stay
    /// where they are.
    fn width(&mut self, column: usize, text: &str) -> usize {
        if !self.style.colour {
            return 0;
        }
        let len = text.chars().count();
        if len <= MOST {
            self.widths[column] = self.widths[column].max(len);
        }
        self.widths[column]
    }

    /// From one time to another, with its sign, a space for plus, as tcpdump has it.
    fn write_distance(&self, out: &mut impl Write, from_ns: u64, to_ns: u64) -> io::Result<()> {
        let unit = if self.style.nanoseconds { 1 } else { 1000 };
        let (from_ns, to_ns) = (from_ns / unit * unit, to_ns / unit * unit);
        let sign = if to_ns < from_ns { '-' } else { ' ' };
        let distance = to_ns.abs_diff(from_ns);
        let seconds = distance / NANOS;
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        write!(
            out,
            "{sign}{hours:02}:{minutes:02}:{:02}.{} ",
            seconds % 60,
            self.fraction(distance)
        )
    }

    fn write_local(&self, out: &mut impl Write, time_ns: u64, with_date: bool) -> io::Result<()> {
        // 64 bits of nanoseconds reach to the year 2554, and jiff to 9999.
        let time =
            i64::try_from(time_ns / 1000).map_or(Ok(Timestamp::MAX), Timestamp::from_microsecond);
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
        let fraction = self.fraction(time_ns);
        write!(out, "{hour:02}:{minute:02}:{second:02}.{fraction} ")
    }
}

const NANOS: u64 = 1_000_000_000;

fn sender_text(sender: &Sender<'_>) -> String {
    let tgid = sender.tgid;
    let comm = escaped(sender.comm);
    match sender.by {
        Some(By::Task | By::Socket) => return format!("{comm}[{tgid}]"),
        Some(By::Kernel) if tgid == 0 => return "(kernel)".into(),
        Some(By::Kernel) => return format!("(kernel: {comm}[{tgid}])"),
        Some(By::Unknown) if tgid == 0 => return "(unknown)".into(),
        Some(By::Unknown) => return format!("(perhaps {comm}[{tgid}])"),
        Some(By::Shared) => {
            let writers = sender.writers.iter().take_while(|&&writer| writer != 0);
            let writers: Vec<String> = writers.map(u32::to_string).collect();
            return format!("(one of {})", writers.join(", "));
        }
        None => {}
    }
    let interrupt = match sender.context {
        Context::Task => return format!("{comm}[{tgid}]"),
        Context::Unknown => return format!("(perhaps {comm}[{tgid}])"),
        Context::Softirq => "softirq",
        Context::Hardirq => "hardirq",
    };
    if tgid == 0 {
        format!("({interrupt})")
    } else {
        format!("({interrupt} on {comm}[{tgid}])")
    }
}

/// A name that can't steer a terminal.
fn escaped(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    escape_into(&mut text, name, b"");
    text
}
