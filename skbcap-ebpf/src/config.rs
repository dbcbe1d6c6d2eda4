//! The read-only global that userspace fills before the object is loaded.

use skbcap_common::Config;

/// Set by the loader. The verifier knows its contents, so each field below is a constant to it.
#[unsafe(no_mangle)]
static CONFIG: Config = {
    // SAFETY: `Config` is made of integers only (it implements zerocopy's `FromBytes`), so all
    // zeros is one of its values.
    unsafe { core::mem::zeroed() }
};

/// A field of [`CONFIG`].
macro_rules! config {
    ($($field:tt)+) => {
        $crate::config::load(&$crate::config::global().$($field)+)
    };
}
pub(crate) use config;

/// Reads a field so that the compiler cannot take the zeros above for its value.
#[inline(always)]
pub(crate) fn load<T: Copy>(field: &'static T) -> T {
    // SAFETY: a reference is valid, aligned and initialised; nobody writes there after the load.
    unsafe { core::ptr::read_volatile(field) }
}

/// The global, for the macro and for what it holds arrays of.
#[inline(always)]
pub(crate) fn global() -> &'static Config {
    &CONFIG
}
