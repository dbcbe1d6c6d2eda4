//! A shell's patterns for the short names that the kernel keeps, as automata that its side can run.
//!
//! Must not know: whose names they are.

use skbcap_common::sender::{NAME_LEN, Pattern};

/// The longest name, in bytes.
const LONGEST: usize = NAME_LEN - 1;

/// A pattern: `*` stands for any bytes, `?` for one, `[a-z]` for one of these, `[!a-z]` for one that is
/// none of these; `\` takes its meaning from what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    things: Vec<Thing>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Thing {
    Any,
    /// One byte of these.
    One(Box<[bool; 256]>),
}

/// Why a pattern is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// It has nothing in it.
    #[error("it is empty")]
    Empty,
    /// Nothing can match it.
    #[error("a name has {LONGEST} bytes at most")]
    TooLong,
}

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// When no name could match it.
    pub fn new(text: &[u8]) -> Result<Self, GlobError> {
        if text.is_empty() {
            return Err(GlobError::Empty);
        }
        let mut things = Vec::new();
        let mut rest = text;
        while let Some((&byte, behind)) = rest.split_first() {
            let set = (byte == b'[').then(|| set(behind)).flatten();
            rest = behind;
            match (byte, set, behind) {
                (b'*', ..) => {
                    if things.last() != Some(&Thing::Any) {
                        things.push(Thing::Any);
                    }
                }
                (b'?', ..) => things.push(Thing::One(Box::new([true; 256]))),
                (b'[', Some((bytes, behind)), _) => {
                    things.push(Thing::One(bytes));
                    rest = behind;
                }
                (b'\\', _, [escaped, behind @ ..]) => {
                    things.push(one(*escaped));
                    rest = behind;
                }
                _ => things.push(one(byte)),
            }
        }
        let least = things.iter().filter(|thing| **thing != Thing::Any).count();
        if least > LONGEST {
            return Err(GlobError::TooLong);
        }
        Ok(Self { things })
    }

    /// The pattern that this name alone matches.
    ///
    /// # Errors
    ///
    /// As for [`Glob::new`].
    pub fn literal(name: &[u8]) -> Result<Self, GlobError> {
        match name.len() {
            0 => Err(GlobError::Empty),
            1..=LONGEST => Ok(Self {
                things: name.iter().copied().map(one).collect(),
            }),
            _ => Err(GlobError::TooLong),
        }
    }

    /// Whether a name matches, as the kernel side finds it.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        let pattern = self.pattern(0);
        let mut state = 1u32;
        for &byte in name {
            let accept = pattern.accept[usize::from(byte)];
            state = (state & accept) << 1 | state & pattern.any;
        }
        state & pattern.end != 0
    }

    /// For the kernel side.
    #[must_use]
    pub fn pattern(&self, bits: u32) -> Pattern {
        let mut pattern = Pattern {
            accept: [0; 256],
            any: 0,
            end: 0,
            bits,
            reserved: 0,
        };
        let mut state = 1u32;
        for thing in &self.things {
            match thing {
                Thing::Any => pattern.any |= state,
                Thing::One(bytes) => {
                    for (accept, is_in) in pattern.accept.iter_mut().zip(bytes.iter()) {
                        *accept |= if *is_in { state } else { 0 };
                    }
                    state <<= 1;
                }
            }
        }
        pattern.end = state;
        pattern
    }
}

fn one(byte: u8) -> Thing {
    let mut bytes = Box::new([false; 256]);
    bytes[usize::from(byte)] = true;
    Thing::One(bytes)
}

/// What stands behind a `[`: the bytes, and what follows; [`None`] where nothing closes it, and it stands
/// for itself.
fn set(text: &[u8]) -> Option<(Box<[bool; 256]>, &[u8])> {
    let (is_negated, mut rest) = match text {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let mut bytes = Box::new([false; 256]);
    let mut is_first = true;
    loop {
        let &low = rest.first()?;
        if low == b']' && !is_first {
            break;
        }
        is_first = false;
        let high = match rest {
            [_, b'-', high, ..] if *high != b']' => {
                rest = &rest[3..];
                *high
            }
            _ => {
                rest = &rest[1..];
                low
            }
        };
        for byte in low..=high {
            bytes[usize::from(byte)] = true;
        }
    }
    if is_negated {
        for byte in bytes.iter_mut() {
            *byte = !*byte;
        }
    }
    Some((bytes, &rest[1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_match(glob: &str, name: &str) -> bool {
        Glob::new(glob.as_bytes()).unwrap().matches(name.as_bytes())
    }

    #[test]
    fn a_literal_is_itself() {
        let name = Glob::literal(b"a*").unwrap();
        assert!(name.matches(b"a*") && !name.matches(b"ab"));
    }

    #[test]
    fn patterns_are_a_shells() {
        for (glob, names) in [
            ("curl", &["curl"][..]),
            ("*", &["", "x", "fifteen-bytes-x"]),
            ("c*l", &["cl", "curl", "call all"]),
            ("?url", &["curl", "xurl"]),
            ("[bc]url", &["curl", "burl"]),
            ("[!x]url", &["curl"]),
            ("kworker/[0-9]*", &["kworker/0:1"]),
            ("[]]x", &["]x"]),
            ("[x", &["[x"]),
            ("a\\*", &["a*"]),
            ("a\\", &["a\\"]),
            ("**r*", &["r", "curl"]),
            ("(sd-pam)", &["(sd-pam)"]),
        ] {
            for name in names {
                assert!(is_match(glob, name), "{glob} {name}");
            }
        }
        for (glob, name) in [
            ("curl", "curly"),
            ("curl", "cur"),
            ("?url", "url"),
            ("[!c]url", "curl"),
            ("a\\*", "ab"),
            ("c*l", "curls"),
            ("[a-c]", "d"),
        ] {
            assert!(!is_match(glob, name), "{glob} {name}");
        }
    }

    #[test]
    fn what_can_match_nothing_is_refused() {
        assert_eq!(Glob::new(b""), Err(GlobError::Empty));
        assert_eq!(Glob::new(b"sixteen-bytes-xx"), Err(GlobError::TooLong));
        assert!(Glob::new(b"*fifteen-bytes-x*").is_ok());
    }

    /// The plain definition, of patterns without sets.
    fn by_definition(glob: &[u8], name: &[u8]) -> bool {
        match (glob, name) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => {
                by_definition(rest, name)
                    || name
                        .split_first()
                        .is_some_and(|(_, tail)| by_definition(glob, tail))
            }
            ([b'?', rest @ ..], [_, tail @ ..]) => by_definition(rest, tail),
            ([byte, rest @ ..], [first, tail @ ..]) => byte == first && by_definition(rest, tail),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn automata_do_what_the_definition_says(glob in "[ab*?]{1,12}", name in "[abc]{0,15}") {
            prop_assert_eq!(
                is_match(&glob, &name),
                by_definition(glob.as_bytes(), name.as_bytes())
            );
        }
    }
}
