//! Where a capture file's bytes go: a file, a pipe or standard output.
//!
//! Owns the only buffer between the ring and the file, and the promise that what lies on a disk
//! ends with a whole block, come what may. Knows nothing of what a block is: whoever writes them
//! says where each ends.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags};

use crate::config::Output;

/// Bytes that [`BlockBuffer`] gathers before it writes.
pub const BUFFER_LEN: usize = 512 * 1024;

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

/// A place for bytes that can take back the last of them.
pub trait Destination: Write {
    /// Takes back the last `len` bytes that were written, where that is possible: on a pipe they
    /// are gone.
    ///
    /// # Errors
    ///
    /// When it should have been possible.
    fn take_back(&mut self, len: u64) -> io::Result<()>;
}

/// A file, a device, a pipe: whatever `-w` names.
#[derive(Debug)]
pub struct FileOutput {
    file: File,
    is_regular: bool,
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
        Ok(Self { file, is_regular })
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
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Destination for FileOutput {
    fn take_back(&mut self, len: u64) -> io::Result<()> {
        if !self.is_regular || len == 0 {
            return Ok(());
        }
        let end = self.file.stream_position()?;
        // Standard output may stand in the middle of a file: leave what follows alone.
        if end == self.file.metadata()?.len() {
            let kept = end.saturating_sub(len);
            self.file.set_len(kept)?;
            self.file.seek(SeekFrom::Start(kept))?;
        }
        Ok(())
    }
}

/// Gathers bytes and passes on whole blocks only.
///
/// After an error nothing more is written, and what was written of a block that is not whole is
/// taken back: every block before it can be read.
#[derive(Debug)]
pub struct BlockBuffer<W: Destination> {
    inner: W,
    bytes: Vec<u8>,
    /// Where each whole block in `bytes` ends.
    ends: Vec<usize>,
    /// The error that ended it, if one did.
    failed: Option<ErrorKind>,
}

impl<W: Destination> BlockBuffer<W> {
    /// An empty buffer before `inner`.
    #[must_use]
    pub fn new(inner: W) -> Self {
        Self {
            inner,
            bytes: Vec::with_capacity(BUFFER_LEN),
            ends: Vec::new(),
            failed: None,
        }
    }

    /// Says that what was written so far ends with a whole block. Passes it on if the buffer is
    /// full.
    ///
    /// # Errors
    ///
    /// As [`Write::flush`].
    pub fn end_block(&mut self) -> io::Result<()> {
        if self.ends.last().copied().unwrap_or(0) < self.bytes.len() {
            self.ends.push(self.bytes.len());
        }
        if self.bytes.len() >= BUFFER_LEN {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Drops what was written since the last whole block.
    pub fn abandon_block(&mut self) {
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }

    /// Whether there are whole blocks that were not passed on yet.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        !self.ends.is_empty()
    }

    /// Where the bytes go.
    pub fn get_ref(&self) -> &W {
        &self.inner
    }

    fn pass_on(&mut self) -> io::Result<()> {
        let whole = self.ends.last().copied().unwrap_or(0);
        let mut written = 0;
        while written < whole {
            let error = match self.inner.write(&self.bytes[written..whole]) {
                Ok(0) => ErrorKind::WriteZero.into(),
                Ok(len) => {
                    written += len;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            self.failed = Some(error.kind());
            let blocks = self.ends.partition_point(|&end| end <= written);
            let kept = blocks.checked_sub(1).map_or(0, |last| self.ends[last]);
            self.bytes.clear();
            self.ends.clear();
            // That the file is not whole any more is worse than why.
            self.inner.take_back((written - kept) as u64)?;
            return Err(error);
        }
        self.bytes.drain(..whole);
        self.ends.clear();
        Ok(())
    }
}

impl<W: Destination> Write for BlockBuffer<W> {
    /// Takes all of `bytes`; never fails but after an error.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(kind) = self.failed {
            return Err(kind.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    /// Passes on every whole block.
    ///
    /// # Errors
    ///
    /// What `inner` says: `StorageFull` for a full disk, `BrokenPipe` for a closed pipe; the same
    /// again for each call after that.
    fn flush(&mut self) -> io::Result<()> {
        if let Some(kind) = self.failed {
            return Err(kind.into());
        }
        self.pass_on()?;
        self.inner.flush()
    }
}

impl<W: Destination> Drop for BlockBuffer<W> {
    /// The last chance of what an error elsewhere has left behind.
    fn drop(&mut self) {
        if self.failed.is_none() {
            let _ = self.flush();
        }
    }
}

#[cfg(test)]
mod tests;
