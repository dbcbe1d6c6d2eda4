//! The programs beside which skbcap's are measured, and how long programs ran; and one that changes
//! how a device receives.
//!
//! Assembled by hand, so that nothing is in them but what they are to measure. What the kernel
//! wants is in include/uapi/linux/bpf.h.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, setrlimit};
use skbcap::kernel::btf::{Btf, TypeId};
use skbcap::kernel::parts::QUEUE_TRACEPOINT;

/// `BPF_MAP_CREATE`, `BPF_PROG_LOAD`, `BPF_RAW_TRACEPOINT_OPEN`, `BPF_LINK_CREATE`,
/// `BPF_ENABLE_STATS`.
const MAP_CREATE: libc::c_long = 0;
const PROG_LOAD: libc::c_long = 5;
const RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const LINK_CREATE: libc::c_long = 28;
const ENABLE_STATS: libc::c_long = 32;

/// `BPF_MAP_TYPE_ARRAY`, `BPF_PROG_TYPE_KPROBE`, `BPF_PROG_TYPE_TRACING`, `BPF_TRACE_RAW_TP`,
/// `BPF_TRACE_FENTRY`, `BPF_PERF_EVENT`, `BPF_PSEUDO_MAP_VALUE`, `BPF_PSEUDO_KFUNC_CALL`,
/// `BPF_FUNC_ktime_get_ns`, `BPF_FUNC_probe_read_kernel`, `BPF_FUNC_dynptr_read`,
/// `BPF_PROG_TYPE_XDP`, `BPF_XDP`.
const ARRAY: u32 = 2;
const KPROBE: u32 = 2;
const TRACING: u32 = 26;
const TRACE_RAW_TP: u32 = 23;
const TRACE_FENTRY: u32 = 24;
const PERF_EVENT: u32 = 41;
const PSEUDO_MAP_VALUE: u8 = 2;
const PSEUDO_KFUNC_CALL: u8 = 2;
const KTIME_GET_NS: i32 = 5;
const PROBE_READ_KERNEL: i32 = 113;
const DYNPTR_READ: i32 = 201;
const XDP: u32 = 6;
const AT_XDP: u32 = 37;

/// Room for the longest frame that is read.
const VALUE_BYTES: u32 = 16 << 10;

/// What a program does when a frame comes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Does {
    /// Nothing.
    Nothing,
    /// Reads so many bytes from where the frame begins, always to the same place.
    Read(u32),
    /// Reads the clock, and has the kernel copy so many bytes of the frame. Linux 6.11.
    Copy(u32),
}

/// A program at skbcap's tracepoint, of skbcap's type; taken away when dropped.
pub(crate) struct Attached {
    program: OwnedFd,
    _link: OwnedFd,
    /// Where it reads to.
    _map: OwnedFd,
}

/// While it lives, the kernel takes the time of each program's runs.
pub(crate) struct Stats(#[expect(dead_code, reason = "it counts while it is open")] OwnedFd);

/// How often a program ran, and how long altogether.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Runs {
    pub(crate) count: u64,
    pub(crate) ns: u64,
}

impl Stats {
    pub(crate) fn enable() -> Result<Self> {
        // BPF_STATS_RUN_TIME.
        let fd = bpf(ENABLE_STATS, &[0]).context("the kernel does not time programs")?;
        Ok(Self(fd))
    }
}

impl Runs {
    /// Those of a process's program, from what `/proc` says of its descriptors. It has one, perhaps by
    /// several of these.
    pub(crate) fn of_process(pid: u32) -> Result<Self> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
            let text = fs::read_to_string(entry?.path())?;
            if text.contains("\nrun_cnt:") {
                let id = text.lines().find_map(|line| line.strip_prefix("prog_id:"));
                let id = id.with_context(|| format!("no prog_id in {text}"))?;
                found.insert(id.trim().to_owned(), Self::parse(&text)?);
            }
        }
        let programs: Vec<Self> = found.into_values().collect();
        let count = programs.len();
        ensure!(count == 1, "process {pid} has {count} programs");
        Ok(programs[0])
    }

    fn parse(text: &str) -> Result<Self> {
        let number = |key: &str| -> Result<u64> {
            let value = text.lines().find_map(|line| line.strip_prefix(key));
            let value = value.with_context(|| format!("no {key} in {text}"))?;
            Ok(value.trim().parse()?)
        };
        Ok(Self {
            count: number("run_cnt:")?,
            ns: number("run_time_ns:")?,
        })
    }

    /// What came since.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            count: self.count - before.count,
            ns: self.ns - before.ns,
        }
    }

    pub(crate) fn ns_each(self) -> f64 {
        self.ns as f64 / self.count as f64
    }
}

