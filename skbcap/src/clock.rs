//! Kernel time to wall clock.
//!
//! Records carry `CLOCK_MONOTONIC` (`bpf_ktime_get_ns`); files carry the wall clock. The kernel
//! steers both with the same rate, so what lies between them is one number that changes only when
//! the wall clock is set, a leap second comes in, or the machine was suspended. Owns that number
//! and its history; knows nothing of records or files.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec,
};

/// Readings of which the tightest is taken.
const READINGS: usize = 16;

/// Two samples that differ by less than this are the same offset, sampled twice.
const JITTER_NS: u64 = 1_000;

/// The two clocks, so that tests can hold their own.
pub trait Clocks {
    /// `CLOCK_MONOTONIC` in nanoseconds.
    fn monotonic_ns(&mut self) -> u64;
    /// `CLOCK_REALTIME` in nanoseconds since 1970.
    fn realtime_ns(&mut self) -> u64;
}

/// The kernel's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelClocks;

impl Clocks for KernelClocks {
    fn monotonic_ns(&mut self) -> u64 {
        read_clock(ClockId::Monotonic)
    }

    fn realtime_ns(&mut self) -> u64 {
        read_clock(ClockId::Realtime)
    }
}

fn read_clock(id: ClockId) -> u64 {
    let time = rustix::time::clock_gettime(id);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// What lay between the two clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// When it was sampled (`CLOCK_MONOTONIC`, ns).
    pub at_monotonic_ns: u64,
    /// Wall clock less monotonic clock, in nanoseconds.
    pub offset_ns: i64,
    /// How far off `offset_ns` may be, in nanoseconds.
    pub uncertainty_ns: u64,
}

impl Offset {
    /// Reads the wall clock between two readings of the monotonic one, several times, and keeps
    /// the reading with the least time around it.
    pub fn sample(clocks: &mut impl Clocks) -> Self {
        let mut best = Self::read(clocks);
        for _ in 1..READINGS {
            let next = Self::read(clocks);
            if next.uncertainty_ns < best.uncertainty_ns {
                best = next;
            }
        }
        best
    }

    fn read(clocks: &mut impl Clocks) -> Self {
        let before = clocks.monotonic_ns();
        let wall = clocks.realtime_ns();
        let after = clocks.monotonic_ns();
        let half = after.saturating_sub(before) / 2;
        let offset_ns = wall.wrapping_sub(before + half).cast_signed();
        Self {
            at_monotonic_ns: after,
            offset_ns,
            uncertainty_ns: half,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        let tolerance = JITTER_NS.max(self.uncertainty_ns.saturating_add(other.uncertainty_ns));
        self.offset_ns.abs_diff(other.offset_ns) <= tolerance
    }
}

/// The wall clock was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When that was noticed (`CLOCK_MONOTONIC`, ns): the new offset is in force from here on.
    pub at_monotonic_ns: u64,
    /// Wall clock less monotonic clock before, in nanoseconds.
    pub old_offset_ns: i64,
    /// Wall clock less monotonic clock since, in nanoseconds.
    pub new_offset_ns: i64,
}

/// Notices when the wall clock is set: a timer that never goes off but is cancelled by that.
#[derive(Debug)]
pub struct ClockWatch<C = KernelClocks> {
    timer: OwnedFd,
    clocks: C,
    current: Offset,
}

impl ClockWatch {
    /// Watches the kernel's clocks.
    ///
    /// # Errors
    ///
    /// When the kernel gives no timer.
    pub fn new() -> io::Result<Self> {
        Self::with_clocks(KernelClocks)
    }
}

impl<C: Clocks> ClockWatch<C> {
    /// Watches the kernel's wall clock but reads `clocks`.
    ///
    /// # Errors
    ///
    /// When the kernel gives no timer.
    pub fn with_clocks(mut clocks: C) -> io::Result<Self> {
        let timer = rustix::time::timerfd_create(
            TimerfdClockId::Realtime,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        // Armed before the first sample: a step between the two is noticed, if only as none.
        rustix::time::timerfd_settime(
            &timer,
            TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET,
            &Itimerspec {
                it_interval: Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                },
                it_value: Timespec {
                    tv_sec: i64::MAX,
                    tv_nsec: 0,
                },
            },
        )?;
        let current = Offset::sample(&mut clocks);
        Ok(Self {
            timer,
            clocks,
            current,
        })
    }

    /// The offset in force.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.current
    }

    /// Samples anew if the kernel says that the clock was set. Costs one system call; meant for
    /// when [`Self::as_fd`] is readable.
    pub fn check(&mut self) -> Option<Step> {
        match rustix::io::read(&self.timer, &mut [0u8; 8]) {
            // Stays armed: the kernel reports each further step again.
            Err(Errno::CANCELED) => self.resample(),
            _ => None,
        }
    }

    /// Samples anew in any case, for a regular look.
    pub fn resample(&mut self) -> Option<Step> {
        let new = Offset::sample(&mut self.clocks);
        if self.current.is_same(&new) {
            return None;
        }
        let old = std::mem::replace(&mut self.current, new);
        Some(Step {
            at_monotonic_ns: new.at_monotonic_ns,
            old_offset_ns: old.offset_ns,
            new_offset_ns: new.offset_ns,
        })
    }
}

