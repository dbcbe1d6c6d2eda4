//! A capture from the running kernel: set up, watched, ended.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Stderr},
    os::fd::AsFd,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    thread::CapabilitySet,
    time::ClockId,
};
use skbcap_common::{Hook, InterfaceDrops};

use super::{
    expression, interfaces_text, located, open,
    pipeline::{End, Pipeline},
    say, senders, summarize,
    talkers::Talkers,
    target::{Facts, check, cut_text, interfaces, namespace, origin, place, untold, ways},
    writes_a_file,
};
use crate::{
    clock::ClockWatch,
    command::{Held, Running},
    config::{Config, LinkTypes},
    filter::FilterError,
    geometry,
    kernel::{
        background,
        load::{Kernel, LoadError, Options},
        maps::Maps,
        netns::Namespace,
        preflight::Preflight,
        setup,
        watch::Watched,
    },
    order::Order,
    output::Origin,
    privilege::{self, User},
    process::Field,
    recording::{Header, Recorder},
    ring::Ring,
    signals::{Signal, Signals},
    stats::Stats,
    status::{Progress, StatusLine},
};

/// While frames come in, they are looked for this often, and earlier where a ring fills: a system
/// call for many frames, not one for each.
const NAP: Duration = Duration::from_millis(10);

/// While a frame waits for an older one that is still being written.
const SHORT_NAP: Duration = Duration::from_micros(200);

/// How long the frames of a command are awaited that the kernel still sends for it after its end.
const LINGER: Duration = Duration::from_millis(200);
/// Where more of processes is wanted, what is told of them is taken this often at least.
const TOLD_NAP: Duration = Duration::from_millis(100);

/// A ring that is filled by this share ends a nap.
const WAKE_SHARE: u64 = 4;

/// Frames taken before signals and the clock are looked at again, come what may.
const BATCH: usize = 16 * 1024;

