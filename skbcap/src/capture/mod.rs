//! The pipeline, put together: kernel or recording, rings, order, clock, output.
//!
//! Knows every stage by its seam and none by its insides: no format, no kernel structure.

mod live;
mod pipeline;
mod replay;
mod target;

pub use self::pipeline::Pipeline;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use skbcap_common::Hook;

use crate::{
    config::{Config, Output},
    output::{AnySink, FileOutput, Lines, OpenError, Origin, PcapngFile},
    stats::Stats,
    status,
};

/// Does what `config` says.
///
/// # Errors
///
/// When it can't be done, or the output failed in the middle.
pub fn run(config: &Config) -> anyhow::Result<ExitCode> {
    if config.replay.is_some() {
        replay::run(config)
    } else {
        live::run(config)
    }
}

/// Where the frames of this capture go. A file is emptied here.
fn open(config: &Config, origin: Origin, snaplen: u32) -> Result<AnySink, OpenError> {
    Ok(match FileOutput::open(&config.output)? {
        None => AnySink::Lines(Lines::new(io::stdout())),
        Some(output) => AnySink::Pcapng(Box::new(
            PcapngFile::new(output, origin, snaplen)
                .expect("a snapshot length in range and names of a sane length"),
        )),
    })
}

/// Tells the user something. Whoever closed standard error doesn't want it: no reason to panic, as
/// `eprintln!` would.
fn say(message: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "skbcap: {message}");
}

/// What is said at the end, once the live line is gone.
fn summarize(stats: &Stats, hook: Hook) {
    // Whoever closed standard error doesn't want it.
    let _ = status::write_summary(&mut io::stderr().lock(), stats, hook);
}

/// The words for an interface list.
fn interfaces_text(config: &Config) -> String {
    match &config.interfaces[..] {
        [] => "any".into(),
        names => names.join(", "),
    }
}

/// Whether standard error can hold a live line: no other lines run over the same terminal.
fn writes_a_file(config: &Config) -> bool {
    config.output != Output::Print
}
