//! `skbcap verify`: files, mapped, checked and told about.
//!
//! Knows files, the terminal and exit statuses.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{NotPcapng, Verdict, Verification, json, text};
use crate::cli::Verify;
use crate::escape::escape_into;
use crate::mapped_file;

/// A file that could not be checked, or what was found could not be told.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file can't be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A file is something else.
    #[error("cannot verify {}: {error}", path.display())]
    NotPcapng {
        /// The file.
        path: PathBuf,
        /// What it is.
        error: NotPcapng,
    },
    /// Standard output failed.
    #[error("cannot write the output")]
    Write(#[source] io::Error),
}

impl VerifyError {
    /// The exit status of each.
    pub const STATUS: u8 = 2;
}

/// Checks the files that were named; the exit status says how that went. Files that can't be checked
/// are told of on standard error.
///
/// # Errors
///
/// When standard output fails.
pub fn run(verify: &Verify) -> Result<ExitCode, VerifyError> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut worst = 0;
    let mut told = tell(verify, &mut out, Piece::Begin);
    let mut number = 0;
    for path in &verify.files {
        let verification = match verification(path) {
            Ok(verification) => verification,
            Err(error) => {
                worst = VerifyError::STATUS;
                // In the order in which they were named.
                told = told.and_then(|()| out.flush());
                let mut line = String::new();
                escape_into(&mut line, error.to_string().as_bytes(), b"");
                // Whoever closed standard error doesn't want it.
                let _ = writeln!(io::stderr(), "skbcap: {line}");
                continue;
            }
        };
        worst = worst.max(match verification.verdict {
            Verdict::AddsUp => 0,
            Verdict::CannotTell | Verdict::DoesNotAddUp => 1,
        });
        let piece = Piece::File(number, path, &verification);
        told = told.and_then(|()| tell(verify, &mut out, piece));
        number += 1;
    }
    let told = told
        .and_then(|()| tell(verify, &mut out, Piece::End))
        .and_then(|()| out.flush());
    match told {
        // Whoever reads no further has seen what was wanted.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(VerifyError::Write(error)),
        _ => Ok(worst.into()),
    }
}

fn verification(path: &Path) -> Result<Verification, VerifyError> {
    let map = mapped_file::map(path).map_err(|error| VerifyError::Read {
        path: path.into(),
        error,
    })?;
    Verification::of(map.as_deref().unwrap_or_default()).map_err(|error| VerifyError::NotPcapng {
        path: path.into(),
        error,
    })
}

/// What is told: each file, and what stands around all.
enum Piece<'a> {
    Begin,
    File(usize, &'a Path, &'a Verification),
    End,
}

fn tell(verify: &Verify, out: &mut impl Write, piece: Piece<'_>) -> io::Result<()> {
    match piece {
        _ if verify.answer.quiet => Ok(()),
        Piece::Begin if verify.answer.json => json::begin(out),
        Piece::File(number, path, verification) if verify.answer.json => {
            json::write(out, number, path, verification)
        }
        Piece::End if verify.answer.json => json::end(out),
        Piece::File(_, path, verification) => text::write(out, path, verification),
        Piece::Begin | Piece::End => Ok(()),
    }
}
