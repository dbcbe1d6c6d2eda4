//! Classic BPF becomes eBPF: the function of the kernel side that says whether a frame is wanted.
//!
//! Pure: knows the programs and where the frame's bytes lie ([`skbcap_common::head`]), and nothing
//! of objects and kernels. It means what [`super::cbpf`] makes of a program, up to [`ROUNDS`] of a loop:
//! a verifier goes through all that a loop can do, and so only `protochain`s of some length can be.
//! A frame on which a program would go on is selected.
//!
//! Verifiers before 6.2 compare all that they know of every register where two paths meet. So
//! comparisons are made on copies that they don't connect with A: then all paths know the same.

mod instruction;
mod reach;
mod translate;
mod unroll;

pub use instruction::Instruction;
pub use unroll::{ROUNDS, UNDECIDED};

use std::borrow::Cow;

use skbcap_common::{MAX_SNAPLEN, head};

use self::instruction::{Alu, Condition, Size, Source};
use self::translate::Body;
use super::cbpf::Program;

/// Vlan tags are written into a head of this length at the least.
const MIN_HEAD_LEN: u32 = 16;

/// What becomes of a frame before its program is run on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Nothing: it is written as it was sent.
    #[default]
    AsSent,
    /// CAN's identifier becomes big-endian, and CAN FD is marked, as `LINKTYPE_CAN_SOCKETCAN` has it.
    PortableCan,
}

/// A program, and the devices whose frames it is for.
#[derive(Clone, Debug)]
pub struct ForDevices<'p> {
    /// Their types, `ARPHRD_*`.
    pub kinds: Vec<u16>,
    /// How their frames are written.
    pub form: Form,
    /// The program for frames of that form.
    pub program: &'p Program,
}

/// A function of eBPF: of a head's index and a device's type, it returns what the program for that
/// type does; if there is none, 0 selects nothing, or 1 everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its instructions. Number [`head::MAP_REFERENCE_AT`] and the next one are to be filled in:
    /// the map of heads.
    pub instructions: Vec<Instruction>,
    /// Bytes of a frame that it looks at: [`skbcap_common::Config::head_len`].
    pub head_len: u32,
}

/// Why a program can't be translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untranslatable {
    /// Its translation has a jump over more instructions than a jump can pass over.
    #[error(
        "the expression is too long: {instructions} instructions of classic BPF become more than \
         a jump of the kernel's can pass over: networks (net) and ranges of ports (portrange) say \
         much in few words, and each protochain takes thousands"
    )]
    TooLong {
        /// Instructions of the program.
        instructions: usize,
    },
}

impl Function {
    /// Translates the programs. Frames of other devices are not selected.
    ///
    /// # Errors
    ///
    /// When one of them is too long.
    pub fn new(programs: &[ForDevices<'_>]) -> Result<Self, Untranslatable> {
        Self::with_others(programs, false)
    }

    /// As [`Function::new`], but of other devices all frames are selected.
    ///
    /// # Errors
    ///
    /// When one of the programs is too long.
    pub fn or_all(programs: &[ForDevices<'_>]) -> Result<Self, Untranslatable> {
        Self::with_others(programs, true)
    }

    fn with_others(programs: &[ForDevices<'_>], others: bool) -> Result<Self, Untranslatable> {
        let programs = programs.iter();
        let unrolled = programs
            .clone()
            .map(|of| unroll::unrolled(of.program.ops()));
        let unrolled: Vec<_> = unrolled.collect();
        let reach = |ops: &Cow<'_, _>| reach::reach(ops, MAX_SNAPLEN);
        let head_len = unrolled.iter().map(reach).max().unwrap_or(0);
        let head_len = head_len.max(MIN_HEAD_LEN).next_multiple_of(8);
        let mut instructions = prologue();
        for (of, ops) in programs.zip(&unrolled) {
            let body = Body::new(of, ops, head_len)?;
            instructions.extend(body.instructions());
        }
        // No program is for this type.
        instructions.extend([
            Instruction::alu32(Alu::Move, R0, Source::Constant(others.into())),
            Instruction::exit(),
        ]);
        Ok(Self {
            instructions,
            head_len,
        })
    }

    /// As they lie in an object.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.instructions
            .iter()
            .flat_map(|instruction| instruction.bytes())
            .collect()
    }
}

// What registers hold behind the prologue. There is no call from then on, so none is lost.
const R0: u8 = 0;
const R1: u8 = 1;
const R2: u8 = 2;
/// The packet's length on the wire.
const WIRE_LEN: u8 = 5;
/// Where its bytes are.
const DATA: u8 = 6;
/// The classic register A; before that, the device's type.
const A: u8 = 7;
/// The classic register X.
const X: u8 = 8;
/// How many bytes there are to know of.
const VISIBLE: u8 = 9;
const FRAME: u8 = 10;

/// Where on the stack the head's index is; the memory words are below.
const INDEX_AT: i16 = -4;

fn prologue() -> Vec<Instruction> {
    let mut code = vec![
        Instruction::store(Size::Four, FRAME, INDEX_AT, Source::Register(R1)),
        Instruction::alu32(Alu::Move, A, Source::Register(R2)),
        Instruction::alu64(Alu::Move, R2, Source::Register(FRAME)),
        Instruction::alu64(
            Alu::Add,
            R2,
            Source::Constant(i32::from(INDEX_AT).cast_unsigned()),
        ),
    ];
    debug_assert_eq!(code.len(), head::MAP_REFERENCE_AT);
    code.extend(Instruction::map_address(R1));
    let mut found = Instruction::jump_if64(Condition::NotEqual, R0, Source::Constant(0));
    found.offset = 1;
    code.extend([
        Instruction::call_map_lookup(),
        found,
        // r0 is 0: the frame is not selected.
        Instruction::exit(),
        Instruction::load(Size::Eight, WIRE_LEN, R0, 0),
        Instruction::load(Size::Eight, VISIBLE, R0, 8),
        Instruction::alu64(Alu::Move, DATA, Source::Register(R0)),
        Instruction::alu64(Alu::Add, DATA, Source::Constant(head::HEAD_HEADER_LEN)),
    ]);
    code
}
