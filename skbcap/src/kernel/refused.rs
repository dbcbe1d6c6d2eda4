//! A program that the kernel does not take: why, in a line.

use std::io;

use aya::programs::ProgramError;

/// A refused program. Shown as one line, of which the verifier's last word is a part.
#[derive(Debug, thiserror::Error)]
#[error(
    "the kernel refused to load skbcap's program for {place}{verdict}{hint}",
    verdict = verdict(log).map(|line| format!(" ({line})")).unwrap_or_default(),
    hint = hint(log)
)]
pub struct ProgramRefused {
    /// Where the program was to be attached.
    place: &'static str,
    /// What the verifier wrote down; empty where it was not asked.
    log: String,
    source: io::Error,
}

impl ProgramRefused {
    /// From what aya says of it.
    #[must_use]
    pub fn new(place: &'static str, error: ProgramError) -> Self {
        match error {
            ProgramError::LoadError {
                io_error,
                verifier_log,
            } => Self {
                place,
                log: verifier_log.to_string(),
                source: io_error,
            },
            other => Self {
                place,
                log: String::new(),
                source: io::Error::other(other),
            },
        }
    }

    /// Everything that the verifier wrote down, a line for each step.
    #[must_use]
    pub fn log(&self) -> &str {
        &self.log
    }
}

/// The verifier's reason: the last line of its log that is not about its own work.
fn verdict(log: &str) -> Option<&str> {
    const STATISTICS: [&str; 3] = ["processed ", "verification time ", "stack depth "];
    log.lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty() && !STATISTICS.iter().any(|start| line.starts_with(start)))
}

/// What a verdict comes from, where that is known. Lockdown takes the helper away from everybody
/// (`kernel/trace/bpf_trace.c:bpf_tracing_func_proto@5.10`), and shows itself only in securityfs.
fn hint(log: &str) -> &'static str {
    let is_helper = log.contains("unknown func bpf_probe_read")
        || log.contains("cannot use helper bpf_probe_read");
    if is_helper {
        "; a kernel locked down for confidentiality does so: boot it with lockdown=integrity or \
         without lockdown"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifier_s_last_word_is_shown() {
        let refused = ProgramRefused {
            place: "net_dev_queue",
            log: "0: (79) r9 = *(u64 *)(r1 +0)\nR1 invalid mem access 'inv'\n\
                  verification time 5 usec\nstack depth 0\nprocessed 1 insns (limit 1000000)\n"
                .into(),
            source: io::Error::from_raw_os_error(libc::EACCES),
        };
        assert_eq!(
            refused.to_string(),
            "the kernel refused to load skbcap's program for net_dev_queue \
             (R1 invalid mem access 'inv')"
        );
        let with = |log: &str| {
            let (log, source) = (log.to_owned(), io::Error::from_raw_os_error(libc::EACCES));
            ProgramRefused {
                place: "net_dev_queue",
                log,
                source,
            }
            .to_string()
        };
        let locked = with("program of this type cannot use helper bpf_probe_read#4\n");
        assert!(locked.contains("locked down"), "{locked}");
        assert_eq!(
            with(""),
            "the kernel refused to load skbcap's program for net_dev_queue"
        );
    }
}
