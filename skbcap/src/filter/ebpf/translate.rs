//! One program's translation.

use super::instruction::{Alu, Condition, Instruction, Register, Size, Source};
use super::reach::successors;
use super::{A, DATA, FRAME, ForDevices, Form, R0, R1, R2, Untranslatable, VISIBLE, WIRE_LEN, X};
use crate::filter::cbpf::{self, Offset, Op, Operand, Test, Value, Width};

/// Where a jump leads.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// To the translation of this classic instruction.
    Op(usize),
    /// To the end that selects nothing.
    Out,
    /// To the program for other devices.
    Next,
    /// To this one of ours.
    Here(usize),
}

/// A program that is being translated: its instructions, and the jumps that are yet to be told
/// where they lead.
pub(super) struct Body {
    code: Vec<Instruction>,
    jumps: Vec<(usize, Target)>,
    /// Where each classic instruction's translation begins.
    starts: Vec<usize>,
    head_len: u32,
    has_loop: bool,
}

impl Body {
    /// Translates a program, of which these are the instructions without loops. None of their loads
    /// reaches beyond `head_len` bytes.
    pub(super) fn new(
        of: &ForDevices<'_>,
        ops: &[Op],
        head_len: u32,
    ) -> Result<Self, Untranslatable> {
        let mut body = Self {
            code: Vec::new(),
            jumps: Vec::new(),
            starts: vec![0; ops.len()],
            head_len,
            has_loop: of.program.has_loop(),
        };
        body.dispatch(&of.kinds);
        if of.form == Form::PortableCan {
            body.portable_can();
        }
        body.start(ops);
        let reachable = reachable(ops);
        for (at, &op) in ops.iter().enumerate() {
            if reachable[at] {
                body.starts[at] = body.code.len();
                body.translate(op, at);
            }
        }
        let out = body.code.len();
        // No way may lead here: that of an expression which looks at the length alone. The kernel
        // takes no instruction that there is no way to.
        let is_out = |(_, target): &(usize, Target)| matches!(target, Target::Out);
        if body.jumps.iter().any(is_out) {
            body.ret(Source::Constant(0));
        }
        body.land(out).ok_or(Untranslatable::TooLong {
            instructions: of.program.ops().len(),
        })?;
        Ok(body)
    }

    pub(super) fn instructions(self) -> Vec<Instruction> {
        self.code
    }

    /// Tells each jump where it leads; [`None`] if that is too far.
    fn land(&mut self, out: usize) -> Option<()> {
        let next = self.code.len();
        for &(at, target) in &self.jumps {
            let to = match target {
                Target::Op(op) => self.starts[op],
                Target::Out => out,
                Target::Next => next,
                Target::Here(at) => at,
            };
            let distance = to as i64 - at as i64 - 1;
            self.code[at].offset = i16::try_from(distance).ok()?;
        }
        Some(())
    }

    fn push(&mut self, instruction: Instruction) {
        self.code.push(instruction);
    }

    fn jump(&mut self, target: Target) {
        self.push_jump(Instruction::jump(), target);
    }

    fn push_jump(&mut self, jump: Instruction, target: Target) {
        self.jumps.push((self.code.len(), target));
        self.push(jump);
    }

    /// A jump forward to what comes next but `skipped` instructions.
    fn skip(&mut self, mut jump: Instruction, skipped: i16) {
        jump.offset = skipped;
        self.push(jump);
    }

    fn alu(&mut self, alu: Alu, to: Register, source: Source) {
        self.push(Instruction::alu32(alu, to, source));
    }

    fn ret(&mut self, value: Source) {
        self.alu(Alu::Move, R0, value);
        self.push(Instruction::exit());
    }

    /// On to the next program unless the device is of one of these types.
    fn dispatch(&mut self, kinds: &[u16]) {
        let start = kinds.len() + 1;
        for &kind in kinds {
            let is_of_kind =
                Instruction::jump_if32(Condition::Equal, A, Source::Constant(kind.into()));
            self.push_jump(is_of_kind, Target::Here(start));
        }
        self.jump(Target::Next);
    }

    /// All that a program takes to be there.
    fn start(&mut self, ops: &[Op]) {
        self.alu(Alu::Move, A, Source::Constant(0));
        self.alu(Alu::Move, X, Source::Constant(0));
        let mut read: Vec<usize> = ops.iter().filter_map(word_read).collect();
        read.sort_unstable();
        read.dedup();
        for word in read {
            let zero = Source::Constant(0);
            self.push(Instruction::store(Size::Four, FRAME, place_of(word), zero));
        }
    }

