//! The man pages and the completions know every option that the help shows, and shells can read them.

#[path = "../examples/pages.rs"]
mod pages;

use std::fs;
use std::process::Command;

use clap::CommandFactory;
use skbcap::cli::Cli;

#[test]
fn every_option_is_in_all_of_them() {
    let directory = tempfile::tempdir().unwrap();
    pages::write_all(directory.path()).unwrap();
    let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
    let man = read("skbcap.8").replace('\\', "");
    let completions = ["skbcap.bash", "_skbcap", "skbcap.fish"].map(read);
    let command = Cli::command();
    let shown = command
        .get_arguments()
        .filter(|option| !option.is_hide_set());
    let mut options = 0;
    for option in shown {
        options += 1;
        let short = option.get_short().map(|letter| format!("-{letter}"));
        let long = option.get_long().map(|word| format!("--{word}"));
        for name in short.iter().chain(&long) {
            assert!(
                man.contains(&format!("fB{name}fR")),
                "{name} in the man page"
            );
        }
        let [bash, zsh, fish] = &completions;
        for name in short.iter().chain(&long) {
            assert!(
                bash.contains(name.as_str()) && zsh.contains(name.as_str()),
                "{name}"
            );
        }
        if let Some(word) = option.get_long() {
            assert!(fish.contains(&format!("-l {word}")), "{word} in fish");
        }
    }
    assert!(options > 30, "{options}");
    for subcommand in ["diff", "verify"] {
        assert!(read(&format!("skbcap-{subcommand}.8")).contains(".SH OPTIONS"));
    }
    // Where there is a shell of that name, it can read what is its.
    for (shell, name) in [
        ("bash", "skbcap.bash"),
        ("zsh", "_skbcap"),
        ("fish", "skbcap.fish"),
    ] {
        let mut check = Command::new(shell);
        check.arg("-n").arg(directory.path().join(name));
        if let Ok(output) = check.output() {
            assert!(output.status.success(), "{shell}: {output:?}");
        }
    }
}
