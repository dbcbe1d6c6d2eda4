//! What an interface says of its packets' times.

/// `if_tsresol`.
pub const IF_TSRESOL: u16 = 9;
/// `if_tsoffset`.
pub const IF_TSOFFSET: u16 = 14;

/// How an interface's ticks become nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticks {
    /// `if_tsresol`: a power of ten, or of two with the highest bit set, negative.
    pub resolution: u8,
    /// `if_tsoffset`, in seconds.
    pub offset_s: i64,
}

impl Default for Ticks {
    /// Microseconds, as of an interface that says nothing.
    fn default() -> Self {
        Self {
            resolution: 6,
            offset_s: 0,
        }
    }
}

impl Ticks {
    /// Nanoseconds since 1970-01-01 00:00 UTC; 0 before, [`u64::MAX`] beyond.
    #[must_use]
    pub fn time_ns(self, ticks: u64) -> u64 {
        let power = u32::from(self.resolution & 0x7f);
        let ns = u128::from(ticks) * 1_000_000_000;
        let ns = if self.resolution & 0x80 != 0 {
            ns >> power
        } else {
            // Beyond 10^38 ticks a second, any time in 64 bits is below a nanosecond.
            10u128
                .checked_pow(power)
                .map_or(0, |per_second| ns / per_second)
        };
        let ns = (ns as i128).saturating_add(i128::from(self.offset_s) * 1_000_000_000);
        u64::try_from(ns.max(0)).unwrap_or(u64::MAX)
    }
}
