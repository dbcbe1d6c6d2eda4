//! The files of one capture: one for all frames, or one for each link type.
//!
//! Knows link types and files; nothing of what stands in them.

use std::io;

use super::capture_file::CaptureFile;
use super::holds::Holds;
use super::{FileOutput, Origin};
use crate::link_type;
use crate::pcapng::LinkType;

/// Where a capture's packets go.
#[derive(Debug)]
pub(super) enum Files {
    /// Into one file, whatever their link types.
    One(Box<CaptureFile>),
    /// Each link type's into a file of its own.
    Split(Box<Split>),
}

/// A file for each link type, the first for Ethernet.
#[derive(Debug)]
pub(super) struct Split {
    parts: Vec<(LinkType, CaptureFile)>,
    origin: Origin,
    snaplen: u32,
}

/// One of several files could not be written to.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to {path}: {source}")]
struct PartError {
    path: String,
    source: io::Error,
}

impl Files {
    /// Begins with the file for Ethernet, which is there whether a frame comes or not; nothing is
    /// written to it yet.
    pub(super) fn split(output: FileOutput, origin: Origin, snaplen: u32) -> io::Result<Self> {
        let kind = LinkType::ETHERNET;
        let file = CaptureFile::new(output, part_of(&origin, kind), snaplen, Holds::First(kind))?;
        Ok(Self::Split(Box::new(Split {
            parts: vec![(kind, file)],
            origin,
            snaplen,
        })))
    }

    /// The file for packets of a link type, which is made if there is none yet.
    #[inline]
    pub(super) fn of(&mut self, kind: LinkType) -> io::Result<&mut CaptureFile> {
        match self {
            Self::One(file) => Ok(file),
            Self::Split(split) => split.part(kind),
        }
    }

    /// An error of the file for a link type, which names it where there are several.
    #[cold]
    pub(super) fn error(&self, kind: LinkType, source: io::Error) -> io::Error {
        match self {
            Self::One(_) => source,
            Self::Split(split) => match split.parts().find(|(known, _)| *known == kind) {
                Some((_, file)) => named(file, source),
                None => source,
            },
        }
    }

    /// Does something with each file, come what may of the others. Returns the first error.
    pub(super) fn each(
        &mut self,
        mut write: impl FnMut(&mut CaptureFile) -> io::Result<()>,
    ) -> io::Result<()> {
        match self {
            Self::One(file) => write(file),
            Self::Split(split) => {
                let mut result = Ok(());
                for (_, file) in &mut split.parts {
                    let done = write(file).map_err(|error| named(file, error));
                    result = result.and(done);
                }
                result
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &CaptureFile> {
        let (one, parts) = match self {
            Self::One(file) => (Some(&**file), &[][..]),
            Self::Split(split) => (None, &split.parts[..]),
        };
        one.into_iter().chain(parts.iter().map(|(_, file)| file))
    }
}

impl Split {
    fn part(&mut self, kind: LinkType) -> io::Result<&mut CaptureFile> {
        let known = self.parts.iter().position(|(known, _)| *known == kind);
        let place = match known {
            Some(place) => place,
            None => {
                let output = self.parts[0].1.output();
                let output = output
                    .beside(&link_type::name(kind))
                    .map_err(|error| io::Error::new(error.kind(), error))?;
                let mut file = CaptureFile::new(
                    output,
                    part_of(&self.origin, kind),
                    self.snaplen,
                    Holds::Only(kind),
                )?;
                if self.parts[0].1.writes_aside() {
                    file.write_aside();
                }
                self.parts.push((kind, file));
                self.parts.len() - 1
            }
        };
        Ok(&mut self.parts[place].1)
    }

    /// The files there are, the one for Ethernet first.
    pub(super) fn parts(&self) -> impl Iterator<Item = (LinkType, &CaptureFile)> {
        self.parts.iter().map(|(kind, file)| (*kind, file))
    }
}

/// The origin of a file that holds one link type.
fn part_of(origin: &Origin, kind: LinkType) -> Origin {
    let mut origin = origin.clone();
    origin.comments.push(format!(
        "split-linktype={}: frames of other link types are in files of their own beside this one",
        link_type::name(kind)
    ));
    origin
}

/// Which file an error is of. The kind stays: it tells a closed pipe from trouble.
fn named(file: &CaptureFile, source: io::Error) -> io::Error {
    let path = file.output().shown();
    io::Error::new(source.kind(), PartError { path, source })
}
