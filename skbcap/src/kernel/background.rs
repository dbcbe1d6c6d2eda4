//! Work that the start-up needs later, done by another thread meanwhile.
//!
//! aya reads all of the kernel's types whenever a loader is made, and once more for a tracepoint:
//! 15 ms each, in which the kernel can print its symbols to this thread.

use std::{panic, thread};

use aya::{Btf, BtfError, EbpfLoader};

/// Loads programs and maps.
pub type Loader = EbpfLoader<'static>;

/// The kernel's types in aya's form.
pub type Types = Result<Btf, BtfError>;

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

/// The kernel's types, by which aya loads tracepoints.
#[must_use]
pub fn types() -> Background<Types> {
    Background::begin(Btf::from_sys_fs)
}
