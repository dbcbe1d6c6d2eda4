//! Where a capture file's bytes go: a file, a pipe or standard output.
//!
//! Owns the descriptor, and cuts a file back where its end is not whole. Knows nothing of blocks.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags};

use crate::config::Output;
use crate::escape::escape_into;

/// The output could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file could not be created.
    #[error("cannot write to {}{}", path.display(), hint(source))]
    Create {
        /// What `-w` names.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Standard output is a terminal.
    #[error(
        "standard output is a terminal, which cannot show pcapng: use -w FILE, or a pipe as in \
         'skbcap -w - | wireshark -k -i -', or leave out -w to print lines"
    )]
    Terminal,
    /// Standard output is closed or cannot be used.
    #[error("cannot write to standard output")]
    Stdout(#[source] io::Error),
    /// A pipe or a device, which can have no files beside it.
    #[error(
        "{} is no regular file: --split-linktype names its files after one",
        .0.display()
    )]
    NotRegular(PathBuf),
    /// A pipe or a device, which can have no file behind it.
    #[error("{} is no regular file: -C and -G need one", .0.display())]
    NoSuccessor(PathBuf),
    /// The time makes no name of it.
    #[error("cannot name a file after -w and the time")]
    Name(#[source] io::Error),
}

impl OpenError {
    /// What kind of failure it was.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Create { source, .. } | Self::Stdout(source) => source.kind(),
            Self::Terminal | Self::NotRegular(_) | Self::NoSuccessor(_) | Self::Name(_) => {
                ErrorKind::InvalidInput
            }
        }
    }
}

/// What to do about it.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::IsADirectory => "; -w takes a file's name",
        ErrorKind::NotFound => "; make its directory first",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "; name another place",
        _ => "",
    }
}

/// A file, a device, a pipe: whatever `-w` names.
#[derive(Debug)]
pub struct FileOutput {
    file: File,
    /// Its name; empty for standard output.
    path: PathBuf,
    is_regular: bool,
    /// Where in the file the first byte was written.
    start: u64,
}

impl FileOutput {
    /// Opens what `output` names, so that it can't fail for its name once frames come in;
    /// nothing if lines are to be printed. A file is created, or emptied.
    ///
    /// # Errors
    ///
    /// When it can't be written to, or is a terminal.
    pub fn open(output: &Output) -> Result<Option<Self>, OpenError> {
        match output {
            Output::Print => Ok(None),
            Output::File(path) => Self::create(path).map(Some),
            Output::Stdout => Self::stdout().map(Some),
        }
    }

    fn create(path: &Path) -> Result<Self, OpenError> {
        Self::create_with(path, File::options().truncate(true))
    }

    /// Opens, or creates, a file that is to be [emptied](Self::empty) before it is written to.
    ///
    /// # Errors
    ///
    /// When it can't be written to.
    pub fn prepare(path: &Path) -> Result<Self, OpenError> {
        Self::create_with(path, &mut File::options())
    }

    fn create_with(path: &Path, options: &mut OpenOptions) -> Result<Self, OpenError> {
        let opened = options.write(true).create(true).open(path);
        let output = opened.and_then(|file| Self::new(file, path));
        output.map_err(|source| OpenError::Create {
            path: path.to_owned(),
            source,
        })
    }

