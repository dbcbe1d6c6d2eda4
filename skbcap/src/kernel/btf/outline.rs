//! The kernel's types in aya's form, as far as programs are attached by them.
//!
//! aya finds a tracepoint's typedef or a function by its name, and tells the kernel its number. For
//! that it would read all types with all that they are made of. Here they keep their numbers, and
//! all but those are made of nothing; kinds that aya doesn't know don't reach it either.

use aya::Endianness;

use super::{Btf, HEADER_LEN, MAGIC, TYPE_LEN, kind};

/// The format's version.
const VERSION: u32 = 1;

impl Btf {
    /// The tracepoints and functions of these names, as far as there are such, each with its number.
    ///
    /// # Errors
    ///
    /// [`BtfError::Corrupt`](super::BtfError::Corrupt).
    ///
    /// # Panics
    ///
    /// If aya does not take what is written here.
    pub fn outline(
        &self,
        tracepoints: &[&str],
        functions: &[&str],
    ) -> Result<aya::Btf, super::BtfError> {
        let nothing = words([0, u32::from(kind::FWD) << 24, 0]);
        let mut types = nothing.repeat(self.len());
        // The first string is the empty one.
        let mut strings = vec![0];
        let typedef = |&name: &&str| (kind::TYPEDEF, format!("btf_trace_{name}"));
        let function = |&name: &&str| (kind::FUNC, name.to_owned());
        let wanted = tracepoints.iter().map(typedef);
        for (kind, name) in wanted.chain(functions.iter().map(function)) {
            let found = match kind {
                kind::TYPEDEF => self.typedef(&name)?,
                _ => self.function(&name)?,
            };
            let Some(found) = found else { continue };
            let at = (found.number() as usize - 1) * TYPE_LEN;
            let ty = words([strings.len() as u32, u32::from(kind) << 24, 0]);
            types[at..][..TYPE_LEN].copy_from_slice(&ty);
            strings.extend_from_slice(name.as_bytes());
            strings.push(0);
        }
        let len = types.len() as u32;
        let start = u32::from(MAGIC) | VERSION << 16;
        // The header's length; the types' place behind it and length; the strings'.
        let mut bytes = words([start, HEADER_LEN as u32, 0, len, len, strings.len() as u32]);
        bytes.append(&mut types);
        bytes.append(&mut strings);
        Ok(aya::Btf::parse(&bytes, Endianness::Little).expect("all that the format asks for"))
    }
}

fn words<const N: usize>(words: [u32; N]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
