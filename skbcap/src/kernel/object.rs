//! The embedded eBPF object, and what is changed in it before it is loaded.
//!
//! Owns the bytes that `cargo xtask ebpf` built. Must not know: what the programs do.

mod expression;

use std::ops::Range;

use object::{
    LittleEndian, SectionKind,
    elf::FileHeader64,
    read::elf::ElfFile,
    read::{Object, ObjectSection, ObjectSymbol},
};
use skbcap_common::{config::Layout, kfunc, load};
use zerocopy::IntoBytes as _;

use super::kfuncs::Kfuncs;
use crate::filter::ebpf::Function;

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

/// Makes a map of the object a plain array of the same keys and values: what it is else, the kernel may
/// not have.
///
/// # Errors
///
/// When there is no such map.
pub fn make_plain_array(bytes: &mut [u8], map: &str) -> Result<(), ObjectError> {
    /// `BPF_MAP_TYPE_ARRAY`, include/uapi/linux/bpf.h.
    const ARRAY: u32 = 2;
    write(bytes, definition(map)?, &ARRAY.to_le_bytes())
}

/// The object as it was built.
#[must_use]
pub fn bytes() -> &'static [u8] {
    OBJECT
}

/// The object, made ready for a kernel: sizes of the values of maps (aya can set the number of a
/// map's entries, but not the size of one), the offsets of fields in the loads of them, the numbers
/// of the kernel's functions in the calls of them, where it has them, and the filter expression, where
/// there is one.
///
/// # Errors
///
/// When the object holds no such map, no such call, no place for the expression, or loads a field that
/// lies too far back.
pub fn prepared(
    value_sizes: &[(&str, u32)],
    layout: &Layout,
    kfuncs: Option<&Kfuncs>,
    filter: Option<&Function>,
) -> Result<Vec<u8>, ObjectError> {
    let mut bytes = OBJECT.to_vec();
    for (map, value_size) in value_sizes {
        let offset = definition(map)? + VALUE_SIZE_AT;
        write(&mut bytes, offset, &value_size.to_le_bytes())?;
    }
    place_fields(&mut bytes, layout)?;
    expression::place(&mut bytes, filter)?;
    if let Some(kfuncs) = kfuncs {
        call(&mut bytes, kfunc::RDONLY_CAST, kfuncs.rdonly_cast)?;
        if let Some(function) = kfuncs.dynptr_from_skb {
            call(&mut bytes, kfunc::DYNPTR_FROM_SKB, function)?;
        }
    }
    Ok(bytes)
}

/// Writes the offsets of fields over what stands for them in load instructions.
fn place_fields(bytes: &mut [u8], layout: &Layout) -> Result<(), ObjectError> {
    /// `BPF_LDX | BPF_MEM`, without the two bits of the size.
    const LOAD: u8 = 0x61;
    const SIZE: u8 = 0x18;
    let words = layout.as_bytes();
    for code in code()? {
        let section = bytes.get_mut(code).unwrap_or_default();
        for instruction in section.as_chunks_mut::<8>().0 {
            let stand_in = i16::from_le_bytes([instruction[2], instruction[3]]);
            let Some(field) = load::field(stand_in) else {
                continue;
            };
            if instruction[0] & !SIZE != LOAD {
                continue;
            }
            let offset = words[field..]
                .first_chunk()
                .copied()
                .map(u32::from_le_bytes);
            let offset = offset.and_then(|offset| i16::try_from(offset).ok());
            let offset = offset.ok_or_else(|| {
                problem(format!(
                    "cannot load a field as far back as that at {field}"
                ))
            })?;
            instruction[2..4].copy_from_slice(&offset.to_le_bytes());
        }
    }
    Ok(())
}

/// Makes every call of the helper `stand_in` one of the kernel's function number `function`.
///
/// Source: `BPF_PSEUDO_KFUNC_CALL`, include/uapi/linux/bpf.h@5.13.
fn call(bytes: &mut [u8], stand_in: i32, function: u32) -> Result<(), ObjectError> {
    const CALL: u8 = 0x85;
    const PSEUDO_KFUNC_CALL: u8 = 2;
    let [a, b, c, d] = stand_in.to_le_bytes();
    let before = [CALL, 0, 0, 0, a, b, c, d];
    let mut found = false;
    for code in code()? {
        let section = bytes.get_mut(code).unwrap_or_default();
        for instruction in section.as_chunks_mut::<8>().0 {
            if *instruction == before {
                // The source register, the upper half, says what kind of call it is.
                instruction[1] = PSEUDO_KFUNC_CALL << 4;
                instruction[4..].copy_from_slice(&function.to_le_bytes());
                found = true;
            }
        }
    }
    if found {
        Ok(())
    } else {
        Err(problem(format!("calls no function {stand_in:#x}")))
    }
}

