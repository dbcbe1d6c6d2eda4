//! A file's name made of the time, as C makes it: tcpdump's users know strftime(3).

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;

/// The longest name that the kernel takes (`PATH_MAX`), its NUL byte counted.
const MAX: usize = 4096;

/// What strftime(3) makes of `format` for a local time, in seconds since 1970 UTC.
///
/// # Errors
///
/// When it makes nothing of it, or more than a name can be.
#[expect(unsafe_code, reason = "C's own functions for times")]
pub(super) fn local(format: &[u8], time_s: u64) -> io::Result<Vec<u8>> {
    let format = CString::new(format)?;
    let time = libc::time_t::try_from(time_s).map_err(io::Error::other)?;
    let mut parts = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: `time` is a live number, `parts` room for what is written. Null says that nothing
    // was.
    let parts = unsafe {
        // Not said of localtime_r: that it looks where we are (`TZ`, /etc/localtime).
        tzset();
        if libc::localtime_r(&raw const time, parts.as_mut_ptr()).is_null() {
            return Err(io::Error::last_os_error());
        }
        parts.assume_init()
    };
    let mut name = vec![0u8; MAX];
    // SAFETY: writes at most `MAX` bytes, NUL included, to a live array of that length; `format`
    // ends with NUL, and `parts` was written above.
    let len = unsafe {
        libc::strftime(
            name.as_mut_ptr().cast(),
            MAX,
            format.as_ptr(),
            &raw const parts,
        )
    };
    if len == 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "strftime makes no file name of it",
        ));
    }
    name.truncate(len);
    Ok(name)
}

#[expect(unsafe_code, reason = "libc's crate lacks it on some targets")]
// SAFETY: POSIX's own signature.
unsafe extern "C" {
    /// `tzset(3)`.
    fn tzset();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_the_time() {
        assert_eq!(local(b"plain", 0).unwrap(), b"plain");
        let year = local(b"%Y", 1_700_000_000).unwrap();
        assert_eq!(year, b"2023");
        assert_eq!(local(b"a%%b-%s", 1_700_000_000).unwrap(), b"a%b-1700000000");
        assert!(local(b"", 0).is_err());
        assert!(local(&b"%Y".repeat(3000), 0).is_err());
    }
}
