//! Work that the start-up needs later, done by another thread meanwhile.
//!
//! aya reads all of the kernel's types whenever a loader is made: 15 ms, in which the kernel can print
//! its symbols to this thread.

use std::{panic, thread};

use aya::EbpfLoader;

/// Loads programs and maps.
pub type Loader = EbpfLoader<'static>;

/// A result that is on its way.
#[derive(Debug)]
pub struct Background<T>(Work<T>);

#[derive(Debug)]
enum Work<T> {
    Begun(thread::JoinHandle<T>),
    /// There could be no thread.
    Done(T),
}

impl<T: Send + 'static> Background<T> {
    fn begin(work: fn() -> T) -> Self {
        share_one_heap();
        let thread = thread::Builder::new().name("start-up".into()).spawn(work);
        Self(thread.map_or_else(|_| Work::Done(work()), Work::Begun))
    }

    /// Waits for the result.
    ///
    /// # Panics
    ///
    /// If the work did.
    #[must_use]
    pub fn wait(self) -> T {
        match self.0 {
            Work::Begun(thread) => thread
                .join()
                .unwrap_or_else(|payload| panic::resume_unwind(payload)),
            Work::Done(result) => result,
        }
    }
}

/// Gives the memory back that the start-up needed and a capture doesn't: what aya made of the
/// kernel's types alone is 20 MiB, which the allocator would keep for the next time.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "the C library's own function")]
    // SAFETY: it takes a number and touches no memory that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
    refuse_huge_pages();
}

/// Has the kernel leave holes in the heap alone: where it makes huge pages of its own accord, as
/// Debian's does, it would fill what was just given back with zeros, 2 MiB at a time, minutes later.
fn refuse_huge_pages() {
    // The kernel reads whole registers and wants the rest to be 0.
    const YES: libc::c_ulong = 1;
    const NONE: libc::c_ulong = 0;
    #[expect(unsafe_code, reason = "prctl has no safe form for this")]
    // SAFETY: these arguments are numbers; it changes nothing that is in memory. If it fails, the
    // process is larger and nothing else.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, YES, NONE, NONE, NONE);
    }
}

/// Has all threads share what the allocator has: of a heap of their own it would keep the end.
fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "the C library's own function")]
    // SAFETY: it takes two numbers, and may be called at any time.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// A loader: one is enough for all that is loaded.
#[must_use]
pub fn loader() -> Background<Loader> {
    Background::begin(|| {
        let mut loader = EbpfLoader::new();
        // No relocations by BTF: offsets come in by the configuration.
        loader.btf(None);
        loader
    })
}
