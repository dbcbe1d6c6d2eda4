//! Writes the man pages and the completions into a directory, made of the command line's own
//! definition: `cargo run --example pages -- DIRECTORY`. `cargo xtask install` puts them in place.

use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate_to};
use skbcap::cli::Cli;

#[cfg_attr(test, expect(dead_code, reason = "a test calls what it calls"))]
fn main() -> io::Result<()> {
    let directory = std::env::args_os().nth(1);
    write_all(Path::new(
        &directory.ok_or_else(|| io::Error::other("which directory?"))?,
    ))
}

/// Writes all of them.
pub(crate) fn write_all(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut command = Cli::command();
    command.build();
    page(&command, "skbcap", directory)?;
    for subcommand in command.get_subcommands() {
        let name = format!("skbcap-{}", subcommand.get_name());
        page(subcommand, &name, directory)?;
    }
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut Cli::command(), "skbcap", directory)?;
    }
    Ok(())
}

/// `NAME.8`: beside tcpdump's.
fn page(command: &Command, name: &str, directory: &Path) -> io::Result<()> {
    let man = clap_mangen::Man::new(command.clone())
        .title(name.to_uppercase())
        .section("8")
        .manual("skbcap");
    let mut text = Vec::new();
    man.render(&mut text)?;
    std::fs::write(directory.join(format!("{name}.8")), text)
}
