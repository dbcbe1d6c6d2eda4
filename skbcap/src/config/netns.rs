//! Which network namespaces are captured in, as it was typed.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use skbcap_common::devices::MAX_NAMESPACES;

use super::ConfigError;

/// Which network namespaces are captured in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetnsChoice {
    /// The one that skbcap was started in.
    Own,
    /// All.
    All,
    /// The one that a file stands for, such as `/run/netns/NAME`.
    Path(PathBuf),
    /// The one of a process.
    Pid(u32),
}

/// Which are captured in, and which of them are left out.
pub(super) fn resolve(
    typed: Option<&OsStr>,
    left_out: &[OsString],
) -> Result<(NetnsChoice, Vec<NetnsChoice>), ConfigError> {
    let netns = typed.map(NetnsChoice::read).transpose()?;
    if left_out.is_empty() {
        return Ok((netns.unwrap_or(NetnsChoice::Own), Vec::new()));
    }
    if netns.is_some_and(|netns| netns != NetnsChoice::All) {
        return Err(ConfigError::NetnsAndNot);
    }
    if left_out.len() > MAX_NAMESPACES {
        return Err(ConfigError::TooManyNamespaces(left_out.len()));
    }
    let left_out: Result<Vec<_>, _> = left_out.iter().map(|typed| left(typed)).collect();
    Ok((NetnsChoice::All, left_out?))
}

fn left(typed: &OsStr) -> Result<NetnsChoice, ConfigError> {
    match NetnsChoice::read(typed) {
        Ok(NetnsChoice::All) => Err(ConfigError::AllLeftOut),
        other => other,
    }
}

impl NetnsChoice {
    fn read(typed: &OsStr) -> Result<Self, ConfigError> {
        let Some(text) = typed.to_str() else {
            return Ok(NetnsChoice::Path(typed.into()));
        };
        let digits = text.strip_prefix('-').unwrap_or(text);
        Ok(match text {
            "" => return Err(ConfigError::Netns(String::new())),
            "self" => NetnsChoice::Own,
            "all" => NetnsChoice::All,
            _ if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                match text.parse() {
                    Ok(pid @ 1..=0x7fff_ffff) => NetnsChoice::Pid(pid),
                    _ => return Err(ConfigError::Netns(text.to_owned())),
                }
            }
            _ => NetnsChoice::Path(text.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::resolve;

    #[test]
    fn those_left_out_are_left_out_of_all() {
        let netns = |words: &[&str]| resolve(words).map(|config| (config.netns, config.not_netns));
        let own = vec![NetnsChoice::Own, NetnsChoice::Pid(7)];
        let not = ["--not-netns", "self", "--not-netns", "7"];
        assert_eq!(netns(&not), Ok((NetnsChoice::All, own.clone())));
        let all = [&["--netns", "all"][..], &not].concat();
        assert_eq!(netns(&all), Ok((NetnsChoice::All, own)));
        let one = [&["--netns", "7"][..], &not].concat();
        assert_eq!(netns(&one), Err(ConfigError::NetnsAndNot));
        assert_eq!(netns(&["--not-netns=all"]), Err(ConfigError::AllLeftOut));
        assert_eq!(
            netns(&["--not-netns=self"; 17]),
            Err(ConfigError::TooManyNamespaces(17))
        );
    }

    #[test]
    fn namespaces_are_words_processes_or_files() {
        let netns = |typed| resolve(&["--netns", typed]).map(|config| config.netns);
        assert_eq!(netns("self"), Ok(NetnsChoice::Own));
        assert_eq!(netns("all"), Ok(NetnsChoice::All));
        assert_eq!(netns("1234"), Ok(NetnsChoice::Pid(1234)));
        assert_eq!(
            netns("/run/netns/7"),
            Ok(NetnsChoice::Path("/run/netns/7".into()))
        );
        assert_eq!(netns("./7"), Ok(NetnsChoice::Path("./7".into())));
        for pid in ["", "0", "-1", "4294967296"] {
            assert_eq!(netns(pid), Err(ConfigError::Netns(pid.into())));
        }
    }
}
