//! A frame's comment: one line that says who sent the frame.
//!
//! Owns the grammar, told in `docs/format.md`, in both directions. It states what the record holds
//! and judges nothing; it must not know the file format that the line ends up in.

use std::fmt::Write;

use skbcap_common::{By, Context, Flags, Hook, owner::WRITERS};

use crate::decode::Frame;
use crate::escape::{escape_into, unescape};

/// Bytes that end a value or a key, and so never stand in one.
const SPECIAL: &[u8] = b" =";

/// What a frame's comment says. `Name` is `&[u8]` where it is written, `Vec<u8>` where it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Annotation<Name> {
    /// `comm=`: the thread's name, any bytes, without a NUL; empty where there is none to name.
    pub comm: Name,
    /// `pid=`: the thread; 0 where there is none to name.
    pub pid: u32,
    /// `tgid=`: the process; 0 where there is none to name.
    pub tgid: u32,
    /// `ctx=`: what the CPU was doing.
    pub context: Context,
    /// `by=`: who sent the frame; `None` where the record does not tell.
    pub by: Option<By>,
    /// `writers=`: under [`By::Shared`], the processes one of which sent it; 0 behind the last.
    pub writers: [u32; WRITERS],
    /// `via=`: how it is known who was current when the frame was sent, if not by looking when it
    /// was captured.
    pub via: Option<Via>,
    /// `hook=net`: the kprobe missed the frame, and the net under it took it.
    pub net: bool,
    /// `cut=`: why the bytes end early, if not by the snapshot length.
    pub cut: Option<Cut>,
}

/// How a frame of `--hook xmit` was recognised as one that was seen when it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// `skb`: it is the same skb.
    Skb,
    /// `socket`: it is of the same socket.
    Socket,
}

/// Why a frame lost bytes to something else than the snapshot length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// `unreadable`: a fragment could not be read.
    Unreadable,
    /// `bound`: more fragments than are followed.
    Bound,
}

/// Why a comment is not one of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no frame's comment: {key} is missing or malformed")]
pub struct ParseError {
    /// The key that was looked for.
    pub key: &'static str,
}

impl<'a> Annotation<&'a [u8]> {
    /// What is to be said of a frame.
    #[must_use]
    pub fn of(frame: &Frame<'a>) -> Self {
        let flags = frame.flags();
        let cut = if flags.contains(Flags::CUT_UNREADABLE) {
            Some(Cut::Unreadable)
        } else if flags.contains(Flags::CUT_BOUND) {
            Some(Cut::Bound)
        } else {
            None
        };
        Self {
            comm: frame.comm(),
            pid: frame.header.pid,
            tgid: frame.header.tgid,
            context: frame.context(),
            by: frame.by(),
            writers: frame.writers(),
            via: Via::of(flags),
            net: frame.hook() == Hook::Net,
            cut,
        }
    }

    /// Replaces what is in `line` by the comment: one line, and not ended as one.
    pub fn write(&self, line: &mut String) {
        let Self {
            comm,
            pid,
            tgid,
            context,
            by,
            writers,
            via,
            net,
            cut,
        } = self;
        line.clear();
        line.push_str("comm=");
        escape_into(line, comm, SPECIAL);
        // Writing to a String can't fail.
        let _ = write!(
            line,
            " pid={pid} tgid={tgid} ctx={}",
            context_word(*context)
        );
        if let Some(by) = by {
            let _ = write!(line, " by={}", by_word(*by));
        }
        for (at, writer) in writers
            .iter()
            .take_while(|&&writer| writer != 0)
            .enumerate()
        {
            let before = if at == 0 { " writers=" } else { "," };
            let _ = write!(line, "{before}{writer}");
        }
        if let Some(via) = via {
            let _ = write!(line, " via={}", via.word());
        }
        if *net {
            line.push_str(" hook=net");
        }
        if let Some(cut) = cut {
            let _ = write!(line, " cut={}", cut.word());
        }
    }
}

