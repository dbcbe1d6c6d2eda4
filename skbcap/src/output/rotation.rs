//! Which file is the next of a capture, when it begins, and what it is called: as in tcpdump
//! (`dump_packet_and_trunc`, `MakeFilename` in tcpdump.c, 4.99).
//!
//! Knows times and lengths; opens nothing.

use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::strftime;
use crate::config::Rotate;

const NANOS: u64 = 1_000_000_000;

/// The files of a capture, one after another.
#[derive(Debug)]
pub(crate) struct Rotation {
    rotate: Rotate,
    /// What `-w` names: under `-G` a format for strftime(3).
    template: PathBuf,
    /// When the first file of this number began, in seconds since 1970 UTC.
    start_s: u64,
    /// Files before this one, since `start_s` moved.
    number: u32,
    /// Times that `start_s` moved.
    turns: u32,
    /// The length that a file may have when a frame comes, and the time up to which one may come.
    limits: Limits,
}

/// What a frame is compared with.
#[derive(Clone, Copy, Debug)]
struct Limits {
    bytes: u64,
    until_ns: u64,
}

/// What comes before a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Another file.
    Next,
    /// The end: `-W` says how many files there may be.
    End,
}

impl Rotation {
    /// The first file begins at `now_ns`, in nanoseconds since 1970 UTC.
    pub(crate) fn new(template: &Path, rotate: Rotate, now_ns: u64) -> Self {
        let mut rotation = Self {
            rotate,
            template: template.to_owned(),
            start_s: now_ns / NANOS,
            number: 0,
            turns: 0,
            limits: Limits {
                bytes: rotate.bytes.map_or(u64::MAX, std::num::NonZeroU64::get),
                until_ns: u64::MAX,
            },
        };
        rotation.limits.until_ns = rotation.until_ns();
        rotation
    }

    fn until_ns(&self) -> u64 {
        match self.rotate.seconds {
            Some(seconds) => (self.start_s + u64::from(seconds.get())).saturating_mul(NANOS),
            None => u64::MAX,
        }
    }

    /// What comes before a frame of `wall_ns` where the file has `len` bytes, if anything does.
    #[inline]
    pub(crate) fn before(&mut self, len: u64, wall_ns: u64) -> Option<Turn> {
        if wall_ns < self.limits.until_ns && len <= self.limits.bytes {
            return None;
        }
        Some(self.turn(wall_ns))
    }

    #[cold]
    fn turn(&mut self, wall_ns: u64) -> Turn {
        let files = self.rotate.files.map(std::num::NonZeroU32::get);
        if wall_ns >= self.limits.until_ns {
            self.start_s = wall_ns / NANOS;
            self.limits.until_ns = self.until_ns();
            self.turns += 1;
            self.number = 0;
            if self.rotate.bytes.is_none() && files.is_some_and(|files| self.turns >= files) {
                return Turn::End;
            }
            return Turn::Next;
        }
        self.count_on();
        Turn::Next
    }

    /// Another file, because somebody asked for it.
    pub(crate) fn ask(&mut self) {
        self.count_on();
    }

    fn count_on(&mut self) {
        self.number += 1;
        let is_last = |files: u32| self.rotate.bytes.is_some() && self.number >= files;
        if self.rotate.files.is_some_and(|files| is_last(files.get())) {
            self.number = 0;
        }
    }

    /// What the file is called.
    ///
    /// # Errors
    ///
    /// When strftime(3) makes no name of it.
    pub(crate) fn name(&self) -> io::Result<PathBuf> {
        let mut name = match self.rotate.seconds {
            Some(_) => strftime::local(self.template.as_os_str().as_bytes(), self.start_s)?,
            None => self.template.as_os_str().as_bytes().to_vec(),
        };
        let digits = match (self.rotate.bytes, self.rotate.files) {
            (Some(_), Some(files)) => digits(files.get() - 1),
            _ => 0,
        };
        if self.number > 0 || digits > 0 {
            name.extend(format!("{:0digits$}", self.number).bytes());
        }
        Ok(std::ffi::OsString::from_vec(name).into())
    }

