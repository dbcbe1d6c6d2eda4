//! Kernel memory, read through the set-up program: one request, one run by hand, one answer.
//!
//! Owns the mailbox that the program and userspace share. Must not know: what lies at an address
//! ([`super::page_base`], [`super::cpu_words`] do).
//!
//! Minimum kernel: 5.10 (`BPF_PROG_TEST_RUN` of a raw tracepoint program).

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;

use aya::maps::{Map, MapData};
use aya::programs::{ProgramError, RawTracePoint, RawTracePointRunOptions, TestRun};
use aya::{Ebpf, EbpfError};
use memmap2::{MmapOptions, MmapRaw};
use skbcap_common::peek::{PEEK_CURRENT, PEEK_DOORBELL, PEEK_LEN, PEEK_PER_CPU, PEEK_READ};
use zerocopy::FromZeros;

/// The set-up program's name in the object.
pub const PROGRAM: &str = "peek";
/// The mailbox's name in the object.
pub const MAP: &str = "PEEK";
/// The doorbell's name in the object.
pub const DOORBELL: &str = "DOORBELL";

/// Bytes of a page on x86-64.
pub const PAGE_LEN: usize = 4096;

/// Bytes that [`Peek::stamp`] writes.
pub const STAMP_LEN: usize = 64;

/// A BPF ring buffer of our own, seen from both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doorbell {
    /// The address of its `struct bpf_map`, which begins its `struct bpf_ringbuf_map`.
    pub map: u64,
    /// Where its consumer page is mapped in this process.
    pub consumer_page: u64,
}

/// Where a per-CPU map of our own keeps its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerCpuValue {
    /// The address of the value on the CPU that was asked for.
    pub value: u64,
    /// The address of the map's `struct bpf_map`, which begins its `struct bpf_array`.
    pub map: u64,
}

/// The running kernel's memory, and the addresses of a few things of our own in it.
///
/// Errors are the kernel's: `EFAULT` where nothing readable lies at an address, `EPERM` where the
/// capabilities or lockdown forbid it.
#[expect(
    clippy::missing_errors_doc,
    reason = "the trait's text says it for all of them"
)]
pub trait Peek {
    /// Fills `buffer` with the memory from `address` on.
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// As [`Peek::read`], run on `cpu`: in a hardware interrupt there, unless the thread already
    /// runs on it. At most [`PEEK_LEN`] bytes.
    fn read_on(&mut self, cpu: u32, address: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// The address of the calling thread's `struct task_struct`.
    fn current(&mut self) -> io::Result<u64>;

    /// Where the doorbell lies.
    fn doorbell(&mut self) -> io::Result<Doorbell>;

    /// Writes `bytes` to the end of the doorbell's consumer page, which neither side uses.
    fn stamp(&mut self, bytes: &[u8; STAMP_LEN]);

    /// Where a per-CPU map's value lies on `cpu`, which must be online.
    fn per_cpu(&mut self, cpu: u32) -> io::Result<PerCpuValue>;

    /// The 4-byte number at `address`.
    fn read_u32(&mut self, address: u64) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.read(address, &mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    /// The 8-byte number, or pointer, at `address`.
    fn read_u64(&mut self, address: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }
}

/// [`Peek`] over the set-up program of a loaded object.
pub struct Mailbox<'object> {
    program: &'object RawTracePoint,
    memory: MmapRaw,
    consumer_page: MmapRaw,
}

impl<'object> Mailbox<'object> {
    /// The mailbox of an object whose program [`PROGRAM`] is loaded (not attached).
    ///
    /// # Errors
    ///
    /// If the object lacks the program or the map, or the map can't be mapped.
    pub fn of(object: &'object Ebpf) -> io::Result<Self> {
        let missing = |what| io::Error::other(format!("the eBPF object has no {what}"));
        let program = object
            .program(PROGRAM)
            .ok_or_else(|| missing("program peek"))?;
        let program = program
            .try_into()
            .map_err(|error: ProgramError| io::Error::other(error))?;
        let Some(Map::Array(mailbox)) = object.map(MAP) else {
            return Err(missing("array PEEK"));
        };
        let Some(Map::RingBuf(doorbell)) = object.map(DOORBELL) else {
            return Err(missing("ring buffer DOORBELL"));
        };
        Self::new(program, mailbox, doorbell)
    }

    /// The mailbox of a loaded program, its map, and the doorbell's.
    ///
    /// # Errors
    ///
    /// If a map can't be mapped: the mailbox is no `BPF_F_MMAPABLE` array, or is too small.
    pub fn new(
        program: &'object RawTracePoint,
        mailbox: &MapData,
        doorbell: &MapData,
    ) -> io::Result<Self> {
        let map = |map: &MapData, len| {
            MmapOptions::new()
                .len(len)
                .map_raw(map.fd().as_fd().as_raw_fd())
        };
        let memory = map(mailbox, size_of::<skbcap_common::Peek>())?;
        // The first page of a ring buffer's mapping holds the consumer's position, and is the only
        // one that may be written (kernel/bpf/ringbuf.c:ringbuf_map_mmap_kern@6.1).
        let consumer_page = map(doorbell, PAGE_LEN)?;
        Ok(Self {
            program,
            memory,
            consumer_page,
        })
    }

