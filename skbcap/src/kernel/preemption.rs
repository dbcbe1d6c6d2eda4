//! Whether the kernel may preempt its own code: then it leaves tracing programs out now and then
//! ([`super::missed::Unseen`]).
//!
//! Its build tells, in what `uname -v` prints (`init/Makefile`): without `PREEMPT` it never does. With
//! `PREEMPT_DYNAMIC` it depends on `preempt=`, and on what was written to `sched/preempt` in debugfs
//! since: on x86-64 the end of an interrupt goes through a static call, which is a jump to the function
//! that preempts, or a return (`kernel/sched/core.c:__sched_dynamic_update`,
//! `arch/x86/kernel/static_call.c` at 6.12; 7.3 has the same).

use super::kallsyms::Symbols;
use super::page_base::PAGE_OFFSET_BASE;
use super::peek::Peek;

const CALL: &str = "__SCT__irqentry_exit_cond_resched";
const FUNCTION: &str = "raw_irqentry_exit_cond_resched";

/// The names that [`preempts`] wants to have been looked up. Where there are none, the other name, far
/// behind them and wanted anyway, ends the search.
pub const SYMBOLS: &[&[&str]] = &[&[CALL, PAGE_OFFSET_BASE], &[FUNCTION, PAGE_OFFSET_BASE]];

/// `jmp`, and how far from the next instruction on.
const JUMP: u8 = 0xe9;
const JUMP_LEN: u64 = 5;

/// Whether it may. `version` is what `uname -v` prints. Where it can't be told, it may.
pub fn preempts(version: &str, symbols: &Symbols, peek: &mut impl Peek) -> bool {
    if !version.contains("PREEMPT_DYNAMIC") {
        return version.contains("PREEMPT");
    }
    let (Some(call), Some(function)) = (symbols.address(CALL), symbols.address(FUNCTION)) else {
        return true;
    };
    let mut code = [0; JUMP_LEN as usize];
    if peek.read(call, &mut code).is_err() {
        return true;
    }
    let [JUMP, distance @ ..] = code else {
        return false;
    };
    let distance = i64::from(i32::from_le_bytes(distance));
    call.wrapping_add(JUMP_LEN).wrapping_add_signed(distance) == function
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::peek::{Doorbell, PerCpuValue, STAMP_LEN};
    use std::io;

    /// What stands at the static call.
    struct Code(Option<[u8; 5]>);

    impl Peek for Code {
        fn read(&mut self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
            assert_eq!(address, 0xffff_ffff_8140_0628);
            buffer.copy_from_slice(&self.0.ok_or(io::Error::from_raw_os_error(libc::EPERM))?);
            Ok(())
        }
        fn read_on(&mut self, _cpu: u32, _address: u64, _buffer: &mut [u8]) -> io::Result<()> {
            unreachable!("it is no CPU's")
        }
        fn current(&mut self) -> io::Result<u64> {
            unreachable!("nobody asks")
        }
        fn doorbell(&mut self) -> io::Result<Doorbell> {
            unreachable!("nobody asks")
        }
        fn stamp(&mut self, _bytes: &[u8; STAMP_LEN]) {}
        fn per_cpu(&mut self, _cpu: u32) -> io::Result<PerCpuValue> {
            unreachable!("nobody asks")
        }
    }

    const DYNAMIC: &str = "#1 SMP PREEMPT_DYNAMIC Debian 6.12.117-1";
    const LISTED: &str = "ffffffff81136ff0 T raw_irqentry_exit_cond_resched\n\
                          ffffffff81400628 T __SCT__irqentry_exit_cond_resched\n";

    fn judge(version: &str, listed: &str, code: Option<[u8; 5]>) -> bool {
        let symbols = Symbols::scan(listed.as_bytes(), SYMBOLS).unwrap();
        preempts(version, &symbols, &mut Code(code))
    }

    #[test]
    fn the_build_tells() {
        assert!(!judge("#1 SMP Debian 5.10.234-1", LISTED, None));
        for version in [
            "#1 SMP PREEMPT Fri",
            "#1 SMP PREEMPT_RT Fri",
            "#1 SMP PREEMPT_LAZY",
        ] {
            assert!(judge(version, LISTED, None), "{version}");
        }
    }

    #[test]
    fn the_end_of_an_interrupt_tells_where_it_is_chosen() {
        let to_function = (0x8113_6ff0_u32).wrapping_sub(0x8140_062d).to_le_bytes();
        let [a, b, c, d] = to_function;
        assert!(judge(DYNAMIC, LISTED, Some([0xe9, a, b, c, d])));
        // A return, and a jump to one (the mitigations of some processors).
        assert!(!judge(
            DYNAMIC,
            LISTED,
            Some([0xc3, 0xcc, 0xcc, 0xcc, 0xcc])
        ));
        assert!(!judge(DYNAMIC, LISTED, Some([0xe9, 0, b, c, d])));
    }

    #[test]
    fn what_cannot_be_told_may_be() {
        assert!(judge(DYNAMIC, LISTED, None));
        assert!(judge(DYNAMIC, "ffffffff81136ff0 T something_else\n", None));
        let hidden = "0000000000000000 T __SCT__irqentry_exit_cond_resched\n";
        assert!(judge(DYNAMIC, hidden, None));
    }
}
