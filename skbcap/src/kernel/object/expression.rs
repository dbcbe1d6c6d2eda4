//! The filter expression's place: a section with one function, a stub, that is written anew.
//!
//! A section of its own may grow at the file's end without anything else having to move. What is said
//! of the stub elsewhere stays true of what takes its place: it is the same function in BTF, and its
//! lines belong to the first instructions, of which those that refer to the map are where they were.

use object::{
    LittleEndian, Object, ObjectSection, ObjectSymbol, RelocationTarget,
    elf::{SectionHeader64, Sym64},
    read::elf::ElfFile64,
};
use skbcap_common::head::{MAP, MAP_REFERENCE_AT, SECTION};

use super::{ObjectError, parse, problem, write};
use crate::filter::ebpf::Function;

const INSTRUCTION_LEN: u64 = 8;

/// Where functions of the section are said to lie: aya (0.14) tells the functions of two sections
/// apart by their addresses alone, and those of others begin at 0.
const ADDRESS: u64 = 1 << 32;

// Fields of `Elf64_Shdr`, `Elf64_Sym` and `Elf64_Ehdr`.
const SECTION_ADDRESS_AT: u64 = 16;
const SECTION_OFFSET_AT: u64 = 24;
const SECTION_SIZE_AT: u64 = 32;
const SYMBOL_VALUE_AT: u64 = 8;
const SYMBOL_SIZE_AT: u64 = 16;

/// Gives the section its address, and the function, if there is one, its place there.
pub(super) fn place(bytes: &mut Vec<u8>, function: Option<&Function>) -> Result<(), ObjectError> {
    let file = parse()?;
    let Place { section, symbol } = find(&file)?;
    write(bytes, section + SECTION_ADDRESS_AT, &ADDRESS.to_le_bytes())?;
    write(bytes, symbol + SYMBOL_VALUE_AT, &ADDRESS.to_le_bytes())?;
    let Some(function) = function else {
        return Ok(());
    };
    let code = function.bytes();
    let len = (code.len() as u64).to_le_bytes();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let offset = (bytes.len() as u64).to_le_bytes();
    bytes.extend(code);
    write(bytes, section + SECTION_OFFSET_AT, &offset)?;
    write(bytes, section + SECTION_SIZE_AT, &len)?;
    write(bytes, symbol + SYMBOL_SIZE_AT, &len)
}

/// Where in the file the section's header and its function's symbol are.
struct Place {
    section: u64,
    symbol: u64,
}

fn find(file: &ElfFile64<'_, LittleEndian>) -> Result<Place, ObjectError> {
    let wrong = |what: &str| problem(format!("has {what} in {SECTION}"));
    let section = file
        .section_by_name(SECTION)
        .ok_or_else(|| problem(format!("has no section {SECTION}")))?;
    let mut symbols = file
        .symbols()
        .filter(|symbol| symbol.is_global() && symbol.section_index() == Some(section.index()));
    let symbol = symbols.next().ok_or_else(|| wrong("no function"))?;
    if symbols.next().is_some() || symbol.size() != section.size() {
        return Err(wrong("more than one function"));
    }
    let map = file.symbol_by_name(MAP).map(|symbol| symbol.index());
    let relocations: Vec<_> = section.relocations().collect();
    let is_map = |(at, relocation): &(u64, object::Relocation)| {
        *at == MAP_REFERENCE_AT as u64 * INSTRUCTION_LEN
            && matches!(relocation.target(), RelocationTarget::Symbol(of) if Some(of) == map)
    };
    if !matches!(&relocations[..], [one] if is_map(one)) {
        return Err(wrong("another reference than one to the map of heads"));
    }
    let endian = LittleEndian;
    let header = file.elf_header();
    let sections = header.e_shoff.get(endian);
    let table = file.elf_symbol_table().section();
    let table = file
        .elf_section_table()
        .section(table)
        .map_err(|error| problem(format!("has no symbols: {error}")))?;
    Ok(Place {
        section: sections + (section.index().0 * size_of::<SectionHeader64<LittleEndian>>()) as u64,
        symbol: table.sh_offset.get(endian)
            + (symbol.index().0 * size_of::<Sym64<LittleEndian>>()) as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::cbpf::{Instruction, Program};
    use crate::filter::ebpf::{ForDevices, Form};
    use crate::kernel::object::prepared;
    use skbcap_common::config::Layout;

    #[test]
    fn a_function_takes_the_stubs_place() {
        let all = [Instruction {
            code: 6,
            jt: 0,
            jf: 0,
            k: 1,
        }];
        let program = Program::new(&all).unwrap();
        let function = Function::new(&[ForDevices {
            kinds: vec![1, 772],
            form: Form::AsSent,
            program: &program,
        }]);
        let function = function.unwrap();
        let bytes = prepared(&[], &Layout::default(), None, Some(&function)).unwrap();
        let object = aya_obj::Object::parse(&bytes).unwrap();
        let named = |name: &str| {
            let mut functions = object.functions.values();
            functions.find(|function| function.name == name).cloned()
        };
        let placed = named("skbcap_expression").unwrap();
        let code: Vec<u8> = placed
            .instructions
            .iter()
            .flat_map(|instruction| {
                [
                    &[instruction.code][..],
                    &[instruction.dst_reg() | instruction.src_reg() << 4],
                    &instruction.off.to_le_bytes(),
                    &instruction.imm.to_le_bytes(),
                ]
                .concat()
            })
            .collect();
        assert_eq!(code, function.bytes());
        // Told apart from the first of the other section.
        let functions = object.functions.values();
        let mut addresses: Vec<u64> = functions
            .filter(|function| function.name.starts_with("skbcap_"))
            .map(|function| function.address)
            .collect();
        let all = addresses.len();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), all);
        assert!(all > 2, "{all} functions");
    }
}