    /// Puts a request into the mailbox, runs the program, and takes the answer out.
    fn ask(
        &mut self,
        cpu: Option<u32>,
        operation: u32,
        address: u64,
        len: u32,
    ) -> io::Result<skbcap_common::Peek> {
        let mailbox: NonNull<skbcap_common::Peek> = NonNull::new(self.memory.as_mut_ptr())
            .ok_or_else(|| io::Error::other("the mailbox is not mapped"))?
            .cast();
        let mut request = skbcap_common::Peek::new_zeroed();
        request.operation = operation;
        request.address = address;
        request.len = len;
        write(mailbox, request);

        let mut options = RawTracePointRunOptions::new();
        options.cpu = cpu;
        self.program.test_run(options).map_err(system_error)?;

        let answer = read(mailbox);
        if answer.operation != 0 {
            return Err(io::Error::other(
                "the set-up program did not understand the request",
            ));
        }
        if answer.result < 0 {
            let errno = i32::try_from(-answer.result).unwrap_or(libc::EFAULT);
            return Err(io::Error::from_raw_os_error(errno));
        }
        if cpu.is_some_and(|cpu| cpu != answer.cpu) {
            return Err(io::Error::other(
                "the set-up program ran on another CPU than was asked",
            ));
        }
        Ok(answer)
    }

    fn read_chunk(&mut self, cpu: Option<u32>, address: u64, to: &mut [u8]) -> io::Result<()> {
        if to.is_empty() {
            return Ok(());
        }
        let answer = self.ask(cpu, PEEK_READ, address, to.len() as u32)?;
        let bytes = answer.bytes.get(..to.len());
        to.copy_from_slice(bytes.ok_or(io::ErrorKind::InvalidInput)?);
        Ok(())
    }
}

#[expect(unsafe_code, reason = "the mailbox is memory that the program reads")]
fn write(mailbox: NonNull<skbcap_common::Peek>, request: skbcap_common::Peek) {
    // SAFETY: the mapping is that long, page-aligned, writable and lives as long as the
    // `Mailbox`; the program only runs inside `ask`, which holds the `Mailbox` exclusively.
    // Volatile: the system call that follows reads the bytes.
    unsafe { mailbox.write_volatile(request) }
}

#[expect(unsafe_code, reason = "the mailbox is memory that the program writes")]
fn read(mailbox: NonNull<skbcap_common::Peek>) -> skbcap_common::Peek {
    // SAFETY: as in `write`; the program has ended before its run's system call returns, also on
    // another CPU, and any bytes are a valid `Peek` (integers only).
    unsafe { mailbox.read_volatile() }
}

#[expect(
    unsafe_code,
    reason = "the page is shared with the kernel's ring buffer"
)]
fn write_at_end(page: &MmapRaw, bytes: &[u8; STAMP_LEN]) {
    let start = page.as_mut_ptr().wrapping_add(PAGE_LEN - STAMP_LEN);
    // SAFETY: the mapping is `PAGE_LEN` writable bytes, so the last `STAMP_LEN` of them lie within
    // it; an array of bytes needs no alignment. The kernel and aya's ring buffer use the first
    // eight only: `struct bpf_ringbuf` keeps nothing but `consumer_pos` in that page.
    unsafe { start.cast::<[u8; STAMP_LEN]>().write_volatile(*bytes) }
}

impl Peek for Mailbox<'_> {
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut address = address;
        for chunk in buffer.chunks_mut(PEEK_LEN) {
            self.read_chunk(None, address, chunk)?;
            address = address.wrapping_add(PEEK_LEN as u64);
        }
        Ok(())
    }

    fn read_on(&mut self, cpu: u32, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_chunk(Some(cpu), address, buffer)
    }

    fn current(&mut self) -> io::Result<u64> {
        Ok(self.ask(None, PEEK_CURRENT, 0, 0)?.address)
    }

    fn doorbell(&mut self) -> io::Result<Doorbell> {
        let map = self.ask(None, PEEK_DOORBELL, 0, 0)?.address;
        Ok(Doorbell {
            map,
            consumer_page: self.consumer_page.as_ptr() as u64,
        })
    }

    fn stamp(&mut self, bytes: &[u8; STAMP_LEN]) {
        write_at_end(&self.consumer_page, bytes);
    }

    fn per_cpu(&mut self, cpu: u32) -> io::Result<PerCpuValue> {
        let answer = self.ask(Some(cpu), PEEK_PER_CPU, 0, 0)?;
        let map = answer
            .bytes
            .first_chunk::<8>()
            .map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        Ok(PerCpuValue {
            value: answer.address,
            map,
        })
    }
}

/// The system's error behind aya's, so that callers can tell `EPERM` from others.
fn system_error(error: ProgramError) -> io::Error {
    match error {
        ProgramError::SyscallError(error) => error.io_error,
        other => io::Error::other(EbpfError::ProgramError(other)),
    }
}