/// Captures until told to end.
pub(super) fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let debug = |what: &dyn Fn() -> String| {
        if config.debug {
            say(format_args!(
                "{:6.1} ms: {}",
                started.elapsed().as_secs_f64() * 1e3,
                what()
            ));
        }
    };
    let user = match &config.user {
        Some(name) if privilege::is_root() => Some(User::named(name)?),
        Some(_) | None => None,
    };
    // While there is one thread.
    let held = match &config.run[..] {
        [] => None,
        words => Some(Held::new(words)?),
    };
    let mut senders = senders::wanted(config, held.as_ref().map(Held::id))?;
    let loader = background::loader();
    let mut preflight = Preflight::gather(config.btf.as_deref());
    if config.check {
        return check(preflight, loader, config.btf.is_none());
    }
    let expression = expression::read(config.expression.as_ref())?;
    let hook = preflight.hook(config.hook)?;
    let netns = namespace(config)?;
    let interfaces = interfaces(config, netns.as_ref())?;
    let filter = match &expression {
        Some(expression) => {
            let link_types = expression::link_types(netns.as_ref(), &interfaces)?;
            let (function, notices) = expression::translated(expression, &link_types)?;
            for notice in notices {
                say(format_args!("{notice}"));
            }
            debug(&|| {
                format!(
                    "the expression is {} instructions, and looks at {} bytes at the most",
                    function.instructions.len(),
                    function.head_len
                )
            });
            Some(function)
        }
        None => None,
    };
    let mut loader = loader.wait();
    let net = hook == Hook::Kprobe && preflight.has_queue_tracepoint();
    let types = Some(background::types());
    setup::explore(&mut preflight, ways()?, &mut loader)?;
    let facts = Facts::of(preflight, config.btf.is_none(), config.fields)?;
    debug(&|| match &facts.page_bases {
        Ok(bases) => format!("fragments are read by the page bases from {}", bases.way),
        Err(why) => format!("fragments cannot be read: {why}"),
    });
    debug(&|| match &facts.cpu_words {
        Ok(words) => format!("contexts are told apart on {} CPUs", words.len()),
        Err(why) => format!("contexts cannot be told apart: {why}"),
    });

    let rings = facts.online.len() as u32;
    let spare = u32::from(net);
    let buffer = config
        .buffer_bytes
        .unwrap_or_else(|| geometry::default_buffer_bytes(rings, config.snaplen, spare));
    let geometry = geometry::ring_geometry(buffer, rings, config.snaplen, spare)?;
    debug(&|| {
        format!(
            "{rings} rings of {} segments, {} usable bytes each",
            geometry.segments,
            geometry.usable_bytes()
        )
    });
    senders::must_be_known(&senders, &facts)?;
    let matters = senders.is_any();
    senders::leave_out_own(&mut senders, config, &facts);
    // Tests take it away.
    let attribution = std::env::var_os("SKBCAP_ATTRIBUTION").is_none_or(|wish| wish != "none");
    let options = Options {
        hook,
        net,
        geometry,
        snaplen: config.snaplen,
        netns: netns.as_ref().map(Namespace::inode),
        interfaces,
        filter,
        senders: senders.clone(),
        layout: facts.layout,
        sockets: attribution
            .then(|| facts.sockets.as_ref().ok().copied())
            .flatten(),
        tasks: facts
            .tasks
            .as_ref()
            .and_then(|tasks| tasks.as_ref().ok())
            .copied(),
        kfuncs: facts.kfuncs,
        words: facts.words(),
        online: facts.online.iter().copied().collect(),
    };
    let loaded = Kernel::load(&options, loader, types).inspect_err(|error| {
        if let LoadError::Program(refused) = error {
            debug(&|| format!("the verifier's log:\n{}", refused.log()));
        }
    });
    let (mut kernel, maps) = loaded.map_err(|error| match (&options.filter, error) {
        // All else of the programs is known to load.
        (Some(filter), LoadError::Program(refused)) => FilterError::Refused {
            instructions: filter.instructions.len(),
            why: refused.to_string(),
        }
        .into(),
        (_, error) => anyhow::Error::from(error),
    })?;
    if config.debug {
        for effort in kernel.effort() {
            debug(&|| format!("program {effort}"));
        }
    }

    let watching = Instant::now();
    // What is found there may be more than the ring of events holds.
    let mut found = Vec::new();
    let Watched {
        claims,
        mut lowered,
    } = match &facts.sockets {
        Ok(_) => kernel.watch_sockets(|event| found.push(*event)),
        Err(why) => Watched {
            claims: false,
            lowered: vec![untold(why)],
        },
    };
    if let Some(Err(why)) = &facts.tasks {
        lowered.push(format!("--fields says nothing: {why}"));
    }
    if matters && !claims {
        return Err(senders::no_claims(&senders, lowered.join("; ")).into());
    }
    kernel.watch_senders()?;
    debug(&|| {
        format!(
            "sockets are watched, and those that there are were looked for, in {:.1} ms",
            watching.elapsed().as_secs_f64() * 1e3
        )
    });
    for why in &lowered {
        if matters {
            say(format_args!("{why}"));
        } else {
            debug(&|| why.clone());
        }
    }

    // From here on only the output's own name can be wrong: a file is emptied no sooner.
    let cut = cut_text(hook, kernel.copies_by_itself(), &facts);
    let origin = origin(
        config,
        hook,
        netns.as_ref(),
        &facts,
        cut.as_deref(),
        &lowered,
    );
    let mut clock = ClockWatch::new().context("cannot watch the clock")?;
    let recorder = recorder(config, hook, &origin, clock.offset().offset_ns)?;
    let start_ns = monotonic_ns().saturating_add_signed(clock.offset().offset_ns);
    let opened = || open(config, origin, config.snaplen, start_ns);
    let sink = match &user {
        Some(user) => user
            .act(opened)
            .with_context(|| format!("cannot become {}", user.name))??,
        None => opened()?,
    };
    let mut signals = Signals::install(held.is_some()).context("cannot install signal handlers")?;
    let mut pipeline = Pipeline::new(sink, recorder, clock.offset(), config.count);
    for event in found {
        pipeline.learn(Some(&event));
    }

    kernel.attach(&facts.btf)?;
    let terminal = File::open("/dev/tty").ok();
    let kept = give_up(config, &kernel, user.as_ref()).context("cannot give up privileges")?;
    debug(&|| format!("capabilities that are kept: {kept:?}"));
    if let Some(cut) = cut {
        say(format_args!("{cut}"));
    }
    say(format_args!(
        "listening on {}, {}, hook {}, snapshot length {} bytes",
        interfaces_text(config),
        netns.as_ref().map_or_else(
            || "all network namespaces".to_owned(),
            |netns| format!("network namespace {}", netns.inode())
        ),
        place(hook),
        config.snaplen
    ));
    background::give_memory_back();

    let (mut command, refused) = match held.map(Held::go).transpose() {
        Ok(command) => (command, None),
        Err(error) => (None, Some(error)),
    };
    let status = status_line(config, &mut pipeline);
    let limit = config.time_limit.map(|limit| Instant::now() + limit);
    let mut watch = Watch {
        config,
        kernel: &mut kernel,
        clock: &mut clock,
        signals: &mut signals,
        pipeline: &mut pipeline,
        status,
        fill: 0,
        terminal,
        // Without its command there is nothing to capture, and a file to be ended.
        end: refused.as_ref().map_or(limit, |_| Some(Instant::now())),
        command: command.as_mut(),
        hook,
    };
    let watched = watch.run(&maps);
    drop(watch);
    let ended = end(config, &mut kernel, &maps, pipeline, watched, hook);
    let status = match command {
        Some(command) => wait_for(command, &mut signals)?,
        None => ExitCode::SUCCESS,
    };
    ended?;
    refused.map_or(Ok(status), |error| Err(error.into()))
}

