//! An expression becomes a program for each link type.

use std::ffi::CString;
use std::path::PathBuf;

use super::cbpf::{Invalid, Program};
use super::ebpf::Untranslatable;
use super::fault::Fault;
use super::libpcap::{CompileError, Libpcap, Missing};
use crate::link_type;
use crate::pcapng::LinkType;

/// What libpcap says when it has used up the memory that it sets aside for one expression:
/// `newchunk` in gencode.c (1.10), which never takes more than 16 chunks.
const TOO_LONG: &str = "out of memory";

/// A filter expression that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// libpcap isn't there.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// libpcap doesn't take it.
    #[error("{0}")]
    Compile(CompileError, Option<Fault>),
    /// libpcap has no room for it.
    #[error(
        "libpcap can't compile an expression this long (it says: {TOO_LONG}): networks (net) and \
         ranges of ports (portrange) say much in few words"
    )]
    TooLongForLibpcap,
    /// The kernel doesn't.
    #[error(
        "the kernel does not take this expression, {instructions} instructions of its own: {why}"
    )]
    Refused {
        /// Instructions of eBPF.
        instructions: usize,
        /// What it says.
        why: String,
    },
    /// libpcap made something of it that is no program.
    #[error("libpcap's program for {} frames can't be run", link_type::name(*.0))]
    Invalid(LinkType, #[source] Invalid),
    /// There is no program of the kernel's for it.
    #[error(transparent)]
    Untranslatable(#[from] Untranslatable),
    /// Its file can't be read.
    #[error("cannot read {path}: {error}", path = .0.display(), error = .1)]
    File(PathBuf, String),
    /// A NUL byte, which ends a C string.
    #[error("a filter expression holds no NUL byte")]
    Nul,
}

/// An expression in the language of pcap-filter(7), not compiled yet.
#[derive(Clone, Debug)]
pub struct Expression {
    text: CString,
    libpcap: Libpcap,
}

impl Expression {
    /// Takes an expression's text; [`None`] if it is empty, which selects everything and needs no
    /// libpcap.
    ///
    /// # Errors
    ///
    /// When libpcap is missing, or the text holds a NUL byte.
    pub fn new(text: Vec<u8>) -> Result<Option<Self>, FilterError> {
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        let text = CString::new(text).map_err(|_| FilterError::Nul)?;
        let libpcap = Libpcap::open()?;
        Ok(Some(Self { text, libpcap }))
    }

    /// The program for frames that come from a file and begin as this link type says.
    ///
    /// # Errors
    ///
    /// When libpcap doesn't take it: for this link type, or for any.
    pub fn compile(&self, link_type: LinkType) -> Result<Program, FilterError> {
        let compiled = self.libpcap.compile(&self.text, link_type);
        let instructions = compiled.map_err(|error| match error.0.as_str() {
            TOO_LONG => FilterError::TooLongForLibpcap,
            _ => FilterError::Compile(error, None),
        })?;
        Program::new(&instructions).map_err(|invalid| FilterError::Invalid(link_type, invalid))
    }

    /// The error with the place that it is about, where that can be found.
    fn located(&self, error: FilterError, link_type: LinkType) -> FilterError {
        let said = |text: &[u8]| {
            let text = CString::new(text).ok()?;
            let error = self.libpcap.compile(&text, link_type).err()?;
            Some(error.0)
        };
        match error {
            FilterError::Compile(error, None) => {
                FilterError::Compile(error, Fault::find(self.text.as_bytes(), said))
            }
            error => error,
        }
    }
}

impl FilterError {
    /// Where the expression is wrong, if that is known.
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Compile(_, fault) => fault.as_ref(),
            _ => None,
        }
    }
}

/// An expression's programs for the link types of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filters {
    programs: Vec<(LinkType, Result<Program, FilterError>)>,
}

impl Filters {
    /// Compiles for each of the link types; for Ethernet if there is none.
    ///
    /// # Errors
    ///
    /// When it can be compiled for none of them.
    pub fn new(expression: &Expression, link_types: &[LinkType]) -> Result<Self, FilterError> {
        let link_types = if link_types.is_empty() {
            &[LinkType::ETHERNET]
        } else {
            link_types
        };
        let compile = |&link_type| (link_type, expression.compile(link_type));
        let programs: Vec<_> = link_types.iter().map(compile).collect();
        if programs.iter().all(|(_, program)| program.is_err())
            && let Some((_, Err(error))) = programs.first()
        {
            return Err(expression.located(error.clone(), link_types[0]));
        }
        Ok(Self { programs })
    }

    /// The programs, each for a link type.
    pub fn programs(&self) -> impl Iterator<Item = (LinkType, &Program)> {
        self.programs
            .iter()
            .filter_map(|(link_type, program)| Some((*link_type, program.as_ref().ok()?)))
    }

    /// Whether the expression selects a frame, of which `data` was captured and which had
    /// `wire_len` bytes. One of a link type that it can't be compiled for is not selected.
    #[must_use]
    pub fn select(&self, link_type: LinkType, data: &[u8], wire_len: u32) -> bool {
        self.programs
            .iter()
            .find(|(of, _)| *of == link_type)
            .and_then(|(_, program)| program.as_ref().ok())
            .is_some_and(|program| program.run(data, wire_len) != 0)
    }

    /// The link types that the expression can't be compiled for, and why.
    pub fn not_compiled(&self) -> impl Iterator<Item = (LinkType, &FilterError)> {
        self.programs
            .iter()
            .filter_map(|(link_type, program)| Some((*link_type, program.as_ref().err()?)))
    }
}
