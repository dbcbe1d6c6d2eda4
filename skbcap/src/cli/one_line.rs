//! The parser's errors, each in one line.

use std::ffi::OsStr;

use clap::CommandFactory;

use super::Cli;

/// What is wrong with a command line, as one line without the command's name. `word` is the first
/// behind that name: it may be a command with a help of its own.
///
/// Not for the "errors" that are requests for help or the version.
#[must_use]
pub fn one_line(error: &clap::Error, word: Option<&OsStr>) -> String {
    let text = error.to_string();
    let mut paragraphs = text.split("\n\n");
    let first = paragraphs.next().unwrap_or_default();
    let mut line = first.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    if let Some(rest) = line.strip_prefix("error: ") {
        line = rest.to_owned();
    }
    let tip = paragraphs.find_map(|paragraph| paragraph.trim().strip_prefix("tip: "));
    // That it could be a word of the command is of no use to whoever has none.
    let tip = tip.and_then(|tip| tip.lines().next());
    if let Some(tip) = tip.filter(|tip| tip.contains("similar")) {
        line = format!("{line}; {tip}");
    }
    let cli = Cli::command();
    match word.and_then(|word| cli.find_subcommand(word)) {
        Some(command) => format!("{line}; see 'skbcap {} --help'", command.get_name()),
        None => format!("{line}; see 'skbcap --help'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn refused(arguments: &[&str]) -> String {
        let word = arguments.get(1).map(OsStr::new);
        one_line(&Cli::try_parse_from(arguments).unwrap_err(), word)
    }

    #[test]
    fn errors_fit_one_line_and_say_where_to_look() {
        assert_eq!(
            refused(&["skbcap", "--hook", "tc"]),
            "invalid value 'tc' for '--hook <auto|kprobe|queue|xmit>' \
             [possible values: auto, kprobe, queue, xmit]; see 'skbcap --help'"
        );
        assert_eq!(
            refused(&["skbcap", "--hok", "queue"]),
            "unexpected argument '--hok' found; a similar argument exists: '--hook'; \
             see 'skbcap --help'"
        );
        assert_eq!(
            refused(&["skbcap", "-w"]),
            "a value is required for '-w <FILE>' but none was supplied; see 'skbcap --help'"
        );
    }

    #[test]
    fn a_command_s_errors_lead_to_its_own_help() {
        assert_eq!(
            refused(&["skbcap", "diff", "a", "b", "--ignore", "bytes"]),
            "invalid value 'bytes' for '--ignore <NAMES>' \
             [possible values: checksum, segmentation, vlan, cooked, cut, order]; \
             see 'skbcap diff --help'"
        );
        assert_eq!(
            refused(&["skbcap", "verify"]),
            "the following required arguments were not provided: <FILE>...; \
             see 'skbcap verify --help'"
        );
    }
}