/// Ends a capture: detaches, writes what was taken, and tells the counts.
fn end(
    config: &Config,
    kernel: &mut Kernel,
    maps: &Maps,
    mut pipeline: Pipeline,
    watched: anyhow::Result<Order<'_>>,
    hook: Hook,
) -> anyhow::Result<()> {
    // Hook and net end at the same moment; what is missed from then on is nobody's.
    maps.end();
    let missed = kernel.missed();
    let owners_missed = kernel.owners_missed();
    kernel.detach()?;
    learn(kernel, &mut pipeline);
    // Whatever went wrong with the rings, what was taken so far is not lost.
    let drained = watched.and_then(|order| drain(&mut pipeline, order));
    let drops = drained.as_deref().unwrap_or_default();
    pipeline.stats.missed = missed;
    let End {
        stats,
        mut lines,
        result,
    } = pipeline.finish(drops, monotonic_ns());
    if config.debug {
        let reordered = stats.reordered;
        say(format_args!(
            "{reordered} frames were dated later, to keep the order"
        ));
    }
    if owners_missed > 0 {
        lines.insert(
            0,
            format!("{owners_missed} frames of sockets that are not known, or not any more"),
        );
    }
    summarize(&stats, hook, &lines);
    located(result, config)?;
    drained?;
    Ok(())
}

/// Waits for the command, which may go on after the capture. What is the exit status then.
fn wait_for(mut command: Running, signals: &mut Signals) -> anyhow::Result<ExitCode> {
    while !command.has_ended() {
        let mut fds = [command.as_fd(), signals.as_fd()]
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                return Err(io::Error::from(error)).context("cannot wait for the command");
            }
        }
        while let Some(signal) = signals.pending() {
            if signal == Signal::Terminate {
                command.signal(rustix::process::Signal::TERM);
            }
        }
    }
    Ok(command.wait())
}

/// Hands on what the kernel side told of sockets and processes.
fn learn(kernel: &mut Kernel, pipeline: &mut Pipeline) {
    kernel.each_event(|event| pipeline.learn(Some(event)));
    if kernel.has_lost_events() {
        pipeline.learn(None);
    }
}

/// Gives up what the capture doesn't need any more, and becomes `user`. Returns what is kept.
fn give_up(config: &Config, kernel: &Kernel, user: Option<&User>) -> io::Result<CapabilitySet> {
    let mut kept = CapabilitySet::empty();
    // Files that are yet to come are made in directories that may be others', by whoever we are.
    let may_come = config.rotate.is_asked_for() || config.link_types == LinkTypes::Split;
    if may_come && user.is_none() {
        kept |= CapabilitySet::DAC_OVERRIDE;
    }
    // Whose program is which, of other users' processes and of those with more capabilities.
    if config.fields.has(Field::Exe) {
        kept |= CapabilitySet::SYS_PTRACE;
    }
    // Whether the kernel tells what it missed to anybody who has the program is its version's.
    if kernel.missed().is_some() {
        let before = privilege::only(kept)?;
        let still = kernel.missed().is_some();
        privilege::only(before)?;
        if !still {
            kept |= CapabilitySet::BPF;
        }
    }
    privilege::give_up(user, kept)?;
    Ok(rustix::thread::capabilities(None)?.permitted)
}

