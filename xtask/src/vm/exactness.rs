//! The table of docs/exactness.md, and what guests measured for it. Each kernel's run of the shapes
//! leaves its cells in `exactness.tsv`; they must be those of the table, or with `SKBCAP_BLESS=1`
//! become them; a run of some shapes only is held against it, and never becomes it. Knows nothing of
//! what the cells mean.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::results;
use crate::repository;

/// The file that a guest leaves: `all` or `some`, then a line for each cell, part, shape, hook, cell,
/// with tabs between.
const MEASURED: &str = "exactness.tsv";
const DOCUMENT: &str = "docs/exactness.md";
/// The table lies between these.
const BEGIN: &str = "<!-- the table: written by SKBCAP_BLESS=1 cargo xtask vm shapes -->\n";
const END: &str = "<!-- the table's end -->\n";

/// What a kernel's guest measured, by (part, shape, hook), in its order.
type Cells = Vec<([String; 3], String)>;

/// Holds what tests left in these directories, each with its kernel, against the document. `names`
/// are all kernels, oldest first.
pub(crate) fn check(measured: &[(&str, PathBuf)], names: &[&str]) -> Result<()> {
    let path = repository().join(DOCUMENT);
    let document =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut table = Table::parse(&document, names)?;
    let is_blessing = env::var_os("SKBCAP_BLESS").is_some();
    let mut is_changed = false;
    for (kernel, dir) in measured {
        let Some(text) = results::of_passed(dir, MEASURED) else {
            continue;
        };
        let (is_whole, cells) = parse_measured(&text)?;
        if is_blessing && is_whole {
            table.bless(kernel, cells);
            is_changed = true;
        } else {
            table.hold(kernel, &cells)?;
        }
    }
    if is_changed {
        let (before, after) = around(&document)?;
        fs::write(
            &path,
            format!("{before}{BEGIN}{}{END}{after}", table.write()),
        )?;
        println!("{DOCUMENT} is written anew: look at the difference");
    }
    Ok(())
}

/// Whether these are all shapes, and their cells.
fn parse_measured(text: &str) -> Result<(bool, Cells)> {
    let (scope, lines) = text.split_once('\n').context("an empty file")?;
    let cell = |line: &str| {
        let mut words = line.split('\t').map(str::to_owned);
        let mut word = || words.next().with_context(|| format!("too short: {line}"));
        Ok(([word()?, word()?, word()?], word()?))
    };
    let cells = lines.lines().map(cell).collect::<Result<_>>()?;
    Ok((scope == "all", cells))
}

fn around(document: &str) -> Result<(&str, &str)> {
    let lacks = || format!("{DOCUMENT} lacks a mark of its table");
    let (before, rest) = document.split_once(BEGIN).with_context(lacks)?;
    let (_, after) = rest.split_once(END).with_context(lacks)?;
    Ok((before, after))
}

/// The document's table: of each shape, each hook's cell on each kernel.
#[derive(Debug, Default, PartialEq)]
struct Table {
    kernels: Vec<String>,
    hooks: Vec<String>,
    /// Part and shape, in order.
    rows: Vec<[String; 2]>,
    /// By part, shape, hook; then kernel.
    cells: BTreeMap<[String; 3], BTreeMap<String, String>>,
}

