//! What has to be known of the running kernel before the capture's programs are loaded.
//!
//! Loads the set-up program, asks, and lets it go again: nothing is attached.

use std::{collections::BTreeSet, io, path::Path};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    programs::{ProgramError, RawTracePoint},
};
use skbcap_common::config::Layout;

use super::{
    btf::{Btf, BtfError},
    cpus::{self, CpuListError},
    kallsyms::Symbols,
    layout::{self, LayoutError},
    object,
    page_base::{self, NotFound, PageBases, Ways},
    peek::{self, Mailbox},
    preempt_count::{self, PreemptCounts},
};

/// Why this kernel could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The kernel's types could not be read.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// The kernel's structures aren't those that the programs know.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The CPUs could not be listed.
    #[error(transparent)]
    Cpus(#[from] CpuListError),
    /// The kernel refused the set-up program's maps.
    #[error("the kernel refused skbcap's maps")]
    Maps(#[source] Box<EbpfError>),
    /// The kernel refused the set-up program.
    #[error("the kernel refused to load skbcap's set-up program")]
    Program(#[source] Box<ProgramError>),
    /// The set-up program could not be asked.
    #[error("cannot run skbcap's set-up program")]
    Mailbox(#[source] io::Error),
}

/// What is known of the running kernel.
pub struct Facts {
    /// Its types.
    pub btf: Btf,
    /// Where things lie in its structures; the two page bases as in `page_bases`, else 0.
    pub layout: Layout,
    /// How fragments are found, or why they can't be.
    pub page_bases: Result<PageBases, NotFound>,
    /// How contexts are told apart, or why they can't be.
    pub preempt_counts: Result<PreemptCounts, preempt_count::Unknown>,
    /// CPUs that may ever come online.
    pub possible: BTreeSet<u32>,
    /// CPUs that run now.
    pub online: BTreeSet<u32>,
}

impl Facts {
    /// Asks the running kernel. `btf` names a file with its types, where it has none itself;
    /// `ways` are those to try for the page bases.
    ///
    /// # Errors
    ///
    /// When something is missing that nothing can be captured without.
    pub fn gather(btf: Option<&Path>, ways: Ways) -> Result<Self, SetupError> {
        let btf = btf.map_or_else(Btf::running, Btf::from_file)?;
        let mut layout = layout::layout(&btf)?;
        let (possible, online) = (cpus::possible()?, cpus::online()?);
        // Hidden or missing symbols are for those to tell who look for one.
        let names = [page_base::SYMBOLS, preempt_count::SYMBOLS].concat();
        let symbols = Symbols::look_up(&names)
            .or_else(|_| Symbols::scan(io::empty(), &names))
            .map_err(SetupError::Mailbox)?;
        let object = load()?;
        let mut mailbox = Mailbox::of(&object).map_err(SetupError::Mailbox)?;
        let page_bases = page_base::find(ways, &btf, &symbols, &mut mailbox);
        if let Ok(bases) = &page_bases {
            layout.page_offset_base = bases.page_offset_base;
            layout.vmemmap_base = bases.vmemmap_base;
        }
        let preempt_counts = preempt_count::find(&btf, &symbols, &online, &mut mailbox);
        Ok(Self {
            btf,
            layout,
            page_bases,
            preempt_counts,
            possible,
            online,
        })
    }

    /// For each CPU up to the last possible one, the address of its preemption counter, 0 where it
    /// isn't known.
    #[must_use]
    pub fn preempt_count_addresses(&self) -> Vec<u64> {
        let cpus = self.possible.last().map_or(1, |last| last + 1);
        let address = |cpu| {
            let counts = self.preempt_counts.as_ref().ok()?;
            counts.addresses.get(&cpu).copied()
        };
        (0..cpus).map(|cpu| address(cpu).unwrap_or(0)).collect()
    }
}

/// The object with its set-up program loaded.
fn load() -> Result<Ebpf, SetupError> {
    let mut object = EbpfLoader::new()
        .btf(None)
        .load(object::bytes())
        .map_err(|error| SetupError::Maps(Box::new(error)))?;
    let program = object
        .program_mut(peek::PROGRAM)
        .expect("a program of the object");
    let program: &mut RawTracePoint = program.try_into().expect("a raw tracepoint in the object");
    program
        .load()
        .map_err(|error| SetupError::Program(Box::new(error)))?;
    Ok(object)
}
