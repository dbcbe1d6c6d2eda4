//! Which tests run in which guests. Pure: the list of tests and what was asked
//! for go in, guests come out.

use std::cmp::Reverse;

use anyhow::{Context, Result, bail, ensure};

/// How long a test may take when it does not say.
const SECONDS: u32 = 60;

/// How long all tests of a guest may take together: with more, a kernel's tests go to several guests,
/// so that no processor is left with one kernel while the others have nothing to do.
const GUEST_SECONDS: u32 = 7200;

/// One line of `guest --list`: `NAME KEY[=VALUE]…`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Test {
    /// Its name.
    pub(crate) name: String,
    /// `seconds=N`: how long it may take.
    pub(crate) seconds: u32,
    /// `since=KERNEL`: the first kernel that has what it needs.
    pub(crate) since: Option<String>,
    /// `on=KERNEL`: unless asked for by its name, it runs on this kernel only.
    pub(crate) on: Option<String>,
    /// `off=KERNEL`: unless asked for by its name, it doesn't run on this kernel.
    pub(crate) off: Option<String>,
    /// `once`: unless asked for by its name, it runs on one of the kernels, by turns: what it tests is
    /// the command line's or the output's, and not the kernel's.
    pub(crate) once: bool,
    /// `ends`: unless asked for by its name, it runs on the oldest and on the newest of the kernels:
    /// those between do what it tests as one of these does it.
    pub(crate) ends: bool,
    /// `named`: it runs only when asked for by its name.
    pub(crate) named: bool,
    /// The machine that it wants.
    pub(crate) machine: Machine,
}

/// What a guest is like; tests that want the same share one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Machine {
    /// `append=ARGUMENT`, repeatable: kernel arguments.
    pub(crate) append: Vec<String>,
    /// `smp=N`: processors.
    pub(crate) smp: Option<u32>,
    /// `memory=MEGABYTES`.
    pub(crate) memory: Option<u32>,
    /// `alone`: one test in the guest, and no other guest beside it.
    pub(crate) alone: bool,
    /// `icount`, or a name that begins with `icount_`: time counts instructions.
    pub(crate) icount: bool,
}

impl Test {
    /// Reads one line.
    fn parse(line: &str) -> Result<Self> {
        let mut words = line.split_whitespace();
        let name = words.next().context("an empty line")?.to_owned();
        // What measures instructions is named so, and needs no key.
        let icount = name.starts_with("icount_");
        let machine = Machine {
            icount,
            ..Machine::default()
        };
        let mut test = Self {
            name,
            seconds: SECONDS,
            since: None,
            on: None,
            off: None,
            once: false,
            ends: false,
            named: false,
            machine,
        };
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let machine = &mut test.machine;
            match key {
                "seconds" => test.seconds = value.parse()?,
                "since" => test.since = Some(value.to_owned()),
                "on" => test.on = Some(value.to_owned()),
                "off" => test.off = Some(value.to_owned()),
                "once" => test.once = true,
                "ends" => test.ends = true,
                "named" => test.named = true,
                "append" => machine.append.push(value.to_owned()),
                "smp" => machine.smp = Some(value.parse()?),
                "memory" => machine.memory = Some(value.parse()?),
                "alone" => machine.alone = true,
                "icount" => machine.icount = true,
                _ => bail!("unknown key {key}"),
            }
        }
        Ok(test)
    }

    /// Has it run on every kernel that has what it needs.
    pub(crate) fn everywhere(&mut self) {
        (self.on, self.off) = (None, None);
        (self.once, self.ends) = (false, false);
    }

    /// The kernels that it runs on, of those that are tested, oldest first; `turn` counts the tests that
    /// run once.
    fn kernels(&self, tested: &[usize], names: &[&str], turn: &mut usize) -> Result<Vec<usize>> {
        let mut kernels = tested.to_vec();
        if let Some(since) = &self.since {
            let place = names.iter().position(|name| name == since);
            let since = place.with_context(|| {
                format!("{}: since=KERNEL is one of {}", self.name, names.join(" "))
            })?;
            kernels.retain(|&kernel| kernel >= since);
        }
        let is = |kernel: usize, name: &Option<String>| name.as_deref() == Some(names[kernel]);
        kernels.retain(|&kernel| {
            (self.on.is_none() || is(kernel, &self.on)) && !is(kernel, &self.off)
        });
        if self.once && !kernels.is_empty() {
            *turn += 1;
            kernels = vec![kernels[*turn % kernels.len()]];
        }
        if self.ends && kernels.len() > 2 {
            kernels.drain(1..kernels.len() - 1);
        }
        Ok(kernels)
    }
}

