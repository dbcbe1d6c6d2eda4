//! What has to be known of the running kernel before the capture's programs are loaded.
//!
//! Loads the set-up program, asks, and lets it go again: nothing is attached.

use std::io;

use aya::{Ebpf, EbpfError, programs::RawTracePoint};

use super::{
    background::Loader,
    cpu_words,
    kallsyms::Symbols,
    object,
    page_base::{self, Ways},
    peek::{self, Mailbox},
    preemption,
    preflight::Preflight,
    refused::ProgramRefused,
};

/// Why this kernel could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The kernel refused the set-up program's maps.
    #[error("the kernel refused skbcap's maps")]
    Maps(#[source] Box<EbpfError>),
    /// The kernel refused the set-up program.
    #[error(transparent)]
    Program(#[from] ProgramRefused),
    /// The set-up program could not be asked.
    #[error("cannot run skbcap's set-up program")]
    Mailbox(#[source] io::Error),
}

/// Looks in kernel memory for the page bases (by `ways`) and the preemption counters, and adds what
/// was found, or why it wasn't, to `preflight`. `loader` is a [`super::background::loader`].
///
/// # Errors
///
/// When the kernel takes no program of ours, so that it could not even be asked.
pub fn explore(
    preflight: &mut Preflight,
    ways: Ways,
    loader: &mut Loader,
) -> Result<(), SetupError> {
    // Hidden or missing symbols are for those to tell who look for one.
    let none = Symbols::scan(io::empty(), &[]).map_err(SetupError::Mailbox)?;
    let symbols = preflight.symbols.as_ref().unwrap_or(&none);
    let (Ok(types), Ok(online)) = (&preflight.types, &preflight.online_cpus) else {
        return Ok(());
    };
    let object = load(loader)?;
    let mut mailbox = Mailbox::of(&object).map_err(SetupError::Mailbox)?;
    let page_bases = page_base::find(ways, &types.btf, symbols, &mut mailbox);
    let cpu_words = cpu_words::find(&types.btf, symbols, online, &mut mailbox);
    let preempts = preemption::preempts(&preflight.version, symbols, &mut mailbox);
    preflight.add_memory(page_bases, cpu_words, preempts);
    Ok(())
}

/// The object with its set-up program loaded.
fn load(loader: &mut Loader) -> Result<Ebpf, SetupError> {
    let mut object = loader
        .load(object::bytes())
        .map_err(|error| SetupError::Maps(Box::new(error)))?;
    let program = object
        .program_mut(peek::PROGRAM)
        .expect("a program of the object");
    let program: &mut RawTracePoint = program.try_into().expect("a raw tracepoint in the object");
    program
        .load()
        .map_err(|error| ProgramRefused::new("its set-up", error))?;
    Ok(object)
}
