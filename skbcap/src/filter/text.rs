//! An expression as it was given: in words, or in a file.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::FilterError;

/// Where an expression's text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// On the command line.
    Words(Vec<u8>),
    /// In a file.
    File(PathBuf),
}

impl Text {
    /// From the words of the command line, with a space between as tcpdump does, and a file, which
    /// goes before them; [`None`] if there is neither.
    #[must_use]
    pub fn given(words: &[OsString], file: Option<&Path>) -> Option<Self> {
        if let Some(path) = file {
            return Some(Self::File(path.into()));
        }
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        (!words.is_empty()).then(|| Self::Words(words.join(&b' ')))
    }

    /// The text.
    ///
    /// # Errors
    ///
    /// [`FilterError::File`].
    pub fn read(&self) -> Result<Vec<u8>, FilterError> {
        match self {
            Self::Words(text) => Ok(text.clone()),
            Self::File(path) => fs::read(path)
                .map(without_comments)
                .map_err(|error| FilterError::File(path.clone(), error.to_string())),
        }
    }
}

/// As tcpdump reads `-F`: from a `#` on, a line is spaces.
fn without_comments(mut text: Vec<u8>) -> Vec<u8> {
    for line in text.split_mut(|&byte| byte == b'\n') {
        if let Some(start) = line.iter().position(|&byte| byte == b'#') {
            line[start..].fill(b' ');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_ends_with_its_line() {
        let text = b"tcp # not udp\n# nor this\nport 80".to_vec();
        let plain = String::from_utf8(without_comments(text)).unwrap();
        let words: Vec<&str> = plain.split_whitespace().collect();
        assert_eq!(words, ["tcp", "port", "80"]);
    }

    #[test]
    fn a_file_goes_before_words() {
        let words = ["tcp".into(), "port 80".into()];
        assert_eq!(Text::given(&[], None), None);
        assert_eq!(
            Text::given(&words, None),
            Some(Text::Words(b"tcp port 80".to_vec()))
        );
        assert_eq!(
            Text::given(&words, Some(Path::new("a"))),
            Some(Text::File("a".into()))
        );
    }
}
