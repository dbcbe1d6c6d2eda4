//! The kernel's description of its own types (BTF): where a field lies, how big a type is.
//!
//! Owns the parsing of BTF bytes; nothing is copied out of them but the place of each type. Must
//! not know: which fields skbcap needs ([`super::layout`]), the running kernel's memory.
//!
//! Source: `include/uapi/linux/btf.h` and `kernel/bpf/btf.c` at 5.10 to 7.2. Since 7.2 a type's
//! `vlen` has 24 bits and its kind 7 (before, 16 and 5, the bits between unused and zero), and a
//! layout section may tell the sizes of kinds that a reader does not know.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSection};

mod outline;
mod query;
#[cfg(test)]
pub(crate) mod synthetic;
#[cfg(test)]
mod tests;

pub use query::{Member, Variable};

/// Where a kernel built with `CONFIG_DEBUG_INFO_BTF` shows its types. Minimum kernel: 5.4.
pub const RUNNING_KERNEL: &str = "/sys/kernel/btf/vmlinux";

/// Kernels' own limit of types is 2^20 (`BTF_MAX_TYPE`); a file may not ask for more memory.
const MAX_TYPES: usize = 1 << 20;

/// Whether the running kernel shows its types. Programs are attached by those alone, unless by a
/// symbol's name.
#[must_use]
pub fn is_shown() -> bool {
    Path::new(RUNNING_KERNEL).exists()
}

const MAGIC: u16 = 0xeb9f;
const ELF_MAGIC: [u8; 4] = *b"\x7fELF";
const HEADER_LEN: usize = 24;
const HEADER_LEN_WITH_LAYOUT: usize = 32;
const TYPE_LEN: usize = 12;

/// The kinds of type that are looked at here.
mod kind {
    pub(super) const INT: u8 = 1;
    pub(super) const PTR: u8 = 2;
    pub(super) const ARRAY: u8 = 3;
    pub(super) const STRUCT: u8 = 4;
    pub(super) const UNION: u8 = 5;
    pub(super) const ENUM: u8 = 6;
    pub(super) const FWD: u8 = 7;
    pub(super) const TYPEDEF: u8 = 8;
    pub(super) const VOLATILE: u8 = 9;
    pub(super) const CONST: u8 = 10;
    pub(super) const RESTRICT: u8 = 11;
    pub(super) const FUNC: u8 = 12;
    pub(super) const FUNC_PROTO: u8 = 13;
    pub(super) const VAR: u8 = 14;
    pub(super) const DATASEC: u8 = 15;
    pub(super) const FLOAT: u8 = 16;
    pub(super) const DECL_TAG: u8 = 17;
    pub(super) const TYPE_TAG: u8 = 18;
    pub(super) const ENUM64: u8 = 19;
}

/// Why a question to BTF has no answer.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The file could not be read.
    #[error("cannot read the kernel's types from {}: {why}{}", path.display(), hint(path, why))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said, which stands in the words before what to do.
        why: io::Error,
    },
    /// An ELF file without types.
    #[error(
        "{} is an ELF file without a .BTF section: --btf takes raw BTF, or a vmlinux that was \
         built with CONFIG_DEBUG_INFO_BTF",
        path.display()
    )]
    NoSection {
        /// The file.
        path: PathBuf,
    },
    /// The file's bytes contradict the format.
    #[error("cannot read the kernel's types from {}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where.
        source: Box<BtfError>,
    },
    /// The bytes contradict the format.
    #[error("the BTF is corrupt at byte {offset}: {problem}")]
    Corrupt {
        /// Bytes from the start of the BTF.
        offset: usize,
        /// What is wrong there.
        problem: &'static str,
    },
    /// No type of that name.
    #[error("this kernel's BTF has no {kind} {name}")]
    MissingType {
        /// `structure`, `typedef`, ….
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A structure without that member.
    #[error("this kernel's BTF has no member {member} in {structure}")]
    MissingMember {
        /// The structure's name.
        structure: String,
        /// The path of members, separated by dots.
        member: String,
    },
}