/// Reads what `guest --list` printed.
pub(crate) fn parse(text: &str) -> Result<Vec<Test>> {
    text.lines()
        .map(|line| Test::parse(line).with_context(|| format!("guest --list printed {line:?}")))
        .collect()
}

/// The tests whose names begin as asked; all when nothing is asked. Those that
/// count instructions are measurements, those named `native_` measure a host,
/// those named `soak_` take hours, and some wait to be `named`: they run only
/// when asked for. What is asked for runs on every kernel that it can run on.
pub(crate) fn select(tests: Vec<Test>, asked: &[String]) -> Result<Vec<Test>> {
    let fits = |test: &Test| {
        if asked.is_empty() {
            let special = ["native_", "soak_"];
            let waits = test.named || test.machine.icount;
            !waits && !special.iter().any(|begin| test.name.starts_with(begin))
        } else {
            asked
                .iter()
                .any(|begin| test.name.starts_with(begin.as_str()))
        }
    };
    for begin in asked {
        ensure!(
            tests
                .iter()
                .any(|test| test.name.starts_with(begin.as_str())),
            "no test's name begins with {begin}; `cargo xtask vm --list` names them"
        );
    }
    let mut tests: Vec<Test> = tests.into_iter().filter(fits).collect();
    if !asked.is_empty() {
        tests.iter_mut().for_each(Test::everywhere);
    }
    Ok(tests)
}

/// A test on one of the kernels that run it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Run {
    /// What runs.
    pub(crate) test: Test,
    /// The place that the kernel takes among those that run it: by turns, as the first share of some
    /// parts is the largest.
    pub(crate) place: usize,
    /// How many these are. Together they run all of a test's parts.
    pub(crate) kernels: usize,
}

/// A guest to boot.
#[derive(Debug, PartialEq)]
pub(crate) struct Guest {
    /// The kernel's place in the list of kernels.
    pub(crate) kernel: usize,
    /// What it is like.
    pub(crate) machine: Machine,
    /// What it runs, in this order.
    pub(crate) runs: Vec<Run>,
}

impl Guest {
    /// Whether a test for such a machine may go to it.
    fn has_room_for(&self, test: &Test) -> bool {
        !self.machine.alone && self.seconds() + test.seconds <= GUEST_SECONDS
    }

    /// What its tests may take.
    fn seconds(&self) -> u32 {
        self.runs.iter().map(|run| run.test.seconds).sum()
    }
}

/// The guests for `tests` on the kernels `tested`, those that run alone last.
///
/// `tested` are places in `names`, the names of all kernels, oldest first.
pub(crate) fn guests(tests: &[Test], tested: &[usize], names: &[&str]) -> Result<Vec<Guest>> {
    let mut guests: Vec<Guest> = Vec::new();
    let mut turn = 0;
    for (number, test) in tests.iter().enumerate() {
        let kernels = test.kernels(tested, names, &mut turn)?;
        for (place, &kernel) in kernels.iter().enumerate() {
            let run = Run {
                test: test.clone(),
                place: (number + place) % kernels.len(),
                kernels: kernels.len(),
            };
            let shared = guests.iter_mut().find(|guest| {
                guest.kernel == kernel && guest.machine == test.machine && guest.has_room_for(test)
            });
            if let Some(guest) = shared {
                guest.runs.push(run);
            } else {
                let machine = test.machine.clone();
                guests.push(Guest {
                    kernel,
                    machine,
                    runs: vec![run],
                });
            }
        }
    }
    // The longest first: at the end, none is left to run for long beside nothing. A machine that counts
    // instructions is the slowest.
    guests.sort_by_key(|guest| {
        let machine = &guest.machine;
        let long = Reverse(guest.seconds());
        (machine.alone, !machine.icount, long, guest.kernel)
    });
    Ok(guests)
}

#[cfg(test)]
mod tests {
    use super::{guests, parse, select};

    const LIST: &str = "boot\nload alone smp=1\nlock append=lockdown=integrity append=quiet\n\
                        netkit since=6.12\nicount_send alone seconds=9\nsoak_all alone\n\
                        native_all\nrare named\n";

