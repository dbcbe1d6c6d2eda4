//! How much stack the programs of an eBPF object take, with the functions that they call.
//!
//! The verifier allows 512 bytes for a program and all that is running within it, and says so only when
//! a program is loaded with the options that make it call them. It rounds each function's share up, to
//! 32 bytes in old kernels, to 16 in new ones.
//!
//! Of the filter expression only its stub is in the object. What takes its place when a capture starts
//! keeps an index and 16 words of four bytes on its stack (`skbcap::filter::ebpf`): 96 bytes, rounded.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionKind, SymbolKind};

/// `MAX_BPF_STACK`.
pub(crate) const MAX_STACK: u32 = 512;

/// `MAX_CALL_FRAMES`.
const MAX_FRAMES: usize = 8;

/// What a function's share is rounded up to, at most.
const GRAIN: u32 = 32;

/// The frame pointer: the end of a function's stack.
const R10: u8 = 10;

/// An instruction's length.
const INSTRUCTION_LEN: usize = 8;

/// The functions that take the most, one called by the other, and the bytes that they take.
#[derive(Debug, PartialEq)]
pub(crate) struct Deepest {
    pub(crate) calls: Vec<String>,
    pub(crate) bytes: u32,
}

/// Finds the deepest chain of calls of an object; an error if the kernel would refuse it.
pub(crate) fn deepest(data: &[u8]) -> Result<Deepest> {
    let functions = functions(data)?;
    let mut deepest: Option<Deepest> = None;
    for name in functions.keys() {
        let below = below(&functions, name, 1)?;
        if deepest.as_ref().is_none_or(|most| most.bytes < below.bytes) {
            deepest = Some(below);
        }
    }
    let deepest = deepest.context("there is no function in the object")?;
    ensure!(
        deepest.bytes <= MAX_STACK,
        "{} take {} bytes of stack, and the kernel allows {MAX_STACK}: keep less in one of them, or \
         call one behind the other",
        deepest.calls.join(" → "),
        deepest.bytes
    );
    Ok(deepest)
}

/// What concerns the stack in a function.
#[derive(Debug, Default, PartialEq)]
struct Function {
    bytes: u32,
    calls: Vec<String>,
}

/// The deepest chain that begins with this function, which is the `frames`th of those that run.
fn below(functions: &BTreeMap<String, Function>, name: &str, frames: usize) -> Result<Deepest> {
    ensure!(
        frames <= MAX_FRAMES,
        "{name} is called by {MAX_FRAMES} functions, and the kernel allows {MAX_FRAMES} in all"
    );
    let function = functions
        .get(name)
        .with_context(|| format!("{name} is called, and not in the object"))?;
    let mut deepest = Deepest {
        calls: Vec::new(),
        bytes: 0,
    };
    for called in &function.calls {
        let called = below(functions, called, frames + 1)?;
        if deepest.bytes < called.bytes {
            deepest = called;
        }
    }
    deepest.bytes += function.bytes.max(1).next_multiple_of(GRAIN);
    deepest.calls.insert(0, name.to_owned());
    Ok(deepest)
}

/// All functions of an object.
fn functions(data: &[u8]) -> Result<BTreeMap<String, Function>> {
    let file: ElfFile64<'_> = ElfFile64::parse(data)?;
    let mut functions = BTreeMap::new();
    for symbol in file.symbols() {
        if symbol.kind() != SymbolKind::Text {
            continue;
        }
        let name = symbol.name()?;
        let index = symbol.section_index().context(name.to_owned())?;
        let section = file.section_by_index(index)?;
        let start = symbol.address();
        let end = start + symbol.size();
        let code = section.data()?.get(start as usize..end as usize);
        let code = code.with_context(|| format!("{name} ends behind its section"))?;
        let mut function = Function {
            bytes: stack(code),
            calls: Vec::new(),
        };
        for (at, relocation) in section.relocations() {
            if !(start..end).contains(&at) || !is_call(&code[(at - start) as usize..]) {
                continue;
            }
            let RelocationTarget::Symbol(called) = relocation.target() else {
                bail!("{name} calls what has no symbol");
            };
            let called = file.symbol_by_index(called)?;
            ensure!(
                called.kind() == SymbolKind::Text,
                "{name} calls {:?}, which is no function",
                called.name()?
            );
            function.calls.push(called.name()?.to_owned());
        }
        let relocated = function.calls.len();
        let calls = code.chunks_exact(INSTRUCTION_LEN).filter(|it| is_call(it));
        ensure!(
            calls.count() == relocated,
            "{name} has calls without a relocation"
        );
        functions.insert(name.to_owned(), function);
    }
    let text = file.sections().any(|it| it.kind() == SectionKind::Text);
    ensure!(text, "there is no code in the object");
    Ok(functions)
}

