//! A capture from the running kernel: set up, and ended.

use std::{
    fs::File,
    io::{self, BufWriter},
    os::fd::AsFd,
    process::ExitCode,
    time::Instant,
};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags};
use skbcap_common::{Hook, InterfaceDrops};

use super::{
    expression, interfaces_text, located, open,
    own::Own,
    pipeline::{End, Pipeline},
    rights::{give_up, sandbox},
    say, senders, summarize,
    target::{
        Facts, check, cut_text, most_parts, names, namespaces, namespaces_text, origin, place,
        untold, ways,
    },
    watch::{Watch, learn, monotonic_ns, status_line},
};
use crate::{
    clock::ClockWatch,
    command::{Held, Running},
    config::Config,
    filter::FilterError,
    geometry,
    kernel::{
        background,
        chosen::Chosen,
        load::{Kernel, LoadError, Options},
        maps::Maps,
        netns::Namespace,
        preflight::Preflight,
        setup,
        watch::Watched,
    },
    order::Order,
    output::{Origin, Sink},
    privilege::{self, User},
    process::{Field, Inquirer},
    recording::{Header, Recorder},
    signals::{Signal, Signals},
    slice,
};

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
    let netns = namespaces(config)?;
    let names = names(config, &netns)?;
    let own = match &user {
        Some(user) => user
            .act(|| Own::find(config))
            .with_context(|| format!("cannot become {}", user.name))?,
        None => Own::find(config),
    };
    let filter = match &expression {
        Some(expression) => {
            let link_types = expression::link_types(&netns, &names)?;
            let (function, notices) = expression::translated(expression, &link_types, &own.peers)?;
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
        None if own.peers.is_empty() => None,
        None => Some(expression::all_but(&own.peers)?),
    };
    let mut loader = loader.wait();
    let net = hook == Hook::Kprobe && preflight.has_queue_tracepoint();
    setup::explore(&mut preflight, ways()?, &mut loader)?;
    let facts = Facts::of(preflight, config.btf.is_none(), config.fields)?;
    debug(&|| match &facts.page_bases {
        Ok(bases) => format!("fragments are read by the page bases from {}", bases.way),
        Err(why) => format!("fragments cannot be read: {why}"),
    });
    debug(&|| match &facts.cpu_words {
        Ok(words) => format!("contexts are told apart on {} CPUs", words.of.len()),
        Err(why) => format!("contexts cannot be told apart: {why}"),
    });
    debug(&|| match facts.preempts {
        true => "the kernel may preempt its own code: sockets and forks are watched twice".into(),
        false => "the kernel does not preempt its own code".into(),
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
        devices: Chosen {
            netns: netns.map(Namespace::inode),
            names,
        },
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
        current: config.fields.has(Field::Current),
        kfuncs: facts.kfuncs,
        most_parts: most_parts(),
        words: facts.words(),
        preempt_bits: facts.preempt_bits(),
        preempts: facts.preempts,
        online: facts.online.iter().copied().collect(),
    };
    let own_types = config.btf.is_none().then_some(&facts.btf);
    let loaded = Kernel::load(&options, loader, own_types).inspect_err(|error| {
        if let LoadError::Program(refused) = error {
            debug(&|| format!("the verifier's log:\n{}", refused.log()));
        }
    });
    let (mut kernel, maps) = loaded.map_err(|error| match (&options.filter, error) {
        // All else of the programs is known to load.
        (Some(filter), LoadError::Program(refused)) if expression.is_some() => {
            FilterError::Refused {
                instructions: filter.instructions.len(),
                why: refused.to_string(),
            }
            .into()
        }
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
        Ok(_) => kernel.watch_sockets(&maps, |event| found.push(*event)),
        Err(why) => Watched {
            claims: false,
            lowered: vec![untold(why)],
        },
    };
    if let Some(Err(why)) = &facts.tasks {
        lowered.push(format!("--fields says nothing: {why}"));
    }
    if let Some(why) = &facts.no_cgroups {
        lowered.push(format!("--fields says nothing of cgroups: {why}"));
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
    let mut origin = origin(
        config,
        hook,
        &options.devices,
        &facts,
        cut.as_deref(),
        &lowered,
    );
    origin.comments.extend(own.said.iter().cloned());
    let mut clock = ClockWatch::new().context("cannot watch the clock")?;
    let recorder = recorder(config, hook, &origin, clock.offset().offset_ns)?;
    let start_ns = monotonic_ns().saturating_add_signed(clock.offset().offset_ns);
    let opened = || -> anyhow::Result<_> {
        let sink = open(config, origin, config.snaplen, start_ns)?;
        let sandbox = sandbox(config, sink.is_live())?;
        Ok((sink, sandbox))
    };
    let (sink, sandbox) = match &user {
        Some(user) => user
            .act(opened)
            .with_context(|| format!("cannot become {}", user.name))??,
        None => opened()?,
    };
    let mut signals = Signals::install(held.is_some()).context("cannot install signal handlers")?;
    let mut pipeline = Pipeline::new(sink, recorder, clock.offset(), config.count);
    pipeline.inquirer = Inquirer::asked(config.fields);
    pipeline.stats.leaves_out_own = !own.peers.is_empty();
    for event in found {
        pipeline.learn(Some(&event));
    }

    kernel.attach(&facts.btf)?;
    let terminal = File::open("/dev/tty").ok();
    let kept = give_up(config, &kernel, user.as_ref()).context("cannot give up privileges")?;
    debug(&|| format!("capabilities that are kept: {kept:?}"));
    let confined = sandbox.enter().context("cannot enter the sandbox")?;
    debug(&|| match &confined.landlock {
        Some(confined) => confined.to_string(),
        None => {
            "no sandbox by Landlock: it would hide what programs other processes run (--fields \
                 exe, cmdline)"
                .into()
        }
    });
    debug(&|| confined.seccomp.to_string());
    for line in cut.iter().chain(&own.said) {
        say(format_args!("{line}"));
    }
    say(format_args!(
        "listening on {}, {}, hook {}, snapshot length {} bytes",
        interfaces_text(config, ", ", "not "),
        namespaces_text(&options.devices),
        place(hook),
        config.snaplen
    ));
    background::give_memory_back();
    if let Err(error) = slice::shorten() {
        debug(&|| format!("no shorter turns of a processor: {error}"));
    }

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
        hurries: false,
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
    pipeline.stats.socket_calls_missed = kernel.socket_calls_missed();
    pipeline.stats.forks_missed = kernel.forks_missed();
    kernel.detach()?;
    learn(kernel, &mut pipeline);
    // Whatever went wrong with the rings, what was taken so far is not lost.
    let drained = watched.and_then(|order| drain(&mut pipeline, order));
    let drops = drained.as_deref().unwrap_or_default();
    pipeline.stats.missed = missed;
    let End {
        stats,
        lines,
        result,
    } = pipeline.finish(drops, monotonic_ns());
    if config.debug {
        let reordered = stats.reordered;
        say(format_args!(
            "{reordered} frames were dated later, to keep the order"
        ));
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