/// One instruction: code, registers, offset, immediate.
fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> u64 {
    let [low, high] = offset.to_le_bytes();
    let [a, b, c, d] = immediate.to_le_bytes();
    u64::from_le_bytes([code, to | from << 4, low, high, a, b, c, d])
}

/// `return value`.
fn returns(value: i32) -> [u64; 2] {
    [
        instruction(0xb7, 0, 0, 0, value),
        instruction(0x95, 0, 0, 0, 0),
    ]
}

/// Loads a program; one of `TRACING` with the way in which it is attached, and the type by whose number
/// the kernel knows the place.
fn load(kind: u32, code: &[u64], place: Option<(u32, TypeId)>) -> Result<OwnedFd> {
    let license = c"GPL";
    let mut attribute = [0u64; 15];
    attribute[..3].copy_from_slice(&[
        u64::from(kind) | (code.len() as u64) << 32,
        code.as_ptr() as u64,
        license.as_ptr() as u64,
    ]);
    if let Some((way, id)) = place {
        // expected_attach_type is at byte 68, attach_btf_id at 108.
        attribute[8] = u64::from(way) << 32;
        attribute[13] = u64::from(id.number()) << 32;
    }
    bpf(PROG_LOAD, &attribute).context("the kernel refused a program")
}

/// Attaches one of `TRACING`.
fn attach(program: &OwnedFd) -> Result<OwnedFd> {
    // No name: that of the type says where.
    let link = bpf(RAW_TRACEPOINT_OPEN, &[0, program.as_raw_fd() as u64]);
    link.context("the kernel did not attach a program")
}

impl Attached {
    pub(crate) fn new(btf: &Btf, does: Does) -> Result<Self> {
        // Type, bytes of a key, bytes of a value, entries.
        let map = bpf(MAP_CREATE, &words([ARRAY, 4, VALUE_BYTES, 1])).context("no map")?;
        let value = |register| {
            [
                instruction(0x18, register, PSEUDO_MAP_VALUE, 0, map.as_raw_fd()),
                instruction(0, 0, 0, 0, 0),
            ]
        };
        let mut code = Vec::new();
        if let Does::Read(bytes) | Does::Copy(bytes) = does {
            ensure!(bytes <= VALUE_BYTES, "{bytes} bytes are too many");
        }
        match does {
            Does::Nothing => {}
            Does::Read(bytes) => {
                let data = i16::try_from(btf.member("sk_buff", "data")?.byte_offset())?;
                code.extend([
                    // r1: the tracepoint's arguments; r3: the first one's `data`.
                    instruction(0x79, 3, 1, 0, 0),
                    instruction(0x79, 3, 3, data, 0),
                ]);
                code.extend(value(1));
                code.extend([
                    instruction(0xb7, 2, 0, 0, bytes.cast_signed()),
                    instruction(0x85, 0, 0, 0, PROBE_READ_KERNEL),
                ]);
            }
            Does::Copy(bytes) => {
                let function = btf.function("bpf_dynptr_from_skb")?;
                let function = function.context("this kernel has no bpf_dynptr_from_skb")?;
                code.extend([
                    instruction(0x79, 6, 1, 0, 0),
                    instruction(0x85, 0, 0, 0, KTIME_GET_NS),
                    // bpf_dynptr_from_skb(skb, 0, r10 - 16)
                    instruction(0xbf, 1, 6, 0, 0),
                    instruction(0xb7, 2, 0, 0, 0),
                    instruction(0xbf, 3, 10, 0, 0),
                    instruction(0x07, 3, 0, 0, -16),
                    instruction(
                        0x85,
                        0,
                        PSEUDO_KFUNC_CALL,
                        0,
                        function.number().cast_signed(),
                    ),
                ]);
                // bpf_dynptr_read(value, bytes, r10 - 16, 0, 0)
                code.extend(value(1));
                code.extend([
                    instruction(0xb7, 2, 0, 0, bytes.cast_signed()),
                    instruction(0xbf, 3, 10, 0, 0),
                    instruction(0x07, 3, 0, 0, -16),
                    instruction(0xb7, 4, 0, 0, 0),
                    instruction(0xb7, 5, 0, 0, 0),
                    instruction(0x85, 0, 0, 0, DYNPTR_READ),
                ]);
            }
        }
        code.extend(returns(0));
        let typedef = format!("btf_trace_{QUEUE_TRACEPOINT}");
        let place = btf.typedef(&typedef)?;
        let place = place.with_context(|| format!("this kernel has no {typedef}"))?;
        let program = load(TRACING, &code, Some((TRACE_RAW_TP, place)))?;
        Ok(Self {
            _link: attach(&program)?,
            program,
            _map: map,
        })
    }

