//! How lines look, as it was typed.

use super::ConfigError;
use crate::cli::Cli;
use crate::print::{Detail, Dump, DumpForm, Style, TimeStyle};

/// As tcpdump understands it: `-X` goes before `-x`, and both before `-A`.
pub(crate) fn style(cli: &Cli) -> Result<Style, ConfigError> {
    let time = match cli.times {
        0 => TimeStyle::Local,
        1 => TimeStyle::None,
        2 => TimeStyle::Epoch,
        3 => TimeStyle::SinceLast,
        4 => TimeStyle::LocalWithDate,
        5 => TimeStyle::SinceFirst,
        _ => return Err(ConfigError::TooManyT),
    };
    let forms = [
        (cli.hex_and_ascii, DumpForm::HexAndAscii),
        (cli.hex, DumpForm::Hex),
        (cli.ascii, DumpForm::Ascii),
    ];
    let dump = forms
        .into_iter()
        .find(|(times, _)| *times > 0)
        .map(|(times, form)| Dump {
            form,
            link_layer: times > 1,
        });
    if cli.json {
        let lines_only = [
            (cli.quiet, "-q"),
            (cli.verbose, "-v"),
            (cli.link_layer, "-e"),
            (cli.hex_and_ascii, "-X"),
            (cli.ascii, "-A"),
        ];
        let given = lines_only.into_iter().find(|(times, _)| *times > 0);
        if let Some((_, option)) = given {
            return Err(ConfigError::JsonAnd(option));
        }
    }
    Ok(Style {
        time,
        nanoseconds: cli.nano > 0 || cli.tcpdump.nanoseconds(),
        number: cli.number > 0,
        detail: match (cli.quiet, cli.verbose) {
            // tcpdump asks for -q first.
            (1.., _) => Detail::Quiet,
            (0, 1..) => Detail::Verbose,
            (0, 0) => Detail::Plain,
        },
        link_layer: cli.link_layer > 0,
        dump,
        json: cli.json,
        colour: false,
    })
}
