//! The interpreter.

use super::{Alu, MEMORY_WORDS, Offset, Op, Operand, Program, Test, Value, Width};

/// Jumps backwards that a run may take. Only `protochain` compiles to any, one for each header,
/// which has eight bytes at least; no frame has so many. But behind an authentication header libpcap's
/// programs go on near the packet's start, and so may never end.
const MAX_JUMPS_BACK: u32 = 1 << 20;

/// What ends a program before its return.
enum Stop {
    /// A load beyond the packet, a division by 0.
    Nothing,
    /// So many jumps backwards.
    Rounds,
}

impl Program {
    /// Runs on a packet of which `data` was captured, and which had `wire_len` bytes.
    ///
    /// What it returns is how many bytes of the packet are wanted: 0 if none, so that it is not
    /// selected. A load beyond `data`, and a division by an X of 0, end it with 0.
    #[must_use]
    pub fn run(&self, data: &[u8], wire_len: u32) -> u32 {
        self.run_bounded(data, wire_len, MAX_JUMPS_BACK)
            .unwrap_or(0)
    }

    /// What [`Self::run`] returns, or [`None`] where it would take more than `most` jumps backwards.
    #[must_use]
    pub fn run_bounded(&self, data: &[u8], wire_len: u32, most: u32) -> Option<u32> {
        match self.try_run(data, wire_len, most) {
            Ok(returned) => Some(returned),
            Err(Stop::Nothing) => Some(0),
            Err(Stop::Rounds) => None,
        }
    }

    fn try_run(&self, data: &[u8], wire_len: u32, most: u32) -> Result<u32, Stop> {
        let (mut a, mut x) = (0u32, 0u32);
        let mut memory = [0u32; MEMORY_WORDS];
        let mut jumps_back = 0;
        let mut at = 0;
        loop {
            let op = *self.ops.get(at).ok_or(Stop::Nothing)?;
            at += 1;
            let value = |value, memory: &[u32; MEMORY_WORDS]| match value {
                Value::Constant(k) => k,
                Value::Memory(word) => memory[word],
                Value::WireLen => wire_len,
            };
            let operand = |operand| match operand {
                Operand::Constant(k) => k,
                Operand::X => x,
            };
            match op {
                Op::Load(width, Offset::At(k)) => a = load(data, width, Some(k))?,
                Op::Load(width, Offset::BehindX(k)) => {
                    a = load(data, width, x.checked_add(k))?;
                }
                Op::LoadA(from) => a = value(from, &memory),
                Op::LoadX(from) => x = value(from, &memory),
                Op::LoadHeaderLen(k) => {
                    x = (load(data, Width::Byte, Some(k))? & 0xf) << 2;
                }
                Op::StoreA(word) => memory[word] = a,
                Op::StoreX(word) => memory[word] = x,
                Op::Alu(alu, with) => a = compute(alu, a, operand(with))?,
                Op::Negate => a = a.wrapping_neg(),
                Op::Jump(to) => {
                    if to < at {
                        if jumps_back == most {
                            return Err(Stop::Rounds);
                        }
                        jumps_back += 1;
                    }
                    at = to;
                }
                Op::Branch(test, with, holds, otherwise) => {
                    at = if is_so(test, a, operand(with)) {
                        holds
                    } else {
                        otherwise
                    };
                }
                Op::Return(k) => return Ok(k),
                Op::ReturnA => return Ok(a),
                Op::Tax => x = a,
                Op::Txa => a = x,
            }
        }
    }
}

/// [`Stop`]s beyond the end, and nowhere.
fn load(data: &[u8], width: Width, at: Option<u32>) -> Result<u32, Stop> {
    at.and_then(|at| try_load(data, width, at))
        .ok_or(Stop::Nothing)
}

fn try_load(data: &[u8], width: Width, at: u32) -> Option<u32> {
    let rest = data.get(usize::try_from(at).ok()?..)?;
    Some(match width {
        Width::Byte => u32::from(*rest.first()?),
        Width::Half => u32::from(u16::from_be_bytes(*rest.first_chunk()?)),
        Width::Word => u32::from_be_bytes(*rest.first_chunk()?),
    })
}

/// [`Stop`]s at a division by 0.
fn compute(alu: Alu, a: u32, operand: u32) -> Result<u32, Stop> {
    Ok(match alu {
        Alu::Add => a.wrapping_add(operand),
        Alu::Sub => a.wrapping_sub(operand),
        Alu::Mul => a.wrapping_mul(operand),
        Alu::Div => a.checked_div(operand).ok_or(Stop::Nothing)?,
        Alu::Mod => a.checked_rem(operand).ok_or(Stop::Nothing)?,
        Alu::And => a & operand,
        Alu::Or => a | operand,
        Alu::Xor => a ^ operand,
        Alu::ShiftLeft => a.checked_shl(operand).unwrap_or(0),
        Alu::ShiftRight => a.checked_shr(operand).unwrap_or(0),
    })
}