impl<C> AsFd for ClockWatch<C> {
    /// Readable once the clock was set.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

/// Turns a record's time into the wall clock's, by the offset that was in force then.
///
/// Where the wall clock was set back, the times that this gives go back there too.
#[derive(Clone, Debug)]
pub struct WallClock {
    /// From when on which offset is in force. Never empty; the first is for all time before, too.
    offsets: Vec<(u64, i64)>,
}

impl WallClock {
    /// A wall clock that was not set yet.
    #[must_use]
    pub fn new(offset: Offset) -> Self {
        Self {
            offsets: vec![(offset.at_monotonic_ns, offset.offset_ns)],
        }
    }

    /// Takes a step into account for records from then on.
    pub fn step(&mut self, step: Step) {
        self.offsets
            .push((step.at_monotonic_ns, step.new_offset_ns));
    }

    /// Nanoseconds since 1970 at `monotonic_ns`; times outside what 64 bits hold are clamped.
    #[must_use]
    #[inline]
    pub fn wall_ns(&self, monotonic_ns: u64) -> u64 {
        let (_, offset_ns) = match self.offsets[..] {
            // Nearly always: only what was sent before the last step needs the search.
            [.., last] if last.0 <= monotonic_ns => last,
            _ => {
                let later = self
                    .offsets
                    .partition_point(|&(from, _)| from <= monotonic_ns);
                self.offsets[later.saturating_sub(1)]
            }
        };
        monotonic_ns.saturating_add_signed(offset_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    /// Clocks that move by a step with each reading, `gaps` nanoseconds one after the other.
    #[derive(Clone)]
    struct Injected {
        now: Rc<Cell<u64>>,
        offset: Rc<Cell<i64>>,
        gaps: std::iter::Cycle<std::vec::IntoIter<u64>>,
    }

    impl Injected {
        fn new(offset: i64, gaps: &[u64]) -> Self {
            let gaps: Vec<u64> = gaps.to_vec();
            let gaps = gaps.into_iter().cycle();
            Self {
                now: Rc::new(Cell::new(1_000_000)),
                offset: Rc::new(Cell::new(offset)),
                gaps,
            }
        }
    }

    impl Clocks for Injected {
        fn monotonic_ns(&mut self) -> u64 {
            self.now.set(self.now.get() + self.gaps.next().unwrap());
            self.now.get()
        }

        fn realtime_ns(&mut self) -> u64 {
            self.monotonic_ns().saturating_add_signed(self.offset.get())
        }
    }

    #[test]
    fn the_tightest_reading_counts() {
        // Lopsided wide readings, then one of 10 ns on each side.
        let mut clocks = Injected::new(5_000, &[1, 9_000, 10, 1, 10, 10, 1, 10, 9_000]);
        let offset = Offset::sample(&mut clocks);
        assert_eq!((offset.offset_ns, offset.uncertainty_ns), (5_000, 10));
    }

    #[test]
    fn jitter_is_no_step_and_a_set_clock_is_one() {
        let clocks = Injected::new(5_000_000, &[10]);
        let offset = Rc::clone(&clocks.offset);
        let mut watch = ClockWatch::with_clocks(clocks).unwrap();
        offset.set(5_000_900);
        assert_eq!(watch.resample(), None);
        assert_eq!(watch.offset().offset_ns, 5_000_000);
        offset.set(4_000_000);
        let step = watch.resample().unwrap();
        assert_eq!(
            (step.old_offset_ns, step.new_offset_ns),
            (5_000_000, 4_000_000)
        );
        assert_eq!(watch.resample(), None);
    }

    #[test]
    fn the_kernels_timer_is_quiet_while_nobody_sets_the_clock() {
        let mut watch = ClockWatch::new().unwrap();
        assert_eq!(watch.check(), None);
        let wall = WallClock::new(watch.offset()).wall_ns(KernelClocks.monotonic_ns());
        assert!(wall.abs_diff(KernelClocks.realtime_ns()) < 1_000_000_000);
    }

    #[test]
    fn a_time_is_turned_by_the_offset_in_force_then() {
        let first = Offset {
            at_monotonic_ns: 100,
            offset_ns: 1_000,
            uncertainty_ns: 0,
        };
        let mut clock = WallClock::new(first);
        clock.step(Step {
            at_monotonic_ns: 200,
            old_offset_ns: 1_000,
            new_offset_ns: -50,
        });
        assert_eq!(clock.wall_ns(50), 1_050);
        assert_eq!(clock.wall_ns(199), 1_199);
        assert_eq!(clock.wall_ns(200), 150);
        clock.step(Step {
            at_monotonic_ns: 300,
            old_offset_ns: -50,
            new_offset_ns: -1_000,
        });
        assert_eq!(clock.wall_ns(400), 0);
    }
}
