//! Whether the machine itself keeps what the kernel's changes of its own code rest on, and with them
//! each attaching of a program: that a processor does not fetch what was written over.
//!
//! In this program alone, by the same steps (`smp_text_poke_batch_finish`,
//! arch/x86/kernel/alternative.c@6.12): a breakpoint over the instruction's first byte, the rest, the
//! first byte, and after each all processors are told.

#![expect(
    unsafe_code,
    reason = "code that changes while it runs is none of a compiler's"
)]

use std::cell::Cell;
use std::mem::{transmute, zeroed};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::SeqCst};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

const PAGE_LEN: usize = 4096;
/// Breakpoint; a nop of five bytes, a jump to what is behind it, as long; return.
const INT3: u8 = 0xcc;
const NOP: [u8; 5] = [0x0f, 0x1f, 0x44, 0, 0];
const JMP: [u8; 5] = [0xe9, 0, 0, 0, 0];
const RET: u8 = 0xc3;

/// The instruction that is changed, as it is run.
static CODE: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
/// Odd while it is being changed; higher at each change.
static GENERATION: AtomicU64 = AtomicU64::new(0);
/// Breakpoints that were met while there was one.
static MET: AtomicU64 = AtomicU64::new(0);
/// Breakpoints that were met once the code was changed, tried again, and met again.
static STALE: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The generation in which this thread tried again.
    static TRIED: Cell<u64> = const { Cell::new(u64::MAX) };
}

extern "C" fn on_breakpoint(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let code = CODE.load(SeqCst);
    // SAFETY: the kernel hands a handler with SA_SIGINFO the context that it interrupted, which is
    // this thread's alone until the handler returns.
    let rip = unsafe {
        &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize]
    };
    let generation = GENERATION.load(SeqCst);
    let behind = code.wrapping_add(NOP.len()) as i64;
    if generation % 2 == 1 {
        MET.fetch_add(1, SeqCst);
        *rip = behind;
    } else if TRIED.get() == generation {
        // It was fetched after the change before that was through, and none has begun since.
        STALE.fetch_add(1, SeqCst);
        *rip = behind;
    } else {
        // The signal may be late.
        TRIED.set(generation);
        *rip = code as i64;
    }
}

/// No processor fetches a breakpoint that is not there any more. QEMU's emulated ones do, where each
/// is a thread.
pub(crate) fn stale_code() -> Result<()> {
    const SECONDS: u64 = 60;
    let writable = pages()?;
    let changed = writable.wrapping_add(PAGE_LEN / 2);
    // SAFETY: both lie in the page, which nothing runs yet.
    unsafe {
        changed.cast::<[u8; 5]>().write_volatile(NOP);
        changed.wrapping_add(NOP.len()).write_volatile(RET);
        let mut action: libc::sigaction = zeroed();
        action.sa_sigaction = on_breakpoint as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        ensure!(libc::sigaction(libc::SIGTRAP, &raw const action, ptr::null_mut()) == 0);
    }
    membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE)?;
    for _ in 0..2 {
        spawn(|| {
            // SAFETY: a nop or a jump to the next instruction, a return, and between them what the
            // handler steps over.
            let run: extern "C" fn() = unsafe { transmute(CODE.load(SeqCst)) };
            loop {
                run();
            }
        });
    }
    let start = Instant::now();
    let mut changes = 0;
    while start.elapsed() < Duration::from_secs(SECONDS) {
        let [first, rest @ ..] = if changes % 2 == 0 { JMP } else { NOP };
        GENERATION.fetch_add(1, SeqCst);
        // SAFETY: in the page; nothing else writes there.
        unsafe {
            changed.write_volatile(INT3);
            sync()?;
            changed
                .wrapping_add(1)
                .cast::<[u8; 4]>()
                .write_volatile(rest);
            sync()?;
            changed.write_volatile(first);
            sync()?;
        }
        GENERATION.fetch_add(1, SeqCst);
        changes += 1;
        sleep(Duration::from_micros(300));
    }
    println!("{changes} changes, {MET:?} breakpoints met, {STALE:?} that were not there any more");
    ensure!(MET.load(SeqCst) > 0, "nothing ran meanwhile");
    ensure!(STALE.load(SeqCst) == 0, "this machine runs old code");
    Ok(())
}

/// A page to write to, which is the one whose second half [`CODE`] is.
fn pages() -> Result<*mut u8> {
    // SAFETY: new mappings, where the kernel likes; they stay.
    let [writable, runnable] = unsafe {
        let file = libc::memfd_create(c"code".as_ptr(), 0);
        ensure!(file >= 0 && libc::ftruncate(file, PAGE_LEN as i64) == 0);
        [libc::PROT_WRITE, libc::PROT_EXEC].map(|protection| {
            let protection = libc::PROT_READ | protection;
            libc::mmap(
                ptr::null_mut(),
                PAGE_LEN,
                protection,
                libc::MAP_SHARED,
                file,
                0,
            )
        })
    };
    ensure!(writable != libc::MAP_FAILED && runnable != libc::MAP_FAILED);
    CODE.store(runnable.cast::<u8>().wrapping_add(PAGE_LEN / 2), SeqCst);
    Ok(writable.cast())
}

/// Every processor that runs this program has been told when it returns.
fn sync() -> Result<()> {
    membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE)
}

fn membarrier(command: i32) -> Result<()> {
    // SAFETY: it takes no pointers.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) };
    ensure!(result == 0, "{}", std::io::Error::last_os_error());
    Ok(())
}
