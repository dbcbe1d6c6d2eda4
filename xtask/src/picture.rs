//! `cargo xtask picture`: the README's picture, drawn from a real run of the
//! demonstration. Text becomes a plain SVG on a grid of characters: no fonts
//! from elsewhere, no scripts.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use crate::cache::Cache;
use crate::demo::{self, Demo};
use crate::repository;
use crate::run::output;
use crate::tools::Tools;

/// Where it lies in the repository.
const PATH: &str = "docs/picture.svg";

/// Frames shown of the first and of the last ones.
const FIRST: usize = 9;
const LAST: usize = 4;
/// Characters in a row; longer ones are cut.
const COLUMNS: usize = 128;
/// A character's width and a row's height, in pixels.
const CELL: (f32, f32) = (7.2, 18.0);
const MARGIN: f32 = 18.0;
/// The bar above a window's text.
const BAR: f32 = 30.0;

/// What tshark shows of each frame, and how wide.
const FIELDS: [(&str, &str, usize); 6] = [
    ("frame.number", "No.", 4),
    ("_ws.col.def_src", "Source", 18),
    ("_ws.col.def_dst", "Destination", 18),
    ("_ws.col.Protocol", "Protocol", 9),
    ("frame.len", "Length", 7),
    ("frame.comment", "Packet comment", 60),
];

/// Runs the demonstration and draws it.
pub(crate) fn main(cache: &Cache) -> Result<()> {
    let skbcap = demo::build()?.join("skbcap");
    let tools = Tools::get(cache)?;
    let demo = Demo::run(cache, &skbcap)?;

    let mut rows = vec![Row::plain("$ cargo xtask run --demo", "prompt")];
    rows.extend(ends(demo.lines.iter().map(|line| Row::frame(line))));
    rows.extend(demo.summary.iter().map(|line| Row::plain(line, "dim")));

    let mut tshark = tools.command("tshark")?;
    tshark
        .arg("-r")
        .arg(&demo.file)
        .args(["-n", "-T", "fields"]);
    for (field, _, _) in FIELDS {
        tshark.args(["-e", field]);
    }
    let titles = FIELDS.map(|(_, title, _)| title).join("\t");
    let mut table = vec![Row::plain(&columns(&titles), "prompt")];
    let frames = output(&mut tshark)?;
    table.extend(ends(
        frames.lines().map(|line| Row::comment(&columns(line))),
    ));

    let svg = draw(&[
        (
            "green: sent in this process's own system call. amber: in a softirq, on top of whatever process was running",
            rows,
        ),
        (
            "the same frames in the file: Wireshark's columns, with the packet comment beside them",
            table,
        ),
    ]);
    let path = repository().join(PATH);
    fs::write(&path, svg).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{PATH} is drawn anew");
    Ok(())
}

/// The first and the last of them: what lies between is more of the same.
fn ends(rows: impl Iterator<Item = Row>) -> Vec<Row> {
    let mut rows: Vec<_> = rows.collect();
    if rows.len() > FIRST + LAST {
        let left_out = FIRST..rows.len() - LAST;
        rows.splice(left_out, [Row::plain("…", "dim")]);
    }
    rows
}

/// A line of text, in pieces with a class (a colour) each.
struct Row(Vec<(String, &'static str)>);

impl Row {
    fn plain(text: &str, class: &'static str) -> Self {
        Self(vec![(text.to_owned(), class)])
    }

    /// A line of skbcap's: `TIME IFACE Out SENDER IP …`.
    fn frame(line: &str) -> Self {
        let sender = line.find(" Out ").map_or(0, |at| at + " Out ".len());
        let end = [" IP ", " IP6 ", " ARP,"].iter();
        let end = end.filter_map(|mark| line.find(mark)).min();
        Self::around(line, sender, end.unwrap_or(sender))
    }

    /// A row of the table: the comment is its end.
    fn comment(line: &str) -> Self {
        let start = line.find("comm=").unwrap_or(line.len());
        Self::around(line, start, line.len())
    }

    /// The sender stands out, and differently where it may not be the sender.
    fn around(line: &str, start: usize, end: usize) -> Self {
        let sender = &line[start..end];
        let is_certain = !sender.contains("softirq") && !sender.contains("hardirq");
        let class = if is_certain { "sure" } else { "maybe" };
        Self(vec![
            (line[..start].to_owned(), ""),
            (sender.to_owned(), class),
            (line[end..].to_owned(), ""),
        ])
    }
}

/// Fields separated by tabs, as columns.
fn columns(line: &str) -> String {
    let mut text = String::new();
    for (value, (_, _, width)) in line.split('\t').zip(FIELDS) {
        write!(text, "{value:width$} ").expect("writing to a string");
    }
    text.truncate(text.trim_end().len());
    text
}

/// Windows of text, one below the other.
fn draw(windows: &[(&str, Vec<Row>)]) -> String {
    let width = CELL.0 * COLUMNS as f32 + 2.0 * MARGIN;
    let height = |rows: &[Row]| BAR + CELL.1 * rows.len() as f32 + MARGIN;
    let total: f32 = windows.iter().map(|(_, rows)| height(rows) + MARGIN).sum();
    let total = total - MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {total:.0}\" \
         font-family=\"'DejaVu Sans Mono', Menlo, Consolas, monospace\" \
         font-size=\"12\" xml:space=\"preserve\">\n<style>\n\
         text {{ fill: #c9d1d9; white-space: pre }} .dim {{ fill: #8b949e }}\n\
         .prompt {{ fill: #f0f6fc; font-weight: bold }} .sure {{ fill: #7ee787 }}\n\
         .maybe {{ fill: #e3b341 }}\n</style>\n"
    );
    let mut top = 0.0;
    for (title, rows) in windows {
        let height = height(rows);
        write!(
            svg,
            "<rect y=\"{top:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" rx=\"8\" \
             fill=\"#0d1117\"/>\n\
             <text class=\"dim\" x=\"{MARGIN:.0}\" y=\"{:.0}\">{}</text>\n",
            top + 20.0,
            escaped(title)
        )
        .expect("writing to a string");
        for (number, row) in rows.iter().enumerate() {
            let y = top + BAR + CELL.1 * (number as f32 + 0.75);
            draw_row(&mut svg, row, y);
        }
        top += height + MARGIN;
    }
    svg.push_str("</svg>\n");
    svg
}

/// Each piece is as wide as the grid says, whatever font a reader has.
fn draw_row(svg: &mut String, row: &Row, y: f32) {
    let mut column = 0;
    for (text, class) in &row.0 {
        let mut text: String = text.chars().take(COLUMNS - column).collect();
        let len = text.chars().count();
        if len == COLUMNS - column && len > 0 {
            text.pop();
            text.push('…');
        }
        // Not every reader keeps spaces at the ends.
        let lead = len - text.trim_start().chars().count();
        let text = text.trim();
        if !text.is_empty() {
            let x = MARGIN + CELL.0 * (column + lead) as f32;
            writeln!(
                svg,
                "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" textLength=\"{:.1}\">{}</text>",
                CELL.0 * text.chars().count() as f32,
                escaped(text)
            )
            .expect("writing to a string");
        }
        column += len;
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
