//! What a filter expression costs a frame that it selects, and one that it turns away, in
//! instructions: all that is executed but in the capturing process, less what it is when nobody
//! captures. So it does not matter how that process was built, or how much it writes.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use skbcap_tests::expressions::pairs;

use crate::expressions::PROGRAM;
use crate::icount::{Cost, ROUNDS, SIZES, Size, cable, send_all};
use crate::lab::Space;
use crate::program::{Program, out};
use crate::skbcap::Hook;

/// An expression, what it is called in the table, and whether it selects what is sent: UDP to port 9.
struct Case {
    name: &'static str,
    expression: String,
    selects: bool,
}

fn cases() -> [Case; 4] {
    let case = |name, expression: &str, selects| Case {
        name,
        expression: expression.to_owned(),
        selects,
    };
    [
        case("no expression", "", true),
        case("`udp port 9`, selected", "udp port 9", true),
        case("`tcp port 443`, turned away", "tcp port 443", false),
        case("150 pairs of ports, turned away", &pairs(150), false),
    ]
}

/// The table of docs/performance.md.
pub(crate) fn icount_expression() -> Result<()> {
    let pair = cable("expression")?;
    let sizes = &SIZES[..2];
    let (hooks, cases) = (Hook::all(), cases());
    let captures = || {
        hooks
            .iter()
            .flat_map(|&hook| cases.iter().map(move |case| (hook, case)))
    };
    let mut nobody = vec![Vec::new(); sizes.len()];
    let mut costs = vec![nobody.clone(); captures().count()];
    for _ in 0..ROUNDS {
        note(&mut nobody, send_all(&pair.a, sizes, None)?);
        for (costs, (hook, case)) in costs.iter_mut().zip(captures()) {
            note(costs, measure(&pair.a, hook, case, sizes)?);
        }
    }
    println!("hook   | expression                      | 64 bytes | 1514 bytes | spread");
    for (costs, (hook, case)) in costs.iter().zip(captures()) {
        let mut spread = 0f64;
        let mut of_size = |place: usize| {
            let cost: &Vec<f64> = &costs[place];
            let most = cost.iter().copied().fold(f64::MIN, f64::max);
            spread = spread.max(most - cost.iter().copied().fold(f64::MAX, f64::min));
            median(cost) - median(&nobody[place])
        };
        let (short, long) = (of_size(0), of_size(1));
        let name = case.name;
        println!(
            "{:6} | {name:31} | {short:8.0} | {long:10.0} | {spread:.0}",
            hook.to_string()
        );
    }
    Ok(())
}

/// What is not the capturing process's.
fn note(costs: &mut [Vec<f64>], measured: Vec<Cost>) {
    for (costs, cost) in costs.iter_mut().zip(measured) {
        costs.push(cost.all - cost.capturing);
    }
}

fn median(costs: &[f64]) -> f64 {
    let mut costs = costs.to_vec();
    costs.sort_by(f64::total_cmp);
    costs[costs.len() / 2]
}

/// Captures while frames are sent: those that the expression selects, and no others.
fn measure(space: &Space, hook: Hook, case: &Case, sizes: &[Size]) -> Result<Vec<Cost>> {
    let file = out("expression.pcapng");
    let hook = hook.to_string();
    let mut command = Command::new(PROGRAM);
    command.args(["-i", "va", "-B", "65536", "--hook", &hook, "-w"]);
    command.arg(&file);
    if !case.expression.is_empty() {
        command.arg(&case.expression);
    }
    let mut program: Program = space.start("expression", &mut command)?;
    let listening = program.wait_stderr("skbcap: ")?;
    ensure!(listening.contains("listening on"), "{listening}");
    let costs = send_all(space, sizes, Some(&program))?;
    let status = program.interrupt()?;
    let said = program.stderr()?;
    ensure!(status.success(), "{status}: {said}");
    let captured = said
        .lines()
        .find_map(|line| line.strip_suffix(" frames captured"));
    let captured: usize = captured.context("no count")?.parse()?;
    let sent: usize = sizes.iter().map(|size| size.warm_up + size.frames).sum();
    let wanted = if case.selects { sent } else { 0 };
    ensure!(
        captured == wanted,
        "{}: {captured} of {sent}:\n{said}",
        case.name
    );
    std::fs::remove_file(file)?;
    Ok(costs)
}
