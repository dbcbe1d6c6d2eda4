//! What is said of a frame's process, field by field: what was asked for, and the words.

use std::fmt::Write;
use std::str::FromStr;

use skbcap_common::CurrentTask;

use super::cgroup;
use super::{Known, Process, Processes};
use crate::decode::Frame;
use crate::escape::escape_into;

/// Bytes that end a value, or part two in one.
pub(super) const SPECIAL: &[u8] = b" =/";
/// In a path, a slash is what it is.
pub(super) const SPECIAL_IN_PATH: &[u8] = b" =";

/// Something that can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Field {
    /// Who created the socket, if not the sender.
    Owner,
    /// The sender's program.
    Exe,
    /// Its user.
    Uid,
    /// When it was started.
    Start,
    /// Its parent.
    Parent,
    /// Its network namespace.
    Netns,
    /// Not the sender: the task that was current at the hook.
    Current,
    /// The sender's cgroup.
    Cgroup,
    /// The container that this is of.
    Container,
    /// The sender's command line.
    Cmdline,
}

impl Field {
    /// All, in the order in which they are said.
    pub const ALL: [Self; 10] = [
        Self::Owner,
        Self::Exe,
        Self::Uid,
        Self::Start,
        Self::Parent,
        Self::Netns,
        Self::Current,
        Self::Cgroup,
        Self::Container,
        Self::Cmdline,
    ];

    /// As it is asked for, and its key in a comment.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Exe => "exe",
            Self::Uid => "uid",
            Self::Start => "start",
            Self::Parent => "parent",
            Self::Netns => "netns",
            Self::Current => "current",
            Self::Cgroup => "cgroup",
            Self::Container => "container",
            Self::Cmdline => "cmdline",
        }
    }

    /// Whether it is said where a field of that word is asked for, too.
    fn goes_with(self, word: &str) -> bool {
        match self {
            // It may hold what is nobody else's: only for those who ask for it.
            Self::Cmdline => false,
            Self::Container => word == "all" || word == Self::Cgroup.word(),
            _ => word == "all",
        }
    }

    /// The field of that word.
    pub(super) fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.word() == word)
    }
}

/// What was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields(u16);

/// A word that is no field's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no field: there are owner, exe, uid, start, parent, netns, current, cgroup, container, cmdline, and all (but cmdline)"
)]
pub struct UnknownField(String);

impl Fields {
    /// Whether nothing was asked for.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether anything was asked for that the kernel side tells of processes, and not with each frame.
    #[must_use]
    pub fn is_told(self) -> bool {
        self.0 & !(1 << Field::Current as u16) != 0
    }

    /// Whether a field was asked for.
    #[must_use]
    pub fn has(self, field: Field) -> bool {
        self.0 & (1 << field as u16) != 0
    }
}

impl FromStr for Fields {
    type Err = UnknownField;

    /// Words with commas between, in any order.
    fn from_str(list: &str) -> Result<Self, UnknownField> {
        let mut fields = 0;
        for word in list.split(',') {
            let found = Field::ALL
                .iter()
                .filter(|field| field.word() == word || field.goes_with(word));
            let bits = found.fold(0, |bits, &field| bits | 1 << field as u16);
            if bits == 0 {
                return Err(UnknownField(word.to_owned()));
            }
            fields |= bits;
        }
        Ok(Self(fields))
    }
}

/// Puts behind what is said of a frame what was asked for and is known.
pub(crate) fn append(
    line: &mut String,
    fields: Fields,
    current: Option<&CurrentTask>,
    known: Known,
    processes: &Processes,
) {
    for field in Field::ALL.into_iter().filter(|&field| fields.has(field)) {
        let process = match field {
            Field::Owner => known.owner,
            Field::Current => {
                if let Some(current) = current {
                    append_current(line, current);
                }
                None
            }
            _ => known.sender,
        };
        if let Some(number) = process {
            append_one(line, field, processes.get(number));
        }
    }
}

fn append_current(line: &mut String, current: &CurrentTask) {
    // Writing to a String can't fail.
    let _ = write!(line, " {}=", Field::Current.word());
    escape_into(line, Frame::name(current), SPECIAL);
    let _ = write!(line, "/{}/{}", current.pid, current.tgid);
}

fn append_one(line: &mut String, field: Field, process: &Process) {
    let container = cgroup::container(&process.cgroup);
    let is_known = match field {
        Field::Exe => !process.exe.is_empty(),
        Field::Cgroup => !process.cgroup.is_empty(),
        Field::Container => container.is_some(),
        Field::Cmdline => !process.cmdline.is_empty(),
        _ => true,
    };
    if !is_known {
        return;
    }
    // Writing to a String can't fail.
    let _ = write!(line, " {}=", field.word());
    let _ = match field {
        Field::Owner => {
            escape_into(line, &process.comm, SPECIAL);
            write!(line, "/{}", process.tgid)
        }
        Field::Exe => {
            escape_into(line, &process.exe, SPECIAL_IN_PATH);
            Ok(())
        }
        Field::Uid => write!(line, "{}", process.uid),
        Field::Start => {
            let (s, ns) = (
                process.start_ns / 1_000_000_000,
                process.start_ns % 1_000_000_000,
            );
            write!(line, "{s}.{ns:09}")
        }
        Field::Parent => write!(line, "{}", process.parent),
        Field::Netns => write!(line, "{}", process.netns),
        Field::Current => Ok(()),
        Field::Cgroup => {
            escape_into(line, &process.cgroup, SPECIAL_IN_PATH);
            Ok(())
        }
        Field::Container => {
            line.push_str(container.unwrap_or_default());
            Ok(())
        }
        Field::Cmdline => {
            escape_into(line, &process.cmdline, SPECIAL_IN_PATH);
            Ok(())
        }
    };
}
