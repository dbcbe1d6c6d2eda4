//! Classic BPF: programs as libpcap's compiler makes them, checked once, then run on any bytes.
//!
//! Pure: no input or output, no panic, no allocation while running. What a program means is
//! what libpcap's own interpreter (`bpf_filter.c`) does with it, and the reference for whatever
//! else runs such programs.

mod program;
mod run;

pub use program::{Invalid, InvalidKind, MAX_INSTRUCTIONS, Program};

/// One instruction as it lies in memory: `struct bpf_insn`, the kernel's `struct sock_filter`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// What it does: the `BPF_*` constants of `linux/bpf_common.h`, put together.
    pub code: u16,
    /// Instructions to pass over if a comparison holds.
    pub jt: u8,
    /// Instructions to pass over if it doesn't.
    pub jf: u8,
    /// Its constant.
    pub k: u32,
}

const _: () = assert!(size_of::<Instruction>() == 8 && align_of::<Instruction>() == 4);

/// Words of scratch memory (`BPF_MEMWORDS`).
pub const MEMORY_WORDS: usize = 16;

/// An instruction, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A becomes the big-endian number of this width at this offset in the packet.
    Load(Width, Offset),
    /// A becomes this value.
    LoadA(Value),
    /// X becomes this value.
    LoadX(Value),
    /// X becomes four times the low half of the packet's byte here: an IPv4 header's length.
    LoadHeaderLen(u32),
    /// This word of memory becomes A.
    StoreA(usize),
    /// This word of memory becomes X.
    StoreX(usize),
    /// A becomes the result of A and the operand.
    Alu(Alu, Operand),
    /// A becomes its negative.
    Negate,
    /// The next instruction is the one with this index.
    Jump(usize),
    /// The next instruction is the one with the first index if the comparison of A with the operand
    /// holds, else the one with the second.
    Branch(Test, Operand, usize, usize),
    /// Ends: the packet is selected if the value is not 0.
    Return(u32),
    /// Ends with A.
    ReturnA,
    /// X becomes A.
    Tax,
    /// A becomes X.
    Txa,
}

/// How much of the packet is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// One byte.
    Byte,
    /// Two.
    Half,
    /// Four.
    Word,
}

impl Width {
    /// That many bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        match self {
            Self::Byte => 1,
            Self::Half => 2,
            Self::Word => 4,
        }
    }
}

/// Where in the packet it is loaded from. Beyond its captured end, the program ends with 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offset {
    /// Here.
    At(u32),
    /// So far behind X.
    BehindX(u32),
}

/// What a register is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A constant.
    Constant(u32),
    /// A word of memory; 0 if nothing was stored there.
    Memory(usize),
    /// The packet's length on the wire.
    WireLen,
}

/// The other operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A constant.
    Constant(u32),
    /// X.
    X,
}

/// What is done with A; modulo 2^32, unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names say it")]
pub enum Alu {
    Add,
    Sub,
    Mul,
    /// By an X of 0, the program ends with 0.
    Div,
    /// As [`Alu::Div`].
    Mod,
    And,
    Or,
    Xor,
    /// By 32 or more it leaves 0.
    ShiftLeft,
    /// As [`Alu::ShiftLeft`].
    ShiftRight,
}

/// How A is compared; unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// A is equal.
    Equal,
    /// A is greater.
    Greater,
    /// A is greater or equal.
    GreaterOrEqual,
    /// A and the operand have a bit in common.
    AnyBit,
}
