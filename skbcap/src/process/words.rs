//! What stands in words of a process, read back: in a comment that anybody may have written.

use super::Field;
use crate::escape::{escape_into, unescape};

/// What a field says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// Any bytes: a path.
    Text(Vec<u8>),
    /// Words.
    List(Vec<Vec<u8>>),
    /// A number.
    Number(u32),
    /// Seconds with nine decimals, as they stand there.
    Time(&'a str),
    /// A process: its name and its tgid.
    Process(Vec<u8>, u32),
    /// A thread: its name, its pid and its tgid.
    Thread(Vec<u8>, u32, u32),
}

/// The fields among words with one space between, and what they say. Passes over all other words, and
/// those that no field would be put into.
pub(crate) fn read(words: &str) -> impl Iterator<Item = (Field, Value<'_>)> {
    words.split(' ').filter_map(read_one)
}

/// Those of the words that are fields: nothing in them but what is printable.
pub(crate) fn of_fields(words: &str) -> String {
    let fields = words.split(' ').filter(|word| read_one(word).is_some());
    fields.collect::<Vec<_>>().join(" ")
}

fn read_one(word: &str) -> Option<(Field, Value<'_>)> {
    let (key, value) = word.split_once('=')?;
    let field = Field::of_word(key)?;
    let value = match field {
        Field::Owner => {
            let (comm, tgid) = value.split_once('/')?;
            Value::Process(bytes(comm)?, number(tgid)?)
        }
        Field::Current => {
            let (rest, tgid) = value.rsplit_once('/')?;
            let (comm, pid) = rest.split_once('/')?;
            Value::Thread(bytes(comm)?, number(pid)?, number(tgid)?)
        }
        Field::Exe | Field::Cgroup | Field::Container => Value::Text(bytes(value)?),
        Field::Cmdline => {
            let line = bytes(value)?;
            let words = line.split(|&byte| byte == 0);
            Value::List(words.map(<[u8]>::to_vec).collect())
        }
        Field::Start => {
            let (seconds, nanoseconds) = value.split_once('.')?;
            let is_time = digits(seconds) && digits(nanoseconds) && nanoseconds.len() == 9;
            is_time.then_some(Value::Time(value))?
        }
        Field::Uid | Field::Parent | Field::Netns => Value::Number(number(value)?),
    };
    Some((field, value))
}

/// The bytes of a text, if it is one that was made safe to print.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let bytes = unescape(text)?;
    // A slash needs no escape in a path and has one in a name.
    let is_safe = |special: &[u8]| {
        let mut again = String::new();
        escape_into(&mut again, &bytes, special);
        again == text
    };
    (is_safe(super::fields::SPECIAL) || is_safe(super::fields::SPECIAL_IN_PATH)).then_some(bytes)
}

fn number(text: &str) -> Option<u32> {
    digits(text).then(|| text.parse().ok())?
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_found_among_other_words() {
        let comment = r"comm=a pid=1 tgid=1 ctx=task owner=a\x2fb/7 exe=/bin/x\x20y uid=0 \
                        start=12.000000034 colour=blue netns=4026531840 current=x/8/7 \
                        cmdline=a\x00\x00b/\x20c";
        assert_eq!(
            of_fields(comment),
            r"owner=a\x2fb/7 exe=/bin/x\x20y uid=0 start=12.000000034 netns=4026531840 current=x/8/7 cmdline=a\x00\x00b/\x20c"
        );
        let read: Vec<_> = read(comment).map(|(_, value)| value).collect();
        assert_eq!(
            read,
            [
                Value::Process(b"a/b".to_vec(), 7),
                Value::Text(b"/bin/x y".to_vec()),
                Value::Number(0),
                Value::Time("12.000000034"),
                Value::Number(4_026_531_840),
                Value::Thread(b"x".to_vec(), 8, 7),
                Value::List(vec![b"a".to_vec(), vec![], b"b/ c".to_vec()]),
            ]
        );
    }

    #[test]
    fn what_no_field_says_is_passed_over() {
        for word in [
            "uid=",
            "uid=+1",
            "uid=4294967296",
            "uid",
            "start=1.5",
            "start=.000000000",
            "owner=a",
            "owner=a/b/1",
            "current=a/1",
            "current=a/b/1/1",
            "exe=/a\u{1b}[31m",
            r"exe=/a\x2",
            r"exe=/\x61",
        ] {
            assert_eq!(of_fields(word), "", "{word}");
        }
    }

    proptest! {
        #[test]
        fn nothing_else_reaches_a_terminal(comment: String, path: Vec<u8>) {
            prop_assert!(!of_fields(&comment).chars().any(char::is_control));
            let mut word = "exe=".to_owned();
            escape_into(&mut word, &path, b" =");
            let read: Vec<_> = read(&word).collect();
            prop_assert_eq!(&read, &[(Field::Exe, Value::Text(path.clone()))]);
        }
    }
}
