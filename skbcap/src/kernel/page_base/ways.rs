//! Which ways to find the bases there are, and which of them may be tried.

use std::fmt;
use std::str::FromStr;

/// A way to find the bases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The symbols' addresses in `/proc/kallsyms` (needs `CONFIG_KALLSYMS_ALL`), dereferenced.
    Kallsyms,
    /// The program headers of `/proc/kcore` (needs `CAP_SYS_RAWIO`, and no lockdown).
    Kcore,
    /// A search for a page of our own (needs `CAP_SYS_ADMIN`).
    Search,
}

impl Way {
    /// All of them, in the order in which they are tried.
    pub const ALL: [Self; 3] = [Self::Kallsyms, Self::Kcore, Self::Search];

    const fn name(self) -> &'static str {
        match self {
            Self::Kallsyms => "kallsyms",
            Self::Kcore => "kcore",
            Self::Search => "search",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The ways that may be tried. Tests take the better ones away to reach the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ways([bool; Way::ALL.len()]);

impl Ways {
    /// Every way.
    pub const ALL: Self = Self([true; Way::ALL.len()]);
    /// No way: fragments stay unreadable.
    pub const NONE: Self = Self([false; Way::ALL.len()]);

    /// Whether this way may be tried.
    #[must_use]
    pub fn contains(self, way: Way) -> bool {
        self.0[way as usize]
    }

    /// The same ways and this one.
    #[must_use]
    pub fn with(mut self, way: Way) -> Self {
        self.0[way as usize] = true;
        self
    }
}

/// A name that is no way's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no way to find the page bases: give a list of kallsyms, kcore, search; or none"
)]
pub struct UnknownWay(String);

/// `kallsyms,kcore` or `none`.
impl FromStr for Ways {
    type Err = UnknownWay;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self::NONE);
        }
        text.split(',').try_fold(Self::NONE, |ways, name| {
            let way = Way::ALL.into_iter().find(|way| way.name() == name);
            way.map(|way| ways.with(way))
                .ok_or_else(|| UnknownWay(name.into()))
        })
    }
}
