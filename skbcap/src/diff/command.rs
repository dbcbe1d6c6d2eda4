//! `skbcap diff`: two files, mapped, compared and told about.
//!
//! Knows files, the terminal and exit statuses; what is the same is for the other modules to say.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use memmap2::Mmap;

use super::{Capture, Explanation, NotACapture, Options, compare, explain, json, text};
use crate::cli::Diff;
use crate::mapped_file;

/// Nothing could be compared, or what was found could not be told.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// A file can't be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// A file is something else.
    #[error("{} is no capture", .0.display())]
    NotACapture(PathBuf, #[source] NotACapture),
    /// An interface that no frame is from.
    #[error("neither file has an interface '{}'", .0.escape_debug())]
    Interface(String),
    /// `--window` is no time.
    #[error("invalid window {0}: --window takes seconds, 0 or more, such as 0.5")]
    Window(String),
    /// Standard output failed.
    #[error("cannot write the output")]
    Write(#[source] io::Error),
}

impl DiffError {
    /// The exit status of each.
    pub const STATUS: u8 = 2;
}

/// Compares what was named; the exit status says how that went.
///
/// # Errors
///
/// When nothing could be compared. A file that is broken further on is compared as far as it can
/// be read, and the status says so.
pub fn run(diff: &Diff) -> Result<ExitCode, DiffError> {
    let window = diff.window.as_deref().map(seconds).transpose()?;
    let map =
        |path: &Path| mapped_file::map(path).map_err(|error| DiffError::Read(path.into(), error));
    let files = [map(&diff.ours)?, map(&diff.theirs)?];
    let ours = read(&diff.ours, &files[0])?;
    let theirs = read(&diff.theirs, &files[1])?;
    check_interfaces(&diff.interfaces, [&ours, &theirs])?;
    let mut is_whole = true;
    for (path, capture) in [(&diff.ours, &ours), (&diff.theirs, &theirs)] {
        if let Some(trouble) = capture.trouble {
            is_whole = false;
            let path = path.display().to_string();
            let frames = capture.frames.len();
            // Whoever closed standard error doesn't want it.
            let _ = writeln!(
                io::stderr(),
                "skbcap: {}: {trouble}; compared are the {frames} frames that are whole",
                path.escape_debug()
            );
        }
    }
    let options = Options {
        interfaces: diff.interfaces.clone(),
    };
    let explanation = explain(compare(&ours, &theirs, &options), &diff.ignore, window);
    match tell(diff, &explanation) {
        // Whoever reads no further has seen what was wanted.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(DiffError::Write(error));
        }
        _ => {}
    }
    Ok(match (is_whole, explanation.is_equal()) {
        (false, _) => DiffError::STATUS.into(),
        (true, true) => ExitCode::SUCCESS,
        (true, false) => ExitCode::from(1),
    })
}

fn tell(diff: &Diff, explanation: &Explanation<'_>) -> io::Result<()> {
    let stdout = io::stdout();
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_colored = stdout.is_terminal() && !no_color;
    let mut out = BufWriter::new(stdout.lock());
    if diff.answer.json {
        json::write(&mut out, explanation, [&diff.ours, &diff.theirs])?;
    } else if !diff.answer.quiet {
        text::write(&mut out, explanation, diff.show, is_colored)?;
    }
    out.flush()
}

fn read<'a>(path: &Path, file: &'a Option<Mmap>) -> Result<Capture<'a>, DiffError> {
    let bytes = file.as_deref().unwrap_or_default();
    Capture::read(bytes).map_err(|error| DiffError::NotACapture(path.into(), error))
}

/// A name that no interface has is a mistake, unless a file doesn't tell names.
fn check_interfaces(names: &[String], captures: [&Capture<'_>; 2]) -> Result<(), DiffError> {
    let known = || captures.into_iter().flat_map(|capture| &capture.interfaces);
    if known().any(|interface| interface.name.is_none()) {
        return Ok(());
    }
    let is_known = |name: &&String| known().any(|interface| interface.name.as_ref() == Some(name));
    match names.iter().find(|name| !is_known(name)) {
        Some(name) => Err(DiffError::Interface(name.clone())),
        None => Ok(()),
    }
}

fn seconds(typed: &str) -> Result<Duration, DiffError> {
    let seconds: Option<f64> = typed.parse().ok();
    let window = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    window.ok_or_else(|| DiffError::Window(typed.escape_debug().to_string()))
}
