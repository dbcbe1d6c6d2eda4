//! Frames become packets of capture files.
//!
//! Owns what is said about a frame in the file: its interface, its comment, its flags; and into
//! which file it goes. The blocks themselves are [`crate::pcapng`]'s.

use std::io;
use std::path::PathBuf;

use skbcap_common::InterfaceDrops;

use super::capture_file::{CaptureFile, End};
use super::form::Form;
use super::holds::{Holds, Unreadable};
use super::rotation::{Rotation, Turn};
use super::senders::Senders;
use super::split::Files;
use super::{FileOutput, OpenError, Origin, Outcome, Sink};
use crate::{
    account::Account,
    config::LinkTypes,
    decode::Frame,
    interface::{Interfaces, Key, Seen},
    link_type,
    pcapng::Packet,
    process::{Fields, News},
    stats::Stats,
};

/// A capture as pcapng: in one file, or in one for each link type.
#[derive(Debug)]
pub struct Pcapng {
    files: Files,
    form: Form,
    interfaces: Interfaces,
    senders: Senders,
    /// Where there may be files behind this one.
    rotation: Option<Box<Rotation>>,
    /// Whether a file ends by itself.
    is_limited: bool,
    notices: Vec<String>,
    /// Whether the user knows that tcpdump does not read a file.
    has_warned: bool,
}

impl Pcapng {
    /// Begins a capture in `output`, to which nothing is written yet.
    ///
    /// # Errors
    ///
    /// When the snapshot length or a name in `origin` doesn't fit the format.
    pub fn new(
        output: FileOutput,
        mut origin: Origin,
        snaplen: u32,
        link_types: LinkTypes,
    ) -> io::Result<Self> {
        let form = Form::new(link_types, snaplen);
        origin.comments.extend(form.comment());
        let files = match link_types {
            LinkTypes::Split => Files::split(output, origin, form.snaplen())?,
            LinkTypes::Mixed | LinkTypes::Sll2 => {
                let file = CaptureFile::new(output, origin, form.snaplen(), Holds::All)?;
                Files::One(Box::new(file))
            }
        };
        Ok(Self {
            files,
            form,
            interfaces: Interfaces::new(),
            senders: Senders::new(),
            rotation: None,
            is_limited: false,
            notices: Vec::new(),
            has_warned: false,
        })
    }

    /// Has files behind the first, which is the first that `rotation` names.
    #[must_use]
    pub(crate) fn rotated(mut self, rotation: Rotation) -> Self {
        self.is_limited = !rotation.is_by_wish_only();
        self.rotation = Some(Box::new(rotation));
        self
    }

    /// Has more said of processes, as far as it is learnt.
    #[must_use]
    pub fn telling(mut self, fields: Fields) -> Self {
        self.senders.tell(fields);
        self
    }

    /// Looks, before a frame, whether its file has ended. `false`: the last one has.
    fn turn(&mut self, wall_ns: u64) -> io::Result<bool> {
        let (Files::One(file), Some(rotation)) = (&self.files, &mut self.rotation) else {
            return Ok(true);
        };
        match rotation.before(file.len(), wall_ns) {
            None => Ok(true),
            Some(Turn::End) => {
                self.notices.push("the last of -W's files is done".into());
                self.is_limited = false;
                Ok(false)
            }
            Some(Turn::Next) => {
                let path = rotation.name()?;
                self.go_on_in(path, wall_ns)?;
                Ok(true)
            }
        }
    }

    /// Ends the file and begins another. That is opened first: the capture's account needs a place
    /// if it can't be. It is emptied last: it may be the same file.
    #[cold]
    fn go_on_in(&mut self, path: PathBuf, wall_ns: u64) -> io::Result<()> {
        let Files::One(file) = &mut self.files else {
            return Ok(());
        };
        let next = FileOutput::prepare(&path);
        let mut next = next.map_err(|error| io::Error::new(error.kind(), error))?;
        file.end_part(&self.interfaces, &self.form, wall_ns)?;
        next.empty()?;
        **file = file.next(next, self.form.snaplen(), &self.interfaces)?;
        Ok(())
    }

    /// Counts a frame that no file has a place for, and tells of its interface once.
    #[cold]
    fn leave_out(&mut self, seen: &Seen) -> Outcome {
        let interface = self.interfaces.get(seen.index);
        if seen.is_new {
            self.notices.push(format!(
                "frames of {} are not written: {}",
                interface.name,
                if interface.is_readable {
                    format!(
                        "its device type {} has no link type in a capture file (--linktype sll2 \
                         has a place for them)",
                        interface.dev_type
                    )
                } else {
                    "its device could not be read".into()
                },
            ));
        }
        Outcome::UnsupportedLinkType
    }

    #[cold]
    fn warn(&mut self, why: Unreadable, seen: &Seen) {
        if !self.has_warned {
            self.has_warned = true;
            let name = &self.interfaces.get(seen.index).name;
            self.notices.push(Self::warning(why, name));
        }
    }

