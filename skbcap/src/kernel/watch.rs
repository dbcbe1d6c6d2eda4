//! The programs that watch sockets: whose each is.
//!
//! None of them is needed to capture. Where one is refused that the claims rest on, none is
//! attached: a socket whose writers are not all known is nobody's.

use std::io::{self, Read};

use aya::{
    Btf, Ebpf,
    programs::{FEntry, Iter, ProgramError},
};

use super::{missed::Unseen, refused::ProgramRefused};

/// A program of the object, and the function that it belongs to.
struct Watcher {
    program: &'static str,
    /// The same for kernels whose functions ([`super::kfuncs`]) it can have; else the program itself.
    faster: &'static str,
    function: &'static str,
    /// Whether there is a claim without it, where the kernel has the function.
    needed: bool,
}

const WATCHERS: [Watcher; 7] = [
    // First, so that no entry is left over.
    Watcher {
        program: "socket_released",
        faster: "socket_released",
        function: "security_sk_free",
        needed: true,
    },
    Watcher {
        program: "socket_written",
        faster: "socket_written_cast",
        function: "security_socket_sendmsg",
        needed: true,
    },
    // Gone since 6.5, when its callers began to write as all others do.
    Watcher {
        program: "socket_paged",
        faster: "socket_paged",
        function: PAGED,
        needed: true,
    },
    Watcher {
        program: "socket_created",
        faster: "socket_created",
        function: "security_socket_post_create",
        needed: true,
    },
    Watcher {
        program: "socket_cloned",
        faster: "socket_cloned",
        function: "security_inet_csk_clone",
        needed: true,
    },
    Watcher {
        program: "socket_accepted",
        faster: "socket_accepted",
        function: "security_sock_graft",
        needed: true,
    },
    Watcher {
        program: "socket_connects",
        faster: "socket_connects",
        function: "security_socket_connect",
        needed: false,
    },
];

const PAGED: &str = "inet_sendpage";
/// The program for the kernel's iterator of that name.
const FOUND: (&str, &str) = ("socket_found", "task_file");
/// What the kernel calls that iterator's function.
const FOUND_FUNCTION: &str = "bpf_iter_task_file";

/// The functions that the programs belong to.
pub(super) fn functions() -> impl Iterator<Item = &'static str> {
    let watched = WATCHERS.iter().map(|watcher| watcher.function);
    watched.chain([FOUND_FUNCTION])
}

/// What the second one of two programs at a place is called (`skbcap-ebpf/src/main.rs`).
pub(super) fn again(program: &str) -> String {
    format!("again_{program}")
}

/// The programs, loaded as far as the kernel takes them.
#[derive(Debug)]
pub(super) struct Watch {
    /// Those at one place together.
    loaded: Vec<Vec<String>>,
    finds: bool,
    /// Why no socket is watched.
    fatal: Option<String>,
    refused: Vec<String>,
}

/// What came of watching sockets.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Whether any frame may be said to be a process's.
    pub claims: bool,
    /// What does not work, in words.
    pub lowered: Vec<String>,
}

impl Watched {
    fn fatal(why: &str) -> Self {
        Self {
            claims: false,
            lowered: vec![nobody(why)],
        }
    }
}

