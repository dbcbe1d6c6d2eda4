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
        for test in &mut tests {
            (test.on, test.off) = (None, None);
            test.once = false;
        }
    }
    Ok(tests)
}

/// A guest to boot.
#[derive(Debug, PartialEq)]
pub(crate) struct Guest {
    /// The kernel's place in the list of kernels.
    pub(crate) kernel: usize,
    /// What it is like.
    pub(crate) machine: Machine,
    /// What it runs, in this order.
    pub(crate) tests: Vec<Test>,
}

impl Guest {
    /// Whether a test for such a machine may go to it.
    fn has_room_for(&self, test: &Test) -> bool {
        !self.machine.alone && self.seconds() + test.seconds <= GUEST_SECONDS
    }

    /// What its tests may take.
    fn seconds(&self) -> u32 {
        self.tests.iter().map(|test| test.seconds).sum()
    }
}

/// The guests for `tests` on `kernels`, those that run alone last.
///
/// `kernels` are places in `names`, the names of all kernels, oldest first.
pub(crate) fn guests(tests: &[Test], kernels: &[usize], names: &[&str]) -> Result<Vec<Guest>> {
    let mut guests: Vec<Guest> = Vec::new();
    for (place, &kernel) in kernels.iter().enumerate() {
        let first = guests.len();
        let mut turn = 0;
        for test in tests {
            if test.once {
                turn += 1;
                if turn % kernels.len() != place {
                    continue;
                }
            }
            if let Some(since) = &test.since {
                let since = names.iter().position(|name| name == since);
                let since = since.with_context(|| {
                    format!("{}: since=KERNEL is one of {}", test.name, names.join(" "))
                })?;
                if kernel < since {
                    continue;
                }
            }
            let name = names[kernel];
            if test.on.as_deref().is_some_and(|on| on != name) || test.off.as_deref() == Some(name)
            {
                continue;
            }
            let shared = guests[first..]
                .iter_mut()
                .find(|guest| guest.machine == test.machine && guest.has_room_for(test));
            if let Some(guest) = shared {
                guest.tests.push(test.clone());
            } else {
                let machine = test.machine.clone();
                guests.push(Guest {
                    kernel,
                    machine,
                    tests: vec![test.clone()],
                });
            }
        }
    }
    // The longest first: at the end, none is left to run for long beside nothing. A machine that counts
    // instructions is the slowest.
    guests.sort_by_key(|guest| {
        let machine = &guest.machine;
        (machine.alone, !machine.icount, Reverse(guest.seconds()))
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
                let names: Vec<_> = guest.tests.iter().map(|test| test.name.as_str()).collect();
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
        let counts: Vec<_> = guests.iter().map(|guest| guest.tests.len()).collect();
        assert_eq!(counts, [120, 30]);
        assert_eq!(guests[1].tests[0].name, "t120");
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
                let tests = guest.tests.iter();
                tests
                    .map(move |test| format!("{kernel} {}", test.name))
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
            let shown = |guest: &super::Guest| (guest.kernel, guest.tests.len());
            guests.iter().map(shown).collect()
        };
        assert_eq!(run(&[]), [(3, 2), (1, 1)]);
        assert_eq!(run(&["t".to_owned()]), [(1, 2), (3, 2)]);
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(parse("boot alon").is_err());
    }
}
