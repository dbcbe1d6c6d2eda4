//! Instructions become a program, or the reason why they are none.

use super::{Alu, Instruction, MEMORY_WORDS, Offset, Op, Operand, Test, Value, Width};

/// The most instructions that a program may have here: libpcap's expressions of some ten thousand
/// addresses come close.
pub const MAX_INSTRUCTIONS: usize = 1 << 20;

/// A program that ends on each path: its jumps lead to its instructions, its memory accesses into
/// its memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub(super) ops: Vec<Op>,
    instructions: Vec<Instruction>,
}

/// Why instructions are no program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("instruction {at}: {what}")]
pub struct Invalid {
    /// Which instruction, from 0.
    pub at: usize,
    /// What is wrong with it.
    pub what: InvalidKind,
}

/// What can be wrong with an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKind {
    /// No program has so many.
    #[error("the program has no instruction or more than {MAX_INSTRUCTIONS}")]
    Length,
    /// A code that means nothing.
    #[error("an unknown code {0:#06x}")]
    Code(u16),
    /// A jump out of the program.
    #[error("a jump out of the program")]
    Jump,
    /// Memory that isn't there.
    #[error("no memory word {0}")]
    Memory(u32),
    /// A division by the constant 0.
    #[error("a division by 0")]
    Division,
    /// A shift by a constant of 32 or more, which C leaves undefined.
    #[error("a shift by {0} bits")]
    Shift(u32),
    /// The last instruction doesn't end the program.
    #[error("the program goes on behind its end")]
    End,
}

// The parts of a code, as in linux/bpf_common.h.
const CLASS: u16 = 0x07;
const LD: u16 = 0x00;
const LDX: u16 = 0x01;
const ST: u16 = 0x02;
const STX: u16 = 0x03;
const ALU: u16 = 0x04;
const JMP: u16 = 0x05;
const RET: u16 = 0x06;
const MISC: u16 = 0x07;
/// The operand is X, not the constant.
const X: u16 = 0x08;
const NEG: u16 = 0x80;
const IMM: u16 = 0x00;
const ABS: u16 = 0x20;
const IND: u16 = 0x40;
const MEM: u16 = 0x60;
const LEN: u16 = 0x80;
/// `LDX | MSH | B`, which is all that there is of `MSH`.
const LDX_MSH: u16 = 0xb1;
const RET_A: u16 = 0x16;
const TXA: u16 = 0x87;

impl Program {
    /// Checks the instructions.
    ///
    /// # Errors
    ///
    /// Names the first that can't be run.
    pub fn new(instructions: &[Instruction]) -> Result<Self, Invalid> {
        let len = instructions.len();
        if len == 0 || len > MAX_INSTRUCTIONS {
            return Err(Invalid {
                at: 0,
                what: InvalidKind::Length,
            });
        }
        let ops: Vec<Op> = instructions
            .iter()
            .enumerate()
            .map(|(at, instruction)| {
                decode(instruction, at, len).map_err(|what| Invalid { at, what })
            })
            .collect::<Result<_, _>>()?;
        match ops.last() {
            Some(Op::Return(_) | Op::ReturnA | Op::Jump(_) | Op::Branch(..)) => Ok(Self {
                ops,
                instructions: instructions.to_vec(),
            }),
            _ => Err(Invalid {
                at: len - 1,
                what: InvalidKind::End,
            }),
        }
    }

    /// As it was given.
    #[must_use]
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// Whether it has a jump back: that of a `protochain`.
    #[must_use]
    pub fn has_loop(&self) -> bool {
        let is_back = |(at, op): (usize, &Op)| matches!(op, Op::Jump(to) if *to <= at);
        self.ops.iter().enumerate().any(is_back)
    }

    /// What it does, an instruction each.
    #[must_use]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }
}

