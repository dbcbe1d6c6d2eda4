//! A capture while it runs: takes frames until it is told to end.

use std::{
    fs::File,
    io::{self, IsTerminal, Stderr},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    time::ClockId,
};
use skbcap_common::Hook;

use super::{
    pace::{Pace, WAKE_SHARE},
    pipeline::Pipeline,
    say, summarize,
    talkers::Talkers,
    writes_a_file,
};
use crate::{
    clock::ClockWatch,
    command::Running,
    config::Config,
    kernel::{load::Kernel, maps::Maps},
    order::Order,
    ring::{Ring, SEEN_WITHIN},
    signals::{Signal, Signals},
    stats::Stats,
    status::{Progress, StatusLine},
};

/// While a frame waits for an older one that is still being written.
const SHORT_NAP: Duration = Duration::from_micros(200);

/// How long the frames of a command are awaited that the kernel still sends for it after its end.
const LINGER: Duration = Duration::from_millis(200);

/// Where more of processes is wanted, what is told of them is taken this often at least.
const TOLD_NAP: Duration = Duration::from_millis(100);

/// A ring that is filled by so many hundredths when it is looked at is about to lose frames: one thread
/// is not enough.
const BEHIND: u64 = 50;

/// Frames taken before signals and the clock are looked at again, come what may.
const BATCH: usize = 16 * 1024;

/// A capture while it runs.
pub(super) struct Watch<'a> {
    pub(super) config: &'a Config,
    pub(super) kernel: &'a mut Kernel,
    pub(super) clock: &'a mut ClockWatch,
    pub(super) signals: &'a mut Signals,
    pub(super) pipeline: &'a mut Pipeline,
    pub(super) status: StatusLine<Stderr>,
    /// How full a ring has been since the live line was shown, in hundredths.
    pub(super) fill: u64,
    /// Whether it has ever been [`BEHIND`].
    pub(super) hurries: bool,
    /// The terminal that was there at the start.
    pub(super) terminal: Option<File>,
    /// When the time is over.
    pub(super) end: Option<Instant>,
    /// The command, until it has ended.
    pub(super) command: Option<&'a mut Running>,
    pub(super) hook: Hook,
}