/// Whether this is a call of another function of the object (`BPF_PSEUDO_CALL`), not of a helper.
fn is_call(instruction: &[u8]) -> bool {
    matches!(instruction, [0x85, registers, ..] if registers >> 4 == 1)
}

/// How far below its end a function's code touches its stack, in bytes.
fn stack(code: &[u8]) -> u32 {
    let mut deepest = 0;
    // Registers that are equal to the frame pointer.
    let mut copies = [false; 16];
    for instruction in code.chunks_exact(INSTRUCTION_LEN) {
        let opcode = instruction[0];
        let to = instruction[1] & 0xf;
        let from = instruction[1] >> 4;
        let offset = i32::from(i16::from_le_bytes([instruction[2], instruction[3]]));
        let constant = i32::from_le_bytes(instruction[4..].try_into().expect("four bytes"));
        let touched = match opcode & 7 {
            // BPF_LDX.
            1 if from == R10 => offset,
            // BPF_ST, BPF_STX.
            2 | 3 if to == R10 => offset,
            // BPF_ALU64 | BPF_ADD | BPF_K.
            7 if opcode == 0x07 && copies[usize::from(to)] => constant,
            _ => 0,
        };
        deepest = deepest.max(touched.min(0).unsigned_abs());
        // What is loaded, calculated or moved.
        if matches!(opcode & 7, 0 | 1 | 4 | 7) {
            // BPF_ALU64 | BPF_MOV | BPF_X.
            copies[usize::from(to)] = opcode == 0xbf && from == R10;
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `*(u64 *)(r10 - 8) = r1`.
    const STORE_8: [u8; 8] = [0x7b, 0x1a, 0xf8, 0xff, 0, 0, 0, 0];
    /// `r2 = *(u32 *)(r10 - 40)`.
    const LOAD_40: [u8; 8] = [0x61, 0xa2, 0xd8, 0xff, 0, 0, 0, 0];
    /// `r3 = r10`.
    const COPY: [u8; 8] = [0xbf, 0xa3, 0, 0, 0, 0, 0, 0];
    /// `r3 += -64`.
    const BELOW_64: [u8; 8] = [0x07, 0x03, 0, 0, 0xc0, 0xff, 0xff, 0xff];
    /// `*(u64 *)(r3 - 128) = r1`.
    const ELSEWHERE: [u8; 8] = [0x7b, 0x13, 0x80, 0xff, 0, 0, 0, 0];
    /// `exit`.
    const EXIT: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn what_is_touched_is_taken() {
        assert_eq!(stack(&[EXIT].concat()), 0);
        assert_eq!(stack(&[STORE_8, EXIT].concat()), 8);
        assert_eq!(stack(&[STORE_8, LOAD_40, STORE_8, EXIT].concat()), 40);
        assert_eq!(stack(&[STORE_8, COPY, BELOW_64, EXIT].concat()), 64);
        // No pointer into the stack, or no longer.
        assert_eq!(stack(&[STORE_8, ELSEWHERE, BELOW_64, EXIT].concat()), 8);
        assert_eq!(stack(&[COPY, BELOW_64, BELOW_64, EXIT].concat()), 64);
    }

    fn function(bytes: u32, calls: &[&str]) -> Function {
        Function {
            bytes,
            calls: calls.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    #[test]
    fn each_share_is_rounded_up() {
        let functions = BTreeMap::from([
            ("program".to_owned(), function(100, &["short", "long"])),
            ("short".to_owned(), function(64, &[])),
            ("long".to_owned(), function(33, &["leaf"])),
            ("leaf".to_owned(), function(0, &[])),
        ]);
        let deepest = below(&functions, "program", 1).unwrap();
        assert_eq!(deepest.bytes, 128 + 64 + 32);
        assert_eq!(deepest.calls, ["program", "long", "leaf"]);
    }

    #[test]
    fn a_function_that_calls_itself_is_refused() {
        let functions = BTreeMap::from([("again".to_owned(), function(8, &["again"]))]);
        assert!(below(&functions, "again", 1).is_err());
    }
}
