//! The embedded eBPF object, and what is changed in it before it is loaded.
//!
//! Owns the bytes that `cargo xtask ebpf` built. Must not know: what the programs do.

use object::{
    LittleEndian,
    elf::FileHeader64,
    read::elf::ElfFile,
    read::{Object, ObjectSection, ObjectSymbol},
};

/// `struct bpf_map_def` as aya lays it out: type, key_size, value_size, max_entries, flags, …
const VALUE_SIZE_AT: u64 = 8;

/// The object as it was built.
const OBJECT: &[u8] = {
    /// The programs are found at multiples of 8, as in any ELF file.
    #[repr(C, align(8))]
    struct Aligned<T: ?Sized>(T);
    const ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!("skbcap.bpf.o"));
    &ALIGNED.0
};

/// Why the embedded object is not one. Only a broken build can cause it.
#[derive(Debug, thiserror::Error)]
#[error("the embedded eBPF object {problem}; rebuild it with `cargo xtask ebpf`")]
pub struct ObjectError {
    problem: String,
}

/// The object as it was built.
#[must_use]
pub fn bytes() -> &'static [u8] {
    OBJECT
}

/// The object with the value size of the map `map` changed: aya can set the number of a map's
/// entries, but not the size of one.
///
/// # Errors
///
/// When the object holds no such map.
pub fn with_value_size(map: &str, value_size: u32) -> Result<Vec<u8>, ObjectError> {
    let offset = definition(map)? + VALUE_SIZE_AT;
    let mut bytes = OBJECT.to_vec();
    let field = usize::try_from(offset)
        .ok()
        .and_then(|start| bytes.get_mut(start..start + 4))
        .ok_or_else(|| problem(format!("ends before the definition of {map}")))?;
    field.copy_from_slice(&value_size.to_le_bytes());
    Ok(bytes)
}

/// Where in the file a map's definition lies.
fn definition(map: &str) -> Result<u64, ObjectError> {
    let unreadable = |error: object::Error| problem(format!("cannot be read: {error}"));
    let file = ElfFile::<FileHeader64<LittleEndian>>::parse(OBJECT).map_err(unreadable)?;
    let symbol = file
        .symbol_by_name(map)
        .ok_or_else(|| problem(format!("has no map {map}")))?;
    let section = symbol
        .section_index()
        .and_then(|index| file.section_by_index(index).ok())
        .ok_or_else(|| problem(format!("defines {map} in no section")))?;
    let (start, _) = section
        .file_range()
        .ok_or_else(|| problem(format!("has no bytes for {map}")))?;
    Ok(start + symbol.address())
}

fn problem(problem: String) -> ObjectError {
    ObjectError { problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_size_is_changed_and_nothing_else() {
        let changed = with_value_size("SEGMENTS", 0x0012_3000).unwrap();
        let at = definition("SEGMENTS").unwrap() as usize + 8;
        assert_eq!(OBJECT[at..at + 4], 4096u32.to_le_bytes());
        assert_eq!(changed[at..at + 4], 0x0012_3000u32.to_le_bytes());
        let differing = changed
            .iter()
            .zip(OBJECT)
            .filter(|(ours, theirs)| ours != theirs)
            .count();
        assert!(differing <= 4 && changed.len() == OBJECT.len());
    }

    #[test]
    fn an_unknown_map_is_named() {
        let error = with_value_size("NOWHERE", 1).unwrap_err().to_string();
        assert!(error.contains("has no map NOWHERE"), "{error}");
    }
}
