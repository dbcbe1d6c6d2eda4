//! Numbers, and the ranges they lie in.

use std::num::NonZeroU64;
use std::time::Duration;

use skbcap_common::MAX_SNAPLEN;

use super::ConfigError;

/// The largest `-B`: 2 GiB, libpcap's own bound (an `int` of bytes).
pub const MAX_BUFFER_KIB: u64 = 2 << 20;

pub(crate) fn count(typed: String) -> Result<NonZeroU64, ConfigError> {
    typed.parse().map_err(|_| ConfigError::Count(typed))
}

pub(super) fn time_limit(typed: String) -> Result<Duration, ConfigError> {
    let seconds: Option<f64> = typed.parse().ok();
    let limit = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    // A longer one is none: 136 years.
    let most = Duration::from_secs(u32::MAX.into());
    let limit = limit.filter(|limit| (Duration::from_nanos(1)..=most).contains(limit));
    limit.ok_or(ConfigError::TimeLimit(typed))
}

pub(super) fn snaplen(typed: String) -> Result<u32, ConfigError> {
    match typed.parse() {
        Ok(0) => Ok(MAX_SNAPLEN),
        Ok(bytes) if bytes <= MAX_SNAPLEN => Ok(bytes),
        _ => Err(ConfigError::Snaplen(typed)),
    }
}

pub(super) fn buffer_bytes(typed: String) -> Result<u64, ConfigError> {
    match typed.parse::<u64>() {
        Ok(kib) if (1..=MAX_BUFFER_KIB).contains(&kib) => Ok(kib * 1024),
        _ => Err(ConfigError::Buffer(typed)),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::refused;

    #[test]
    fn numbers_out_of_range_are_refused() {
        for count in ["0", "-1", "x", "1.5", "", "18446744073709551616"] {
            assert!(refused(&["-c", count]).starts_with(&format!("invalid packet count {count}:")));
        }
        for snaplen in ["262145", "-1", "x"] {
            assert!(refused(&["-s", snaplen]).starts_with("invalid snaplen"));
        }
        for buffer in ["0", "-1", "2097153", "8M"] {
            assert!(refused(&["-B", buffer]).starts_with("invalid packet buffer size"));
        }
    }
}
