//! A kernel's share of a test. Some tests are many parts of which each tells nearly the same on every
//! kernel: kernels that run it together share them, so that each runs some and together they run
//! all. One kernel alone, a host, and `cargo xtask vm --whole` run all of them everywhere.

use std::env;

use anyhow::{Context, Result};

/// The variable that says which share this is: `PLACE/KERNELS`.
const VARIABLE: &str = "SKBCAP_SHARE";

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
        match env::var(VARIABLE) {
            Ok(share) => Self::parse(&share),
            Err(_) => Ok(Self::ALL),
        }
    }

    fn parse(share: &str) -> Result<Self> {
        let (place, kernels) = share
            .split_once('/')
            .context("SKBCAP_SHARE is PLACE/KERNELS")?;
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

    fn two<H: Copy>(self, hooks: &[H]) -> Vec<H> {
        match hooks {
            [first, others @ ..] if self != Self::ALL && !others.is_empty() => {
                vec![*first, others[self.place % others.len()]]
            }
            _ => hooks.to_vec(),
        }
    }

    fn turns<H: Copy>(self, hooks: &[H], cases: usize) -> Vec<Vec<H>> {
        let rounds = if self == Self::ALL {
            0..hooks.len()
        } else {
            self.place..self.place + 1
        };
        let round = |turn| hooks.iter().cycle().skip(turn % hooks.len()).take(cases);
        rounds.map(|turn| round(turn).copied().collect()).collect()
    }
}

/// The share that this kernel has of some parts.
pub(crate) fn mine<T>(parts: Vec<T>) -> Result<Vec<T>> {
    let share = Share::get()?;
    let mut parts: Vec<_> = parts.into_iter().map(Some).collect();
    let places = share.of(parts.len());
    Ok(places.filter_map(|place| parts[place].take()).collect())
}

/// The hook of each of so many cases, a round at a time. Cases differ by their hooks, and a case does by
/// its kernels: so every hook has some cases everywhere, and where nobody shares them, all.
pub(crate) fn turns<H: Copy>(hooks: &[H], cases: usize) -> Result<Vec<Vec<H>>> {
    Ok(Share::get()?.turns(hooks, cases))
}

/// The first of some hooks, and one of the others, by turns; where nobody shares them, all.
pub(crate) fn two<H: Copy>(hooks: &[H]) -> Result<Vec<H>> {
    Ok(Share::get()?.two(hooks))
}

/// Prints what `cargo xtask vm --share` takes to run the same again.
pub(crate) fn tell() {
    if let Ok(share) = env::var(VARIABLE) {
        println!("--share {share}");
    }
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
    fn hooks_take_turns() {
        let turns = |place, kernels| Share { place, kernels }.turns(&['k', 'q', 'x'], 4);
        assert_eq!(turns(0, 2), [['k', 'q', 'x', 'k']]);
        assert_eq!(turns(4, 5), [['q', 'x', 'k', 'q']]);
        let all = turns(0, 1);
        for case in 0..4 {
            let mut hooks: Vec<char> = all.iter().map(|round| round[case]).collect();
            hooks.sort_unstable();
            assert_eq!(hooks, ['k', 'q', 'x'], "{case}");
        }
    }

    #[test]
    fn of_hooks_the_first_and_another_run() {
        let two = |place, kernels| Share { place, kernels }.two(&['k', 'q', 'x']);
        assert_eq!(two(0, 4), ['k', 'q']);
        assert_eq!(two(3, 4), ['k', 'x']);
        assert_eq!(two(0, 1), ['k', 'q', 'x']);
        assert_eq!(Share::parse("1/2").unwrap().two(&['q']), ['q']);
    }

    #[test]
    fn a_kernel_is_told_its_share() {
        let share = Share::parse("3/4").unwrap();
        assert_eq!((share.place, share.kernels), (3, 4));
        assert_eq!(Share::parse("0/1").unwrap(), Share::ALL);
        assert!(Share::parse("3").is_err());
    }
}
