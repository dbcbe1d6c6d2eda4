//! The readers that users have open every capture that guests brought back:
//! none may find anything wrong. Knows nothing of what should be in them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::run::output;
use crate::tools::Tools;

/// Each reads a whole file, which is named where `FILE` stands.
const READERS: &[(&str, &[&str])] = &[
    ("capinfos", &["-M", "-c", "FILE"]),
    ("tshark", &["-n", "-q", "-r", "FILE"]),
    (
        "tcpdump",
        &["-n", "-Z", "root", "-w", "/dev/null", "-r", "FILE"],
    ),
];

/// Opens the pcapng files of a test's directory. tcpdump is spared those that say in their names
/// that they have several link types: it refuses them.
pub(crate) fn open_all(tools: &Tools, dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        if path
            .extension()
            .is_none_or(|extension| extension != "pcapng")
        {
            continue;
        }
        let is_mixed = path.to_string_lossy().ends_with(".mixed.pcapng");
        for (program, words) in READERS {
            if is_mixed && *program == "tcpdump" {
                continue;
            }
            let mut command = tools.command(program)?;
            for word in *words {
                if *word == "FILE" {
                    command.arg(&path);
                } else {
                    command.arg(word);
                }
            }
            output(&mut command)?;
        }
    }
    Ok(())
}
