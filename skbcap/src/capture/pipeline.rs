//! What happens to each frame, wherever it comes from: dated, counted, recorded, handed on.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufWriter},
    num::NonZeroU64,
};

use skbcap_common::{InterfaceDrops, process::Event};

use super::talkers::Talkers;
use crate::{
    clock::{Offset, Step, WallClock},
    decode::Frame,
    output::{AnySink, Outcome, Sink},
    process::{Inquirer, News},
    recording::Recorder,
    stats::Stats,
};

/// Events that wait for younger frames, at most.
const MOST_EVENTS: usize = 1 << 16;

/// A capture's way from the rings to its output.
pub struct Pipeline {
    sink: AnySink,
    recorder: Option<Recorder<BufWriter<File>>>,
    clock: WallClock,
    /// Times that the wall clock was set, and that no frame has come after yet.
    steps: VecDeque<Step>,
    /// What became known, and is younger than the last frame.
    events: VecDeque<News>,
    /// Finds out the rest of it.
    pub(super) inquirer: Inquirer,
    /// The last frame's time on the wall clock: no later one is dated before it.
    last_wall_ns: u64,
    count: Option<NonZeroU64>,
    /// What userspace counts; the kernel side's counters are added at the end.
    pub stats: Stats,
    /// Bytes of the frames that were written.
    pub(super) bytes: u64,
    /// Who sent them, where somebody looks on.
    pub(super) talkers: Option<Talkers>,
    /// Whether the output has had its last frame.
    is_full: bool,
    /// The first error of the output, which ends the capture.
    failed: Option<io::Error>,
}

/// How a capture ended.
#[derive(Debug)]
pub struct End {
    /// What became of every frame.
    pub stats: Stats,
    /// What the output has to say beyond the counts.
    pub lines: Vec<String>,
    /// The output's first error, except that a reader went away: that is an end like any other.
    pub result: io::Result<()>,
}

impl Pipeline {
    /// Frames go to `sink`, and to `recorder` if there is one, dated by `offset` until the wall
    /// clock is set; `count` of them if that is given.
    #[must_use]
    pub fn new(
        sink: AnySink,
        recorder: Option<Recorder<BufWriter<File>>>,
        offset: Offset,
        count: Option<NonZeroU64>,
    ) -> Self {
        Self {
            sink,
            recorder,
            clock: WallClock::new(offset),
            steps: VecDeque::new(),
            events: VecDeque::new(),
            inquirer: Inquirer::default(),
            last_wall_ns: 0,
            count,
            stats: Stats::default(),
            bytes: 0,
            talkers: None,
            is_full: false,
            failed: None,
        }
    }

    /// Takes a frame; frames come in time order. After the last one that was asked for, and after
    /// an error, frames are only counted.
    #[inline]
    pub fn take(&mut self, frame: &Frame<'_>) {
        if self.is_over() {
            self.pass_over();
        } else if let Err(error) = self.try_take(frame) {
            self.stats.output_failed += 1;
            self.failed = Some(error);
        }
    }

    #[cold]
    fn pass_over(&mut self) {
        if self.failed.is_some() {
            self.stats.output_failed += 1;
        } else {
            self.stats.beyond_count += 1;
        }
    }

    #[inline]
    fn try_take(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        let time_ns = frame.header.time_ns;
        if !self.steps.is_empty() {
            self.take_steps(time_ns)?;
        }
        if !self.events.is_empty() {
            self.take_events(time_ns);
        }
        let mut wall_ns = self.clock.wall_ns(time_ns);
        if wall_ns < self.last_wall_ns {
            wall_ns = self.last_wall_ns;
            self.stats.reordered += 1;
        }
        self.last_wall_ns = wall_ns;
        if let Some(recorder) = &mut self.recorder {
            recorder.record(frame.ring(), frame)?;
        }
        match self.sink.frame(frame, wall_ns)? {
            Outcome::Written => {
                self.stats.written += 1;
                self.bytes += frame.data.len() as u64;
                if let Some(talkers) = &mut self.talkers {
                    talkers.see(frame);
                }
            }
            Outcome::UnsupportedLinkType => self.stats.unsupported_link_type += 1,
            Outcome::Beyond => {
                self.is_full = true;
                self.stats.beyond_count += 1;
            }
        }
        Ok(())
    }