impl Watch {
    /// Loads what the kernel takes; each program twice where it `preempts` its own code.
    pub(super) fn load(ebpf: &mut Ebpf, btf: &Btf, has_functions: bool, preempts: bool) -> Self {
        let mut this = Self {
            loaded: Vec::new(),
            finds: false,
            fatal: None,
            refused: Vec::new(),
        };
        for watcher in &WATCHERS {
            let mut load = |program: &str| {
                // The last one that is attached at a function runs first
                // (kernel/bpf/trampoline.c:__bpf_trampoline_link_prog@5.10): the second one first.
                let mut programs = Vec::from_iter(preempts.then(|| again(program)));
                programs.push(program.to_owned());
                for program in &programs {
                    fentry(ebpf, program).load(watcher.function, btf)?;
                }
                Ok(programs)
            };
            let faster = watcher.faster;
            if has_functions
                && faster != watcher.program
                && let Ok(programs) = load(faster)
            {
                this.loaded.push(programs);
                continue;
            }
            match load(watcher.program) {
                Ok(programs) => this.loaded.push(programs),
                Err(ProgramError::Btf(_)) if watcher.function == PAGED => {}
                Err(error) => {
                    let why = in_words(ProgramRefused::new(watcher.function, error));
                    if watcher.needed {
                        this.fatal = Some(why);
                        return this;
                    }
                    this.refused.push(unconnected(&why));
                }
            }
        }
        let found = iterator(ebpf).load(FOUND.1, btf);
        match found {
            Ok(()) => this.finds = true,
            Err(error) => {
                let error = ProgramRefused::new("the iterator task_file", error);
                this.refused.push(older(&in_words(error)));
            }
        }
        this
    }

    /// What the kernel did not take, and what that lowers, in words.
    pub(super) fn lowered(&self) -> Vec<String> {
        match &self.fatal {
            Some(why) => vec![nobody(why)],
            None => self.refused.clone(),
        }
    }

    /// Attaches them, and reads the iterator to its end, and calls `drain` in between. What came of
    /// it, and what tells of calls that the attached programs do not see.
    pub(super) fn start(self, ebpf: &mut Ebpf, drain: impl FnMut()) -> (Watched, Vec<Unseen>) {
        let Self {
            loaded,
            finds,
            fatal,
            mut refused,
        } = self;
        if let Some(why) = fatal {
            return (Watched::fatal(&why), Vec::new());
        }
        let mut unseen = Vec::new();
        for programs in &loaded {
            let mut of_place = Unseen::default();
            for program in programs {
                let watcher = fentry(ebpf, program);
                if let Err(error) = watcher.attach() {
                    for attached in loaded.iter().flatten() {
                        // One that can't be taken off again only fills a map that nobody believes.
                        let _ = fentry(ebpf, attached).unload();
                    }
                    let why = format!("{program} can't be attached: {}", in_words(error));
                    return (Watched::fatal(&why), Vec::new());
                }
                of_place.also_sees(watcher.fd());
            }
            unseen.push(of_place);
        }
        if finds && let Err(error) = find(ebpf, drain) {
            refused.push(older(&in_words(error)));
        }
        let watched = Watched {
            claims: true,
            lowered: refused,
        };
        (watched, unseen)
    }
}

/// Has the iterator look at every file of every task; `drain` takes what it told so far.
fn find(ebpf: &mut Ebpf, mut drain: impl FnMut()) -> Result<(), anyhow::Error> {
    let program = iterator(ebpf);
    let link = program.attach()?;
    let mut file = program.take_link(link)?.into_file()?;
    // The program writes nothing; one read does some of the work.
    let mut nothing = [0; 64];
    loop {
        let read = file.read(&mut nothing);
        drain();
        match read {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                ) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// An error and all that it comes from, in one line.
fn in_words(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}

fn nobody(why: &str) -> String {
    format!("no frame of a socket is said to be a process's: {why}")
}

fn unconnected(why: &str) -> String {
    format!("a socket that is passed on is its creator's until somebody writes to it: {why}")
}

fn older(why: &str) -> String {
    format!("frames of sockets older than the capture are nobody's: {why}")
}

fn fentry<'e>(ebpf: &'e mut Ebpf, name: &str) -> &'e mut FEntry {
    let program = ebpf.program_mut(name).expect("a program of the object");
    program.try_into().expect("an fentry in the object")
}

fn iterator(ebpf: &mut Ebpf) -> &mut Iter {
    let program = ebpf.program_mut(FOUND.0).expect("a program of the object");
    program.try_into().expect("an iterator in the object")
}