fn is_so(test: Test, a: u32, operand: u32) -> bool {
    match test {
        Test::Equal => a == operand,
        Test::Greater => a > operand,
        Test::GreaterOrEqual => a >= operand,
        Test::AnyBit => a & operand != 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::filter::cbpf::{Instruction, InvalidKind, Program};

    fn program(instructions: &[(u16, u8, u8, u32)]) -> Program {
        Program::new(&instructions_of(instructions)).unwrap()
    }

    fn instructions_of(instructions: &[(u16, u8, u8, u32)]) -> Vec<Instruction> {
        let instruction = |&(code, jt, jf, k): &_| Instruction { code, jt, jf, k };
        instructions.iter().map(instruction).collect()
    }

    fn refused(instructions: &[(u16, u8, u8, u32)]) -> (usize, InvalidKind) {
        let invalid = Program::new(&instructions_of(instructions)).unwrap_err();
        (invalid.at, invalid.what)
    }

    /// `tcpdump -d udp` on raw IPv4.
    #[test]
    fn a_compiled_expression_runs() {
        let udp = program(&[
            (0x30, 0, 0, 0),
            (0x54, 0, 0, 0xf0),
            (0x15, 0, 3, 0x40),
            (0x30, 0, 0, 9),
            (0x15, 0, 1, 17),
            (0x06, 0, 0, 262_144),
            (0x06, 0, 0, 0),
        ]);
        let mut packet = [0u8; 20];
        packet[0] = 0x45;
        packet[9] = 17;
        assert_eq!(udp.run(&packet, 20), 262_144);
        packet[9] = 6;
        assert_eq!(udp.run(&packet, 20), 0);
        packet[9] = 17;
        assert_eq!(udp.run(&packet[..9], 20), 0, "a load beyond the end");
    }

    #[test]
    fn registers_memory_and_length() {
        // X = 3; M[15] = X; A = len; A -= M[15] by way of X; return A
        let program = program(&[
            (0x01, 0, 0, 3),
            (0x03, 0, 0, 15),
            (0x80, 0, 0, 0),
            (0x61, 0, 0, 15),
            (0x1c, 0, 0, 0),
            (0x16, 0, 0, 0),
        ]);
        assert_eq!(program.run(&[], 100), 97);
    }

    /// X at the top of its range does not wrap around to the packet.
    #[test]
    fn an_index_never_wraps() {
        let program = program(&[(0x01, 0, 0, !0), (0x50, 0, 0, 1), (0x06, 0, 0, 1)]);
        assert_eq!(program.run(&[0; 64], 64), 0);
    }

    #[test]
    fn a_loop_ends() {
        let forever = program(&[(0x05, 0, 0, !0), (0x06, 0, 0, 1)]);
        assert_eq!(forever.run(&[], 0), 0);
    }

    #[test]
    fn what_cannot_run_is_refused() {
        let end = (0x06, 0, 0, 0);
        assert_eq!(refused(&[]), (0, InvalidKind::Length));
        assert_eq!(refused(&[(0x00, 0, 0, 1)]), (0, InvalidKind::End));
        assert_eq!(refused(&[(0x15, 1, 0, 0), end]), (0, InvalidKind::Jump));
        assert_eq!(refused(&[(0x05, 0, 0, 1), end]), (0, InvalidKind::Jump));
        assert_eq!(
            refused(&[end, (0x05, 0, 0, !3 + 1), end]),
            (1, InvalidKind::Jump)
        );
        assert_eq!(
            refused(&[(0x60, 0, 0, 16), end]),
            (0, InvalidKind::Memory(16))
        );
        assert_eq!(refused(&[(0x34, 0, 0, 0), end]), (0, InvalidKind::Division));
        assert_eq!(
            refused(&[(0x64, 0, 0, 32), end]),
            (0, InvalidKind::Shift(32))
        );
        for code in [
            0x18,
            0x68,
            0xa0,
            0x81 | 8,
            0xb4,
            0x55,
            0x1e,
            0x17,
            0x115,
            0xffff,
        ] {
            assert_eq!(
                refused(&[(code, 0, 0, 1), end]),
                (0, InvalidKind::Code(code))
            );
        }
    }

    proptest! {
        /// Whatever is no program is refused; whatever is one ends, on any bytes.
        #[test]
        fn any_instructions_are_refused_or_end(
            instructions in prop::collection::vec(
                (0u16..0x100, 0u8..4, 0u8..4, prop_oneof![0u32..40, any::<u32>()]), 1..12),
            packet in prop::collection::vec(any::<u8>(), 0..64),
            wire_len: u32,
        ) {
            if let Ok(program) = Program::new(&instructions_of(&instructions)) {
                let _ = program.run(&packet, wire_len);
            }
        }
    }
}
