//! How many frames the kernel did not hand to a program.
//!
//! A kprobe's program is skipped where another one (or itself) already runs on the CPU, before any
//! of it runs. Only newer kernels say how often: `bpf_link_info.perf_event.kprobe.missed`
//! (Linux 6.7, kernel/bpf/syscall.c:bpf_perf_link_fill_kprobe) and `bpf_prog_info.recursion_misses`
//! (Linux 5.12). Both are needed for an exact answer.

use std::{
    io,
    mem::offset_of,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use aya::programs::{BtfTracePoint, KProbe, ProgramError, ProgramFd, ProgramInfo, loaded_links};
use aya_obj::generated::{bpf_cmd, bpf_prog_info};

use super::btf::Btf;

/// `bpf_link_info`: type, id, prog_id, padding; then `perf_event`: type, padding; then `kprobe`:
/// func_name, name_len, offset, addr, missed (include/uapi/linux/bpf.h@6.12).
const LINK_MISSED_AT: usize = 16 + 8 + 24;

/// Room for any kernel's `bpf_link_info` or `bpf_prog_info`.
const INFO_LEN: usize = 512;

/// Whether the kernel that `btf` describes counts what a kprobe misses.
#[must_use]
pub fn is_known(btf: &Btf) -> bool {
    btf.member("bpf_link_info", "perf_event.kprobe.missed")
        .is_ok()
}

/// What tells of a program's misses. Made while there are privileges; asked when there may be none.
#[derive(Debug)]
pub struct Misses {
    program: OwnedFd,
    /// A kprobe's. It keeps the probe attached.
    link: Option<OwnedFd>,
}

impl Misses {
    /// Those of an attached kprobe.
    ///
    /// # Errors
    ///
    /// When the kernel shows no link of the program, or gives no descriptor of it (it needs
    /// CAP_SYS_ADMIN).
    pub fn of_kprobe(program: &KProbe) -> Result<Self, MissedError> {
        let program_info = program.info()?;
        // By the table of all links, because aya lends no descriptor of a kprobe's.
        let link_id = loaded_links()
            .filter_map(Result::ok)
            .find(|link| link.program_id() == program_info.id())
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?
            .id();
        let mut attribute = [0u8; 16];
        attribute[..4].copy_from_slice(&link_id.to_le_bytes());
        let fd = bpf(bpf_cmd::BPF_LINK_GET_FD_BY_ID, &mut attribute)?;
        #[expect(
            unsafe_code,
            reason = "a descriptor comes as a number from the system call"
        )]
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        let link = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            program: descriptor(&program_info)?,
            link: Some(link),
        })
    }

    /// Those of a tracepoint's program. Linux before 5.12 leaves no run out, and counts none.
    ///
    /// # Errors
    ///
    /// When the kernel gives no descriptor of it (it needs CAP_SYS_ADMIN).
    pub fn of_tracepoint(program: &BtfTracePoint) -> Result<Self, MissedError> {
        Self::of_program(&program.info()?)
    }

    /// Those of a program alone, attached or not.
    ///
    /// # Errors
    ///
    /// As [`Misses::of_tracepoint`].
    pub(super) fn of_program(program: &ProgramInfo) -> Result<Self, MissedError> {
        Ok(Self {
            program: descriptor(program)?,
            link: None,
        })
    }

    /// Frames missed so far: of a kprobe those that the probe was skipped for, and those that only
    /// its program was; of a tracepoint, runs that the kernel has left out, because the program was
    /// running on that CPU already.
    ///
    /// # Errors
    ///
    /// When the kernel doesn't answer: before Linux 5.19, without CAP_BPF
    /// (kernel/bpf/syscall.c:__sys_bpf).
    pub fn count(&self) -> Result<u64, MissedError> {
        let program = word(
            &info(self.program.as_fd())?,
            offset_of!(bpf_prog_info, recursion_misses),
        );
        Ok(match &self.link {
            Some(link) => program + word(&info(link.as_fd())?, LINK_MISSED_AT),
            None => program,
        })
    }
}

/// What tells of calls that none of the programs at one place was run for. The kernel runs no tracing
/// program on a CPU on which a task was preempted in it (Linux 5.12,
/// `kernel/bpf/trampoline.c:__bpf_prog_enter`).
#[derive(Debug, Default)]
pub struct Unseen(Vec<Misses>);

impl Unseen {
    /// The place has this program too. It needs no privileges: the program is ours. One that is not
    /// loaded, or of which no descriptor can be had, is left out.
    pub(super) fn also_sees(&mut self, program: Result<&ProgramFd, ProgramError>) {
        let descriptor = |program: &ProgramFd| program.as_fd().try_clone_to_owned();
        if let Ok(Ok(program)) = program.map(descriptor) {
            self.0.push(Misses {
                program,
                link: None,
            });
        }
    }

    /// At most as many as this: a call that none was run for is among those of each. 0 also where the
    /// kernel doesn't answer: before 5.19, without `CAP_BPF`.
    pub(super) fn at_most(&self) -> u64 {
        let counts = self.0.iter().map(|program| program.count().unwrap_or(0));
        counts.min().unwrap_or(0)
    }
}

fn descriptor(info: &ProgramInfo) -> Result<OwnedFd, MissedError> {
    Ok(info.fd()?.as_fd().try_clone_to_owned()?)
}

/// Why missed frames could not be counted.
#[derive(Debug, thiserror::Error)]
#[error("cannot ask the kernel what the kprobe missed")]
pub enum MissedError {
    /// The program is not loaded.
    Program(#[from] ProgramError),
    /// The system call failed.
    Io(#[from] io::Error),
}

fn word(info: &[u8; INFO_LEN], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|byte| info[at + byte]))
}

/// `BPF_OBJ_GET_INFO_BY_FD`: what an older kernel doesn't know stays 0.
fn info(fd: BorrowedFd<'_>) -> io::Result<[u8; INFO_LEN]> {
    let mut info = [0u8; INFO_LEN];
    let mut attribute = [0u8; 16];
    attribute[..4].copy_from_slice(&fd.as_raw_fd().to_le_bytes());
    attribute[4..8].copy_from_slice(&(INFO_LEN as u32).to_le_bytes());
    attribute[8..].copy_from_slice(&(info.as_mut_ptr() as u64).to_le_bytes());
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attribute)?;
    Ok(info)
}

fn bpf(command: bpf_cmd, attribute: &mut [u8; 16]) -> io::Result<i32> {
    #[expect(unsafe_code, reason = "aya has no accessor for these numbers")]
    // SAFETY: both commands read these 16 bytes of the attribute; the second writes at most
    // `INFO_LEN` bytes to the address in them, which is that of a live array of this length.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attribute.as_mut_ptr(),
            attribute.len(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as i32)
    }
}