    fn translate(&mut self, op: Op, at: usize) {
        match op {
            Op::Load(width, Offset::At(k)) => self.load(width, k, A),
            Op::Load(width, Offset::BehindX(k)) => self.load_behind_x(width, k),
            Op::LoadHeaderLen(k) => {
                self.load(Width::Byte, k, X);
                self.alu(Alu::And, X, Source::Constant(15));
                self.alu(Alu::ShiftLeft, X, Source::Constant(2));
            }
            Op::LoadA(value) => self.set(A, value),
            Op::LoadX(value) => self.set(X, value),
            Op::StoreA(word) => self.store(word, A),
            Op::StoreX(word) => self.store(word, X),
            Op::Alu(alu, operand) => self.compute(alu, operand),
            Op::Negate => self.alu(Alu::Negate, A, Source::Constant(0)),
            Op::Tax => {
                self.alu(Alu::Move, X, Source::Register(A));
                if self.has_loop {
                    self.forget(X);
                }
            }
            Op::Txa => self.alu(Alu::Move, A, Source::Register(X)),
            Op::Jump(to) => self.go(to, at),
            Op::Branch(test, operand, holds, otherwise) => {
                self.branch(test, operand, [holds, otherwise], at);
            }
            Op::Return(k) => self.ret(Source::Constant(k)),
            Op::ReturnA => self.ret(Source::Register(A)),
        }
    }

    /// To a classic instruction, unless it comes next.
    fn go(&mut self, to: usize, at: usize) {
        if to != at + 1 {
            self.jump(Target::Op(to));
        }
    }

    fn load(&mut self, width: Width, k: u32, to: Register) {
        let end = u64::from(k) + width.bytes();
        if end > self.head_len.into() {
            // Nowhere are so many bytes to know of. A load here would be refused.
            self.alu(Alu::Move, R0, Source::Constant(0));
            let always = Instruction::jump_if32(Condition::Equal, R0, Source::Constant(0));
            self.push_jump(always, Target::Out);
            self.alu(Alu::Move, to, Source::Constant(0));
            return;
        }
        let is_short = Instruction::jump_if64(
            Condition::Less,
            VISIBLE,
            Source::Constant(end as u32), // At most MAX_SNAPLEN.
        );
        self.push_jump(is_short, Target::Out);
        let (base, offset) = if let Ok(offset) = i16::try_from(k) {
            (DATA, offset)
        } else {
            self.push(Instruction::alu64(Alu::Move, R1, Source::Register(DATA)));
            self.push(Instruction::alu64(Alu::Add, R1, Source::Constant(k)));
            (R1, 0)
        };
        self.push(Instruction::load(size(width), to, base, offset));
        self.big_endian(width, to);
    }

    fn load_behind_x(&mut self, width: Width, k: u32) {
        let width_bytes = width.bytes() as u32;
        // X and k in 64 bits: their sum does not wrap.
        self.alu(Alu::Move, R1, Source::Constant(k));
        self.push(Instruction::alu64(Alu::Add, R1, Source::Register(X)));
        self.push(Instruction::alu64(Alu::Move, R2, Source::Register(R1)));
        self.push(Instruction::alu64(
            Alu::Add,
            R2,
            Source::Constant(width_bytes),
        ));
        let is_short = Instruction::jump_if64(Condition::Greater, R2, Source::Register(VISIBLE));
        self.push_jump(is_short, Target::Out);
        // For the verifier only, and last.
        let bound = Source::Constant(self.head_len - width_bytes);
        let is_beyond = Instruction::jump_if64(Condition::Greater, R1, bound);
        self.push_jump(is_beyond, Target::Out);
        self.push(Instruction::alu64(Alu::Add, R1, Source::Register(DATA)));
        self.push(Instruction::load(size(width), A, R1, 0));
        self.big_endian(width, A);
    }

    fn big_endian(&mut self, width: Width, register: Register) {
        match width {
            Width::Byte => {}
            Width::Half => self.push(Instruction::big_endian(register, 16)),
            Width::Word => self.push(Instruction::big_endian(register, 32)),
        }
    }

    fn set(&mut self, to: Register, value: Value) {
        match value {
            Value::Constant(k) => self.alu(Alu::Move, to, Source::Constant(k)),
            Value::WireLen => self.alu(Alu::Move, to, Source::Register(WIRE_LEN)),
            Value::Memory(word) => {
                self.push(Instruction::load(Size::Four, to, FRAME, place_of(word)));
            }
        }
    }

    fn store(&mut self, word: usize, from: Register) {
        let from = Source::Register(from);
        self.push(Instruction::store(Size::Four, FRAME, place_of(word), from));
    }

    fn compute(&mut self, alu: cbpf::Alu, operand: Operand) {
        let source = source(operand);
        let ours = match alu {
            cbpf::Alu::Add => Alu::Add,
            cbpf::Alu::Sub => Alu::Sub,
            cbpf::Alu::Mul => Alu::Mul,
            cbpf::Alu::Div => Alu::Div,
            cbpf::Alu::Mod => Alu::Mod,
            cbpf::Alu::And => Alu::And,
            cbpf::Alu::Or => Alu::Or,
            cbpf::Alu::Xor => Alu::Xor,
            cbpf::Alu::ShiftLeft => Alu::ShiftLeft,
            cbpf::Alu::ShiftRight => Alu::ShiftRight,
        };
        match (ours, operand) {
            (Alu::Div | Alu::Mod, Operand::X) => {
                self.copy_of(X);
                let is_zero = Instruction::jump_if32(Condition::Equal, R0, Source::Constant(0));
                self.push_jump(is_zero, Target::Out);
                self.alu(ours, A, Source::Register(X));
            }
            (Alu::ShiftLeft | Alu::ShiftRight, Operand::X) => {
                // eBPF would shift by X modulo 32.
                self.copy_of(X);
                let is_less = Instruction::jump_if32(Condition::Less, R0, Source::Constant(32));
                self.skip(is_less, 1);
                self.alu(Alu::Move, A, Source::Constant(0));
                self.alu(ours, A, Source::Register(X));
            }
            _ => self.alu(ours, A, source),
        }
    }