/// Where in the file the sections of programs lie.
fn code() -> Result<Vec<Range<usize>>, ObjectError> {
    let file = parse()?;
    let programs = file
        .sections()
        .filter(|section| section.kind() == SectionKind::Text);
    let ranges = programs.filter_map(|section| section.file_range());
    Ok(ranges
        .map(|(start, len)| start as usize..(start + len) as usize)
        .collect())
}

/// Writes over what is there.
fn write(bytes: &mut [u8], offset: u64, new: &[u8]) -> Result<(), ObjectError> {
    let field = usize::try_from(offset)
        .ok()
        .and_then(|start| bytes.get_mut(start..start.checked_add(new.len())?))
        .ok_or_else(|| problem(format!("ends before {offset:#x}")))?;
    field.copy_from_slice(new);
    Ok(())
}

fn parse() -> Result<ElfFile<'static, FileHeader64<LittleEndian>>, ObjectError> {
    ElfFile::parse(OBJECT).map_err(|error| problem(format!("cannot be read: {error}")))
}

/// Where in the file a map's definition lies.
fn definition(map: &str) -> Result<u64, ObjectError> {
    let file = parse()?;
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
    use skbcap_common::config::Types;
    use zerocopy::FromBytes as _;

    /// Every field where its stand-in says.
    fn unplaced() -> Layout {
        let stand_ins = (0..size_of::<Layout>()).step_by(4);
        let bytes: Vec<u8> = stand_ins
            .flat_map(|field| u32::from(load::stand_in(field).cast_unsigned()).to_le_bytes())
            .collect();
        Layout::read_from_bytes(&bytes).unwrap()
    }

    #[test]
    fn a_value_size_is_changed_and_nothing_else() {
        let same = prepared(&[("SEGMENTS", 4096)], &unplaced(), None, None).unwrap();
        let changed = prepared(&[("SEGMENTS", 0x0012_3000)], &unplaced(), None, None).unwrap();
        let at = definition("SEGMENTS").unwrap() as usize + 8;
        assert_eq!(OBJECT[at..at + 4], 4096u32.to_le_bytes());
        assert_eq!(changed[at..at + 4], 0x0012_3000u32.to_le_bytes());
        let differing = changed
            .iter()
            .zip(same)
            .filter(|(ours, theirs)| **ours != *theirs)
            .count();
        assert!(differing <= 4 && changed.len() == OBJECT.len());
    }

    #[test]
    fn a_map_becomes_a_plain_array() {
        let mut bytes = OBJECT.to_vec();
        let at = definition("CGROUPS").unwrap() as usize;
        assert_eq!(bytes[at..at + 4], 8u32.to_le_bytes(), "an array of cgroups");
        make_plain_array(&mut bytes, "CGROUPS").unwrap();
        assert_eq!(bytes[at..at + 4], 2u32.to_le_bytes());
        bytes[at] = OBJECT[at];
        assert_eq!(bytes, OBJECT);
        assert!(make_plain_array(&mut bytes, "NOWHERE").is_err());
    }

    #[test]
    fn calls_get_the_kernels_numbers() {
        let kfuncs = Kfuncs {
            rdonly_cast: 0x1_2345,
            dynptr_from_skb: Some(0x6_789a),
            types: Types::default(),
        };
        let changed = prepared(&[], &unplaced(), Some(&kfuncs), None).unwrap();
        let without = prepared(&[], &unplaced(), None, None).unwrap();
        let mut calls = 0;
        for (ours, theirs) in changed.chunks(8).zip(without.chunks(8)) {
            if ours != theirs {
                assert_eq!(theirs[..4], [0x85, 0, 0, 0]);
                assert_eq!(ours[..4], [0x85, 0x20, 0, 0]);
                let number = u32::from_le_bytes([ours[4], ours[5], ours[6], ours[7]]);
                assert!([0x1_2345, 0x6_789a].contains(&number), "{number:#x}");
                calls += 1;
            }
        }
        assert!(calls > 2, "{calls} calls");
    }

    #[test]
    fn loads_get_the_kernels_offsets() {
        let mut layout = Layout {
            skb_len: 112,
            ..Layout::default()
        };
        let changed = prepared(&[], &layout, None, None).unwrap();
        let stand_in = load::stand_in(std::mem::offset_of!(Layout, skb_len)).to_le_bytes();
        let mut loads = 0;
        for (ours, theirs) in changed.chunks(8).zip(OBJECT.chunks(8)) {
            if theirs[0] == 0x61 && theirs[2..4] == stand_in {
                assert_eq!(ours[2..4], [112, 0]);
                loads += 1;
            }
        }
        assert!(loads > 2, "{loads} loads");
        layout.skb_len = 0x8000;
        let error = prepared(&[], &layout, None, None).unwrap_err();
        assert!(error.to_string().contains("as far back as"), "{error}");
    }

    #[test]
    fn an_unknown_map_is_named() {
        let error = prepared(&[("NOWHERE", 1)], &unplaced(), None, None)
            .unwrap_err()
            .to_string();
        assert!(error.contains("has no map NOWHERE"), "{error}");
    }
}