impl Watch<'_> {
    /// Takes frames until no more are wanted. Returns the rings as they were left.
    pub(super) fn run<'m>(&mut self, maps: &'m Maps) -> anyhow::Result<Order<'m>> {
        let rings = maps.memories().into_iter().enumerate();
        let mut order = Order::new(
            rings
                .map(|(number, memory)| Ring::new(memory, number))
                .collect(),
        );
        let mut pace = Pace::new(Instant::now());
        // Since when the next record is to ring, and none has come.
        let mut armed_at: Option<Instant> = None;
        loop {
            order.refresh(monotonic_ns())?;
            // Whatever was told of the frames that are there now was told before them.
            learn(self.kernel, self.pipeline);
            self.see_fill(&order, &mut pace);
            let taken = order.each(BATCH, |frame| self.pipeline.take(&frame))?;
            order.release();
            // A file is only written to when the buffer is full or nothing else is to be done.
            self.pipeline
                .flush(taken == 0 || self.config.packet_buffered);
            self.tell_notices();
            if self.pipeline.is_over() {
                break;
            }
            let (pipeline, fill) = (&mut *self.pipeline, &mut self.fill);
            self.status.update(Instant::now(), || Progress {
                fill: std::mem::take(fill),
                ..progress(pipeline, &order)
            });

            let is_quiet = taken == 0 && !order.has_more();
            let nap = if is_quiet {
                let at = *armed_at.get_or_insert_with(|| {
                    order.arm(|_| 1);
                    Instant::now()
                });
                // What came before the wish would ring for nobody, and may not be seen yet.
                if order.has_more() {
                    Some(Duration::ZERO)
                } else {
                    let rest = SEEN_WITHIN.checked_sub(at.elapsed());
                    rest.or_else(|| until(self.status.next_update()))
                }
            } else {
                armed_at = None;
                if taken == BATCH {
                    Some(Duration::ZERO)
                } else if taken > 0 {
                    order.arm(|capacity| capacity / WAKE_SHARE);
                    Some(pace.nap())
                } else {
                    Some(SHORT_NAP)
                }
            };
            // `None` is no end, and more than any. Nobody rings for what is told; it has room for a while.
            let told = self.config.fields.is_told().then_some(TOLD_NAP);
            let nap = [nap, until(self.end), told].into_iter().flatten().min();
            let command = self.command.as_deref();
            wait(self.kernel, self.clock, self.signals, command, nap)?;
            self.see_command();
            if armed_at.is_none() {
                order.disarm();
            }
            self.kernel.answer_doorbell();
            if let Some(step) = self.clock.check() {
                self.pipeline.clock_was_set(step);
            }
            if self.is_told_to_end(&order) || self.end.is_some_and(|end| end <= Instant::now()) {
                break;
            }
        }
        self.status.clear();
        Ok(order)
    }

    /// Sets the end, shortly after the command's.
    fn see_command(&mut self) {
        if self
            .command
            .as_mut()
            .is_some_and(|command| command.has_ended())
        {
            self.command = None;
            self.signals.command_ended();
            let linger = Instant::now() + LINGER;
            self.end = Some(self.end.map_or(linger, |end| end.min(linger)));
        }
    }

    /// Takes note of how full the fullest ring is.
    fn see_fill(&mut self, order: &Order<'_>, pace: &mut Pace) {
        let Some(ring) = order.rings().iter().max_by_key(|ring| ring.fill()) else {
            return;
        };
        // All have as much room.
        let (fill, capacity) = (ring.fill(), ring.geometry().usable_bytes());
        pace.look(Instant::now(), fill, capacity);
        let fullest = fill * 100 / capacity;
        self.fill = self.fill.max(fullest);
        if fullest >= BEHIND && !self.hurries {
            self.hurries = true;
            self.pipeline.hurry();
            if self.config.debug {
                self.status.clear();
                say(format_args!(
                    "a ring is filled by {fullest} %: files are written by a thread of their own from here on"
                ));
            }
        }
    }

    /// Does what signals ask for.
    fn is_told_to_end(&mut self, order: &Order<'_>) -> bool {
        while let Some(signal) = self.signals.pending() {
            match signal {
                // What a terminal sends, it sends to the command too.
                Signal::Interrupt if self.command.is_some() => {}
                Signal::Interrupt => return true,
                Signal::Terminate => match &mut self.command {
                    Some(command) => command.signal(rustix::process::Signal::TERM),
                    None => return true,
                },
                Signal::Hangup => {
                    // A terminal that was hung up is none any more.
                    let is_gone = self
                        .terminal
                        .as_ref()
                        .is_some_and(|terminal| !terminal.is_terminal());
                    let goes_on = self.command.is_some();
                    if is_gone && goes_on {
                        continue;
                    }
                    if is_gone || !self.pipeline.rotate(monotonic_ns()) && !goes_on {
                        return true;
                    }
                    self.tell_notices();
                }
                Signal::Counts => {
                    self.status.clear();
                    summarize(&self.stats(order), self.hook, &[]);
                }
                Signal::Flush => self.pipeline.flush(true),
            }
        }
        false
    }

    /// The counts up to now.
    fn stats(&mut self, order: &Order<'_>) -> Stats {
        let mut stats = self.pipeline.stats;
        for ring in order.rings() {
            ring.count(&mut stats);
        }
        stats.missed = self.kernel.missed();
        stats.socket_calls_missed = self.kernel.socket_calls_missed();
        stats.forks_missed = self.kernel.forks_missed();
        stats
    }

    fn tell_notices(&mut self) {
        for notice in self.pipeline.notices() {
            self.status.clear();
            say(format_args!("{notice}"));
        }
    }
}

/// Hands on what the kernel side told of sockets and processes.
pub(super) fn learn(kernel: &mut Kernel, pipeline: &mut Pipeline) {
    kernel.each_event(|event| pipeline.learn(Some(event)));
    if kernel.has_lost_events() {
        pipeline.learn(None);
    }
}

/// Waits for the doorbell, the clock, a signal or the command's end, at most for `nap`.
fn wait(
    kernel: &Kernel,
    clock: &ClockWatch,
    signals: &Signals,
    command: Option<&Running>,
    nap: Option<Duration>,
) -> anyhow::Result<()> {
    let doorbell = kernel.doorbell();
    // Twice for want of a command.
    let command = command.map_or(doorbell, AsFd::as_fd);
    let mut fds = [doorbell, clock.as_fd(), signals.as_fd(), command]
        .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    let nap = nap.map(|nap| Timespec {
        tv_sec: nap.as_secs() as i64,
        tv_nsec: nap.subsec_nanos().into(),
    });
    match rustix::event::poll(&mut fds, nap.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(io::Error::from(error)).context("cannot wait for frames"),
    }
}

/// The clock that records are dated by.
pub(super) fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// A live line, where a terminal shows it and nothing else is printed there.
pub(super) fn status_line(config: &Config, pipeline: &mut Pipeline) -> StatusLine<Stderr> {
    let stderr = io::stderr();
    let shown = stderr.is_terminal() && writes_a_file(config);
    pipeline.talkers = shown.then(Talkers::default);
    StatusLine::new(shown.then_some(stderr))
}

fn progress(pipeline: &mut Pipeline, order: &Order<'_>) -> Progress {
    let mut stats = Stats::default();
    for ring in order.rings() {
        ring.count(&mut stats);
    }
    Progress {
        frames: pipeline.stats.written,
        bytes: pipeline.bytes,
        dropped: stats.dropped(),
        senders: pipeline
            .talkers
            .as_mut()
            .map_or_else(Vec::new, Talkers::take),
        ..Progress::default()
    }
}

fn until(end: Option<Instant>) -> Option<Duration> {
    Some(end?.saturating_duration_since(Instant::now()))
}
