//! The contract between kernel and userspace.
#![no_std]
