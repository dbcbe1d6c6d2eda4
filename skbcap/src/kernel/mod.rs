//! Everything that touches the running kernel: its types, its symbols, what it allows.
//!
//! Owns unsafe code and aya. Must not know: records, files, time order, formats.

pub mod background;
pub mod btf;
pub mod capabilities;
pub mod cgroups;
pub mod chosen;
pub mod cpu_words;
pub mod cpus;
pub mod devices;
mod events;
pub mod kallsyms;
pub mod kfuncs;
pub mod layout;
pub mod load;
pub mod mapped;
pub mod maps;
pub mod missed;
pub mod netns;
pub mod object;
pub mod page_base;
pub mod parts;
mod patterns;
pub mod peek;
pub mod preemption;
pub mod preflight;
pub mod refused;
pub mod senders;
pub mod setup;
pub mod sockets;
pub mod tasks;
pub mod watch;
