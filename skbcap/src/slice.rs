//! How soon the scheduler lets this process run, where others want the processor too.
//!
//! A ring fills while a sender has the processor that its reader waits for. Linux gives everyone turns
//! of some milliseconds; a process may ask for shorter ones, which it gets sooner, and no more time in
//! all (EEVDF, `kernel/sched/fair.c`). So nobody is slowed by it, and no privilege is needed.

use std::io;
use std::mem;

/// The shortest turn that Linux gives, 0.1 ms: as long as it takes to write some hundred frames.
const SLICE_NS: u64 = 100_000;

/// Asks for it, for this thread and those that it starts. Where somebody chose another way of
/// scheduling than the usual one, it stays. Minimum kernel: 6.12; older ones take no notice.
///
/// # Errors
///
/// What the kernel says.
pub fn shorten() -> io::Result<()> {
    let mut attributes = get()?;
    if attributes.sched_policy == libc::SCHED_OTHER as u32 {
        attributes.sched_runtime = SLICE_NS;
        set(&attributes)?;
    }
    Ok(())
}

#[expect(unsafe_code, reason = "no crate at hand has this call")]
fn get() -> io::Result<libc::sched_attr> {
    const LEN: usize = mem::size_of::<libc::sched_attr>();
    // SAFETY: numbers only, for which zeros are values.
    let mut attributes: libc::sched_attr = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes as many bytes as it is told that there are. 0 is this thread; there are
    // no flags.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, LEN, 0) };
    match result {
        0 => Ok(attributes),
        _ => Err(io::Error::last_os_error()),
    }
}

#[expect(unsafe_code, reason = "no crate at hand has this call")]
fn set(attributes: &libc::sched_attr) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes as `size` says, which is what it wrote there itself: no
    // more than it was told that there are.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const *attributes, 0) };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::{SLICE_NS, get, set, shorten};

    #[test]
    fn turns_become_shorter_and_nothing_else_changes() {
        let before = get().unwrap();
        shorten().unwrap();
        let after = get().unwrap();
        assert_eq!(
            (after.sched_policy, after.sched_nice, after.sched_flags),
            (before.sched_policy, before.sched_nice, before.sched_flags)
        );
        // Kernels before 6.12 tell none.
        if before.sched_runtime != 0 {
            assert_eq!(after.sched_runtime, SLICE_NS);
        }
        // A thread that it starts has it, too.
        let of_child = std::thread::spawn(|| get().unwrap()).join().unwrap();
        assert_eq!(of_child.sched_runtime, after.sched_runtime);
    }

    #[test]
    fn another_way_of_scheduling_is_left_alone() {
        let mut batch = get().unwrap();
        batch.sched_policy = libc::SCHED_BATCH as u32;
        set(&batch).unwrap();
        let before = get().unwrap();
        shorten().unwrap();
        let after = get().unwrap();
        assert_eq!(after.sched_policy, libc::SCHED_BATCH as u32);
        assert_eq!(after.sched_runtime, before.sched_runtime);
    }
}
