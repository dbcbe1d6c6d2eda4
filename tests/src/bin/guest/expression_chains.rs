//! `protochain` while capturing, which follows chains of headers: that the loops load, how many do,
//! and what becomes of a frame with a longer chain.

use anyhow::{Context, Result, ensure};
use fixtures::sys::send_frame;
use skbcap::filter::ebpf::ROUNDS;
use skbcap_tests::chains::{chain, extensions};
use skbcap_tests::{expressions, frames};

use crate::expressions::{AT_ONCE, Filtered, compare, send_all, with_libpcap, without_senders};
use crate::lab::{Pair, Space};
use crate::share;
use crate::skbcap::Hook;

/// A primitive of one loop, and one of two; how many of them stand in an expression, and what between
/// them.
const LOOPS: [(&str, usize, &str); 2] = [
    ("ip6 protochain", 12, " or "),
    ("not protochain", 6, " and "),
];

/// Every expression with `protochain`; then what the number of headers makes.
pub(crate) fn expression_chains() -> Result<()> {
    let pair = Pair::new("filterchains")?;
    let a = &pair.a;
    let mut corpus = expressions::corpus();
    corpus.retain(|expression| expression.contains("protochain"));
    let hooks = Hook::with_xmit();
    ensure!(corpus.len() >= 12, "{} expressions", corpus.len());
    let (mut compared, mut dividing) = (0, 0);
    // Half as many at a time as elsewhere, so that the chunks go round.
    let chunks = share::mine(corpus.chunks(AT_ONCE / 2).collect())?;
    for (turn, some) in chunks.into_iter().enumerate() {
        let hook = hooks[turn % hooks.len()];
        compared += some.len();
        dividing += compare(a, hook, "-i va", some, || {
            send_all(a, "va", frames::ETHERNET)
        })?;
    }
    println!("{dividing} of {compared} expressions divide the frames");
    ensure!(
        dividing > 0 && dividing == compared,
        "only {dividing} of {compared} expressions divide the frames"
    );
    longer_chains(a)?;
    many_loops(a)
}

/// A frame with a chain of so many headers in front of TCP.
fn chained(count: usize) -> Vec<u8> {
    frames::ethernet(&frames::ip6_of(chain(&extensions(count), 6, &[0x11; 20])))
}

/// Of a frame whose chain is longer than is followed, nobody knows: it is captured.
fn longer_chains(space: &Space) -> Result<()> {
    let counts = [0, 1, ROUNDS - 1, ROUNDS, ROUNDS + 1, ROUNDS + 9];
    let cases = vec![
        ("ip6 protochain 6", &counts[..]),
        ("ip6 protochain 17", &counts[4..]),
        ("not ip6 protochain 6 and len > 0", &counts[4..]),
    ];
    for (expression, selected) in share::mine(cases)? {
        let capture = without_senders(with_libpcap("-i va"));
        let mut capture = Filtered::start(space, "longer", capture, expression)?;
        capture.listen()?;
        space.within(|| {
            for count in counts {
                send_frame("va", 0, &chained(count)).context(count)?;
            }
            Ok(())
        })?;
        let frames = capture.stop()?.map_err(anyhow::Error::msg)?;
        let mut expected: Vec<_> = selected.iter().map(|&count| chained(count)).collect();
        expected.sort();
        let mut ours: Vec<_> = frames.into_iter().map(|(_, data)| data).collect();
        ours.retain(|data| data.starts_with(&chained(0)[..14]));
        ours.sort();
        ensure!(
            ours == expected,
            "{expression}: {} frames, not {}",
            ours.len(),
            expected.len()
        );
    }
    Ok(())
}

/// So many loops load as the documentation promises.
fn many_loops(space: &Space) -> Result<()> {
    for (primitive, count, joint) in LOOPS {
        let each: Vec<_> = (1..=count)
            .map(|n| format!("{primitive} {}", 100 + n))
            .collect();
        let expression = each.join(joint);
        let command = without_senders(with_libpcap("-i va --debug"));
        let mut capture = Filtered::start(space, "loops", command, &expression)?;
        capture.listen()?;
        let said = capture.program.stderr()?;
        for line in said.lines().filter(|line| line.contains("instructions")) {
            println!("{count} {primitive}: {line}");
        }
        space.within(|| Ok(send_frame("va", 0, &chained(3))?))?;
        let frames = capture.stop()?.map_err(anyhow::Error::msg)?;
        ensure!(
            frames.iter().any(|(_, data)| *data == chained(3)) == (joint == " and "),
            "{count} {primitive}: {} frames",
            frames.len()
        );
    }
    Ok(())
}
