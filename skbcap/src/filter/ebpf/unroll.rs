//! Loops become code that only goes forward: what is gone through again stands there again.
//!
//! Only `protochain` compiles to loops, which follow a packet's headers, one each round. Verifiers since
//! 5.3 take loops too, if they end. But they go through them round by round, and each round has two
//! ways to the next one, that of an extension header and that of an authentication header. They would
//! have to remember the first way's state there when the second one comes. They forget states that new
//! ones at the same instruction keep missing, as all rounds but one do. Each copy has its own.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use crate::filter::cbpf::Op;

/// Jumps back that a translated program takes in one of its loops: headers that `protochain` follows
/// behind one another.
pub const ROUNDS: usize = 32;

/// What a translation returns of a packet for which it would have to go on: nobody knows whether the
/// program selects it, so it is selected.
pub const UNDECIDED: u32 = u32::MAX;

/// The instructions without jumps back. Those of a loop are there once, and once more for each of
/// the [`ROUNDS`]; a jump back from there returns [`UNDECIDED`].
pub(super) fn unrolled(ops: &[Op]) -> Cow<'_, [Op]> {
    let loops = loops(ops);
    if loops.is_empty() {
        return Cow::Borrowed(ops);
    }
    let new = |at| first(&loops, at);
    let mut unrolled = Vec::with_capacity(new(ops.len()));
    let mut at = 0;
    for span in &loops {
        unrolled.extend(ops[at..*span.start()].iter().map(|&op| moved(op, new)));
        for round in 0..=ROUNDS {
            let in_round = |to: usize, round: usize| new(to) + round * len(span);
            for from in span.clone() {
                unrolled.push(match ops[from] {
                    Op::Jump(to) if to <= from && round == ROUNDS => Op::Return(UNDECIDED),
                    Op::Jump(to) if to <= from => Op::Jump(in_round(to, round + 1)),
                    op => moved(op, |to| match span.contains(&to) {
                        true => in_round(to, round),
                        false => new(to),
                    }),
                });
            }
        }
        at = span.end() + 1;
    }
    unrolled.extend(ops[at..].iter().map(|&op| moved(op, new)));
    Cow::Owned(unrolled)
}

fn len(span: &RangeInclusive<usize>) -> usize {
    span.end() - span.start() + 1
}

/// The spans that jumps back lead over, none of which touches another, in their order.
fn loops(ops: &[Op]) -> Vec<RangeInclusive<usize>> {
    let mut loops: Vec<RangeInclusive<usize>> = Vec::new();
    for (from, &op) in ops.iter().enumerate() {
        let Op::Jump(mut start) = op else { continue };
        if start > from {
            continue;
        }
        while let Some(last) = loops.pop_if(|last| *last.end() >= start) {
            start = start.min(*last.start());
        }
        loops.push(start..=from);
    }
    loops
}

/// Where an instruction is, or the first of its copies.
fn first(loops: &[RangeInclusive<usize>], at: usize) -> usize {
    let before = loops.iter().take_while(|span| *span.end() < at);
    at + before.map(|span| ROUNDS * len(span)).sum::<usize>()
}

/// The instruction, with its jumps led to where their targets are now.
fn moved(op: Op, new: impl Fn(usize) -> usize) -> Op {
    match op {
        Op::Jump(to) => Op::Jump(new(to)),
        Op::Branch(test, operand, holds, otherwise) => {
            Op::Branch(test, operand, new(holds), new(otherwise))
        }
        op => op,
    }
}
