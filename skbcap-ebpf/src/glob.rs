//! A name against a pattern, a byte at a time: [`Pattern`]'s automaton.

use core::ptr::read_volatile;

use skbcap_common::sender::Pattern;

use crate::memory::opaque;

/// A pattern, and how far a name came with it.
pub(crate) struct Glob {
    pattern: *const Pattern,
    state: u32,
}

impl Glob {
    /// No byte of the name was seen yet.
    ///
    /// # Safety
    ///
    /// `pattern` is a whole map value, for as long as this lives.
    #[inline(always)]
    pub(crate) unsafe fn new(pattern: *const Pattern) -> Self {
        Self { pattern, state: 1 }
    }

    /// The name's next byte, below 256.
    #[inline(always)]
    pub(crate) fn step(&mut self, byte: u64) {
        let Self { pattern, state } = *self;
        let place = opaque(byte) as usize & 255;
        // SAFETY: a whole map value (`new`), and a byte is within its table.
        unsafe {
            let accept = read_volatile((&raw const (*pattern).accept[0]).add(place));
            let any = read_volatile(&raw const (*pattern).any);
            self.state = (state & accept) << 1 | state & any;
        }
    }

    /// The pattern's bits if it matches the bytes so far, else 0.
    #[inline(always)]
    pub(crate) fn bits(&self) -> u64 {
        // SAFETY: a whole map value (`new`).
        unsafe {
            if self.state & read_volatile(&raw const (*self.pattern).end) == 0 {
                return 0;
            }
            read_volatile(&raw const (*self.pattern).bits).into()
        }
    }
}
