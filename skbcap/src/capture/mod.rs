//! The pipeline, put together: kernel or recording, rings, order, clock, output.
//!
//! Knows every stage by its seam and none by its insides: no format, no kernel structure.

mod expression;
mod list;
mod live;
mod own;
mod pace;
mod pipeline;
mod replay;
mod rights;
mod senders;
mod talkers;
mod target;
mod watch;

pub use self::{
    pipeline::{End, Pipeline},
    senders::SenderError,
};

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use anyhow::Context;
use skbcap_common::Hook;

use crate::{
    config::{Config, LinkTypes, Output, Sides},
    output::{
        AnySink, Console, FileOutput, Lines, OpenError, Origin, Pcapng, Tee, rotation::Rotation,
    },
    stats::Stats,
    status,
};

/// Does what `config` says.
///
/// # Errors
///
/// When it can't be done, or the output failed in the middle.
pub fn run(config: &Config) -> anyhow::Result<ExitCode> {
    if config.list_interfaces {
        list::run(config)
    } else if config.replay.is_some() {
        replay::run(config)
    } else {
        live::run(config)
    }
}

/// Where the frames of this capture go, which begins at `start_ns`, in nanoseconds since 1970 UTC. A
/// file is emptied here.
fn open(
    config: &Config,
    origin: Origin,
    snaplen: u32,
    start_ns: u64,
) -> Result<AnySink, OpenError> {
    let lines = || {
        let console = if config.run.is_empty() {
            Console::Out(io::stdout())
        } else {
            Console::Err(io::stderr())
        };
        let style = config.style.for_terminal(console.is_terminal());
        Lines::new(console, style).telling(config.fields)
    };
    let rotation = match &config.output {
        Output::File(path) => Some(Rotation::new(path, config.rotate, start_ns)),
        Output::Print | Output::Stdout => None,
    };
    let opened = match &rotation {
        Some(rotation) => {
            let name = rotation.name();
            FileOutput::open(&Output::File(name.map_err(OpenError::Name)?))?
        }
        None => FileOutput::open(&config.output)?,
    };
    let Some(mut output) = opened else {
        return Ok(AnySink::Lines(lines()));
    };
    if config.link_types == LinkTypes::Split {
        output = output.must_be_regular()?;
    }
    if config.rotate.is_asked_for() {
        output = output.must_have_successors()?;
    }
    let mut file = Pcapng::new(output, origin, snaplen, config.link_types)
        .expect("a snapshot length in range and names of a sane length")
        .telling(config.fields);
    if let Some(rotation) = rotation {
        file = file.rotated(rotation);
    }
    Ok(if config.print {
        AnySink::Tee(Box::new(Tee::new(file, lines())))
    } else {
        AnySink::Pcapng(Box::new(file))
    })
}

/// Says where the output's error happened.
fn located(result: io::Result<()>, config: &Config) -> anyhow::Result<()> {
    match &config.output {
        // The error names the file itself: it is one of several.
        _ if config.link_types == LinkTypes::Split => Ok(result?),
        Output::File(_) if config.rotate.is_asked_for() => result.context("cannot write on"),
        Output::File(path) => result.with_context(|| format!("cannot write to {}", path.display())),
        _ => result.context("cannot write to standard output"),
    }
}

/// Tells the user something. Whoever closed standard error doesn't want it: no reason to panic, as
/// `eprintln!` would.
fn say(message: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "skbcap: {message}");
}

/// What is said at the end, once the live line is gone.
fn summarize(stats: &Stats, hook: Hook, more: &[String]) {
    let mut stderr = io::stderr().lock();
    // Whoever closed standard error doesn't want it.
    let _ = status::write_summary(&mut stderr, stats, hook)
        .and_then(|()| more.iter().try_for_each(|line| writeln!(stderr, "{line}")));
}

/// The words for the interfaces, with commas between, a word before those that are left out.
fn interfaces_text(config: &Config, comma: &str, not: &str) -> String {
    let Sides { wanted, unwanted } = &config.interfaces;
    let any = wanted.is_empty().then(|| "any".to_owned());
    let wanted = wanted.iter().map(|one| one.typed().to_owned());
    let unwanted = unwanted.iter().map(|one| format!("{not}{}", one.typed()));
    let all: Vec<String> = any.into_iter().chain(wanted).chain(unwanted).collect();
    all.join(comma)
}

/// Whether standard error can hold a live line: no other lines run over the same terminal.
fn writes_a_file(config: &Config) -> bool {
    config.run.is_empty()
        && config.output != Output::Print
        && !(config.print && io::stdout().is_terminal())
}