/// A capture while it runs.
struct Watch<'a> {
    config: &'a Config,
    kernel: &'a mut Kernel,
    clock: &'a mut ClockWatch,
    signals: &'a mut Signals,
    pipeline: &'a mut Pipeline,
    status: StatusLine<Stderr>,
    /// How full a ring has been since the live line was shown, in hundredths.
    fill: u64,
    /// The terminal that was there at the start.
    terminal: Option<File>,
    /// When the time is over.
    end: Option<Instant>,
    /// The command, until it has ended.
    command: Option<&'a mut Running>,
    hook: Hook,
}

impl Watch<'_> {
    /// Takes frames until no more are wanted. Returns the rings as they were left.
    fn run<'m>(&mut self, maps: &'m Maps) -> anyhow::Result<Order<'m>> {
        let rings = maps.memories().into_iter().enumerate();
        let mut order = Order::new(
            rings
                .map(|(number, memory)| Ring::new(memory, number))
                .collect(),
        );
        loop {
            order.refresh(monotonic_ns())?;
            // Whatever was told of the frames that are there now was told before them.
            learn(self.kernel, self.pipeline);
            self.see_fill(&order);
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

            let nap = if taken == BATCH {
                Some(Duration::ZERO)
            } else if taken > 0 {
                order.arm(|capacity| capacity / WAKE_SHARE);
                Some(NAP)
            } else if order.has_more() {
                Some(SHORT_NAP)
            } else {
                order.arm(|_| 1);
                // What came before the wish would ring for nobody.
                if order.has_more() {
                    Some(Duration::ZERO)
                } else {
                    until(self.status.next_update())
                }
            };
            // `None` is no end, and more than any.
            // Nobody rings for what is told; it has room for a while.
            let told = (!self.config.fields.is_empty()).then_some(TOLD_NAP);
            let nap = [nap, until(self.end), told].into_iter().flatten().min();
            let command = self.command.as_deref();
            wait(self.kernel, self.clock, self.signals, command, nap)?;
            self.see_command();
            order.disarm();
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

    /// Takes note of how full the fullest ring is, where somebody looks on.
    fn see_fill(&mut self, order: &Order<'_>) {
        if self.pipeline.talkers.is_some() {
            let hundredths = |ring: &Ring<'_>| ring.fill() * 100 / ring.geometry().usable_bytes();
            let fullest = order.rings().iter().map(hundredths).max();
            self.fill = self.fill.max(fullest.unwrap_or(0));
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
        stats
    }

    fn tell_notices(&mut self) {
        for notice in self.pipeline.notices() {
            self.status.clear();
            say(format_args!("{notice}"));
        }
    }
}

/// Takes what is left after the programs are gone, and counts everything. Returns the drops by
/// interface.
fn drain(pipeline: &mut Pipeline, mut order: Order<'_>) -> anyhow::Result<Vec<InterfaceDrops>> {
    order.finish()?;
    order.each(usize::MAX, |frame| pipeline.take(&frame))?;
    order.release();
    let mut drops: Vec<InterfaceDrops> = Vec::new();
    for ring in order.rings() {
        ring.count(&mut pipeline.stats);
        for entry in ring.interface_drops() {
            let key = (entry.netns, entry.ifindex);
            match drops.iter_mut().find(|sum| (sum.netns, sum.ifindex) == key) {
                Some(sum) => sum.dropped += entry.dropped,
                None => drops.push(entry),
            }
        }
    }
    Ok(drops)
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
fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// A live line, where a terminal shows it and nothing else is printed there.
fn status_line(config: &Config, pipeline: &mut Pipeline) -> StatusLine<Stderr> {
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

fn recorder(
    config: &Config,
    hook: Hook,
    origin: &Origin,
    offset_ns: i64,
) -> anyhow::Result<Option<Recorder<BufWriter<File>>>> {
    let Some(path) = &config.record else {
        return Ok(None);
    };
    let shown = path.display();
    let out = File::create(path).with_context(|| format!("cannot write to {shown}"))?;
    let header = Header {
        hook,
        snaplen: config.snaplen,
        offset_ns,
        origin: origin.clone(),
    };
    let recorder = Recorder::new(BufWriter::new(out), &header)
        .with_context(|| format!("cannot write to {shown}"))?;
    Ok(Some(recorder))
}
