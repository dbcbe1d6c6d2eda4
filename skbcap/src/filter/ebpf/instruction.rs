//! Instructions of eBPF, as far as translations use them.
//!
//! Source: Documentation/bpf/standardization/instruction-set.rst@6.12; all of them are known to every
//! kernel since 5.1 (comparisons of 32 bits).

/// One instruction as it lies in memory: `struct bpf_insn`, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Its class, operation and source.
    pub code: u8,
    /// The destination register in the low half, the source in the high one.
    pub registers: u8,
    /// A jump's or an address's.
    pub offset: i16,
    /// The constant.
    pub immediate: i32,
}

/// A register, 0 to 10.
pub(super) type Register = u8;

/// The other operand.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Constant(u32),
    Register(Register),
}

/// Bytes of an access.
#[derive(Clone, Copy, Debug)]
pub(super) enum Size {
    One,
    Two,
    Four,
    Eight,
}

/// The operations of arithmetic, as their codes have them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Alu {
    Add = 0x00,
    Sub = 0x10,
    Mul = 0x20,
    Div = 0x30,
    Or = 0x40,
    And = 0x50,
    ShiftLeft = 0x60,
    ShiftRight = 0x70,
    Negate = 0x80,
    Mod = 0x90,
    Xor = 0xa0,
    Move = 0xb0,
}

/// The conditions of jumps, unsigned.
#[derive(Clone, Copy, Debug)]
pub(super) enum Condition {
    Equal = 0x10,
    Greater = 0x20,
    GreaterOrEqual = 0x30,
    AnyBit = 0x40,
    NotEqual = 0x50,
    Less = 0xa0,
    LessOrEqual = 0xb0,
}

const LOAD: u8 = 0x61;
const STORE: u8 = 0x63;
const STORE_CONSTANT: u8 = 0x62;
const ALU: u8 = 0x04;
const JUMP: u8 = 0x05;
const JUMP32: u8 = 0x06;
const ALU64: u8 = 0x07;
const FROM_REGISTER: u8 = 0x08;
const TO_BIG_ENDIAN: u8 = 0xdc;

impl Size {
    fn code(self) -> u8 {
        match self {
            Self::Four => 0x00,
            Self::Two => 0x08,
            Self::One => 0x10,
            Self::Eight => 0x18,
        }
    }
}

impl Instruction {
    fn new(code: u8, to: Register, from: Register, offset: i16, immediate: u32) -> Self {
        Self {
            code,
            registers: to | from << 4,
            offset,
            immediate: immediate.cast_signed(),
        }
    }

    fn with(code: u8, to: Register, source: Source, offset: i16) -> Self {
        match source {
            Source::Constant(constant) => Self::new(code, to, 0, offset, constant),
            Source::Register(from) => Self::new(code | FROM_REGISTER, to, from, offset, 0),
        }
    }

    /// On the low halves; the upper half of `to` becomes 0.
    pub(super) fn alu32(alu: Alu, to: Register, source: Source) -> Self {
        Self::with(ALU | alu as u8, to, source, 0)
    }

    /// On whole registers; a constant is extended by its sign.
    pub(super) fn alu64(alu: Alu, to: Register, source: Source) -> Self {
        Self::with(ALU64 | alu as u8, to, source, 0)
    }

    pub(super) fn load(size: Size, to: Register, from: Register, offset: i16) -> Self {
        Self::new(LOAD | size.code(), to, from, offset, 0)
    }

    pub(super) fn store(size: Size, to: Register, offset: i16, source: Source) -> Self {
        match source {
            Source::Constant(constant) => {
                Self::new(STORE_CONSTANT | size.code(), to, 0, offset, constant)
            }
            Source::Register(from) => Self::new(STORE | size.code(), to, from, offset, 0),
        }
    }

    /// The low bits, which came from memory in the host's order, as a big-endian number.
    pub(super) fn big_endian(to: Register, bits: u32) -> Self {
        Self::new(TO_BIG_ENDIAN, to, 0, 0, bits)
    }

    /// To be told where.
    pub(super) fn jump() -> Self {
        Self::new(JUMP, 0, 0, 0, 0)
    }

    /// By the low halves; to be told where.
    pub(super) fn jump_if32(condition: Condition, left: Register, right: Source) -> Self {
        Self::with(JUMP32 | condition as u8, left, right, 0)
    }

    /// By whole registers; to be told where.
    pub(super) fn jump_if64(condition: Condition, left: Register, right: Source) -> Self {
        Self::with(JUMP | condition as u8, left, right, 0)
    }

    /// `bpf_map_lookup_elem`: r1 a map, r2 the address of a key; r0 the address of the value, or 0.
    pub(super) fn call_map_lookup() -> Self {
        Self::new(0x85, 0, 0, 0, 1)
    }

    /// The address of a map into a register, in two instructions: to be filled in.
    pub(super) fn map_address(to: Register) -> [Self; 2] {
        [Self::new(0x18, to, 0, 0, 0), Self::new(0, 0, 0, 0, 0)]
    }

    pub(super) fn exit() -> Self {
        Self::new(0x95, 0, 0, 0, 0)
    }

    /// As it lies in an object.
    #[must_use]
    pub fn bytes(self) -> [u8; 8] {
        let [a, b] = self.offset.to_le_bytes();
        let [c, d, e, f] = self.immediate.to_le_bytes();
        [self.code, self.registers, a, b, c, d, e, f]
    }
}