impl Annotation<Vec<u8>> {
    /// Reads a comment back. Keys that a later version may have put behind the first four are
    /// passed over.
    ///
    /// # Errors
    ///
    /// Names the first key that is missing, out of order or malformed.
    pub fn parse(line: &str) -> Result<Self, ParseError> {
        let mut words = line.split(' ');
        let mut value = |key: &'static str| {
            words
                .next()
                .and_then(|word| word.strip_prefix(key)?.strip_prefix('='))
        };
        let comm = value("comm")
            .and_then(unescape)
            .ok_or(ParseError { key: "comm" })?;
        let pid = value("pid")
            .and_then(number)
            .ok_or(ParseError { key: "pid" })?;
        let tgid = value("tgid")
            .and_then(number)
            .ok_or(ParseError { key: "tgid" })?;
        let context = value("ctx")
            .and_then(context_of)
            .ok_or(ParseError { key: "ctx" })?;
        let (mut via, mut net, mut cut) = (None, false, None);
        let (mut by, mut writers) = (None, [0; WRITERS]);
        for word in words {
            if let Some(word) = word.strip_prefix("by=") {
                by = Some(by_of(word).ok_or(ParseError { key: "by" })?);
            } else if let Some(word) = word.strip_prefix("writers=") {
                writers = writers_of(word).ok_or(ParseError { key: "writers" })?;
            } else if let Some(word) = word.strip_prefix("via=") {
                via = Some(Via::of_word(word).ok_or(ParseError { key: "via" })?);
            } else if let Some(hook) = word.strip_prefix("hook=") {
                net = hook == "net";
                if !net {
                    return Err(ParseError { key: "hook" });
                }
            } else if let Some(word) = word.strip_prefix("cut=") {
                cut = Some(Cut::of_word(word).ok_or(ParseError { key: "cut" })?);
            }
        }
        Ok(Self {
            comm,
            pid,
            tgid,
            context,
            by,
            writers,
            via,
            net,
            cut,
        })
    }
}

impl Via {
    fn of(flags: Flags) -> Option<Self> {
        if flags.contains(Flags::NOTED_SKB) {
            Some(Self::Skb)
        } else if flags.contains(Flags::NOTED_SOCKET) {
            Some(Self::Socket)
        } else {
            None
        }
    }

    /// As it stands behind `via=`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Skb => "skb",
            Self::Socket => "socket",
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        [Self::Skb, Self::Socket]
            .into_iter()
            .find(|via| via.word() == word)
    }
}

impl Cut {
    /// As it stands behind `cut=`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Bound => "bound",
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        [Self::Unreadable, Self::Bound]
            .into_iter()
            .find(|cut| cut.word() == word)
    }
}

/// As it stands behind `ctx=`.
#[must_use]
pub fn context_word(context: Context) -> &'static str {
    match context {
        Context::Unknown => "unknown",
        Context::Task => "task",
        Context::Softirq => "softirq",
        Context::Hardirq => "hardirq",
    }
}

fn context_of(word: &str) -> Option<Context> {
    [
        Context::Unknown,
        Context::Task,
        Context::Softirq,
        Context::Hardirq,
    ]
    .into_iter()
    .find(|&context| context_word(context) == word)
}

/// As it stands behind `by=`.
#[must_use]
pub fn by_word(by: By) -> &'static str {
    match by {
        By::Task => "task",
        By::Socket => "socket",
        By::Kernel => "kernel",
        By::Shared => "shared",
        By::Unknown => "unknown",
    }
}

fn by_of(word: &str) -> Option<By> {
    [By::Task, By::Socket, By::Kernel, By::Shared, By::Unknown]
        .into_iter()
        .find(|&by| by_word(by) == word)
}

/// Numbers but 0, parted by commas, at most as many as there are places.
fn writers_of(word: &str) -> Option<[u32; WRITERS]> {
    let mut writers = [0; WRITERS];
    let mut places = writers.iter_mut();
    for word in word.split(',') {
        *places.next()? = number(word).filter(|&writer| writer != 0)?;
    }
    Some(writers)
}