    /// Whether nothing ends a file but a wish.
    pub(crate) fn is_by_wish_only(&self) -> bool {
        !self.rotate.is_asked_for()
    }
}

/// The digits that a number has; 0 for 0.
fn digits(number: u32) -> usize {
    number.checked_ilog10().map_or(0, |log| log as usize + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::{NonZeroU32, NonZeroU64};

    fn rotation(bytes: u64, seconds: u32, files: u32) -> Rotation {
        let rotate = Rotate {
            bytes: NonZeroU64::new(bytes),
            seconds: NonZeroU32::new(seconds),
            files: NonZeroU32::new(files),
        };
        Rotation::new(Path::new("out"), rotate, 1_700_000_000 * NANOS + 5)
    }

    fn name(rotation: &Rotation) -> String {
        rotation.name().unwrap().to_str().unwrap().to_owned()
    }

    fn after(rotation: &mut Rotation, turns: u32) -> Vec<String> {
        let mut names = vec![name(rotation)];
        for _ in 0..turns {
            assert_eq!(rotation.before(1001, 0), Some(Turn::Next));
            names.push(name(rotation));
        }
        names
    }

    #[test]
    fn a_file_is_numbered_by_its_place() {
        assert_eq!(after(&mut rotation(1000, 0, 0), 2), ["out", "out1", "out2"]);
        assert_eq!(
            after(&mut rotation(1000, 0, 3), 4),
            ["out0", "out1", "out2", "out0", "out1"]
        );
        assert_eq!(after(&mut rotation(1000, 0, 1), 1), ["out", "out"]);
        assert_eq!(after(&mut rotation(1000, 0, 10), 1), ["out0", "out1"]);
        assert_eq!(after(&mut rotation(1000, 0, 11), 1), ["out00", "out01"]);
    }

    #[test]
    fn a_file_may_have_its_size_and_not_more() {
        let mut rotation = rotation(1000, 0, 0);
        assert_eq!(rotation.before(1000, u64::MAX - 1), None);
        assert_eq!(rotation.before(1001, 0), Some(Turn::Next));
    }

    #[test]
    fn seconds_are_whole_ones() {
        let mut rotation = rotation(0, 10, 0);
        let start = 1_700_000_000 * NANOS;
        assert_eq!(rotation.before(9999, start + 10 * NANOS - 1), None);
        assert_eq!(rotation.before(0, start + 13 * NANOS + 7), Some(Turn::Next));
        assert_eq!(rotation.before(0, start + 23 * NANOS - 1), None);
        assert_eq!(rotation.before(0, start + 23 * NANOS), Some(Turn::Next));
        assert_eq!(name(&rotation), "out");
    }

    #[test]
    fn so_many_files_and_the_end() {
        let mut rotation = rotation(0, 1, 2);
        let start = 1_700_000_000 * NANOS;
        assert_eq!(rotation.before(0, start + 5 * NANOS), Some(Turn::Next));
        assert_eq!(rotation.before(0, start + 6 * NANOS), Some(Turn::End));
    }

    /// tcpdump's manual says that `-W` is ignored then; its code has files take turns in each time.
    #[test]
    fn sizes_count_from_the_start_in_each_time() {
        let mut rotation = rotation(1000, 10, 2);
        assert_eq!(after(&mut rotation, 2), ["out0", "out1", "out0"]);
        let later = 1_700_000_010 * NANOS;
        assert_eq!(rotation.before(1001, 0), Some(Turn::Next));
        assert_eq!(rotation.before(0, later), Some(Turn::Next));
        assert_eq!(name(&rotation), "out0");
        assert_eq!(rotation.before(0, later + 10 * NANOS), Some(Turn::Next));
    }

    #[test]
    fn a_wish_is_numbered_too() {
        let mut rotation = rotation(0, 0, 0);
        assert!(rotation.is_by_wish_only());
        rotation.ask();
        assert_eq!(name(&rotation), "out1");
    }
}
