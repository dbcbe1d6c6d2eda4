//! A recording takes the kernel's place: no privileges, the same way from the rings on.

use std::{fs::File, process::ExitCode};

use anyhow::Context;
use memmap2::Mmap;

use super::{
    located, open,
    pipeline::{End, Pipeline},
    say, summarize,
};
use crate::{config::Config, order::Order, recording::Recording, ring::Ring};

/// Replays the recording that `config` names.
pub(super) fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let path = config.replay.as_deref().expect("only called to replay");
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
    #[expect(
        unsafe_code,
        reason = "mapping a file is only as safe as the file is left alone"
    )]
    // SAFETY: the mapping is private to this function and only read. Whoever cuts the file short
    // meanwhile makes this process end by SIGBUS, as with any program that maps a file.
    let bytes = unsafe { Mmap::map(&file) }.with_context(|| format!("cannot read {shown}"))?;
    let recording = Recording::read(&bytes).with_context(|| format!("cannot read {shown}"))?;

    let rings = recording.rings.iter().enumerate();
    let mut order = Order::new(
        rings
            .map(|(at, ring)| Ring::new(ring.as_memory(), at))
            .collect(),
    );
    order.finish()?;
    let first_ns = order.rings().iter().filter_map(Ring::next_time_ns).min();
    let start_ns = first_ns
        .unwrap_or_default()
        .saturating_add_signed(recording.header.offset_ns);
    let sink = open(
        config,
        recording.header.origin.clone(),
        recording.header.snaplen,
        start_ns,
    )?;
    let mut pipeline = Pipeline::new(sink, None, recording.offset(), config.count);
    for &step in &recording.steps {
        pipeline.clock_was_set(step);
    }
    let mut last_ns = 0;
    order.each(usize::MAX, |frame| {
        pipeline.take(&frame);
        last_ns = frame.header.time_ns;
    })?;
    for notice in pipeline.notices() {
        say(format_args!("{notice}"));
    }
    recording.counters.fill(&mut pipeline.stats);
    let End {
        stats,
        lines,
        result,
    } = pipeline.finish(&recording.drops, last_ns);
    summarize(&stats, recording.header.hook, &lines);
    located(result, config)?;
    Ok(ExitCode::SUCCESS)
}
