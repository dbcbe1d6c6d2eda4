//! How the buffer is cut into rings, and a ring into segments.
//!
//! Arithmetic only: knows the record layout and the bounds of map values, and nothing of maps.

use skbcap_common::record::{self, CURRENT_LEN, HEADER_LEN};

/// The most bytes of one map value that Linux 5.10 takes; later kernels take more.
///
/// Source: `KMALLOC_MAX_SIZE` in `array_map_alloc_check`, `kernel/bpf/arraymap.c@5.10`.
pub const MAX_VALUE_LEN: u32 = 4 << 20;

/// Map values are mapped one behind the other, so each is a whole number of pages.
pub const PAGE_LEN: u32 = 4096;

/// The default buffer of each ring, in bytes.
const DEFAULT_RING_BYTES: u64 = 8 << 20;

/// The default buffer of all rings together is at most this many bytes.
const DEFAULT_MAX_BYTES: u64 = 256 << 20;

/// The most bytes that the kernel side reads from one address at once.
const MAX_CHUNK_LEN: u32 = 65_536;

/// The measures of a ring. Each segment is one map value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Nominal bytes of a segment: a record begins below this.
    pub segment_len: u32,
    /// Segments of a ring.
    pub segments: u32,
    /// Bytes behind the nominal length that a record may run on into.
    pub slack_len: u32,
    /// Bytes of a map value: `segment_len + slack_len`, a multiple of [`PAGE_LEN`].
    pub value_len: u32,
    /// The most bytes that are read from one address at once.
    pub chunk_len: u32,
}

impl Geometry {
    /// Bytes of a ring in which records begin.
    #[must_use]
    pub fn usable_bytes(&self) -> u64 {
        u64::from(self.segment_len) * u64::from(self.segments)
    }

    /// Whether a record with `captured_len` bytes of data may begin anywhere in a segment.
    #[must_use]
    pub fn fits(&self, captured_len: u32) -> bool {
        u64::from(self.segment_len) + u64::from(HEADER_LEN) + u64::from(captured_len)
            <= u64::from(self.value_len)
    }

    /// Bytes of memory that a ring takes.
    #[must_use]
    pub fn ring_bytes(&self) -> u64 {
        u64::from(self.value_len) * u64::from(self.segments)
    }
}

/// The buffer is too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a buffer of {asked_kib} KiB is too small for {rings} {} and -s {snaplen}: \
     use -B {least_kib} or more, or a smaller -s",
    if *rings == 1 { "CPU" } else { "CPUs" }
)]
pub struct GeometryError {
    /// The buffer that was asked for, in KiB.
    pub asked_kib: u64,
    /// Rings that share it.
    pub rings: u32,
    /// The most bytes of a frame that a record holds.
    pub snaplen: u32,
    /// The least buffer for that many rings, in KiB.
    pub least_kib: u64,
}

/// The buffer, in bytes, where none was asked for: 8 MiB a ring, at most 256 MiB, and never less
/// than [`ring_geometry`] needs.
#[must_use]
pub fn default_buffer_bytes(rings: u32, snaplen: u32, spare: u32) -> u64 {
    (DEFAULT_RING_BYTES * u64::from(rings))
        .min(DEFAULT_MAX_BYTES)
        .max(least_bytes(rings, snaplen) * (1 + u64::from(spare)))
}

/// Cuts `buffer_bytes` into equal shares for `rings` rings, with as much room for records as can be.
///
/// Of each share, `spare` segments are not the ring's: they are for the second ring of its CPU.
/// `snaplen` is at most [`skbcap_common::MAX_SNAPLEN`].
///
/// # Errors
///
/// When a ring would not hold one record of `snaplen` bytes.
pub fn ring_geometry(
    buffer_bytes: u64,
    rings: u32,
    snaplen: u32,
    spare: u32,
) -> Result<Geometry, GeometryError> {
    let spare = u64::from(spare);
    let snaplen = snaplen.min(skbcap_common::MAX_SNAPLEN);
    let ring_bytes = buffer_bytes / u64::from(rings.max(1));
    let slack_len = slack_len(snaplen);
    let least_value_len = least_value_len(snaplen);
    if ring_bytes < u64::from(least_value_len) * (1 + spare) {
        return Err(GeometryError {
            asked_kib: buffer_bytes / 1024,
            rings,
            snaplen,
            least_kib: least_bytes(rings, snaplen) * (1 + spare) / 1024,
        });
    }

    // More segments cost more slack and fewer waste more of what is left of the last: try from the
    // fewest on, until the slack alone costs more than the best way so far.
    let fewest = (ring_bytes / u64::from(MAX_VALUE_LEN)).max(1 + spare);
    let most = ring_bytes / u64::from(least_value_len);
    let usable = |segments: u64| {
        let value_len = value_len(ring_bytes, segments);
        (segments - spare) * (u64::from(value_len) - u64::from(slack_len))
    };
    let mut best = fewest;
    for segments in fewest + 1..=most {
        if ring_bytes.saturating_sub(segments * u64::from(slack_len)) <= usable(best) {
            break;
        }
        if usable(segments) > usable(best) {
            best = segments;
        }
    }
    let value_len = value_len(ring_bytes, best);
    Ok(Geometry {
        segment_len: value_len - slack_len,
        segments: u32::try_from(best - spare).unwrap_or(u32::MAX),
        slack_len,
        value_len,
        chunk_len: chunk_len(snaplen),
    })
}