    /// A register in r0, so that the verifier doesn't know it to be one.
    fn copy_of(&mut self, register: Register) {
        self.alu(Alu::Move, R0, Source::Register(register));
        self.alu(Alu::Or, R0, Source::Constant(0));
    }

    /// Makes the verifier forget what it knows of a register, which keeps its value. In a loop X
    /// becomes a header's place: if its bounds were known, each round would have others, depending on
    /// the headers before, and the verifier would go through the rest of the rounds for all of them.
    fn forget(&mut self, register: Register) {
        for _ in 0..2 {
            self.alu(Alu::Xor, register, Source::Register(WIRE_LEN));
        }
    }

    fn branch(&mut self, test: Test, operand: Operand, [holds, otherwise]: [usize; 2], at: usize) {
        if holds == otherwise {
            return self.go(holds, at);
        }
        let (condition, inverse, right) = match test {
            Test::Equal => {
                self.alu(Alu::Move, R0, Source::Register(A));
                self.alu(Alu::Xor, R0, source(operand));
                let zero = Source::Constant(0);
                (Condition::Equal, Some(Condition::NotEqual), zero)
            }
            Test::Greater => {
                self.copy_of(A);
                let inverse = Some(Condition::LessOrEqual);
                (Condition::Greater, inverse, source(operand))
            }
            Test::GreaterOrEqual => {
                self.copy_of(A);
                let inverse = Some(Condition::Less);
                (Condition::GreaterOrEqual, inverse, source(operand))
            }
            Test::AnyBit => {
                self.copy_of(A);
                (Condition::AnyBit, None, source(operand))
            }
        };
        match inverse {
            Some(inverse) if holds == at + 1 => {
                let jump = Instruction::jump_if32(inverse, R0, right);
                self.push_jump(jump, Target::Op(otherwise));
            }
            _ => {
                let jump = Instruction::jump_if32(condition, R0, right);
                self.push_jump(jump, Target::Op(holds));
                self.go(otherwise, at);
            }
        }
    }

    /// As `portable_can` of the output makes of a CAN frame what is written.
    fn portable_can(&mut self) {
        const CAN_FD_LEN: u32 = 72;
        const CAN_XL_FLAG: u32 = 0x80;
        const CAN_FD_FLAG: u32 = 0x04;
        let identifier = [
            Instruction::load(Size::Four, R0, DATA, 0),
            Instruction::big_endian(R0, 32),
            Instruction::store(Size::Four, DATA, 0, Source::Register(R0)),
        ];
        let is_shorter =
            |bytes| Instruction::jump_if64(Condition::Less, VISIBLE, Source::Constant(bytes));
        self.skip(is_shorter(4), identifier.len() as i16);
        self.code.extend(identifier);
        let flags = [
            Instruction::load(Size::One, R0, DATA, 5),
            Instruction::alu32(Alu::Or, R0, Source::Constant(CAN_FD_FLAG)),
            Instruction::store(Size::One, DATA, 5, Source::Register(R0)),
        ];
        self.skip(is_shorter(6), 3 + flags.len() as i16);
        let is_other =
            Instruction::jump_if64(Condition::NotEqual, WIRE_LEN, Source::Constant(CAN_FD_LEN));
        self.skip(is_other, 2 + flags.len() as i16);
        self.push(Instruction::load(Size::One, R0, DATA, 4));
        let is_xl = Instruction::jump_if32(Condition::AnyBit, R0, Source::Constant(CAN_XL_FLAG));
        self.skip(is_xl, flags.len() as i16);
        self.code.extend(flags);
    }
}

fn source(operand: Operand) -> Source {
    match operand {
        Operand::Constant(k) => Source::Constant(k),
        Operand::X => Source::Register(X),
    }
}

fn size(width: Width) -> Size {
    match width {
        Width::Byte => Size::One,
        Width::Half => Size::Two,
        Width::Word => Size::Four,
    }
}

/// Where on the stack a memory word is, below the head's index.
fn place_of(word: usize) -> i16 {
    -72 + 4 * word as i16
}

fn word_read(op: &Op) -> Option<usize> {
    match op {
        Op::LoadA(Value::Memory(word)) | Op::LoadX(Value::Memory(word)) => Some(*word),
        _ => None,
    }
}

/// Which instructions there is a way to: the kernel takes no others.
fn reachable(ops: &[Op]) -> Vec<bool> {
    let mut reachable = vec![false; ops.len()];
    let mut left = vec![0];
    while let Some(at) = left.pop() {
        if !std::mem::replace(&mut reachable[at], true) {
            left.extend(successors(ops[at], at));
        }
    }
    reachable
}
