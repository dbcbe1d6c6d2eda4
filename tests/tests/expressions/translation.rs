//! Translations to eBPF against our interpreter and libpcap's: random programs, random packets.
//!
//! eBPF is run by the small machine below, which stops at whatever the kernel's verifier would not
//! let pass: an access out of the head or of the stack, a register or a word never written to.

use std::ffi::CString;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use skbcap::filter::Libpcap;
use skbcap::filter::cbpf::{self, Program};
use skbcap::filter::ebpf::{ForDevices, Form, Function, Instruction, Untranslatable};
use skbcap::pcapng::LinkType;
use skbcap_common::MAX_SNAPLEN;
use skbcap_common::head::{HEAD_HEADER_LEN, MAP_REFERENCE_AT};
use skbcap_tests::expressions::corpus;
use skbcap_tests::frames;

use crate::interpreter::{again, any_program};
use crate::is_skipped;

/// Where the machine has the head, and the end of its stack.
const HEAD: u64 = 0x1_0000_0000;
const STACK: u64 = 0x2_0000_0000;
const STACK_LEN: usize = 512;

/// A frame as the kernel side hands it over.
pub(crate) fn head(frame: &[u8], len: u64, head_len: u32) -> Vec<u8> {
    let visible = frame.len().min(MAX_SNAPLEN as usize) as u64;
    let mut head = [len.to_le_bytes(), visible.to_le_bytes()].concat();
    head.extend(frame);
    // What is behind belongs to an earlier frame.
    head.resize((HEAD_HEADER_LEN + head_len) as usize, 0xa5);
    head
}

/// What the function returns for this head and this type of device.
pub(crate) fn run(function: &Function, kind: u16, mut head: Vec<u8>) -> Result<u64, String> {
    let code = &function.instructions;
    let mut registers: [Option<u64>; 11] = [None; 11];
    (registers[1], registers[2], registers[10]) = (Some(0), Some(kind.into()), Some(STACK));
    let mut stack = [None; STACK_LEN];
    let mut at = 0;
    for _ in 0..10_000_000 {
        let Instruction {
            code: operation,
            registers: both,
            offset,
            immediate,
        } = *code.get(at).ok_or("behind the end")?;
        let (to, from) = (usize::from(both & 15), usize::from(both >> 4));
        let register = |number: usize| registers[number].ok_or(format!("{at}: r{number}"));
        let is_64 = matches!(operation & 7, 5 | 7);
        let operand = || match (operation & 8, is_64) {
            (0, true) => Ok(i64::from(immediate).cast_unsigned()),
            (0, false) => Ok(u64::from(immediate.cast_unsigned())),
            _ => register(from).map(|value| if is_64 { value } else { value & 0xffff_ffff }),
        };
        let width = [4, 2, 1, 8][usize::from(operation >> 3 & 3)];
        let address = |base: u64| base.wrapping_add_signed(offset.into());
        let mut next = at + 1;
        match operation & 7 {
            0 if at == MAP_REFERENCE_AT => {
                registers[to] = Some(0);
                next += 1;
            }
            1 => {
                let bytes = memory(&mut head, &mut stack, address(register(from)?), width)?;
                let mut value = [0; 8];
                match bytes {
                    Bytes::Head(bytes) => value[..width].copy_from_slice(bytes),
                    Bytes::Stack(words) => {
                        for (to, from) in value.iter_mut().zip(words) {
                            *to = from.ok_or(format!("{at}: the stack"))?;
                        }
                    }
                }
                registers[to] = Some(u64::from_le_bytes(value));
            }
            class @ (2 | 3) => {
                let value = if class == 3 {
                    register(from)?
                } else {
                    i64::from(immediate).cast_unsigned()
                };
                let value = value.to_le_bytes();
                match memory(&mut head, &mut stack, address(register(to)?), width)? {
                    Bytes::Head(bytes) => bytes.copy_from_slice(&value[..width]),
                    Bytes::Stack(words) => words
                        .iter_mut()
                        .zip(value)
                        .for_each(|(to, from)| *to = Some(from)),
                }
            }
            4 if operation == 0xdc => {
                let value = register(to)?;
                registers[to] = Some(match immediate {
                    16 => u64::from((value as u16).swap_bytes()),
                    _ => u64::from((value as u32).swap_bytes()),
                });
            }
            4 | 7 => {
                let left = if operation & 0xf0 == 0xb0 {
                    0
                } else {
                    register(to)?
                };
                let value = computed(operation & 0xf0, left, operand()?, is_64);
                let value = value.ok_or(format!("{at}: operation {operation:#x}"))?;
                registers[to] = Some(value);
            }
            _ if operation == 0x95 => return register(0),
            _ if operation == 0x85 => {
                if immediate != 1 || register(1)? != 0 || register(2)? != STACK - 4 {
                    return Err(format!("{at}: a call"));
                }
                registers[..6].fill(None);
                registers[0] = Some(HEAD);
            }
            _ => {
                let is_so = operation == 0x05 || {
                    let left = register(to)?;
                    let left = if is_64 { left } else { left & 0xffff_ffff };
                    let right = operand()?;
                    match operation & 0xf0 {
                        0x10 => left == right,
                        0x20 => left > right,
                        0x30 => left >= right,
                        0x40 => left & right != 0,
                        0x50 => left != right,
                        0xa0 => left < right,
                        0xb0 => left <= right,
                        _ => return Err(format!("{at}: jump {operation:#x}")),
                    }
                };
                if is_so {
                    next = next
                        .checked_add_signed(offset.into())
                        .ok_or(format!("{at}: before the start"))?;
                }
            }
        }
        at = next;
    }
    Err("it does not end".into())
}