    /// What to say of a file that tcpdump does not read any more, since this interface.
    fn warning(why: Unreadable, name: &str) -> String {
        let (what, way_out) = match why {
            Unreadable::TwoLinkTypes => (
                "has another link type than the interfaces before",
                "--split-linktype, --linktype sll2, or -i on interfaces of one link type",
            ),
            Unreadable::RawTwice => (
                "is described behind another raw IP interface, which libpcap takes for two link \
                 types",
                "--linktype sll2, or -i on one of them",
            ),
        };
        format!("{name} {what}: Wireshark opens the file, tcpdump does not (for it: {way_out})")
    }

    /// What of the capture no file holds, in words for its readers.
    fn left_out(&self) -> Vec<String> {
        let all = self.interfaces.iter().map(|(_, interface)| interface);
        let lacking = all.filter(|interface| self.form.link_type(interface).is_none());
        lacking
            .map(|interface| {
                format!(
                    "not written: {} frames of {} ({}), whose device {}",
                    interface.captured,
                    interface.name,
                    interface.description(),
                    if interface.is_readable {
                        format!("type {} has no link type", interface.dev_type)
                    } else {
                        "could not be read".into()
                    },
                )
            })
            .collect()
    }
}

impl Sink for Pcapng {
    #[inline]
    fn frame(&mut self, frame: &Frame<'_>, wall_ns: u64) -> io::Result<Outcome> {
        if self.is_limited && !self.turn(wall_ns)? {
            return Ok(Outcome::Beyond);
        }
        let seen = self.interfaces.see(frame.header);
        let Some(link_type) = self.form.link_type(self.interfaces.get(seen.index)) else {
            return Ok(self.leave_out(&seen));
        };
        let (data, len) = self.form.bytes(frame, link_type);
        let options = self.senders.options(frame);
        let file = self.files.of(link_type)?;
        let written = match file.interface(&self.interfaces, &seen, link_type, wall_ns) {
            Ok(interface) => file.packet(&Packet {
                interface,
                time_ns: wall_ns,
                data,
                len,
                options,
                dropped: seen.dropped,
            }),
            Err(error) => Err(error),
        };
        let unreadable = file.unreadable();
        if let Err(error) = written {
            return Err(self.files.error(link_type, error));
        }
        if let Some(why) = unreadable {
            self.warn(why, &seen);
        }
        Ok(Outcome::Written)
    }

    fn learn(&mut self, news: Option<&News>) {
        self.senders.learn(news);
    }

    fn clock_was_set(&mut self, by_ns: i64) -> io::Result<()> {
        let (interfaces, form) = (&self.interfaces, &self.form);
        self.files
            .each(|file| file.clock_was_set(interfaces, form, by_ns))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.files.each(CaptureFile::flush)
    }

    fn finish(&mut self, drops: &[InterfaceDrops], stats: &Stats, end_ns: u64) -> io::Result<()> {
        for drop in drops {
            let key = Key {
                netns: drop.netns,
                ifindex: drop.ifindex,
            };
            self.interfaces.settle(key, drop.dropped);
        }
        let all = self.interfaces.iter();
        let end = End {
            account: &Account::of(stats),
            listed: all.map(|(_, interface)| interface.dropped).sum(),
            time_ns: end_ns,
            comments: &self.left_out(),
        };
        let (interfaces, form) = (&self.interfaces, &self.form);
        self.files.each(|file| file.finish(interfaces, form, &end))
    }

    fn rotate(&mut self, wall_ns: u64) -> io::Result<bool> {
        let (Files::One(file), Some(rotation)) = (&self.files, &mut self.rotation) else {
            return Ok(false);
        };
        if !file.output().is_replaceable() {
            return Ok(false);
        }
        // A file that was moved away makes room for one of its name.
        if !rotation.is_by_wish_only() || file.output().is_in_place() {
            rotation.ask();
        }
        let path = rotation.name()?;
        if let Err(error) = self.go_on_in(path, wall_ns) {
            let opening = error.get_ref().and_then(|inner| inner.downcast_ref());
            let Some(OpenError::Create { .. }) = opening else {
                return Err(error);
            };
            let error = anyhow::Error::from(error);
            self.notices.push(format!("no other file: {error:#}"));
        }
        Ok(true)
    }

    fn hurry(&mut self) {
        // It fails no file.
        let _ = self.files.each(|file| {
            file.write_aside();
            Ok(())
        });
    }

    fn lost(&self) -> u64 {
        self.files.iter().map(CaptureFile::lost).sum()
    }

    fn is_live(&self) -> bool {
        self.files.iter().any(|file| file.output().is_live())
    }

    fn notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    fn summary(&self) -> Vec<String> {
        let Files::Split(split) = &self.files else {
            return Vec::new();
        };
        let parts = split.parts();
        parts
            .map(|(kind, file)| {
                format!(
                    "{} in {}: {}",
                    file.packets() - file.lost(),
                    file.output().shown(),
                    link_type::name(kind)
                )
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
