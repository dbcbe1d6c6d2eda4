//! Files that are only read, mapped.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

/// A mapped file; [`None`] where there is nothing to map.
///
/// # Errors
///
/// When it is no regular file, or can't be read.
pub(crate) fn map(path: &Path) -> io::Result<Option<Mmap>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        let message = "not a regular file, which is needed";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    if metadata.len() == 0 {
        return Ok(None);
    }
    #[expect(
        unsafe_code,
        reason = "mapping a file is only as safe as the file is left alone"
    )]
    // SAFETY: the mapping is private to this function's caller and only read. Whoever cuts the file
    // short meanwhile makes this process end by SIGBUS, as with any program that maps a file.
    let map = unsafe { Mmap::map(&file) }?;
    Ok(Some(map))
}
