//! Shared pieces of the tests: captures read back, and compared.
//!
//! They know files only: no kernel, no namespaces.

pub mod capture;
pub mod chains;
pub mod compare;
pub mod expressions;
pub mod frames;
