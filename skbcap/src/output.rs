//! Where a capture file's bytes go: a file, a pipe or standard output.
//!
//! Buffers nothing: whoever makes the bytes does, and knows where each block ends. Owns what a
//! file can do and a pipe can't: to be cut back to a whole block after an error.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags};

use crate::config::Output;

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
    is_regular: bool,
    /// Bytes that were written.
    written: u64,
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
        File::create(path)
            .and_then(Self::new)
            .map_err(|source| OpenError::Create {
                path: path.to_owned(),
                source,
            })
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
            .and_then(|fd| Self::new(File::from(fd)))
            .map_err(OpenError::Stdout)
    }

    fn new(file: File) -> io::Result<Self> {
        let is_regular = file.metadata()?.is_file();
        Ok(Self {
            file,
            is_regular,
            written: 0,
        })
    }

    /// Cuts off what was written after the first `len` bytes: a block that is not whole, after an
    /// error. On a pipe they are gone, and nothing is done.
    ///
    /// # Errors
    ///
    /// When the file can't be cut.
    pub fn cut_back_to(&mut self, len: u64) -> io::Result<()> {
        let excess = self.written.saturating_sub(len);
        if !self.is_regular || excess == 0 {
            return Ok(());
        }
        let end = self.file.stream_position()?;
        // Standard output may stand in the middle of a file: leave what follows alone.
        if end == self.file.metadata()?.len() {
            let kept = end.saturating_sub(excess);
            self.file.set_len(kept)?;
            self.file.seek(SeekFrom::Start(kept))?;
            self.written = len;
        }
        Ok(())
    }
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
                result => {
                    self.written += *result.as_ref().unwrap_or(&0) as u64;
                    return result;
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests;
