//! The object's programs that take frames, and where each one belongs.

use aya::programs::{BtfTracePoint, KProbe, ProgramError, ProgramInfo};

/// The function that the kprobe is attached to.
pub const FUNCTION: &str = "__dev_queue_xmit";
/// The tracepoint within it.
pub const QUEUE_TRACEPOINT: &str = "net_dev_queue";
/// The tracepoint where the driver gets the frame.
pub const XMIT_TRACEPOINT: &str = "net_dev_start_xmit";

/// A program of the object (`skbcap-ebpf/src/main.rs`), and where it belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) program: &'static str,
    /// The same with functions of the kernel's ([`super::kfuncs`]), where it lets it have them.
    pub(super) faster: &'static str,
    pub(super) place: &'static str,
}

/// The kprobe.
pub(super) const KPROBE: Part = Part {
    program: "dev_queue_xmit",
    faster: "dev_queue_xmit_cast",
    place: FUNCTION,
};
/// The net under it.
pub(super) const NET: Part = Part {
    program: "net",
    faster: "net_trust",
    place: QUEUE_TRACEPOINT,
};
/// The tracepoint alone.
pub(super) const QUEUE: Part = Part {
    program: "net_dev_queue",
    faster: "net_dev_queue_trust",
    place: QUEUE_TRACEPOINT,
};

/// The driver's tracepoint.
pub(super) const XMIT: Part = Part {
    program: "start_xmit",
    faster: "start_xmit_trust",
    place: XMIT_TRACEPOINT,
};
/// What tells it who sends.
pub(super) const NOTE: Part = Part {
    program: "note",
    faster: "note_trust",
    place: QUEUE_TRACEPOINT,
};

/// One of the object's programs.
pub(super) enum Loaded<'k> {
    Kprobe(&'k mut KProbe),
    Tracepoint(&'k mut BtfTracePoint),
}

impl Loaded<'_> {
    pub(super) fn info(&self) -> Result<ProgramInfo, ProgramError> {
        match self {
            Self::Kprobe(program) => program.info(),
            Self::Tracepoint(program) => program.info(),
        }
    }
}
