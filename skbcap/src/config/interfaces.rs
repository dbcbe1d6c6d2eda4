//! Interfaces' names, as they were typed.

use skbcap_common::config::MAX_INTERFACES;

use super::ConfigError;

/// `IFNAMSIZ` less the NUL byte.
pub(super) const MAX_INTERFACE_NAME: usize = 15;

pub(super) fn resolve(names: Vec<String>) -> Result<Vec<String>, ConfigError> {
    let mut wanted: Vec<String> = Vec::new();
    for name in &names {
        if !is_interface_name(name) {
            return Err(ConfigError::InterfaceName(name.clone()));
        }
        if !wanted.contains(name) {
            wanted.push(name.clone());
        }
    }
    if wanted.iter().any(|name| name == "any") {
        return Ok(Vec::new());
    }
    if wanted.len() > MAX_INTERFACES {
        return Err(ConfigError::TooManyInterfaces(wanted.len()));
    }
    Ok(wanted)
}

/// Whether the kernel would let a device be called that.
///
/// Source: `dev_valid_name`, `net/core/dev.c@6.12`. Its `isspace` takes Latin-1's no-break space
/// (0xa0) too, which as UTF-8 is half a character: not looked for.
fn is_interface_name(name: &str) -> bool {
    (1..=MAX_INTERFACE_NAME).contains(&name.len())
        && name != "."
        && name != ".."
        && !name
            .bytes()
            .any(|byte| matches!(byte, 0 | b'/' | b':' | b' ' | 9..=13))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use crate::config::Config;
    use clap::Parser;

    fn resolve(arguments: &[&str]) -> Result<Config, ConfigError> {
        let cli = Cli::try_parse_from([&["skbcap"], arguments].concat()).unwrap();
        Config::resolve(cli)
    }

    fn refused(arguments: &[&str]) -> String {
        resolve(arguments).unwrap_err().to_string()
    }

    #[test]
    fn interfaces_are_names_and_any_is_all() {
        assert_eq!(
            resolve(&["-i", "lo", "-i", "lo"]).unwrap().interfaces,
            ["lo"]
        );
        assert!(
            resolve(&["-i", "lo", "-i", "any"])
                .unwrap()
                .interfaces
                .is_empty()
        );
        for name in ["", ".", "..", "a/b", "eth0:1", "a b", "sixteen-bytes-no"] {
            assert!(
                refused(&["-i", name]).starts_with("invalid interface name"),
                "{name}"
            );
        }
        let names: Vec<String> = (0..17).map(|n| format!("-ieth{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(resolve(&names[..16]).unwrap().interfaces.len(), 16);
        assert_eq!(
            resolve(&names).unwrap_err(),
            ConfigError::TooManyInterfaces(17)
        );
    }
}