/// Digits only: `u32::from_str` would take a sign.
fn number(word: &str) -> Option<u32> {
    word.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| word.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(comm: &[u8], net: bool, cut: Option<Cut>) -> String {
        let mut line = "what was there before".to_owned();
        Annotation {
            comm,
            pid: 2214,
            tgid: 2211,
            context: Context::Task,
            by: None,
            writers: [0; WRITERS],
            via: None,
            net,
            cut,
        }
        .write(&mut line);
        line
    }

    #[test]
    fn the_keys_stand_in_their_order() {
        assert_eq!(
            line(b"curl", false, None),
            "comm=curl pid=2214 tgid=2211 ctx=task"
        );
        assert_eq!(
            line(b"curl", false, Some(Cut::Bound)),
            "comm=curl pid=2214 tgid=2211 ctx=task cut=bound"
        );
        assert_eq!(
            line(b"curl", true, Some(Cut::Bound)),
            "comm=curl pid=2214 tgid=2211 ctx=task hook=net cut=bound"
        );
    }

    #[test]
    fn a_process_cannot_forge_a_key() {
        assert_eq!(
            line(b"x pid=1", false, None),
            r"comm=x\x20pid\x3d1 pid=2214 tgid=2211 ctx=task"
        );
        assert_eq!(
            line(b"x\npid=1", false, None),
            r"comm=x\x0apid\x3d1 pid=2214 tgid=2211 ctx=task"
        );
        assert_eq!(line(b"", false, None), "comm= pid=2214 tgid=2211 ctx=task");
        assert_eq!(
            line("café".as_bytes(), false, None),
            "comm=café pid=2214 tgid=2211 ctx=task"
        );
    }

    #[test]
    fn a_later_key_is_passed_over() {
        let read = Annotation::parse("comm=a pid=1 tgid=2 ctx=softirq colour=blue cut=unreadable");
        assert_eq!(
            read,
            Ok(Annotation {
                comm: b"a".to_vec(),
                pid: 1,
                tgid: 2,
                context: Context::Softirq,
                by: None,
                writers: [0; WRITERS],
                via: None,
                net: false,
                cut: Some(Cut::Unreadable),
            })
        );
    }

    #[test]
    fn another_comment_is_refused_by_its_first_missing_key() {
        for (comment, key) in [
            ("", "comm"),
            ("a note", "comm"),
            (r"comm=\q pid=1 tgid=1 ctx=task", "comm"),
            ("comm=a pid=+1 tgid=1 ctx=task", "pid"),
            ("comm=a pid= tgid=1 ctx=task", "pid"),
            ("comm=a pid=1", "tgid"),
            ("comm=a pid=1 tgid=4294967296 ctx=task", "tgid"),
            ("comm=a pid=1 tgid=1 ctx=nmi", "ctx"),
            ("comm=a pid=1 tgid=1 ctx=task cut=short", "cut"),
            ("comm=a pid=1 tgid=1 ctx=task hook=kprobe", "hook"),
            ("comm=a pid=1 tgid=1 ctx=task via=hearsay", "via"),
            ("comm=a pid=1 tgid=1 ctx=task by=me", "by"),
            (
                "comm= pid=0 tgid=0 ctx=task by=shared writers=1,,2",
                "writers",
            ),
            (
                "comm= pid=0 tgid=0 ctx=task by=shared writers=1,2,3,4,5",
                "writers",
            ),
            ("comm= pid=0 tgid=0 ctx=task by=shared writers=0", "writers"),
        ] {
            assert_eq!(
                Annotation::parse(comment),
                Err(ParseError { key }),
                "{comment}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            comm in proptest::collection::vec(any::<u8>(), 0..16),
            pid: u32,
            tgid: u32,
            context in 0u8..4,
            by in proptest::option::of(prop_oneof![
                Just(By::Task),
                Just(By::Socket),
                Just(By::Kernel),
                Just(By::Shared),
                Just(By::Unknown),
            ]),
            named in proptest::collection::vec(1u32.., 0..=WRITERS),
            via in proptest::option::of(prop_oneof![Just(Via::Skb), Just(Via::Socket)]),
            net: bool,
            cut in proptest::option::of(prop_oneof![Just(Cut::Unreadable), Just(Cut::Bound)]),
        ) {
            let context = Context::from_byte(context);
            let mut writers = [0; WRITERS];
            writers[..named.len()].copy_from_slice(&named);
            let mut line = String::new();
            Annotation { comm: comm.as_slice(), pid, tgid, context, by, writers, via, net, cut }.write(&mut line);
            prop_assert!(!line.chars().any(char::is_control), "{:?}", line);
            prop_assert_eq!(line.split(' ').count(), 4 + usize::from(by.is_some()) + usize::from(!named.is_empty()) + usize::from(via.is_some()) + usize::from(net) + usize::from(cut.is_some()));
            prop_assert_eq!(Annotation::parse(&line), Ok(Annotation { comm, pid, tgid, context, by, writers, via, net, cut }));
        }

        #[test]
        fn any_comment_is_read_or_refused(comment: String) {
            let _ = Annotation::parse(&comment);
        }
    }
}
