//! Frames found again by a digest of some of their bytes: 24 bytes a frame, and none of its own.
//!
//! A digest only leads to candidates; the caller compares what it stands for.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

/// Candidates looked at for one frame, so that thousands of like frames don't make it quadratic.
const MAX_CANDIDATES: usize = 256;

/// No further frame.
const END: usize = usize::MAX;

/// Digests, keyed anew for each comparison: no capture can be made to collide.
#[derive(Default)]
pub(super) struct Digester(RandomState);

impl Digester {
    /// The digest of what `write` feeds it.
    pub(super) fn digest(&self, write: impl FnOnce(&mut dyn Hasher)) -> u64 {
        let mut hasher = self.0.build_hasher();
        write(&mut hasher);
        hasher.finish()
    }
}

/// Frames by digest; those of the same in the order in which they were given.
pub(super) struct Table {
    /// The first of each digest.
    heads: HashMap<u64, usize>,
    /// What each place stands for, and the next place of the same digest.
    entries: Vec<(usize, usize)>,
}

impl Table {
    pub(super) fn new(frames: impl DoubleEndedIterator<Item = (u64, usize)>) -> Self {
        let (least, _) = frames.size_hint();
        let mut table = Self {
            heads: HashMap::with_capacity(least),
            entries: Vec::with_capacity(least),
        };
        for (digest, index) in frames.rev() {
            let head = table.heads.entry(digest).or_insert(END);
            let next = std::mem::replace(head, table.entries.len());
            table.entries.push((index, next));
        }
        table
    }

    /// Takes out the first frame of `digest` that is accepted.
    pub(super) fn take(&mut self, digest: u64, accept: impl FnMut(usize) -> bool) -> Option<usize> {
        let (before, place) = self.place(digest, accept)?;
        let (index, next) = *self.entries.get(place)?;
        match before {
            Some(before) => self.entries.get_mut(before)?.1 = next,
            None if next == END => {
                self.heads.remove(&digest);
            }
            None => {
                self.heads.insert(digest, next);
            }
        }
        Some(index)
    }

    /// The first frame of `digest` that is accepted.
    pub(super) fn find(&self, digest: u64, accept: impl FnMut(usize) -> bool) -> Option<usize> {
        let (_, place) = self.place(digest, accept)?;
        Some(self.entries.get(place)?.0)
    }

    fn place(
        &self,
        digest: u64,
        mut accept: impl FnMut(usize) -> bool,
    ) -> Option<(Option<usize>, usize)> {
        let mut before = None;
        let mut place = *self.heads.get(&digest)?;
        for _ in 0..MAX_CANDIDATES {
            let &(index, next) = self.entries.get(place)?;
            if accept(index) {
                return Some((before, place));
            }
            before = Some(place);
            place = next;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_gone_and_the_first_comes_first() {
        let mut table = Table::new([(7, 0), (8, 1), (7, 2), (7, 3)].into_iter());
        assert_eq!(table.find(7, |_| true), Some(0));
        assert_eq!(table.take(7, |index| index == 2), Some(2));
        assert_eq!(table.take(7, |index| index == 2), None);
        assert_eq!(table.take(7, |_| true), Some(0));
        assert_eq!(table.take(7, |_| true), Some(3));
        assert_eq!(table.take(7, |_| true), None);
        assert_eq!(table.take(8, |_| true), Some(1));
        assert_eq!(table.take(9, |_| true), None);
    }
}
