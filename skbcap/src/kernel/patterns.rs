//! Patterns for names, as the programs are told them.
//!
//! Must not know: whose names they are.

use std::io;

use aya::{
    Ebpf, Pod,
    maps::{Array, MapData},
};
use skbcap_common::sender;

use super::load::LoadError;

/// aya wants to be told that it may copy it.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Pattern(sender::Pattern);

#[expect(unsafe_code, reason = "aya has no other way to be told")]
// SAFETY: it is made of integers without padding, as zerocopy has it.
unsafe impl Pod for Pattern {}

/// Puts them into a map of this name, from its first entry on.
pub(super) fn fill(
    ebpf: &mut Ebpf,
    map: &'static str,
    patterns: &[sender::Pattern],
) -> Result<(), LoadError> {
    let mut entries: Array<&mut MapData, Pattern> =
        Array::try_from(ebpf.map_mut(map).expect("a map of the object"))
            .expect("an array in the object");
    for (number, pattern) in (0..).zip(patterns) {
        let set = entries.set(number, Pattern(*pattern), 0);
        set.map_err(|error| LoadError::Map {
            map,
            source: io::Error::other(error),
        })?;
    }
    Ok(())
}
