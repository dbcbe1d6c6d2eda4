//! Why skbcap does not start on this machine, in one line that says what to do.

use std::env;

use crate::kernel::capabilities::Capability;

/// Why nothing can be attached here.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another processor.
    #[error("skbcap runs on x86-64 kernels only; this one is {machine}")]
    Machine {
        /// `uname -m`.
        machine: String,
    },
    /// A kernel from before 5.10.
    #[error("Linux {release} is too old: skbcap needs 5.10 or newer")]
    TooOld {
        /// `uname -r`.
        release: String,
    },
    /// Capabilities are missing.
    #[error(
        "skbcap may not load programs into the kernel: {} missing; run it as root, or: \
             sudo setcap cap_bpf,cap_perfmon,{}cap_sys_admin,cap_syslog+ep {}",
        missing_text(missing),
        if missing.contains(&Capability::SysResource) { "cap_sys_resource," } else { "" },
        executable()
    )]
    Capabilities {
        /// Those without which nothing works.
        missing: Vec<Capability>,
    },
    /// Root of a container, perhaps, but not of the machine.
    #[error(
        "the capabilities of this user namespace do not count for BPF; run skbcap outside of it \
         (in a container: with the host's user namespace), as root"
    )]
    UserNamespace,
    /// Another clock than the kernel's own.
    #[error(
        "this time namespace has a monotonic clock of its own, which frames are not dated by; run \
         skbcap outside of it (nsenter --time=/proc/1/ns/time skbcap ...)"
    )]
    TimeNamespace,
    /// Reading kernel memory is forbidden to everyone.
    #[error(
        "the kernel is locked down for confidentiality, which forbids reading its memory, even to \
         root; boot it with lockdown=integrity or without lockdown"
    )]
    Lockdown,
    /// Its types can't be read, or are none that skbcap knows.
    #[error("{0}")]
    Types(String),
    /// `--hook kprobe` where there is none.
    #[error("Linux {release} here has no kprobe on __dev_queue_xmit (CONFIG_KPROBE_EVENTS){}",
            if *queue { "; --hook queue works here" } else { "" })]
    NoKprobe {
        /// `uname -r`.
        release: String,
        /// Whether the other way in would work.
        queue: bool,
    },
    /// `--hook queue` where there is none.
    #[error("the types of Linux {release} here have no tracepoint net_dev_queue{}",
            if *kprobe { "; --hook kprobe works here" } else { "" })]
    NoTracepoint {
        /// `uname -r`.
        release: String,
        /// Whether the other way in would work.
        kprobe: bool,
    },
    /// `--hook xmit` where there is none.
    #[error(
        "the types of Linux {release} here lack the tracepoint net_dev_start_xmit or net_dev_queue, \
         and --hook xmit needs both"
    )]
    NoXmit {
        /// `uname -r`.
        release: String,
    },
    /// Neither way in.
    #[error(
        "Linux {release} here has neither kprobes (CONFIG_KPROBE_EVENTS) nor a BTF tracepoint \
         net_dev_queue (CONFIG_DEBUG_INFO_BTF and CONFIG_BPF_EVENTS): skbcap needs a kernel with \
         one of them"
    )]
    NoHook {
        /// `uname -r`.
        release: String,
    },
}

fn missing_text(missing: &[Capability]) -> String {
    let names: Vec<&str> = missing.iter().map(|capability| capability.name()).collect();
    format!(
        "{} {}",
        names.join(" and "),
        if names.len() == 1 { "is" } else { "are" }
    )
}

/// This program's file, for a command that a person can copy.
fn executable() -> String {
    env::current_exe().map_or("skbcap".into(), |path| path.display().to_string())
}
