//! On which CPUs this thread may run.

use std::collections::BTreeSet;
use std::io;

/// Words of a mask: as many CPUs as any kernel may have.
const WORDS: usize = 8192 / 64;

/// The CPUs that the calling thread may run on.
///
/// # Errors
///
/// The system call's.
#[expect(unsafe_code, reason = "a system call that fills a buffer")]
pub(super) fn allowed() -> io::Result<BTreeSet<u32>> {
    let mut mask = [0u64; WORDS];
    // SAFETY: the kernel writes at most the length that it is told, which is the mask's; words of
    // 64 bits are what it expects on a 64-bit machine.
    let result =
        unsafe { libc::sched_getaffinity(0, size_of_val(&mask), mask.as_mut_ptr().cast()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let bits = (0..WORDS as u32 * 64).filter(|cpu| mask[*cpu as usize / 64] >> (cpu % 64) & 1 == 1);
    Ok(bits.collect())
}

/// Lets the calling thread run on these CPUs only, and moves it there.
///
/// # Errors
///
/// The system call's: `EINVAL` if none of them is online and allowed to this process.
#[expect(unsafe_code, reason = "a system call that reads a buffer")]
pub(super) fn set(cpus: &BTreeSet<u32>) -> io::Result<()> {
    let mut mask = [0u64; WORDS];
    for cpu in cpus {
        if let Some(word) = mask.get_mut(*cpu as usize / 64) {
            *word |= 1 << (cpu % 64);
        }
    }
    // SAFETY: the kernel reads at most the length that it is told, which is the mask's.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&mask), mask.as_ptr().cast()) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Lets the calling thread run on these CPUs again at the end of the scope.
pub(super) struct RestoreAtEnd(pub(super) BTreeSet<u32>);

impl Drop for RestoreAtEnd {
    fn drop(&mut self) {
        // It was allowed before; if a cpuset changed meanwhile, the thread stays where it may run.
        let _ = set(&self.0);
    }
}
