//! Where in an expression libpcap found something wrong: it does not say so itself.
//!
//! Its parser reads from left to right and stops at the first word that doesn't fit. So what stands
//! before that word can be followed by one that is wrong by itself, whatever stands before it, and
//! this is then what the error is about; what includes the word that doesn't fit can't.

use std::fmt;

/// Words that are wrong by themselves: a number that is none, an address that is none, and a
/// character that no word begins with. Which of them are told apart from a word that doesn't fit is
/// the library's version's.
const POISONS: [&[u8]; 3] = [b"09", b"1:2:3", b"@"];

/// What a word that doesn't fit is called.
const MISFIT: &str = "syntax error";

/// The most characters of an expression that are shown on each side of the fault.
const SHOWN: usize = 60;

/// An expression and the place of its fault: shown as two lines, the text and a caret below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    text: String,
    column: usize,
}

impl Fault {
    /// Looks for it. `error` is what libpcap says of a text; [`None`] if it takes it. Nothing is
    /// found where the fault is no word's, or the text is not to be shown. Several lines, as a file
    /// has them, are shown as one.
    pub(super) fn find(text: &[u8], error: impl Fn(&[u8]) -> Option<String>) -> Option<Self> {
        let mut text = text.trim_ascii().to_vec();
        for byte in &mut text {
            if byte.is_ascii_whitespace() {
                *byte = b' ';
            }
        }
        let text = &text[..];
        let is_plain = |&byte: &u8| byte == b' ' || byte.is_ascii_graphic();
        if !text.iter().all(is_plain) {
            return None;
        }
        let whole = error(text)?;
        let told = |poison: &'static [u8]| Some((poison, error(poison)?));
        let (poison, of_poison) = POISONS
            .into_iter()
            .filter_map(told)
            .find(|(_, error)| !error.contains(MISFIT) && *error != whole)?;
        let words = words(text);
        let first = |count: usize| &text[..words[..count].last().map_or(0, |word| word.1)];
        let is_fine = |count: usize| {
            let poisoned = [first(count), b" ", poison].concat();
            error(&poisoned).is_none_or(|error| error == of_poison)
        };
        // So many words are fine, and one more isn't.
        let (mut fine, mut wrong) = (0, words.len() + 1);
        while wrong - fine > 1 {
            let middle = usize::midpoint(fine, wrong);
            if is_fine(middle) {
                fine = middle;
            } else {
                wrong = middle;
            }
        }
        // What a word means may be looked at only when the next one was read.
        if fine > 0 && !whole.contains(MISFIT) && error(first(fine)).as_ref() == Some(&whole) {
            fine -= 1;
        }
        let column = match words.get(fine) {
            Some(word) => word.0,
            // It ends too early; or it is no word's fault.
            None if whole.contains(MISFIT) => text.len(),
            None => return None,
        };
        let text = String::from_utf8(text.to_vec()).ok()?;
        Some(Self { text, column })
    }
}

/// Where each word begins and ends.
fn words(text: &[u8]) -> Vec<(usize, usize)> {
    let is_joined = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:\\/".contains(&byte);
    let mut words: Vec<(usize, usize)> = Vec::new();
    for (at, &byte) in text.iter().enumerate() {
        if byte == b' ' {
            continue;
        }
        match words.last_mut() {
            Some(word) if word.1 == at && is_joined(byte) && is_joined(text[at - 1]) => {
                word.1 = at + 1;
            }
            _ => words.push((at, at + 1)),
        }
    }
    words
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, column } = self;
        let start = column.saturating_sub(SHOWN);
        let end = text.len().min(column + SHOWN);
        let (before, behind) = (
            if start > 0 { "..." } else { "" },
            if end < text.len() { "..." } else { "" },
        );
        writeln!(f, "  {before}{}{behind}", &text[start..end])?;
        let width = 2 + before.len() + column - start;
        write!(f, "{:width$}^", "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As libpcap of an expression that may hold any number of `a`, and `(` `)` around them. `x` may
    /// stand there too, and is found to be wrong when the next word was read.
    fn error(text: &[u8]) -> Option<String> {
        let mut depth = 0;
        let is_x = |word: &(usize, usize)| &text[word.0..word.1] == b"x";
        let mut before = None;
        for word @ (start, end) in words(text) {
            if before.replace(word).as_ref().is_some_and(is_x) && &text[start..end] != b"1:2:3" {
                return Some("x is wrong".into());
            }
            match &text[start..end] {
                b"x" => {}
                b"a" => {}
                b"(" => depth += 1,
                b")" if depth > 0 => depth -= 1,
                b"1:2:3" => return Some("bogus ethernet address 1:2:3".into()),
                _ => return Some(MISFIT.into()),
            }
        }
        if before.as_ref().is_some_and(is_x) {
            return Some("x is wrong".into());
        }
        (depth != 0).then(|| MISFIT.into())
    }

    fn shown(text: &str) -> Option<String> {
        Fault::find(text.as_bytes(), error).map(|fault| fault.to_string())
    }

    #[test]
    fn the_first_word_that_does_not_fit_is_marked() {
        assert_eq!(shown("a (a)"), None);
        assert_eq!(shown("a  a bc a"), Some("  a  a bc a\n       ^".into()));
        assert_eq!(shown("bc"), Some("  bc\n  ^".into()));
        assert_eq!(shown("(a) )a"), Some("  (a) )a\n      ^".into()));
        assert_eq!(shown("(a"), Some("  (a\n    ^".into()), "its end");
        assert_eq!(shown("a\n\tbc a\n"), Some("  a  bc a\n     ^".into()));
        assert_eq!(shown("a\n(a\n"), Some("  a (a\n      ^".into()));
        assert_eq!(shown("a\x1bbc"), None);
        assert_eq!(shown("a x a"), Some("  a x a\n    ^".into()));
        assert_eq!(shown("a x"), Some("  a x\n    ^".into()));
    }

    #[test]
    fn a_long_text_is_cut() {
        let text = format!("{}b{}", "a ".repeat(100), " a".repeat(100));
        let shown = shown(&text).unwrap();
        let (text, caret) = shown.split_once('\n').unwrap();
        assert_eq!(text.len(), 2 + 3 + 2 * SHOWN + 3);
        assert_eq!(text.as_bytes()[caret.len() - 1], b'b');
    }
}