    /// Tells the output what became known before `time_ns`: addresses of sockets are used again, and so
    /// no sooner than that.
    fn take_events(&mut self, time_ns: u64) {
        while let Some(news) = self.events.pop_front_if(|news| news.time_ns <= time_ns) {
            self.sink.learn(Some(&news));
        }
    }

    /// Tells the output that the clock was set, where that was before `time_ns`.
    #[cold]
    fn take_steps(&mut self, time_ns: u64) -> io::Result<()> {
        while let Some(step) = self
            .steps
            .pop_front_if(|step| step.at_monotonic_ns <= time_ns)
        {
            self.sink
                .clock_was_set(step.new_offset_ns - step.old_offset_ns)?;
            // A clock that was set back dates the new section's frames before the old one's.
            self.last_wall_ns = 0;
        }
        Ok(())
    }

    /// Dates the frames from then on by the clock as it was set.
    pub(super) fn clock_was_set(&mut self, step: Step) {
        self.clock.step(step);
        self.steps.push_back(step);
        if let Some(recorder) = &mut self.recorder
            && let Err(error) = recorder.clock(&step)
        {
            self.failed.get_or_insert(error);
        }
    }

    /// Whether no more frames are wanted: there were enough, or the output failed.
    #[must_use]
    #[inline]
    pub fn is_over(&self) -> bool {
        self.failed.is_some()
            || self.is_full
            || self
                .count
                .is_some_and(|count| self.stats.written >= count.get())
    }

    /// Takes something that became known of a socket or a process; `None`: something did not. It is
    /// handed on before the first frame that is younger.
    pub fn learn(&mut self, event: Option<&Event>) {
        let Some(event) = event else {
            self.events.clear();
            self.sink.learn(None);
            return;
        };
        // Where no frame comes, it need not wait for one.
        if self.events.len() == MOST_EVENTS
            && let Some(oldest) = self.events.pop_front()
        {
            self.sink.learn(Some(&oldest));
        }
        self.events.push_back(self.inquirer.ask(event));
    }

    /// Passes on what was taken, to whoever waits for it (`always`: to a file, too).
    pub(super) fn flush(&mut self, always: bool) {
        if (always || self.sink.is_live())
            && self.failed.is_none()
            && let Err(error) = self.sink.flush()
        {
            self.failed = Some(error);
        }
    }

    /// Goes on in another file. Returns whether the output is one that has others.
    pub(super) fn rotate(&mut self, monotonic_ns: u64) -> bool {
        if self.failed.is_some() {
            return true;
        }
        let wall_ns = self.clock.wall_ns(monotonic_ns);
        self.sink.rotate(wall_ns).unwrap_or_else(|error| {
            self.failed = Some(error);
            true
        })
    }

    /// Has the output do what it can to be faster.
    pub(super) fn hurry(&mut self) {
        self.sink.hurry();
    }

    /// What the user should be told about the output.
    pub(super) fn notices(&mut self) -> Vec<String> {
        self.sink.notices()
    }

    /// Ends the output. `self.stats` is complete.
    pub fn finish(mut self, drops: &[InterfaceDrops], end_monotonic_ns: u64) -> End {
        if let Some(recorder) = &mut self.recorder
            && let Err(error) = recorder.finish(&self.stats, drops)
        {
            self.failed.get_or_insert(error);
        }
        let end_ns = self.clock.wall_ns(end_monotonic_ns);
        let finished = match self.failed.take() {
            Some(error) => {
                // The blocks so far stay readable; why it failed matters more than the rest.
                let _ = self.sink.finish(drops, &self.stats, end_ns);
                Err(error)
            }
            None => self.sink.finish(drops, &self.stats, end_ns),
        };
        if finished.is_err() {
            let lost = self.sink.lost();
            self.stats.written = self.stats.written.saturating_sub(lost);
            self.stats.output_failed += lost;
        }
        let result = match finished {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        };
        End {
            stats: self.stats,
            lines: self.sink.summary(),
            result,
        }
    }
}
