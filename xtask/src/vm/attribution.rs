//! The tables of docs/attribution.md, and what guests measured for them. Each kernel's run of
//! `who_sent_it` leaves its table in `who.tsv`; with `SKBCAP_BLESS=1` it becomes the document's.
//! Numbers of frames differ from run to run, and the test itself judges them; only the rows must be
//! those of the document.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::results;
use crate::repository;

const MEASURED: &str = "who.tsv";
const DOCUMENT: &str = "docs/attribution.md";

/// Holds what tests left in these directories, each with its kernel, against the document.
pub(crate) fn check(measured: &[(&str, PathBuf)]) -> Result<()> {
    let path = repository().join(DOCUMENT);
    let mut document =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let is_blessing = env::var_os("SKBCAP_BLESS").is_some();
    for (kernel, dir) in measured {
        let Some(text) = results::of_passed(dir, MEASURED) else {
            continue;
        };
        let (begin, end) = marks(kernel);
        let lacks = || format!("{DOCUMENT} lacks a mark of its table for {kernel}");
        let (before, rest) = document.split_once(&begin).with_context(lacks)?;
        let (table, after) = rest.split_once(&end).with_context(lacks)?;
        let new = markdown(&text);
        if is_blessing {
            document = format!("{before}{begin}{new}{end}{after}");
            fs::write(&path, &document)?;
            println!("{DOCUMENT} is written anew for {kernel}: look at the difference");
        } else {
            ensure!(
                rows(table).eq(rows(&new)),
                "{DOCUMENT} has other rows for {kernel}; SKBCAP_BLESS=1 cargo xtask vm \
                 who_sent_it writes it anew"
            );
        }
    }
    Ok(())
}

/// What stands before a kernel's table and behind it.
fn marks(kernel: &str) -> (String, String) {
    (
        format!(
            "<!-- {kernel}: written by SKBCAP_BLESS=1 cargo xtask vm --kernel {kernel} \
             who_sent_it -->\n"
        ),
        format!("<!-- {kernel}: the end -->\n"),
    )
}

/// Lines of words with tabs between, the first of them the columns' names, as a table.
fn markdown(text: &str) -> String {
    let mut table = String::new();
    for (number, line) in text.lines().enumerate() {
        // Writing to a String can't fail.
        let _ = writeln!(table, "| {} |", line.replace('\t', " | "));
        if number == 0 {
            let numbers = line.matches('\t').count();
            let _ = writeln!(table, "|---|{}", "--:|".repeat(numbers));
        }
    }
    table
}

/// The first cells of a table's lines.
fn rows(table: &str) -> impl Iterator<Item = &str> {
    table
        .lines()
        .filter_map(|line| line.split('|').nth(1))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_made_of_tabs() {
        let table = markdown("row\tframes\nUDP\t3\n");
        assert_eq!(table, "| row | frames |\n|---|--:|\n| UDP | 3 |\n");
        assert!(rows(&table).eq(["row", "---", "UDP"]));
    }
}
