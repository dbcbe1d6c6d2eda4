//! What this process may do, as far as capabilities say.
//!
//! Owns the names and numbers. Must not know: which of them skbcap needs ([`super::preflight`]).

use std::fs;
use std::io;

/// A capability that skbcap has a use for. The value is its number (`include/uapi/linux/
/// capability.h`, unchanged from 5.10 to 7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Capability {
    /// Open files whoever owns them: `/proc/kcore` is root's.
    DacReadSearch = 2,
    /// Open `/proc/kcore`.
    SysRawio = 17,
    /// Frame numbers in pagemap, other network namespaces; stands for `Bpf` and `Perfmon` too.
    SysAdmin = 21,
    /// Lift the limit of locked memory (`RLIMIT_MEMLOCK`), under which maps and programs are before
    /// Linux 5.11.
    SysResource = 24,
    /// Addresses in kallsyms.
    Syslog = 34,
    /// Attach to the kernel's functions and read its memory. Minimum kernel: 5.8.
    Perfmon = 38,
    /// Load programs and maps. Minimum kernel: 5.8.
    Bpf = 39,
}

impl Capability {
    /// All of them, the most needed first.
    pub const ALL: [Self; 7] = [
        Self::Bpf,
        Self::Perfmon,
        Self::SysResource,
        Self::SysAdmin,
        Self::Syslog,
        Self::SysRawio,
        Self::DacReadSearch,
    ];

    /// `CAP_BPF` and so on.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DacReadSearch => "CAP_DAC_READ_SEARCH",
            Self::SysRawio => "CAP_SYS_RAWIO",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysResource => "CAP_SYS_RESOURCE",
            Self::Syslog => "CAP_SYSLOG",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        }
    }
}

/// A set of capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    /// Those in effect for this process.
    ///
    /// # Errors
    ///
    /// If `/proc/self/status` can't be read or lacks them.
    pub fn effective() -> io::Result<Self> {
        Self::from_status(&fs::read_to_string("/proc/self/status")?)
            .ok_or_else(|| io::Error::other("/proc/self/status tells no CapEff"))
    }

    /// Exactly these.
    #[must_use]
    pub fn of(capabilities: &[Capability]) -> Self {
        Self(
            capabilities
                .iter()
                .fold(0, |set, &capability| set | 1 << capability as u8),
        )
    }

    fn from_status(status: &str) -> Option<Self> {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))?;
        u64::from_str_radix(line.trim(), 16).ok().map(Self)
    }

    /// Whether this one is among them, by itself or because `CAP_SYS_ADMIN` stands for it
    /// (`include/linux/capability.h:bpf_capable, perfmon_capable@5.10`).
    #[must_use]
    pub fn allow(self, capability: Capability) -> bool {
        let has = |number: u8| self.0 >> number & 1 == 1;
        let by_itself = has(capability as u8);
        match capability {
            Capability::Bpf | Capability::Perfmon => by_itself || has(Capability::SysAdmin as u8),
            _ => by_itself,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_set_is_read() {
        let status = "Name:\tx\nCapPrm:\t000001ffffffffff\nCapEff:\t000000c000000000\n";
        let set = Capabilities::from_status(status).unwrap();
        assert!(set.allow(Capability::Bpf) && set.allow(Capability::Perfmon));
        assert!(!set.allow(Capability::SysAdmin) && !set.allow(Capability::Syslog));
        assert_eq!(Capabilities::from_status("Name:\tx\n"), None);
        assert!(Capabilities::effective().is_ok());
    }

    #[test]
    fn sys_admin_stands_for_bpf_and_perfmon() {
        let set = Capabilities(1 << 21);
        assert!(set.allow(Capability::Bpf) && set.allow(Capability::Perfmon));
        assert!(!set.allow(Capability::Syslog));
    }
}