    #[test]
    fn tests_that_want_the_same_machine_share_a_guest() {
        let tests = select(parse(LIST).unwrap(), &[]).unwrap();
        let guests = guests(&tests, &[0, 1], &["6.1", "6.12"]).unwrap();
        let shown: Vec<_> = guests
            .iter()
            .map(|guest| {
                let names: Vec<_> = guest
                    .runs
                    .iter()
                    .map(|run| run.test.name.as_str())
                    .collect();
                format!("{} {}", guest.kernel, names.join("+"))
            })
            .collect();
        assert_eq!(
            shown,
            [
                "1 boot+netkit",
                "0 boot",
                "0 lock",
                "1 lock",
                "0 load",
                "1 load"
            ]
        );
        assert_eq!(guests[2].machine.append, ["lockdown=integrity", "quiet"]);
    }

    #[test]
    fn many_tests_of_a_kernel_go_to_several_guests() {
        let list: String = (0..150).map(|number| format!("t{number}\n")).collect();
        let tests = select(parse(&list).unwrap(), &[]).unwrap();
        let guests = guests(&tests, &[0], &["6.1"]).unwrap();
        let counts: Vec<_> = guests.iter().map(|guest| guest.runs.len()).collect();
        assert_eq!(counts, [120, 30]);
        assert_eq!(guests[1].runs[0].test.name, "t120");
    }

    #[test]
    fn measurements_run_when_asked_for() {
        let tests = select(parse(LIST).unwrap(), &["icount_".to_owned()]).unwrap();
        assert_eq!(tests.len(), 1);
        assert_eq!(tests[0].seconds, 9);
        assert!(select(parse(LIST).unwrap(), &["nothing".to_owned()]).is_err());
    }

    #[test]
    fn a_long_test_runs_on_one_kernel_unless_it_is_asked_for() {
        const LIST: &str = "all on=6.1\nsome off=6.1\n";
        let run = |asked: &[String]| -> Vec<String> {
            let tests = select(parse(LIST).unwrap(), asked).unwrap();
            let guests = guests(&tests, &[0, 1], &["5.10", "6.1"]).unwrap();
            let names = |guest: &super::Guest| {
                let kernel = guest.kernel;
                let runs = guest.runs.iter();
                runs.map(move |run| format!("{kernel} {}", run.test.name))
                    .collect::<Vec<_>>()
            };
            guests.iter().flat_map(names).collect()
        };
        assert_eq!(run(&[]), ["0 some", "1 all"]);
        assert_eq!(run(&["all".to_owned()]), ["0 all", "1 all"]);
    }

    #[test]
    fn what_is_not_the_kernels_runs_on_one_by_turns() {
        const LIST: &str = "one once\ntwo once\nthree once\n";
        let run = |asked: &[String]| -> Vec<(usize, usize)> {
            let tests = select(parse(LIST).unwrap(), asked).unwrap();
            let guests = guests(&tests, &[1, 3], &["5.10", "6.1", "6.12", "newest"]).unwrap();
            let shown = |guest: &super::Guest| (guest.kernel, guest.runs.len());
            guests.iter().map(shown).collect()
        };
        assert_eq!(run(&[]), [(3, 2), (1, 1)]);
        assert_eq!(run(&["t".to_owned()]), [(1, 2), (3, 2)]);
    }

    #[test]
    fn what_is_between_does_as_the_ends_do() {
        const NAMES: [&str; 4] = ["5.10", "6.1", "6.12", "newest"];
        const LIST: &str = "some ends\nlater ends since=6.1\nall\n";
        let run = |asked: &[String], tested: &[usize]| -> Vec<String> {
            let tests = select(parse(LIST).unwrap(), asked).unwrap();
            let mut runs = Vec::new();
            for guest in guests(&tests, tested, &NAMES).unwrap() {
                runs.extend(guest.runs.iter().map(|run| {
                    let (name, kernel) = (&run.test.name, guest.kernel);
                    format!("{name} {kernel} {}/{}", run.place, run.kernels)
                }));
            }
            runs.sort();
            runs
        };
        assert_eq!(
            run(&[], &[0, 1, 2, 3]),
            [
                "all 0 2/4",
                "all 1 3/4",
                "all 2 0/4",
                "all 3 1/4",
                "later 1 1/2",
                "later 3 0/2",
                "some 0 0/2",
                "some 3 1/2"
            ]
        );
        assert_eq!(
            run(&["later".to_owned()], &[1, 2]),
            ["later 1 0/2", "later 2 1/2"]
        );
        assert_eq!(run(&["some".to_owned()], &[0, 1, 3]).len(), 3);
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(parse("boot alon").is_err());
    }
}
