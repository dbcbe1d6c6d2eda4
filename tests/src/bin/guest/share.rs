//! A kernel's share of a test. Some tests are many parts of which each tells nearly the same on every
//! kernel: kernels that are tested together share them, so that each runs some and together they run
//! all. One kernel alone, a host, and `cargo xtask vm --whole` run all of them everywhere.

use std::fs;

use anyhow::{Context, Result};

/// Which share this kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    /// The kernel's place among those that are tested.
    place: usize,
    /// How many there are.
    kernels: usize,
}

impl Share {
    const ALL: Self = Self {
        place: 0,
        kernels: 1,
    };

    fn get() -> Result<Self> {
        Self::parse(&fs::read_to_string("/proc/cmdline")?)
    }

    /// What the kernel was started with: `skbcap.share=PLACE/KERNELS`, or nothing.
    fn parse(cmdline: &str) -> Result<Self> {
        let mut words = cmdline.split_whitespace();
        let Some(share) = words.find_map(|word| word.strip_prefix("skbcap.share=")) else {
            return Ok(Self::ALL);
        };
        let (place, kernels) = share
            .split_once('/')
            .context("skbcap.share=PLACE/KERNELS")?;
        Ok(Self {
            place: place.parse()?,
            kernels: kernels.parse()?,
        })
    }

    /// This share of so many parts: each is in somebody's share, and nobody's share is empty.
    fn of(self, parts: usize) -> impl Iterator<Item = usize> {
        let first = self.place % self.kernels.min(parts.max(1));
        (first..parts).step_by(self.kernels)
    }
}

/// The share that this kernel has of some parts.
pub(crate) fn mine<T>(parts: Vec<T>) -> Result<Vec<T>> {
    let share = Share::get()?;
    let mut parts: Vec<_> = parts.into_iter().map(Some).collect();
    let places = share.of(parts.len());
    Ok(places.filter_map(|place| parts[place].take()).collect())
}

/// Whether this kernel has all parts.
pub(crate) fn is_whole() -> Result<bool> {
    Ok(Share::get()?.kernels == 1)
}

#[cfg(test)]
mod tests {
    use super::Share;

    #[test]
    fn kernels_have_all_parts_together_and_none_has_nothing() {
        for kernels in 1..6 {
            for parts in 1..20 {
                let mut had = vec![false; parts];
                for place in 0..kernels {
                    let mine: Vec<_> = Share { place, kernels }.of(parts).collect();
                    assert!(!mine.is_empty(), "{place}/{kernels} of {parts}");
                    for part in mine {
                        had[part] = true;
                    }
                }
                assert!(had.iter().all(|&had| had), "{kernels} of {parts}");
            }
        }
    }

    #[test]
    fn a_kernel_is_told_its_share() {
        let share = Share::parse("quiet skbcap.share=3/4 panic=-1\n").unwrap();
        assert_eq!((share.place, share.kernels), (3, 4));
        assert_eq!(Share::parse("quiet\n").unwrap(), Share::ALL);
        assert!(Share::parse("skbcap.share=3").is_err());
    }
}
