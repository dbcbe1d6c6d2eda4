//! Builds small BTF for tests: the types of kernels that are not at hand.

use std::collections::HashMap;

use super::kind;

/// A member to be: its name (empty for none), its type, its offset in bits, its bits if it is a
/// bit-field.
pub(crate) type Field = (&'static str, u32, u32, u32);

/// BTF under construction. Types are numbered from 1, in the order of the calls.
#[derive(Default)]
pub(crate) struct Builder {
    types: Vec<u8>,
    strings: Vec<u8>,
    known: HashMap<String, u32>,
    count: u32,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            strings: vec![0],
            ..Self::default()
        }
    }

    fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        if let Some(&at) = self.known.get(text) {
            return at;
        }
        let at = self.strings.len() as u32;
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        self.known.insert(text.into(), at);
        at
    }

    fn push(&mut self, name: &str, info: u32, size_or_type: u32, extra: &[u32]) -> u32 {
        let name = self.string(name);
        for word in [name, info, size_or_type].iter().chain(extra) {
            self.types.extend_from_slice(&word.to_le_bytes());
        }
        self.count += 1;
        self.count
    }

    pub(crate) fn int(&mut self, name: &str, bytes: u32) -> u32 {
        self.push(name, u32::from(kind::INT) << 24, bytes, &[bytes * 8])
    }

    pub(crate) fn pointer(&mut self, to: u32) -> u32 {
        self.push("", u32::from(kind::PTR) << 24, to, &[])
    }

    pub(crate) fn typedef(&mut self, name: &str, to: u32) -> u32 {
        self.push(name, u32::from(kind::TYPEDEF) << 24, to, &[])
    }

    pub(crate) fn array(&mut self, of: u32, len: u32) -> u32 {
        self.push("", u32::from(kind::ARRAY) << 24, 0, &[of, 1, len])
    }

    pub(crate) fn structure(&mut self, name: &str, bytes: u32, fields: &[Field]) -> u32 {
        self.composite(kind::STRUCT, name, bytes, fields)
    }

    pub(crate) fn union(&mut self, name: &str, bytes: u32, fields: &[Field]) -> u32 {
        self.composite(kind::UNION, name, bytes, fields)
    }

    fn composite(&mut self, kind: u8, name: &str, bytes: u32, fields: &[Field]) -> u32 {
        let info = 1 << 31 | u32::from(kind) << 24 | fields.len() as u32;
        let mut extra = Vec::new();
        for &(name, type_id, bit_offset, bits) in fields {
            extra.extend([self.string(name), type_id, bits << 24 | bit_offset]);
        }
        self.push(name, info, bytes, &extra)
    }

    pub(crate) fn function(&mut self, name: &str, prototype: u32) -> u32 {
        self.push(name, u32::from(kind::FUNC) << 24, prototype, &[])
    }

    pub(crate) fn variable(&mut self, name: &str, of: u32) -> u32 {
        self.push(name, u32::from(kind::VAR) << 24, of, &[1])
    }

    pub(crate) fn section(&mut self, name: &str, variables: &[(u32, u32, u32)]) -> u32 {
        let info = u32::from(kind::DATASEC) << 24 | variables.len() as u32;
        let extra: Vec<u32> = variables
            .iter()
            .flat_map(|&(id, at, len)| [id, at, len])
            .collect();
        self.push(name, info, 0, &extra)
    }

    /// A type of a kind that nobody knows yet, with `extra` words behind it.
    pub(crate) fn unknown(&mut self, kind: u8, extra: &[u32]) -> u32 {
        self.push("", u32::from(kind) << 24, 0, extra)
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        self.assemble(&[])
    }

    /// With a layout section (7.2): `(bytes once, bytes for each)` for every kind from 0.
    pub(crate) fn build_with_layout(&self, kinds: &[(u8, u8)]) -> Vec<u8> {
        let layout: Vec<u8> = kinds
            .iter()
            .flat_map(|&(once, each)| [once, each, 0, 0])
            .collect();
        self.assemble(&layout)
    }

    fn assemble(&self, layout: &[u8]) -> Vec<u8> {
        let types = self.types.len() as u32;
        let strings = self.strings.len() as u32;
        let header_len = if layout.is_empty() { 24 } else { 32 };
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        let mut words = vec![header_len, 0, types, types, strings];
        if !layout.is_empty() {
            words.extend([types + strings, layout.len() as u32]);
        }
        words
            .iter()
            .for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        [&bytes[..], &self.types, &self.strings, layout].concat()
    }
}