impl Table {
    fn parse(document: &str, names: &[&str]) -> Result<Self> {
        let (before, after) = around(document)?;
        let text = &document[before.len() + BEGIN.len()..document.len() - after.len() - END.len()];
        let mut table = Self {
            kernels: names.iter().map(|&name| name.to_owned()).collect(),
            ..Self::default()
        };
        let mut part = String::new();
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("### ") {
                part = title.to_owned();
            }
            let Some(line) = line
                .strip_prefix("| ")
                .and_then(|line| line.strip_suffix(" |"))
            else {
                continue;
            };
            let mut words = line.split(" | ").map(str::to_owned);
            let shape = words.next().unwrap_or_default();
            if shape == "shape" {
                table.hooks = words.collect();
                continue;
            }
            table.rows.push([part.clone(), shape.clone()]);
            for (hook, cell) in table.hooks.iter().zip(words) {
                let key = [part.clone(), shape.clone(), hook.clone()];
                let cells = spread(&cell, names).with_context(|| format!("{shape}: {cell}"))?;
                table.cells.insert(key, cells);
            }
        }
        Ok(table)
    }

    /// What was measured must be what stands there. A guest that ran some shapes only has no say in
    /// the others.
    fn hold(&self, kernel: &str, measured: &Cells) -> Result<()> {
        for ([part, shape, hook], cell) in measured {
            let key = [part.clone(), shape.clone(), hook.clone()];
            let told = self.cells.get(&key).and_then(|cells| cells.get(kernel));
            ensure!(
                told == Some(cell),
                "{shape} on {kernel} by {hook} is {cell:?}, and {DOCUMENT} says {told:?}; \
                 SKBCAP_BLESS=1 cargo xtask vm shapes writes it anew"
            );
        }
        Ok(())
    }

    /// Takes over what a guest measured of all shapes. Those that are gone go.
    fn bless(&mut self, kernel: &str, measured: Cells) {
        let mut rows: Vec<[String; 2]> = Vec::new();
        for ([part, shape, hook], cell) in measured {
            let row = [part.clone(), shape.clone()];
            if !rows.contains(&row) {
                rows.push(row);
            }
            if !self.hooks.contains(&hook) {
                self.hooks.push(hook.clone());
            }
            let cells = self.cells.entry([part, shape, hook]).or_default();
            cells.insert(kernel.to_owned(), cell);
        }
        self.rows = rows;
    }

    fn write(&self) -> String {
        let mut text = String::new();
        let mut last = "";
        for [part, shape] in &self.rows {
            if part != last {
                let _ = write!(
                    text,
                    "\n### {part}\n\n| shape | {} |\n|---",
                    self.hooks.join(" | ")
                );
                let _ = writeln!(text, "{}|", "|---".repeat(self.hooks.len()));
                last = part;
            }
            let cell = |hook: &String| {
                let cells = self.cells.get(&[part.clone(), shape.clone(), hook.clone()]);
                cells.map_or_else(String::new, |cells| self.gather(cells))
            };
            let cells: Vec<String> = self.hooks.iter().map(cell).collect();
            let _ = writeln!(text, "| {shape} | {} |", cells.join(" | "));
        }
        text.push('\n');
        text
    }

    /// One cell for all kernels: what most have, and behind it, the others' with their names.
    fn gather(&self, cells: &BTreeMap<String, String>) -> String {
        let mut groups: Vec<(&String, Vec<&String>)> = Vec::new();
        // The newest's first.
        for kernel in self.kernels.iter().rev() {
            let Some(cell) = cells.get(kernel) else {
                continue;
            };
            match groups.iter_mut().find(|(other, _)| *other == cell) {
                Some((_, kernels)) => kernels.insert(0, kernel),
                None => groups.push((cell, vec![kernel])),
            }
        }
        let mut text = String::new();
        for (place, (cell, kernels)) in groups.iter().enumerate() {
            if place == 0 {
                text.push_str(cell);
            } else {
                let kernels: Vec<&str> = kernels.iter().map(|kernel| kernel.as_str()).collect();
                let _ = write!(text, "; {}: {cell}", kernels.join(", "));
            }
        }
        text
    }
}

/// The opposite of [`Table::gather`].
fn spread(cell: &str, names: &[&str]) -> Result<BTreeMap<String, String>> {
    let mut parts = cell.split("; ");
    let most = parts.next().context("an empty cell")?;
    let mut cells: BTreeMap<String, String> = names
        .iter()
        .map(|&name| (name.to_owned(), most.to_owned()))
        .collect();
    for part in parts {
        let (kernels, cell) = part.split_once(": ").context("no kernels before a colon")?;
        for kernel in kernels.split(", ") {
            ensure!(names.contains(&kernel), "there is no kernel {kernel}");
            cells.insert(kernel.to_owned(), cell.to_owned());
        }
    }
    Ok(cells)
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, Table, parse_measured};

    const KERNELS: [&str; 3] = ["5.10", "6.1", "newest"];

    #[test]
    fn a_table_that_is_written_reads_the_same() {
        let mut table = Table::parse(&format!("{BEGIN}{END}"), &KERNELS).unwrap();
        for (kernel, cell) in [
            ("5.10", "not there"),
            ("6.1", "not there"),
            ("newest", "equal"),
        ] {
            let text = format!("all\nPart\tone\tkprobe\t{cell}\nPart\tone\tqueue\tequal\n");
            table.bless(kernel, parse_measured(&text).unwrap().1);
        }
        let text = table.write();
        assert!(
            text.contains("| one | equal; 5.10, 6.1: not there | equal |"),
            "{text}"
        );
        let again = Table::parse(&format!("{BEGIN}{text}{END}"), &KERNELS).unwrap();
        assert_eq!(again, table);
    }

    #[test]
    fn another_cell_is_an_error() {
        let text = "\n### Part\n\n| shape | kprobe |\n|---|---|\n| one | equal; 6.1: cut |\n";
        let table = Table::parse(&format!("{BEGIN}{text}{END}"), &KERNELS).unwrap();
        let hold = |kernel: &str, cell: &str| {
            let text = format!("some\nPart\tone\tkprobe\t{cell}\n");
            table.hold(kernel, &parse_measured(&text).unwrap().1)
        };
        assert!(hold("6.1", "cut").is_ok());
        assert!(hold("5.10", "equal").is_ok());
        assert!(hold("5.10", "cut").is_err());
        assert!(hold("6.1", "equal").is_err());
        let other = parse_measured("some\nPart\ttwo\tkprobe\tequal\n")
            .unwrap()
            .1;
        assert!(table.hold("6.1", &other).is_err());
    }
}
