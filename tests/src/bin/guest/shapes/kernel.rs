//! What the running kernel has. A shape is left out for what this says, never for an error.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Something that a shape needs and not every kernel has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Need {
    /// A module, or the same built in.
    Module(&'static str),
    /// This kernel or a newer one: what came with it is no module.
    Since(u32, u32),
}

impl Need {
    /// Whether the kernel has it.
    pub(crate) fn is_met(self) -> Result<bool> {
        let release = rustix::system::uname();
        let release = release.release().to_str()?;
        match self {
            Self::Module(name) => has_module(release, name),
            Self::Since(major, minor) => {
                let mut numbers = release.split(['.', '-']);
                let mut number = || -> Result<u32> {
                    let number = numbers.next().context("a release of two numbers")?;
                    Ok(number.parse()?)
                };
                Ok((number()?, number()?) >= (major, minor))
            }
        }
    }
}

/// Whether the lists that come with the kernel name the module.
fn has_module(release: &str, name: &str) -> Result<bool> {
    let dir = Path::new("/lib/modules").join(release);
    for list in ["modules.dep", "modules.builtin"] {
        let path = dir.join(list);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let file = format!("/{name}.ko");
        let mut paths = text.lines().filter_map(|line| line.split(':').next());
        if paths.any(|path| path.ends_with(&file)) {
            return Ok(true);
        }
    }
    Ok(false)
}
