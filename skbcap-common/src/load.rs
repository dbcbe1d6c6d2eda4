//! Stand-ins for the offsets of fields in the object's instructions, until the loader writes those of
//! the running kernel over them: the `off` of a load instruction.
//!
//! So a field costs one instruction, as if it had been compiled for this kernel.

use crate::config::Layout;

/// The first of them, beyond the fields of any structure that is loaded from.
const FIRST: i16 = 0x7e00;

/// What stands for the field with that place in [`Layout`], in bytes.
#[must_use]
pub const fn stand_in(field: usize) -> i16 {
    FIRST + (field / 4) as i16
}

/// The place in [`Layout`], in bytes, that an offset stands for.
#[must_use]
pub const fn field(offset: i16) -> Option<usize> {
    if offset < FIRST {
        return None;
    }
    let place = (offset - FIRST) as usize * 4;
    if place + 4 <= size_of::<Layout>() {
        Some(place)
    } else {
        None
    }
}

const _: () = assert!(
    matches!(field(stand_in(size_of::<Layout>() - 4)), Some(place) if place == size_of::<Layout>() - 4)
);