fn computed(operation: u8, left: u64, right: u64, is_64: bool) -> Option<u64> {
    if is_64 {
        return Some(match operation {
            0x00 => left.wrapping_add(right),
            0xb0 => right,
            _ => return None,
        });
    }
    let (left, right) = (left as u32, right as u32);
    Some(u64::from(match operation {
        0x00 => left.wrapping_add(right),
        0x10 => left.wrapping_sub(right),
        0x20 => left.wrapping_mul(right),
        0x30 => left.checked_div(right)?,
        0x40 => left | right,
        0x50 => left & right,
        0x60 => left.wrapping_shl(right),
        0x70 => left.wrapping_shr(right),
        0x80 => left.wrapping_neg(),
        0x90 => left.checked_rem(right)?,
        0xa0 => left ^ right,
        0xb0 => right,
        _ => return None,
    }))
}

enum Bytes<'m> {
    Head(&'m mut [u8]),
    Stack(&'m mut [Option<u8>]),
}

fn memory<'m>(
    head: &'m mut [u8],
    stack: &'m mut [Option<u8>; STACK_LEN],
    address: u64,
    width: usize,
) -> Result<Bytes<'m>, String> {
    let bottom = STACK - STACK_LEN as u64;
    let wrong = || format!("an access to {address:#x}");
    if (bottom..STACK).contains(&address) {
        let start = (address - bottom) as usize;
        let words = stack.get_mut(start..start + width);
        return words.map(Bytes::Stack).ok_or_else(wrong);
    }
    let start = address.checked_sub(HEAD).ok_or_else(wrong)? as usize;
    let bytes = start
        .checked_add(width)
        .and_then(|end| head.get_mut(start..end));
    bytes.map(Bytes::Head).ok_or_else(wrong)
}

/// The translation for Ethernet devices.
pub(crate) fn translated(program: &Program) -> Function {
    let function = try_translated(program).expect("a program of some length");
    check_ways(&function);
    function
}

pub(crate) fn try_translated(program: &Program) -> Result<Function, Untranslatable> {
    Function::new(&[ForDevices {
        kinds: vec![1, 772],
        form: Form::AsSent,
        program,
    }])
}

/// Every instruction is on a way from the first, and every way ends with an exit: the kernel takes
/// no function otherwise, whatever it would do.
fn check_ways(function: &Function) {
    let code = &function.instructions;
    let mut is_reached = vec![false; code.len()];
    let mut left = vec![0];
    while let Some(at) = left.pop() {
        assert!(at < code.len(), "a way leads out of the function");
        if std::mem::replace(&mut is_reached[at], true) {
            continue;
        }
        let behind = |at: usize| {
            at.checked_add_signed(code[at].offset.into())
                .map(|to| to + 1)
        };
        let to = || behind(at).expect("a way leads before the function");
        match code[at].code {
            0x95 => {}
            0x05 => left.push(to()),
            // An address of 64 bits takes two.
            0x18 => {
                is_reached[at + 1] = true;
                left.push(at + 2);
            }
            code if matches!(code & 7, 5 | 6) && code != 0x85 => left.extend([at + 1, to()]),
            _ => left.push(at + 1),
        }
    }
    let unreached = is_reached.iter().position(|is_reached| !is_reached);
    assert_eq!(unreached, None, "no way leads there: {code:?}");
    let last = code.last().expect("an instruction");
    assert!(matches!(last.code, 0x95 | 0x05), "it does not end");
}