fn hint(path: &Path, error: &io::Error) -> &'static str {
    if path == Path::new(RUNNING_KERNEL) && error.kind() == io::ErrorKind::NotFound {
        "; this kernel was built without CONFIG_DEBUG_INFO_BTF: give its types with --btf FILE"
    } else {
        ""
    }
}

/// A type's number within one [`Btf`]. 0 is `void`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TypeId(u32);

impl TypeId {
    /// The number by which the kernel knows it, if these are the running kernel's types.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

/// One kernel's types.
pub struct Btf {
    bytes: Vec<u8>,
    strings: Range<usize>,
    /// Where each type begins in `bytes`; type 1 is the first.
    types: Vec<u32>,
    /// Structures and unions with a name.
    structures: Vec<TypeId>,
    typedefs: Vec<TypeId>,
    functions: Vec<TypeId>,
    variables: Vec<TypeId>,
    sections: Vec<TypeId>,
}

/// The fixed part of a type, taken apart.
#[derive(Clone, Copy)]
struct Type {
    name: u32,
    kind: u8,
    flag: bool,
    vlen: u32,
    /// A size in bytes or a [`TypeId`], by `kind`.
    size_or_type: u32,
    /// Where its members (or other extra data) begin in `bytes`.
    extra: usize,
}

impl Btf {
    /// The running kernel's types.
    ///
    /// # Errors
    ///
    /// [`BtfError::Read`] if the kernel shows none, [`BtfError::Corrupt`] if they can't be read.
    pub fn running() -> Result<Self, BtfError> {
        Self::from_file(Path::new(RUNNING_KERNEL))
    }

    /// The types in a file: raw BTF, or an ELF file (a `vmlinux`) with a `.BTF` section.
    ///
    /// # Errors
    ///
    /// [`BtfError::Read`], [`BtfError::NoSection`], or [`BtfError::Parse`].
    pub fn from_file(path: &Path) -> Result<Self, BtfError> {
        let bytes = fs::read(path).map_err(|why| BtfError::Read {
            path: path.into(),
            why,
        })?;
        let parse = |bytes| {
            Self::parse(bytes).map_err(|source| BtfError::Parse {
                path: path.into(),
                source: Box::new(source),
            })
        };
        if !bytes.starts_with(&ELF_MAGIC) {
            return parse(bytes);
        }
        let section = object::File::parse(&*bytes)
            .ok()
            .and_then(|elf| elf.section_by_name(".BTF")?.data().ok().map(<[u8]>::to_vec));
        match section {
            Some(section) => parse(section),
            None => Err(BtfError::NoSection { path: path.into() }),
        }
    }

    /// The types in raw BTF, little-endian. Each type's place is noted; nothing else is read yet.
    ///
    /// # Errors
    ///
    /// [`BtfError::Corrupt`].
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BtfError> {
        let header = Header::parse(&bytes)?;
        let mut btf = Self {
            bytes,
            strings: header.strings,
            types: vec![0],
            structures: Vec::new(),
            typedefs: Vec::new(),
            functions: Vec::new(),
            variables: Vec::new(),
            sections: Vec::new(),
        };
        let mut at = header.types.start;
        while at < header.types.end {
            let id = TypeId(btf.types.len() as u32);
            let ty = btf.type_at(at)?;
            let next = extra_len(&ty)
                .or_else(|| header.layout.extra_len(&btf.bytes, &ty))
                .ok_or_else(|| corrupt(at, "a type of a kind that this skbcap does not know"))?
                .checked_add(ty.extra)
                .filter(|&next| next <= header.types.end)
                .ok_or_else(|| corrupt(at, "a type runs past the end of the types"))?;
            match ty.kind {
                kind::STRUCT | kind::UNION if ty.name != 0 => btf.structures.push(id),
                kind::TYPEDEF => btf.typedefs.push(id),
                kind::FUNC => btf.functions.push(id),
                kind::VAR => btf.variables.push(id),
                kind::DATASEC => btf.sections.push(id),
                _ => {}
            }
            if btf.types.len() > MAX_TYPES {
                return Err(corrupt(at, "more types than any kernel has"));
            }
            let place = u32::try_from(at).map_err(|_| corrupt(at, "more than 4 GiB of types"))?;
            btf.types.push(place);
            at = next;
        }
        Ok(btf)
    }