/// Bytes of each of `segments` values that share `ring_bytes`.
fn value_len(ring_bytes: u64, segments: u64) -> u32 {
    let page = u64::from(PAGE_LEN);
    let bytes = (ring_bytes / segments / page * page).min(MAX_VALUE_LEN.into());
    u32::try_from(bytes).unwrap_or(MAX_VALUE_LEN)
}

/// Bytes behind a segment: a record that begins below the segment's end, and one chunk more,
/// because the verifier bounds the bytes copied so far and the next chunk each for itself and
/// can't relate the two. In the chunk's place a current task may stand, which follows the bytes.
fn slack_len(snaplen: u32) -> u32 {
    (HEADER_LEN + snaplen + chunk_len(snaplen).max(CURRENT_LEN) + record::ALIGNMENT)
        .next_multiple_of(record::ALIGNMENT)
}

fn chunk_len(snaplen: u32) -> u32 {
    snaplen.min(MAX_CHUNK_LEN)
}

/// The least value: one record and the slack. 580 KiB for the largest snapshot length.
fn least_value_len(snaplen: u32) -> u32 {
    (record::record_len(snaplen) + slack_len(snaplen)).next_multiple_of(PAGE_LEN)
}

fn least_bytes(rings: u32, snaplen: u32) -> u64 {
    let snaplen = snaplen.min(skbcap_common::MAX_SNAPLEN);
    u64::from(rings.max(1)) * u64::from(least_value_len(snaplen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use skbcap_common::MAX_SNAPLEN;

    #[test]
    fn the_default_on_two_cpus_is_two_segments_each() {
        let buffer = default_buffer_bytes(2, MAX_SNAPLEN, 0);
        assert_eq!(buffer, 16 << 20);
        assert_eq!(
            ring_geometry(buffer, 2, MAX_SNAPLEN, 0).unwrap(),
            Geometry {
                segment_len: (4 << 20) - 327_808,
                segments: 2,
                slack_len: 327_808,
                value_len: 4 << 20,
                chunk_len: 65_536,
            }
        );
    }

    #[test]
    fn a_second_ring_takes_the_smallest_share_that_pays() {
        let buffer = default_buffer_bytes(2, MAX_SNAPLEN, 1);
        assert_eq!(buffer, 16 << 20);
        let geometry = ring_geometry(buffer, 2, MAX_SNAPLEN, 1).unwrap();
        assert_eq!((geometry.segments, geometry.value_len), (4, 1_675_264));
        let error = ring_geometry(1 << 20, 1, MAX_SNAPLEN, 1).unwrap_err();
        assert_eq!(error.least_kib, 1160);
    }

    #[test]
    fn the_default_is_capped_but_never_too_small() {
        assert_eq!(default_buffer_bytes(128, MAX_SNAPLEN, 0), 256 << 20);
        assert_eq!(
            default_buffer_bytes(1024, MAX_SNAPLEN, 0),
            1024 * 580 * 1024
        );
    }

    #[test]
    fn too_small_a_buffer_is_told_the_least() {
        let error = ring_geometry(64 << 10, 4, MAX_SNAPLEN, 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a buffer of 64 KiB is too small for 4 CPUs and -s 262144: \
             use -B 2320 or more, or a smaller -s"
        );
        assert!(ring_geometry(error.least_kib * 1024, 4, MAX_SNAPLEN, 0).is_ok());
        assert!(ring_geometry(error.least_kib * 1024 - 1, 4, MAX_SNAPLEN, 0).is_err());
    }

    proptest! {
        #[test]
        fn a_ring_keeps_its_bounds(
            buffer in 0..=2u64 << 30, rings in 1..=512u32, snaplen in 1..=MAX_SNAPLEN,
            spare in 0..=1u32,
        ) {
            if let Ok(geometry) = ring_geometry(buffer, rings, snaplen, spare) {
                prop_assert!(geometry.value_len <= MAX_VALUE_LEN);
                prop_assert_eq!(geometry.value_len % PAGE_LEN, 0);
                prop_assert_eq!(geometry.value_len, geometry.segment_len + geometry.slack_len);
                prop_assert_eq!(geometry.slack_len % record::ALIGNMENT, 0);
                prop_assert_eq!(geometry.segment_len % record::ALIGNMENT, 0);
                prop_assert!(geometry.segments >= 1);
                let share = geometry.ring_bytes() + u64::from(spare * geometry.value_len);
                prop_assert!(share * u64::from(rings) <= buffer);
                prop_assert!(geometry.segment_len >= record::record_len(snaplen));
                prop_assert!(
                    geometry.slack_len >= HEADER_LEN + snaplen + geometry.chunk_len
                );
                prop_assert!(geometry.slack_len >= record::record_len(snaplen) + CURRENT_LEN);
            } else {
                prop_assert!(buffer < least_bytes(rings, snaplen) * u64::from(1 + spare));
            }
        }

        #[test]
        fn more_memory_never_holds_less(
            buffer in 0..=64u64 << 20, more in 0..=1u64 << 20, snaplen in 1..=MAX_SNAPLEN,
            spare in 0..=1u32,
        ) {
            if let Ok(small) = ring_geometry(buffer, 1, snaplen, spare) {
                let large = ring_geometry(buffer + more, 1, snaplen, spare).unwrap();
                prop_assert!(large.usable_bytes() >= small.usable_bytes());
            }
        }

        #[test]
        fn the_default_always_works(
            rings in 1..=8192u32, snaplen in 1..=MAX_SNAPLEN, spare in 0..=1u32,
        ) {
            let buffer = default_buffer_bytes(rings, snaplen, spare);
            prop_assert!(ring_geometry(buffer, rings, snaplen, spare).is_ok());
        }
    }
}