/// An instruction that jumps nowhere else.
pub(crate) fn plain(code: u16, k: u32) -> cbpf::Instruction {
    cbpf::Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

#[test]
fn a_translation_means_what_the_program_means() {
    any_program(
        "translation::a_translation_means_what_the_program_means",
        |libpcap, program, packet, wire_len| {
            let function = translated(program);
            prop_assert!(function.head_len <= MAX_SNAPLEN && function.head_len >= 16);
            // Of a packet that is longer than what can be looked at, no more is there.
            let head = || head(packet, wire_len.into(), function.head_len.max(96));
            let returned = run(&function, 772, head()).map_err(TestCaseError::fail)?;
            prop_assert_eq!(returned, u64::from(program.run(packet, wire_len)));
            prop_assert_eq!(returned, u64::from(libpcap.run(program, packet, wire_len)));
            let other = run(&function, 65_534, head()).map_err(TestCaseError::fail)?;
            prop_assert_eq!(other, 0, "another device");
            Ok(returned as u32)
        },
    );
}

/// Each expression of the corpus, as libpcap compiles it, selects in the kernel what it selects with
/// `-r`. Those with a loop are the ones with `protochain`.
#[test]
fn the_corpus_means_what_it_means() {
    if is_skipped() {
        return;
    }
    let libpcap = match Libpcap::open() {
        Ok(libpcap) => libpcap,
        Err(missing) => {
            return again("translation::the_corpus_means_what_it_means", &missing);
        }
    };
    for link_type in [frames::ETHERNET, frames::RAW] {
        let frames = frames::framed(link_type);
        let link_type = LinkType(u16::try_from(link_type).expect("a link type"));
        let mut dividing = 0;
        for expression in corpus() {
            let text = CString::new(expression.clone()).expect("no NUL");
            let Ok(instructions) = libpcap.compile(&text, link_type) else {
                continue;
            };
            let program = Program::new(&instructions).expect("a program");
            let has_loop = expression.contains("protochain");
            assert_eq!(program.has_loop(), has_loop, "{expression}");
            let function = translated(&program);
            let mut selected = 0;
            for frame in &frames {
                let wire_len = frame.len() as u32;
                let head = head(frame, wire_len.into(), function.head_len);
                let ours = run(&function, 1, head);
                assert_eq!(
                    ours,
                    Ok(program.run(frame, wire_len).into()),
                    "{expression}: {frame:02x?}"
                );
                selected += usize::from(ours != Ok(0));
            }
            dividing += usize::from(selected > 0 && selected < frames.len());
        }
        assert!(dividing >= 80, "{link_type:?}: {dividing}");
    }
}

/// What no frame can fail to have, an expression may ask for alone.
#[test]
fn a_length_is_an_expression() {
    // `len > 1400`, and what selects all, or nothing.
    let longer = cbpf::Instruction {
        jt: 0,
        jf: 1,
        ..plain(0x25, 1400)
    };
    let end = |k| plain(0x06, k);
    let program = Program::new(&[plain(0x80, 0), longer, end(1), end(0)]).expect("a program");
    let function = translated(&program);
    let returned = |len: u64| run(&function, 1, head(&[0; 60], len, function.head_len));
    assert_eq!([returned(1400), returned(1401)], [Ok(0), Ok(1)]);
    for k in [0, 1] {
        let program = Program::new(&[end(k)]).expect("a program");
        let function = translated(&program);
        let head = head(&[], 0, function.head_len);
        assert_eq!(run(&function, 1, head), Ok(k.into()));
    }
}

/// What is beyond the head is not looked at: the bytes there may be anything.
#[test]
fn a_head_is_as_long_as_the_program_reaches() {
    let new = plain;
    let head_len = |instructions: &[cbpf::Instruction]| {
        let program = Program::new(instructions).expect("a program");
        translated(&program).head_len
    };
    let end = new(0x06, 1);
    assert_eq!(head_len(&[end]), 16);
    assert_eq!(head_len(&[new(0x28, 40), end]), 48);
    // X is at most 60.
    assert_eq!(head_len(&[new(0xb1, 14), new(0x48, 16), end]), 80);
    // X is anything.
    let anything = [new(0x20, 0), new(0x07, 0), new(0x40, 0), end];
    assert_eq!(head_len(&anything), MAX_SNAPLEN);
    // A constant that no packet has.
    assert_eq!(head_len(&[new(0x20, !0), end]), MAX_SNAPLEN);
}

/// Programs of ten thousand instructions can be translated; of one that is too long, that is said.
#[test]
fn a_jump_reaches_so_far() {
    let translated = |loads: usize| {
        let mut code = vec![plain(0x28, 12); loads];
        code.push(plain(0x06, 1));
        try_translated(&Program::new(&code).expect("a program"))
    };
    let function = translated(10_000).expect("not too long");
    check_ways(&function);
    let head = head(&[0; 60], 60, function.head_len);
    assert_eq!(run(&function, 1, head), Ok(1));
    let error = translated(12_000).expect_err("too long");
    let instructions = 12_001;
    assert_eq!(error, Untranslatable::TooLong { instructions });
}

/// CAN frames are looked at in the form in which they are written.
#[test]
fn can_frames_are_looked_at_as_they_are_written() {
    // The word at 0, and the byte at 5.
    let returned = |code: u16, at: u32, frame: &[u8]| {
        let program = Program::new(&[plain(code, at), plain(0x16, 0)]).expect("a program");
        let function = Function::new(&[ForDevices {
            kinds: vec![280],
            form: Form::PortableCan,
            program: &program,
        }])
        .expect("short");
        let head = head(frame, frame.len() as u64, function.head_len);
        run(&function, 280, head).expect("it runs")
    };
    let mut frame = vec![0x23, 0x01, 0, 0x80, 1, 0, 0, 0, 9];
    assert_eq!(returned(0x20, 0, &frame), 0x8000_0123);
    assert_eq!(returned(0x30, 5, &frame), 0);
    frame.resize(72, 0);
    assert_eq!(returned(0x30, 5, &frame), 4);
    frame[4] = 0x80;
    assert_eq!(returned(0x30, 5, &frame), 0);
    assert_eq!(returned(0x30, 0, &[1, 2, 3]), 1);
}