    /// How many types there are, `void` not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.types.len() - 1
    }

    /// Whether there is no type at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn type_at(&self, at: usize) -> Result<Type, BtfError> {
        let info = self.u32_at(at + 4)?;
        Ok(Type {
            name: self.u32_at(at)?,
            kind: (info >> 24) as u8 & 0x7f,
            flag: info >> 31 == 1,
            vlen: info & 0x00ff_ffff,
            size_or_type: self.u32_at(at + 8)?,
            extra: at + TYPE_LEN,
        })
    }

    fn u32_at(&self, at: usize) -> Result<u32, BtfError> {
        read_u32(&self.bytes, at).ok_or_else(|| corrupt(at, "the bytes end here, inside a type"))
    }

    /// Whether the string at `offset` of the string section is `name`.
    fn is_named(&self, offset: u32, name: &str) -> bool {
        self.bytes[self.strings.clone()]
            .get(offset as usize..)
            .and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }
}

/// Bytes behind a type's fixed part: one thing, or `vlen` of them.
fn extra_len(ty: &Type) -> Option<usize> {
    let vlen = ty.vlen as usize;
    Some(match ty.kind {
        kind::INT | kind::VAR | kind::DECL_TAG => 4,
        kind::ARRAY => 12,
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => vlen * 12,
        kind::ENUM | kind::FUNC_PROTO => vlen * 8,
        kind::PTR | kind::FWD | kind::FUNC | kind::FLOAT => 0,
        kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => 0,
        _ => return None,
    })
}

/// Where the sections lie, in bytes of the whole.
struct Header {
    types: Range<usize>,
    strings: Range<usize>,
    layout: LayoutSection,
}

/// Four bytes for each kind: the size of its one extra thing, and of each of its `vlen` things.
struct LayoutSection(Range<usize>);

impl LayoutSection {
    fn extra_len(&self, bytes: &[u8], ty: &Type) -> Option<usize> {
        let entry = bytes
            .get(self.0.clone())?
            .chunks_exact(4)
            .nth(usize::from(ty.kind))?;
        Some(usize::from(entry[0]) + ty.vlen as usize * usize::from(entry[1]))
    }
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, BtfError> {
        let magic = bytes
            .first_chunk::<2>()
            .map(|bytes| u16::from_le_bytes(*bytes));
        match magic {
            Some(MAGIC) => {}
            Some(magic) if magic.swap_bytes() == MAGIC => {
                return Err(corrupt(0, "it is BTF of a big-endian kernel"));
            }
            _ => {
                return Err(corrupt(
                    0,
                    "it does not begin with BTF's magic number, eb9f",
                ));
            }
        }
        if bytes.get(2) != Some(&1) {
            return Err(corrupt(2, "a version of BTF other than 1"));
        }
        let field = |at| read_u32(bytes, at).ok_or(corrupt(at, "the header is cut short"));
        let header_len = field(4)? as usize;
        if header_len < HEADER_LEN {
            return Err(corrupt(4, "the header's length is less than a header's"));
        }
        let section = |at: usize| {
            let start = header_len.checked_add(field(at)? as usize);
            let end = start.and_then(|start| start.checked_add(field(at + 4).ok()? as usize));
            match (start, end) {
                (Some(start), Some(end)) if end <= bytes.len() => Ok(start..end),
                _ => Err(corrupt(at, "a section that lies outside the bytes")),
            }
        };
        let with_layout = header_len >= HEADER_LEN_WITH_LAYOUT;
        Ok(Self {
            types: section(8)?,
            strings: section(16)?,
            layout: LayoutSection(if with_layout { section(24)? } else { 0..0 }),
        })
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*four))
}

fn corrupt(offset: usize, problem: &'static str) -> BtfError {
    BtfError::Corrupt { offset, problem }
}
