//! Which devices are captured on, as the programs are told it.
//!
//! Must not know: how they are asked for.

use aya::{Ebpf, EbpfLoader};
use skbcap_common::{
    Config,
    config::MAX_INTERFACES,
    devices::{Devices, MAX_NAMESPACES, PATTERNS},
    sender::{Pattern, UNWANTED, WANTED},
};

use super::{load::LoadError, patterns};
use crate::{glob::Glob, namespaces::Namespaces};

/// The devices to capture on; by default all.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    /// The inode numbers of the network namespaces that they are in, or are not: at most
    /// [`MAX_NAMESPACES`].
    pub netns: Namespaces<u32>,
    /// Their names.
    pub names: Names,
}

/// Names of devices.
#[derive(Clone, Debug)]
pub enum Names {
    /// One of these, or any if there are none; at most [`MAX_INTERFACES`].
    Listed(Vec<[u8; 16]>),
    /// Those that match; at most [`MAX_INTERFACES`] patterns on both sides.
    Matching {
        /// One of these, or any if there are none.
        wanted: Vec<Glob>,
        /// And none of these.
        unwanted: Vec<Glob>,
    },
}

impl Default for Names {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

impl Names {
    /// Whether a device of this name is captured on.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        let name = name.as_bytes();
        match self {
            Self::Listed(names) => {
                let is_it = |listed: &[u8; 16]| {
                    let len = listed.iter().position(|&byte| byte == 0);
                    listed[..len.unwrap_or(listed.len())] == *name
                };
                names.is_empty() || names.iter().any(is_it)
            }
            Self::Matching { wanted, unwanted } => {
                let is_in = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(name));
                (wanted.is_empty() || is_in(wanted)) && !is_in(unwanted)
            }
        }
    }

    fn patterns(&self) -> Vec<Pattern> {
        match self {
            Self::Listed(_) => Vec::new(),
            Self::Matching { wanted, unwanted } => {
                let wanted = wanted.iter().map(|glob| glob.pattern(WANTED));
                let unwanted = unwanted.iter().map(|glob| glob.pattern(UNWANTED));
                wanted.chain(unwanted).collect()
            }
        }
    }
}

impl Chosen {
    /// Puts it into the programs' configuration.
    ///
    /// # Panics
    ///
    /// When there are more names or namespaces than the programs compare with.
    pub(super) fn configure(&self, config: &mut Config) {
        let mut devices = Devices::default();
        config.netns = self.netns.one().copied().unwrap_or(0);
        let listed = match &self.netns {
            Namespaces::AllBut(these) => &these[..],
            Namespaces::Only(these) if these.len() > 1 => {
                devices.netns_wanted = 1;
                these
            }
            _ => &[],
        };
        assert!(listed.len() <= MAX_NAMESPACES, "too many namespaces");
        devices.netns_count = listed.len() as u32;
        devices.netns[..listed.len()].copy_from_slice(listed);
        match &self.names {
            Names::Listed(names) => {
                assert!(names.len() <= MAX_INTERFACES, "too many interfaces");
                config.interface_count = names.len() as u32;
                config.interfaces[..names.len()].copy_from_slice(names);
            }
            Names::Matching { wanted, unwanted } => {
                let patterns = wanted.len() + unwanted.len();
                assert!(patterns <= MAX_INTERFACES, "too many interfaces");
                devices.patterns = patterns as u32;
                devices.wanted = u32::from(!wanted.is_empty());
            }
        }
        config.devices = devices;
    }

    /// Says how large the map of patterns is to be.
    pub(super) fn size(&self, loader: &mut EbpfLoader<'_>) {
        let patterns = self.names.patterns().len().max(1);
        loader.map_max_entries(PATTERNS, patterns as u32);
    }

    /// Fills it.
    pub(super) fn begin(&self, ebpf: &mut Ebpf) -> Result<(), LoadError> {
        patterns::fill(ebpf, PATTERNS, &self.names.patterns())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_wanted_unless_they_are_not() {
        let globs = |texts: &[&str]| -> Vec<Glob> {
            let glob = |text: &&str| Glob::new(text.as_bytes()).unwrap();
            texts.iter().map(glob).collect()
        };
        let names = Names::Matching {
            wanted: globs(&["veth*", "eth0"]),
            unwanted: globs(&["veth1?"]),
        };
        for (name, is_wanted) in [
            ("veth1", true),
            ("veth12", false),
            ("eth0", true),
            ("eth1", false),
        ] {
            assert_eq!(names.has(name), is_wanted, "{name}");
        }
        let names = Names::Matching {
            wanted: Vec::new(),
            unwanted: globs(&["lo"]),
        };
        assert!(names.has("eth0") && !names.has("lo"));
        assert!(Names::default().has("eth0"));
    }
}