    /// Empties it, if it is a regular file.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn empty(&mut self) -> io::Result<()> {
        if self.is_regular {
            self.file.set_len(0)?;
        }
        Ok(())
    }

    fn stdout() -> Result<Self, OpenError> {
        let stdout = io::stdout();
        if stdout.is_terminal() {
            return Err(OpenError::Terminal);
        }
        // A descriptor of its own: Rust's `Stdout` would buffer lines.
        stdout
            .as_fd()
            .try_clone_to_owned()
            .and_then(|fd| Self::new(File::from(fd), Path::new("")))
            .map_err(OpenError::Stdout)
    }

    fn new(mut file: File, path: &Path) -> io::Result<Self> {
        let is_regular = file.metadata()?.is_file();
        let start = if is_regular {
            file.stream_position()?
        } else {
            0
        };
        Ok(Self {
            file,
            path: path.to_owned(),
            is_regular,
            start,
        })
    }

    /// Creates, or empties, a file beside this one: `out.WORD.pcapng` beside `out.pcapng`.
    ///
    /// # Errors
    ///
    /// When it can't be written to.
    pub fn beside(&self, word: &str) -> Result<Self, OpenError> {
        Self::create(&name_beside(&self.path, word))
    }

    /// Whether it can have files beside it.
    ///
    /// # Errors
    ///
    /// When it is a pipe or a device.
    pub fn must_be_regular(self) -> Result<Self, OpenError> {
        if self.is_regular {
            Ok(self)
        } else {
            Err(OpenError::NotRegular(self.path))
        }
    }

    /// Whether another file can come behind it.
    ///
    /// # Errors
    ///
    /// When it is a pipe or a device.
    pub fn must_have_successors(self) -> Result<Self, OpenError> {
        if self.is_replaceable() {
            Ok(self)
        } else {
            Err(OpenError::NoSuccessor(self.path))
        }
    }

    /// Another handle of it, for another thread: both write to the same place of it.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn second(&self) -> io::Result<Self> {
        Ok(Self {
            file: self.file.try_clone()?,
            path: self.path.clone(),
            ..*self
        })
    }

    /// Its name; empty for standard output.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether another file can come behind it: it is a regular one, with a name.
    #[must_use]
    pub fn is_replaceable(&self) -> bool {
        self.is_regular && !self.path.as_os_str().is_empty()
    }

    /// Whether its name still leads to it.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        let (Ok(named), Ok(opened)) = (std::fs::metadata(&self.path), self.file.metadata()) else {
            return false;
        };
        (named.dev(), named.ino()) == (opened.dev(), opened.ino())
    }

    /// Its name, safe to print.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut shown = String::new();
        escape_into(&mut shown, self.path.as_os_str().as_bytes(), b"");
        shown
    }
}

/// The name with a word before its extension, or behind it where there is none.
fn name_beside(path: &Path, word: &str) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(".");
    name.push(word);
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

impl Write for FileOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.file.write(bytes) {
                // Whoever shares this pipe with us has made it non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    match rustix::event::poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], None)
                    {
                        Ok(_) | Err(rustix::io::Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl FileOutput {
    /// Cuts the file back to the first `len` bytes that were written to it, where that is
    /// possible: on a pipe the rest is gone.
    ///
    /// # Errors
    ///
    /// When it should have been possible.
    pub fn keep(&mut self, len: u64) -> io::Result<()> {
        if !self.is_regular {
            return Ok(());
        }
        let end = self.file.stream_position()?;
        let kept = self.start.saturating_add(len);
        // Standard output may stand in the middle of a file: leave what follows alone.
        if kept < end && end == self.file.metadata()?.len() {
            self.file.set_len(kept)?;
            self.file.seek(SeekFrom::Start(kept))?;
        }
        Ok(())
    }

    /// Whether somebody may be waiting for what is written: it is no regular file.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !self.is_regular
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_cut_back_to_what_was_whole() {
        let path = std::env::temp_dir().join(format!("skbcap-keep-{}", std::process::id()));
        let mut output = FileOutput::create(&path).unwrap();
        output.write_all(b"a whole block, half").unwrap();
        output.keep(13).unwrap();
        output.write_all(b"!").unwrap();
        output.keep(100).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"a whole block!");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_beside_another_keeps_its_extension() {
        for (path, name) in [
            ("/tmp/out.pcapng", "/tmp/out.raw.pcapng"),
            ("out", "out.raw"),
            ("a.b/out", "a.b/out.raw"),
            ("a.b.cap", "a.b.raw.cap"),
            (".hidden", ".hidden.raw"),
        ] {
            assert_eq!(name_beside(Path::new(path), "raw"), Path::new(name));
        }
    }

    #[test]
    fn a_name_that_can_not_be_written_is_told_with_what_to_do() {
        let refused = |path: &str| {
            format!(
                "{:#}",
                anyhow::Error::from(FileOutput::create(Path::new(path)).unwrap_err())
            )
        };
        assert_eq!(
            refused("/"),
            "cannot write to /; -w takes a file's name: Is a directory (os error 21)"
        );
        assert_eq!(
            refused("/nowhere/out.pcapng"),
            "cannot write to /nowhere/out.pcapng; make its directory first: \
             No such file or directory (os error 2)"
        );
    }
}
