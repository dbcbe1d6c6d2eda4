//! Archives in cpio's `newc` format, which is what the kernel unpacks an
//! initramfs from (Documentation/driver-api/early-userspace/buffer-format.rst).
//! Knows nothing of what is in them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_777;

/// Writes one archive; archives may be written one behind another.
pub(crate) struct Archive<W: Write> {
    out: W,
    /// The next inode number: two entries with one number would be hard links.
    inode: u32,
    /// What was written, so that nothing is written twice.
    names: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    /// An empty archive.
    pub(crate) fn new(out: W) -> Self {
        Self {
            out,
            inode: 1,
            names: BTreeSet::new(),
        }
    }

    /// Whether there is an entry of this name.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// A directory, and those above it.
    pub(crate) fn directory(&mut self, name: &str) -> io::Result<()> {
        if name.is_empty() || !self.names.insert(name.to_owned()) {
            return Ok(());
        }
        self.parents(name)?;
        self.entry(name, DIRECTORY, b"")
    }

    /// A file with this content.
    pub(crate) fn file(&mut self, name: &str, permissions: u32, data: &[u8]) -> io::Result<()> {
        if !self.names.insert(name.to_owned()) {
            return Ok(());
        }
        self.parents(name)?;
        self.entry(name, FILE | permissions, data)
    }

    /// A symbolic link.
    pub(crate) fn symlink(&mut self, name: &str, target: &str) -> io::Result<()> {
        if !self.names.insert(name.to_owned()) {
            return Ok(());
        }
        self.parents(name)?;
        self.entry(name, SYMLINK, target.as_bytes())
    }

    /// A copy of a file that lies at `path`.
    pub(crate) fn copy(&mut self, name: &str, permissions: u32, path: &Path) -> Result<()> {
        let data = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(self.file(name, permissions, &data)?)
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, b"")?;
        Ok(self.out)
    }

    fn parents(&mut self, name: &str) -> io::Result<()> {
        match name.rsplit_once('/') {
            Some((parent, _)) => self.directory(parent),
            None => Ok(()),
        }
    }

    fn entry(&mut self, name: &str, mode: u32, data: &[u8]) -> io::Result<()> {
        let too_big = |_| io::Error::other(format!("{name} is too big for cpio"));
        let data_len = u32::try_from(data.len()).map_err(too_big)?;
        let name_len = u32::try_from(name.len() + 1).map_err(too_big)?;
        write!(self.out, "070701")?;
        // inode, mode, uid, gid, links, mtime, size, device (two), special
        // device (two), length of the name with its zero, checksum.
        let fields = [
            self.inode, mode, 0, 0, 1, 0, data_len, 0, 0, 0, 0, name_len, 0,
        ];
        for field in fields {
            write!(self.out, "{field:08x}")?;
        }
        self.inode += 1;
        self.out.write_all(name.as_bytes())?;
        // The header is 110 bytes; name and data each end on a multiple of 4.
        self.pad(110 + name.len(), 1)?;
        self.out.write_all(data)?;
        self.pad(data.len(), 0)
    }

    /// At least `least` zeros, up to a multiple of 4 after `len` bytes.
    fn pad(&mut self, len: usize, least: usize) -> io::Result<()> {
        let zeros = least + (len + least).wrapping_neg() % 4;
        self.out.write_all(&[0; 4][..zeros])
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn entries_are_aligned_and_parents_come_first() {
        let mut archive = Archive::new(Vec::new());
        archive.file("a/b", 0o644, b"12345").unwrap();
        archive.file("a/b", 0o644, b"again").unwrap();
        let bytes = archive.finish().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        // Name and zeros to 112; the second header follows at once.
        assert_eq!(&text[..14], "07070100000001");
        assert_eq!(&text[110..118], "a\x00070701");
        assert_eq!(&text[112 + 110..112 + 110 + 4], "a/b\0");
        // 114 -> 116, data 5 -> 8.
        assert_eq!(&text[112 + 116..112 + 124], "12345\0\0\0");
        assert!(text[112 + 124..].starts_with("070701"));
        assert!(text.ends_with("TRAILER!!!\0\0\0\0"));
        assert_eq!(text.len() % 4, 0);
    }
}
