//! Which network namespaces are captured in, as it was typed.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use skbcap_common::devices::MAX_NAMESPACES;

use super::ConfigError;
use crate::namespaces::Namespaces;

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetnsChoice {
    /// The one that skbcap was started in.
    Own,
    /// The one that a file stands for, such as `/run/netns/NAME`.
    Path(PathBuf),
    /// The one of a process.
    Pid(u32),
}

/// Which are captured in, of those that were typed and those that are left out.
pub(super) fn resolve(
    typed: &[OsString],
    left_out: &[OsString],
) -> Result<Namespaces<NetnsChoice>, ConfigError> {
    let most = typed.len().max(left_out.len());
    if most > MAX_NAMESPACES {
        return Err(ConfigError::TooManyNamespaces(most));
    }
    let typed: Result<Vec<_>, _> = typed.iter().map(|typed| NetnsChoice::read(typed)).collect();
    let typed = typed?;
    let is_all = typed.contains(&None);
    if left_out.is_empty() {
        return Ok(match typed.into_iter().collect::<Option<Vec<_>>>() {
            None => Namespaces::All,
            Some(these) if these.is_empty() => Namespaces::Only(vec![NetnsChoice::Own]),
            Some(these) => Namespaces::Only(these),
        });
    }
    if !typed.is_empty() && !is_all {
        return Err(ConfigError::NetnsAndNot);
    }
    let left = |typed: &OsString| NetnsChoice::read(typed)?.ok_or(ConfigError::AllLeftOut);
    let left_out: Result<Vec<_>, _> = left_out.iter().map(left).collect();
    Ok(Namespaces::AllBut(left_out?))
}

impl NetnsChoice {
    /// [`None`] for all.
    fn read(typed: &OsStr) -> Result<Option<Self>, ConfigError> {
        let Some(text) = typed.to_str() else {
            return Ok(Some(Self::Path(typed.into())));
        };
        let digits = text.strip_prefix('-').unwrap_or(text);
        Ok(Some(match text {
            "" => return Err(ConfigError::Netns(String::new())),
            "self" => NetnsChoice::Own,
            "all" => return Ok(None),
            _ if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                match text.parse() {
                    Ok(pid @ 1..=0x7fff_ffff) => NetnsChoice::Pid(pid),
                    _ => return Err(ConfigError::Netns(text.to_owned())),
                }
            }
            _ => NetnsChoice::Path(text.into()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::resolve;

    #[test]
    fn those_left_out_are_left_out_of_all() {
        let netns = |words: &[&str]| resolve(words).map(|config| config.netns);
        let these = vec![NetnsChoice::Own, NetnsChoice::Pid(7)];
        let not = ["--not-netns", "self", "--not-netns", "7"];
        let all_but = Ok(Namespaces::AllBut(these.clone()));
        assert_eq!(netns(&not), all_but);
        let all = [&["--netns", "all"][..], &not].concat();
        assert_eq!(netns(&all), all_but);
        let one = [&["--netns", "7"][..], &not].concat();
        assert_eq!(netns(&one), Err(ConfigError::NetnsAndNot));
        assert_eq!(netns(&["--not-netns=all"]), Err(ConfigError::AllLeftOut));
        assert_eq!(
            netns(&["--netns=self", "--netns=7"]),
            Ok(Namespaces::Only(these))
        );
        assert_eq!(netns(&["--netns=7", "--netns=all"]), Ok(Namespaces::All));
        for word in ["--netns=self", "--not-netns=self"] {
            let many = vec![word; 17];
            assert_eq!(netns(&many), Err(ConfigError::TooManyNamespaces(17)));
        }
    }

    #[test]
    fn namespaces_are_words_processes_or_files() {
        let netns = |typed| resolve(&["--netns", typed]).map(|config| config.netns);
        let only = |one| Ok(Namespaces::Only(vec![one]));
        assert_eq!(netns("self"), only(NetnsChoice::Own));
        assert_eq!(netns("all"), Ok(Namespaces::All));
        assert_eq!(netns("1234"), only(NetnsChoice::Pid(1234)));
        assert_eq!(
            netns("/run/netns/7"),
            only(NetnsChoice::Path("/run/netns/7".into()))
        );
        assert_eq!(netns("./7"), only(NetnsChoice::Path("./7".into())));
        for pid in ["", "0", "-1", "4294967296"] {
            assert_eq!(netns(pid), Err(ConfigError::Netns(pid.into())));
        }
    }
}
