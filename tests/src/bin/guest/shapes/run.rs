//! A run of the matrix: set up, capture and send, compare, tell.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::captures::Captures;
use super::judge::Counts;
use super::scene::Scene;
use super::{PARTS, Row, Shape};
use crate::program::out;
use crate::skbcap::Hook;

/// Until devices that have come up have said all that they have to say of themselves.
const SETTLED: Duration = Duration::from_secs(3);
/// A cell of a shape that the kernel can't make.
const NOT_HERE: &str = "not on this kernel";

/// A shape that is set up.
pub(super) struct Ready {
    pub(super) shape: &'static Shape,
    pub(super) scene: Scene,
    /// What its traffic made the kernel count.
    pub(super) counts: Result<Counts>,
}

/// Runs the shapes that `is_wanted`, prints their table and writes it.
/// `scope` tells whether that is `all` shapes or `some`.
pub(crate) fn run(scope: &str, is_wanted: &dyn Fn(&Shape) -> bool) -> Result<()> {
    let mut clock = Clock::new();
    let shapes = PARTS.iter().flat_map(|(_, shapes)| shapes.iter());
    let wanted: Vec<&Shape> = shapes.filter(|shape| is_wanted(shape)).collect();
    check_names(&wanted)?;
    let mut table = Table::default();
    let mut failures = Vec::new();
    let mut ready = Vec::new();
    for shape in &wanted {
        let is_met = |need: &super::kernel::Need| need.is_met();
        let met: Vec<bool> = shape.needs.iter().map(is_met).collect::<Result<_>>()?;
        if met.contains(&false) {
            continue;
        }
        let mut scene = Scene::new(shape.name);
        if let Err(error) = (shape.set_up)(&mut scene) {
            failures.push(format!("{} can't be set up: {error:#}", shape.name));
            table.fail(shape);
            continue;
        }
        ready.push(Ready {
            shape,
            scene,
            counts: Ok(Counts::default()),
        });
    }
    sleep(SETTLED);
    clock.lap("set up");

    let captures = Captures::take(&mut ready, &mut clock)?;
    for one in &ready {
        if let Err(error) = &one.counts {
            failures.push(format!("{} can't send: {error:#}", one.shape.name));
            table.fail(one.shape);
        }
    }
    for hook in Hook::with_xmit() {
        for one in ready.iter().filter(|one| one.counts.is_ok()) {
            for row in one.shape.rows {
                match captures.judge(one, row, hook) {
                    Ok(cell) => table.set(row, hook, cell),
                    Err(error) => {
                        failures.push(format!("{}, {hook}: {error:#}", row.name));
                        table.set(row, hook, "FAILED".into());
                    }
                }
            }
        }
    }
    clock.lap("compared");
    for shape in wanted {
        for row in shape.rows {
            table.cells.entry(row.name).or_insert_with(|| {
                let not_here = |hook| (hook, NOT_HERE.to_owned());
                Hook::with_xmit().into_iter().map(not_here).collect()
            });
        }
    }
    print!("{}", table.print());
    fs::write(out("exactness.tsv"), format!("{scope}\n{}", table.tsv()))?;
    ensure!(
        failures.is_empty(),
        "{} cells are not as expected:\n{}",
        failures.len(),
        failures.join("\n")
    );
    Ok(())
}

/// Each device is in one shape: `skbcap diff --iface` knows names, and no namespaces.
fn check_names(shapes: &[&Shape]) -> Result<()> {
    let rows = || shapes.iter().flat_map(|shape| shape.rows);
    for row in rows() {
        let same = |other: &&Row| other.device == row.device || other.name == row.name;
        ensure!(
            rows().filter(same).count() == 1,
            "{} or {} is there twice",
            row.device,
            row.name
        );
        ensure!(row.device.len() < 16, "{} is too long", row.device);
    }
    Ok(())
}

/// Cells by row and hook.
#[derive(Default)]
struct Table {
    cells: BTreeMap<&'static str, Vec<(Hook, String)>>,
}

impl Table {
    fn set(&mut self, row: &Row, hook: Hook, cell: String) {
        self.cells.entry(row.name).or_default().push((hook, cell));
    }

    fn fail(&mut self, shape: &Shape) {
        for row in shape.rows {
            for hook in Hook::with_xmit() {
                self.set(row, hook, "FAILED".into());
            }
        }
    }

    /// The rows in their order, with the part before which they stand.
    fn rows(&self) -> impl Iterator<Item = (&'static str, &'static Row, &[(Hook, String)])> {
        let rows = PARTS.iter().flat_map(|(part, shapes)| {
            let rows = shapes.iter().flat_map(|shape| shape.rows);
            rows.map(|row| (*part, row))
        });
        rows.filter_map(|(part, row)| Some((part, row, self.cells.get(row.name)?.as_slice())))
    }

    fn print(&self) -> String {
        let mut text = String::new();
        let mut last = "";
        for (part, row, cells) in self.rows() {
            if part != last {
                let _ = writeln!(text, "\n{part}");
                last = part;
            }
            let cells: Vec<String> = cells
                .iter()
                .map(|(hook, cell)| format!("{hook}: {cell}"))
                .collect();
            let _ = writeln!(text, "  {:<60} {}", row.name, cells.join("; "));
        }
        text
    }

    /// A line for each cell: part, row, hook, cell.
    fn tsv(&self) -> String {
        let mut text = String::new();
        for (part, row, cells) in self.rows() {
            for (hook, cell) in cells {
                let _ = writeln!(text, "{part}\t{}\t{hook}\t{cell}", row.name);
            }
        }
        text
    }
}

/// What takes how long, in the log.
pub(super) struct Clock(Instant);

impl Clock {
    fn new() -> Self {
        Self(Instant::now())
    }

    pub(super) fn lap(&mut self, what: &str) {
        println!("{:.1} s: {what}", self.0.elapsed().as_secs_f64());
        self.0 = Instant::now();
    }
}