fn decode(instruction: &Instruction, at: usize, len: usize) -> Result<Op, InvalidKind> {
    let Instruction { code, k, .. } = *instruction;
    let unknown = Err(InvalidKind::Code(code));
    let operand = if code & X == 0 {
        Operand::Constant(k)
    } else {
        Operand::X
    };
    if code > 0xff {
        return unknown;
    }
    Ok(match code & CLASS {
        LD => {
            let width = match code & 0x18 {
                0x00 => Width::Word,
                0x08 => Width::Half,
                0x10 => Width::Byte,
                _ => return unknown,
            };
            match (code & 0xe0, width) {
                (ABS, width) => Op::Load(width, Offset::At(k)),
                (IND, width) => Op::Load(width, Offset::BehindX(k)),
                (_, Width::Word) => Op::LoadA(value(code, k)?),
                _ => return unknown,
            }
        }
        LDX if code == LDX_MSH => Op::LoadHeaderLen(k),
        LDX if code & 0x18 == 0 => Op::LoadX(value(code, k)?),
        ST if code == ST => Op::StoreA(word(k)?),
        STX if code == STX => Op::StoreX(word(k)?),
        ALU if code == ALU | NEG => Op::Negate,
        ALU => Op::Alu(alu(code, operand)?, operand),
        JMP => jump(instruction, operand, at, len)?,
        RET => match code {
            RET_A => Op::ReturnA,
            RET => Op::Return(k),
            _ => return unknown,
        },
        MISC if code == MISC => Op::Tax,
        MISC if code == TXA => Op::Txa,
        _ => return unknown,
    })
}

fn value(code: u16, k: u32) -> Result<Value, InvalidKind> {
    match code & 0xe0 {
        IMM => Ok(Value::Constant(k)),
        MEM => word(k).map(Value::Memory),
        LEN => Ok(Value::WireLen),
        _ => Err(InvalidKind::Code(code)),
    }
}

fn word(k: u32) -> Result<usize, InvalidKind> {
    match usize::try_from(k) {
        Ok(word) if word < MEMORY_WORDS => Ok(word),
        _ => Err(InvalidKind::Memory(k)),
    }
}

fn alu(code: u16, operand: Operand) -> Result<Alu, InvalidKind> {
    let alu = match code & 0xf0 {
        0x00 => Alu::Add,
        0x10 => Alu::Sub,
        0x20 => Alu::Mul,
        0x30 => Alu::Div,
        0x40 => Alu::Or,
        0x50 => Alu::And,
        0x60 => Alu::ShiftLeft,
        0x70 => Alu::ShiftRight,
        0x90 => Alu::Mod,
        0xa0 => Alu::Xor,
        _ => return Err(InvalidKind::Code(code)),
    };
    match (alu, operand) {
        (Alu::Div | Alu::Mod, Operand::Constant(0)) => Err(InvalidKind::Division),
        (Alu::ShiftLeft | Alu::ShiftRight, Operand::Constant(bits @ 32..)) => {
            Err(InvalidKind::Shift(bits))
        }
        _ => Ok(alu),
    }
}

fn jump(
    instruction: &Instruction,
    operand: Operand,
    at: usize,
    len: usize,
) -> Result<Op, InvalidKind> {
    let Instruction { code, jt, jf, k } = *instruction;
    let inside = |target: i64| match usize::try_from(target) {
        Ok(target) if target < len => Ok(target),
        _ => Err(InvalidKind::Jump),
    };
    let next = at as i64 + 1;
    let test = match code & 0xf0 {
        // Signed: `protochain` compiles to a loop.
        0x00 if code == JMP => return inside(next + i64::from(k as i32)).map(Op::Jump),
        0x10 => Test::Equal,
        0x20 => Test::Greater,
        0x30 => Test::GreaterOrEqual,
        0x40 => Test::AnyBit,
        _ => return Err(InvalidKind::Code(code)),
    };
    let (holds, otherwise) = (inside(next + i64::from(jt))?, inside(next + i64::from(jf))?);
    Ok(Op::Branch(test, operand, holds, otherwise))
}
