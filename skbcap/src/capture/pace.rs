//! How long to sleep while frames come in.
//!
//! A ring that fills wakes the reader, but that costs whoever sends just then: an interrupt, and a
//! processor to wake, for a virtual machine two visits to its host. So the reader wakes by itself, shortly
//! before, as far as what came last tells when that is.

use std::time::{Duration, Instant};

/// While frames come in, they are looked for this often, and earlier where a ring fills: a system
/// call for many frames, not one for each.
const NAP: Duration = Duration::from_millis(10);

/// However fast they come: to wake up is work, too.
const LEAST_NAP: Duration = Duration::from_micros(200);

/// A ring that is filled by this share ends a nap.
pub(super) const WAKE_SHARE: u64 = 4;

/// What shall have come by the end of a nap, as a share of what would have ended it.
const AIM: f64 = 0.75;

/// When was looked last, and how much has come since the time before.
#[derive(Debug)]
pub(super) struct Pace {
    looked_at: Instant,
    /// Of what ends a nap, in a second; in the ring that filled fastest.
    per_second: f64,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            looked_at: now,
            per_second: 0.0,
        }
    }

    /// The fullest ring holds `fill` bytes of `capacity`, which came since this was called last.
    pub(super) fn look(&mut self, now: Instant, fill: u64, capacity: u64) {
        let since = now.saturating_duration_since(self.looked_at);
        self.looked_at = now;
        let share = (fill * WAKE_SHARE) as f64 / capacity as f64;
        self.per_second = share / since.as_secs_f64().max(f64::MIN_POSITIVE);
    }

    /// How long to sleep now.
    pub(super) fn nap(&self) -> Duration {
        let seconds = AIM / self.per_second;
        NAP.min(Duration::try_from_secs_f64(seconds).unwrap_or(NAP))
            .max(LEAST_NAP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: u64 = 4_000_000;

    fn after(ms: u64, fill: u64) -> Duration {
        let begun = Instant::now();
        let mut pace = Pace::new(begun);
        pace.look(begun + Duration::from_millis(ms), fill, CAPACITY);
        pace.nap()
    }

    #[test]
    fn a_nap_ends_before_the_ring_would_end_it() {
        // The quarter that would, in 5 ms.
        assert_eq!(after(10, 2_000_000), Duration::from_micros(3750));
        assert_eq!(after(5, 1_000_000), Duration::from_micros(3750));
    }

    #[test]
    fn a_nap_is_never_longer_than_usual_nor_no_nap() {
        assert_eq!(after(10, 0), NAP);
        assert_eq!(after(10, 100_000), NAP);
        assert_eq!(after(0, 0), NAP);
        assert_eq!(after(0, 1), LEAST_NAP);
        assert_eq!(after(1, CAPACITY), LEAST_NAP);
    }

    #[test]
    fn what_came_before_the_last_look_does_not_count() {
        let begun = Instant::now();
        let mut pace = Pace::new(begun);
        pace.look(begun + Duration::from_millis(1), CAPACITY / 2, CAPACITY);
        assert!(pace.nap() < NAP);
        pace.look(begun + Duration::from_millis(11), 0, CAPACITY);
        assert_eq!(pace.nap(), NAP);
    }
}
