//! Interfaces' names, as they were typed.

use skbcap_common::config::MAX_INTERFACES;

use super::{ConfigError, Sides};
use crate::glob::Glob;

/// `IFNAMSIZ` less the NUL byte.
pub(super) const MAX_INTERFACE_NAME: usize = 15;

/// An interface, as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interface {
    /// Its name or its number.
    Name(String),
    /// All whose names match.
    Pattern {
        /// The pattern in words.
        typed: String,
        /// And as it is understood.
        glob: Glob,
    },
}

impl Interface {
    fn new(typed: &str) -> Result<Self, ConfigError> {
        if typed.contains(['*', '?', '[']) && typed.bytes().all(may_be_in_a_name) {
            let glob =
                Glob::new(typed.as_bytes()).map_err(|why| ConfigError::InterfacePattern {
                    typed: typed.to_owned(),
                    why,
                })?;
            return Ok(Self::Pattern {
                typed: typed.to_owned(),
                glob,
            });
        }
        if is_interface_name(typed) {
            Ok(Self::Name(typed.to_owned()))
        } else {
            Err(ConfigError::InterfaceName(typed.to_owned()))
        }
    }

    /// What was typed.
    #[must_use]
    pub fn typed(&self) -> &str {
        match self {
            Self::Name(typed) | Self::Pattern { typed, .. } => typed,
        }
    }
}

pub(super) fn resolve(
    wanted: &[String],
    unwanted: &[String],
) -> Result<Sides<Interface>, ConfigError> {
    let mut sides = Sides::default();
    for (typed, side) in [(wanted, &mut sides.wanted), (unwanted, &mut sides.unwanted)] {
        for text in typed {
            let interface = Interface::new(text)?;
            if !side.contains(&interface) {
                side.push(interface);
            }
        }
    }
    let any = |side: &[Interface]| side.iter().any(|interface| interface.typed() == "any");
    if any(&sides.unwanted) {
        return Err(ConfigError::NoInterface);
    }
    if any(&sides.wanted) {
        sides.wanted.clear();
    }
    let count = sides.wanted.len() + sides.unwanted.len();
    if count > MAX_INTERFACES {
        return Err(ConfigError::TooManyInterfaces(count));
    }
    Ok(sides)
}

/// Whether the kernel would let a device be called that.
///
/// Source: `dev_valid_name`, `net/core/dev.c@6.12`. Its `isspace` takes Latin-1's no-break space
/// (0xa0) too, which as UTF-8 is half a character: not looked for.
fn is_interface_name(name: &str) -> bool {
    (1..=MAX_INTERFACE_NAME).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(may_be_in_a_name)
}

fn may_be_in_a_name(byte: u8) -> bool {
    !matches!(byte, 0 | b'/' | b':' | b' ' | 9..=13)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{refused, resolve};

    fn sides(arguments: &[&str]) -> [Vec<String>; 2] {
        let Sides { wanted, unwanted } = resolve(arguments).unwrap().interfaces;
        [wanted, unwanted].map(|side| side.iter().map(|one| one.typed().to_owned()).collect())
    }

    #[test]
    fn interfaces_are_names_and_any_is_all() {
        assert_eq!(sides(&["-i", "lo", "-i", "lo"]), [vec!["lo"], vec![]]);
        assert_eq!(sides(&["-i", "lo", "-i", "any"]), [vec![""; 0], vec![]]);
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "eth0:1",
            "a b",
            "sixteen-bytes-no",
            "a/*",
        ] {
            assert!(
                refused(&["-i", name]).starts_with("invalid interface name"),
                "{name}"
            );
        }
        let names: Vec<String> = (0..17).map(|n| format!("-ieth{n}")).collect();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(resolve(&names[..16]).unwrap().interfaces.wanted.len(), 16);
        assert_eq!(
            resolve(&names).unwrap_err(),
            ConfigError::TooManyInterfaces(17)
        );
        names[0] = "--not-interface=lo";
        assert_eq!(
            resolve(&names).unwrap_err(),
            ConfigError::TooManyInterfaces(17)
        );
    }

    #[test]
    fn a_name_with_a_wildcard_is_a_pattern() {
        let arguments = ["-i", "veth*", "--not-interface", "lo", "-i", "[a-e]th?"];
        assert_eq!(sides(&arguments), [vec!["veth*", "[a-e]th?"], vec!["lo"]]);
        let wanted = resolve(&arguments).unwrap().interfaces.wanted;
        let [Interface::Pattern { .. }, Interface::Pattern { glob, .. }] = &wanted[..] else {
            panic!("{wanted:?}");
        };
        assert!(glob.matches(b"eth0") && !glob.matches(b"veth0"));
        assert!(refused(&["-i", "????????????????"]).contains("15 bytes"));
        assert_eq!(
            resolve(&["--not-interface", "any"]),
            Err(ConfigError::NoInterface)
        );
    }
}