    pub(crate) fn runs(&self) -> Result<Runs> {
        let path = format!("/proc/self/fdinfo/{}", self.program.as_raw_fd());
        Runs::parse(&fs::read_to_string(path)?)
    }
}

/// An empty program at the entry of a kernel's function (fentry), taken away when both descriptors are
/// closed.
pub(crate) fn empty_fentry(btf: &Btf, function: &str) -> Result<[OwnedFd; 2]> {
    let id = btf.function(function)?;
    let id = id.with_context(|| format!("this kernel has no {function}"))?;
    let program = load(TRACING, &returns(0), Some((TRACE_FENTRY, id)))?;
    let link = attach(&program)?;
    Ok([program, link])
}

/// An empty kprobe, taken away when all descriptors are closed. Linux 5.15.
pub(crate) fn empty_kprobe(function: &CStr) -> Result<[OwnedFd; 3]> {
    let kind = fs::read_to_string("/sys/bus/event_source/devices/kprobe/type")?;
    let kind: u32 = kind.trim().parse()?;
    // PERF_ATTR_SIZE_VER1: type and size, then nothing but kprobe_func at byte 56 and probe_offset
    // behind it.
    let mut attribute = [0u64; 9];
    attribute[0] = u64::from(kind) | (size_of_val(&attribute) as u64) << 32;
    attribute[7] = function.as_ptr() as u64;
    #[expect(
        unsafe_code,
        reason = "a kprobe is a perf event, and rustix opens none"
    )]
    // SAFETY: the kernel reads that many bytes of the attribute, and the name, which outlives the call.
    let event = unsafe { libc::syscall(libc::SYS_perf_event_open, &attribute, -1, 0, -1, 0) };
    let event = descriptor(event).context("the kernel makes no kprobe")?;
    let program = load(KPROBE, &returns(0), None)?;
    let [number, event_number] = [&program, &event].map(|fd| fd.as_raw_fd().cast_unsigned());
    let link = bpf(LINK_CREATE, &words([number, event_number, PERF_EVENT, 0]));
    let link = link.context("the kernel did not attach a program to a kprobe")?;
    Ok([program, event, link])
}

/// A program that lets everything pass (XDP), at a device of the calling thread's namespace. It is
/// taken away when both descriptors are closed.
pub(crate) fn pass_all(ifindex: u32) -> Result<[OwnedFd; 2]> {
    // Up to Linux 5.10 programs count as locked memory.
    let no_limit = Rlimit {
        current: None,
        maximum: None,
    };
    setrlimit(Resource::Memlock, no_limit).context("cannot raise the limit of locked memory")?;
    // XDP_PASS.
    let program = load(XDP, &returns(2), None)?;
    let number = program.as_raw_fd().cast_unsigned();
    let link = bpf(LINK_CREATE, &words([number, ifindex, AT_XDP, 0]));
    let link = link.with_context(|| format!("no program at device {ifindex}"))?;
    Ok([program, link])
}

fn words([a, b, c, d]: [u32; 4]) -> [u64; 2] {
    [
        u64::from(a) | u64::from(b) << 32,
        u64::from(c) | u64::from(d) << 32,
    ]
}

/// A call of bpf(2) that gives a descriptor.
fn bpf(command: libc::c_long, attribute: &[u64]) -> io::Result<OwnedFd> {
    #[expect(
        unsafe_code,
        reason = "aya loads no program that is not in an object file"
    )]
    // SAFETY: the kernel reads that many bytes of the attribute, and what its addresses lead to:
    // instructions and a license, which live as long as the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attribute.as_ptr(),
            size_of_val(attribute),
        )
    };
    descriptor(result)
}

/// What a system call gave that makes descriptors.
fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    #[expect(
        unsafe_code,
        reason = "a descriptor comes as a number from the system call"
    )]
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}
