//! The same addresses, asked of the kernel by a program of a few instructions for each name.
//!
//! Owns that program. `bpf_kallsyms_lookup_name` searches by halves since Linux 6.2, in some
//! microseconds, where printing all symbols takes tens of milliseconds; older kernels go through
//! them one by one for each name.
//!
//! Minimum kernel: 5.16 (kernel/bpf/syscall.c:bpf_kallsyms_lookup_name), `CAP_BPF` and
//! `CAP_PERFMON`. Shows addresses to whom `/proc/kallsyms` does.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use aya_obj::generated::{bpf_cmd, bpf_prog_type};

/// A helper's number (include/uapi/linux/bpf.h).
const KALLSYMS_LOOKUP_NAME: i32 = 179;

/// Such a program must be allowed to sleep (kernel/bpf/verifier.c:check_attach_btf_id@5.16).
const SLEEPABLE: u32 = 1 << 4;

/// The longest name that fits on the program's stack beside the answer.
const LONGEST: usize = 128;

/// What the helper said of one name: 0 or an error's number, and the address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Answer {
    result: i64,
    address: u64,
}

/// The address of each name, [`None`] where there is no such symbol.
///
/// # Errors
///
/// Where the kernel doesn't take the program, or shows no addresses.
pub(super) fn addresses(names: &[&str]) -> io::Result<Vec<Option<u64>>> {
    const ABSENT: i64 = -(libc::ENOENT as i64);
    let program = load(&program(names)?)?;
    let mut answers = vec![Answer::default(); names.len()];
    run(&program, &mut answers)?;
    let address = |answer: Answer| match answer.result {
        0 => Ok(Some(answer.address)),
        ABSENT => Ok(None),
        error => Err(io::Error::from_raw_os_error(-error as i32)),
    };
    answers.into_iter().map(address).collect()
}

/// `struct bpf_insn`.
fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> u64 {
    let [a, b] = offset.to_ne_bytes();
    let [c, d, e, f] = immediate.to_ne_bytes();
    u64::from_ne_bytes([code, to | from << 4, a, b, c, d, e, f])
}

/// Puts each name on its stack, asks, and writes the answer to its context.
fn program(names: &[&str]) -> io::Result<Vec<u64>> {
    const MOVE: u8 = 0xb7;
    const MOVE_REGISTER: u8 = 0xbf;
    const ADD: u8 = 0x07;
    const STORE_WORD: u8 = 0x62;
    const STORE_LONG: u8 = 0x7a;
    const STORE_REGISTER: u8 = 0x7b;
    const LOAD: u8 = 0x79;
    const CALL: u8 = 0x85;
    const EXIT: u8 = 0x95;
    /// Where the answer's address lies on the stack, and the name below it.
    const ADDRESS: i16 = -8;
    let mut program = vec![instruction(MOVE_REGISTER, 6, 1, 0, 0)];
    let mut place = 0;
    for name in names {
        let len = name.len() + 1;
        if len > LONGEST {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let begin = ADDRESS - len.next_multiple_of(8) as i16;
        let mut bytes = name.as_bytes().to_vec();
        bytes.resize(len.next_multiple_of(4), 0);
        for (at, word) in (begin..).step_by(4).zip(bytes.chunks_exact(4)) {
            let word = i32::from_ne_bytes(word.try_into().expect("four bytes"));
            program.push(instruction(STORE_WORD, 10, 0, at, word));
        }
        program.extend([
            instruction(STORE_LONG, 10, 0, ADDRESS, 0),
            instruction(MOVE_REGISTER, 1, 10, 0, 0),
            instruction(ADD, 1, 0, 0, begin.into()),
            instruction(MOVE, 2, 0, 0, len as i32),
            instruction(MOVE, 3, 0, 0, 0),
            instruction(MOVE_REGISTER, 4, 10, 0, 0),
            instruction(ADD, 4, 0, 0, ADDRESS.into()),
            instruction(CALL, 0, 0, 0, KALLSYMS_LOOKUP_NAME),
            instruction(STORE_REGISTER, 6, 0, place, 0),
            instruction(LOAD, 1, 10, ADDRESS, 0),
            instruction(STORE_REGISTER, 6, 1, place + 8, 0),
        ]);
        place += size_of::<Answer>() as i16;
    }
    program.extend([instruction(MOVE, 0, 0, 0, 0), instruction(EXIT, 0, 0, 0, 0)]);
    Ok(program)
}

/// The beginning of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

fn load(program: &[u64]) -> io::Result<OwnedFd> {
    let mut attribute = Load {
        prog_type: bpf_prog_type::BPF_PROG_TYPE_SYSCALL as u32,
        insn_cnt: program.len() as u32,
        insns: program.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: SLEEPABLE,
    };
    #[expect(unsafe_code, reason = "aya has no programs of this type")]
    // SAFETY: the kernel reads the attribute, the instructions and the licence, all of which live
    // until it returns, and writes nothing: there is no log.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            bpf_cmd::BPF_PROG_LOAD,
            &raw mut attribute,
            size_of::<Load>(),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    #[expect(
        unsafe_code,
        reason = "the number is a descriptor that nobody owns yet"
    )]
    // SAFETY: it was just opened for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    Ok(fd)
}

/// The beginning of `union bpf_attr` for `BPF_PROG_TEST_RUN`.
#[repr(C)]
#[derive(Default)]
struct Run {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
}

fn run(program: &OwnedFd, answers: &mut [Answer]) -> io::Result<()> {
    let mut attribute = Run {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        ctx_size_in: size_of_val(answers) as u32,
        ctx_in: answers.as_mut_ptr() as u64,
        ..Run::default()
    };
    #[expect(unsafe_code, reason = "aya has no programs of this type")]
    // SAFETY: the kernel copies the context in and out again, as long as the slice is, which is
    // ours alone (net/bpf/test_run.c:bpf_prog_test_run_syscall), and writes the attribute.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            bpf_cmd::BPF_PROG_TEST_RUN,
            &raw mut attribute,
            size_of::<Run>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
