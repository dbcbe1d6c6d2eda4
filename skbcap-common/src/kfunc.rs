//! Numbers that stand for functions of the kernel's in the object, until the loader writes those of
//! the running kernel over them: the `imm` of a call instruction that is otherwise a helper's.

/// `bpf_rdonly_cast` (Linux 6.2).
pub const RDONLY_CAST: i32 = 0x7fca_0001;

/// `bpf_dynptr_from_skb` (Linux 6.4; for BTF tracepoints 6.11).
pub const DYNPTR_FROM_SKB: i32 = 0x7fca_0002;
