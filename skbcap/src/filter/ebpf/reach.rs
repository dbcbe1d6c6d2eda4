//! How far into the packet a program can look: bounds of what its registers can hold.

use crate::filter::cbpf::{Alu, MEMORY_WORDS, Offset, Op, Operand, Value, Width};

/// The largest values that the registers and memory words can have.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    a: u32,
    x: u32,
    memory: [u32; MEMORY_WORDS],
}

impl Bounds {
    const START: Self = Self {
        a: 0,
        x: 0,
        memory: [0; MEMORY_WORDS],
    };

    /// What holds on both ways to a place.
    fn join(&mut self, other: &Self) {
        self.a = self.a.max(other.a);
        self.x = self.x.max(other.x);
        for (word, other) in self.memory.iter_mut().zip(other.memory) {
            *word = (*word).max(other);
        }
    }

    fn value(&self, value: Value) -> u32 {
        match value {
            Value::Constant(k) => k,
            Value::Memory(word) => self.memory[word],
            Value::WireLen => u32::MAX,
        }
    }

    fn after(mut self, op: Op) -> Self {
        match op {
            Op::Load(width, _) => {
                self.a = match width {
                    Width::Byte => 0xff,
                    Width::Half => 0xffff,
                    Width::Word => u32::MAX,
                }
            }
            Op::LoadA(value) => self.a = self.value(value),
            Op::LoadX(value) => self.x = self.value(value),
            Op::LoadHeaderLen(_) => self.x = 15 << 2,
            Op::StoreA(word) => self.memory[word] = self.a,
            Op::StoreX(word) => self.memory[word] = self.x,
            Op::Alu(alu, operand) => self.a = computed(alu, self.a, self.x, operand),
            Op::Negate => self.a = u32::MAX,
            Op::Tax => self.x = self.a,
            Op::Txa => self.a = self.x,
            Op::Jump(_) | Op::Branch(..) | Op::Return(_) | Op::ReturnA => {}
        }
        self
    }
}

fn computed(alu: Alu, a: u32, x: u32, operand: Operand) -> u32 {
    let most = match operand {
        Operand::Constant(k) => k,
        Operand::X => x,
    };
    // All bits up to the highest that can be set.
    let bits = |value: u32| u32::MAX.checked_shr(value.leading_zeros()).unwrap_or(0);
    let fits = |value: Option<u32>| value.unwrap_or(u32::MAX);
    match (alu, operand) {
        (Alu::Add, _) => fits(a.checked_add(most)),
        (Alu::Mul, _) => fits(a.checked_mul(most)),
        (Alu::And, _) => a.min(most),
        (Alu::Or | Alu::Xor, _) => bits(a) | bits(most),
        (Alu::Div, Operand::Constant(k)) => a.checked_div(k).unwrap_or(0),
        (Alu::Mod, Operand::Constant(k)) => a.min(k.saturating_sub(1)),
        (Alu::Div | Alu::Mod | Alu::ShiftRight, Operand::X) => a,
        (Alu::ShiftLeft, Operand::Constant(k)) => {
            let shifted = u64::from(a).checked_shl(k).unwrap_or(u64::MAX);
            u32::try_from(shifted).unwrap_or(u32::MAX)
        }
        (Alu::ShiftRight, Operand::Constant(k)) => a.checked_shr(k).unwrap_or(0),
        (Alu::Sub, _) | (Alu::ShiftLeft, Operand::X) => u32::MAX,
    }
}

/// The bytes from the packet's start on that instructions without loops can load, at most `most`.
pub(super) fn reach(ops: &[Op], most: u32) -> u32 {
    let mut before: Vec<Option<Bounds>> = vec![None; ops.len()];
    before[0] = Some(Bounds::START);
    let mut reach = 0u64;
    for (at, &op) in ops.iter().enumerate() {
        let Some(bounds) = before[at] else { continue };
        let mut load = |start: u64, width: Width| reach = reach.max(start + width.bytes());
        match op {
            Op::Load(width, Offset::At(k)) => load(k.into(), width),
            Op::Load(width, Offset::BehindX(k)) => load(u64::from(bounds.x) + u64::from(k), width),
            Op::LoadHeaderLen(k) => load(k.into(), Width::Byte),
            _ => {}
        }
        let after = bounds.after(op);
        for to in successors(op, at) {
            match &mut before[to] {
                Some(there) => there.join(&after),
                none => *none = Some(after),
            }
        }
    }
    u32::try_from(reach).map_or(most, |reach| reach.min(most))
}

/// Where a program goes on behind the instruction `at`.
pub(super) fn successors(op: Op, at: usize) -> impl Iterator<Item = usize> {
    let (one, other) = match op {
        Op::Jump(to) => (Some(to), None),
        Op::Branch(_, _, holds, otherwise) => (Some(holds), Some(otherwise)),
        Op::Return(_) | Op::ReturnA => (None, None),
        _ => (Some(at + 1), None),
    };
    one.into_iter().chain(other)
}
