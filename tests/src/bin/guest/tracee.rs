//! System calls in another process's name, as a debugger makes them: what the kernel answers it.

use std::ffi::c_void;
use std::io;
use std::ops::RangeInclusive;
use std::ptr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::program::PATIENCE;

/// What the kernel has for the result of a call that was interrupted and is to begin anew
/// (`ERESTARTSYS` to `ERESTART_RESTARTBLOCK`, include/linux/errno.h).
const INTERRUPTED: RangeInclusive<i64> = -516..=-512;
/// Bytes of the instruction that such a call was made by.
const SYSCALL_LEN: u64 = 2;

/// A process that was stopped while it waits in a system call, by the thread that stopped it.
pub(crate) struct Tracee {
    pid: Pid,
    /// As it is to go on with: it makes the call once more that it waited in.
    registers: libc::user_regs_struct,
}

impl Tracee {
    /// Stops it, once it waits.
    pub(crate) fn stop(id: u32) -> Result<Self> {
        let pid = Pid::from_raw(id.cast_signed()).context("no process")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            ptrace(libc::PTRACE_ATTACH, pid, ptr::null_mut())?;
            let mut registers = registers(pid)?;
            if INTERRUPTED.contains(&registers.rax.cast_signed()) {
                registers.rip -= SYSCALL_LEN;
                registers.rax = registers.orig_rax;
                registers.orig_rax = u64::MAX;
                return Ok(Self { pid, registers });
            }
            ptrace(libc::PTRACE_DETACH, pid, ptr::null_mut())?;
            ensure!(Instant::now() < deadline, "it waits for nothing");
            sleep(Duration::from_millis(10));
        }
    }

    /// What the kernel answers it to a call with these arguments, and zeros: an error's number is
    /// negative.
    pub(crate) fn call(&self, call: i64, arguments: [u64; 2]) -> Result<i64> {
        let [rdi, rsi] = arguments;
        let mut registers_now = libc::user_regs_struct {
            rax: call.cast_unsigned(),
            rdi,
            rsi,
            rdx: 0,
            r10: 0,
            r8: 0,
            r9: 0,
            ..self.registers
        };
        self.set(&mut registers_now)?;
        // To where it enters the kernel, and to where it leaves it.
        for _ in 0..2 {
            ptrace(libc::PTRACE_SYSCALL, self.pid, ptr::null_mut())?;
            registers_now = registers(self.pid)?;
        }
        Ok(registers_now.rax.cast_signed())
    }

    /// Lets it go on.
    pub(crate) fn go_on(self) -> Result<()> {
        let mut before = self.registers;
        self.set(&mut before)?;
        ptrace(libc::PTRACE_DETACH, self.pid, ptr::null_mut())
    }

    fn set(&self, registers: &mut libc::user_regs_struct) -> Result<()> {
        let from: *mut libc::user_regs_struct = registers;
        ptrace(libc::PTRACE_SETREGS, self.pid, from.cast())
    }
}

/// Those it has once it stops.
fn registers(pid: Pid) -> Result<libc::user_regs_struct> {
    let (_, status) = waitpid(Some(pid), WaitOptions::empty())?.context("it does not stop")?;
    ensure!(status.stopped(), "it ended: {status:?}");
    #[expect(unsafe_code, reason = "a structure for the kernel to fill")]
    // SAFETY: integers, of which all zeros is a value.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    let to: *mut libc::user_regs_struct = &raw mut registers;
    ptrace(libc::PTRACE_GETREGS, pid, to.cast())?;
    Ok(registers)
}

/// `data`: null, or a `user_regs_struct` for those requests that are about one.
fn ptrace(request: libc::c_uint, pid: Pid, data: *mut c_void) -> Result<()> {
    #[expect(unsafe_code, reason = "a debugger's system call")]
    // SAFETY: the requests in this file read or fill a live `user_regs_struct` at most, and change
    // nothing of this process.
    let result = unsafe {
        libc::ptrace(
            request,
            pid.as_raw_nonzero().get(),
            ptr::null_mut::<c_void>(),
            data,
        )
    };
    ensure!(result == 0, "ptrace: {}", io::Error::last_os_error());
    Ok(())
}
