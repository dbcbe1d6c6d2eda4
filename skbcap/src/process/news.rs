//! What is told of a socket and its process, with what `/proc` says of that one: asked as soon as it
//! comes, because the process may be gone soon, and once, so that all outputs say the same.

use std::{collections::HashSet, rc::Rc};

use skbcap_common::process::{EXE_LEN, Event, what};

use super::{Field, Fields, Process, cgroup::Cgroups, cmdline::CommandLines, program::Programs};

/// Something that the kernel side told: of its [`Event`] no more than matters once `process` is known.
#[derive(Clone, Debug)]
pub struct News {
    /// When it happened: `CLOCK_MONOTONIC` in nanoseconds.
    pub time_ns: u64,
    /// The socket's address.
    pub socket: u64,
    /// Under [`what::CLONED`], the address of the socket that was asked for the connection.
    pub listener: u64,
    /// One of [`what`].
    pub what: u32,
    /// Whom it is about; none where a socket was cloned: the kernel did that.
    pub process: Option<Rc<Process>>,
}

// Tens of thousands of them wait where no frame comes.
const _: () = assert!(size_of::<News>() == 40);

/// Asks for what the kernel side does not tell.
#[derive(Debug, Default)]
pub struct Inquirer {
    programs: Programs,
    cgroups: Cgroups,
    /// Where somebody asked for them.
    cmdlines: Option<CommandLines>,
    /// Each process that was told of, once: much is told of the same.
    pub(super) told: HashSet<Rc<Process>>,
}

impl Inquirer {
    /// Nothing was asked yet; `fields` are to be said.
    #[must_use]
    pub fn asked(fields: Fields) -> Self {
        Self {
            cmdlines: fields.has(Field::Cmdline).then(CommandLines::new),
            ..Self::default()
        }
    }

    /// Takes an event that came just now.
    pub fn ask(&mut self, event: &Event) -> News {
        let process = (event.what != what::CLONED).then(|| {
            let process = self.process(event);
            self.share(process)
        });
        News {
            time_ns: event.time_ns,
            socket: event.socket,
            listener: event.listener,
            what: event.what,
            process,
        }
    }

    /// The one there is of a process.
    fn share(&mut self, process: Process) -> Rc<Process> {
        if let Some(told) = self.told.get(&process) {
            return Rc::clone(told);
        }
        if self.told.len() == self.told.capacity() {
            // Those that nobody has any more; and so much room that this is rarely done.
            self.told.retain(|told| Rc::strong_count(told) > 1);
            self.told.reserve(self.told.len() + 1);
        }
        let process = Rc::new(process);
        self.told.insert(Rc::clone(&process));
        process
    }

    fn process(&mut self, event: &Event) -> Process {
        let comm: [u8; 16] = zerocopy::transmute!(event.comm);
        let of = |lines: &CommandLines| lines.of(event, exe(event));
        Process {
            tgid: event.tgid,
            start_ns: event.start_ns,
            uid: event.uid,
            parent: event.parent,
            netns: event.netns,
            comm: until_nul(&comm).to_vec(),
            exe: self.programs.path(event, exe(event)),
            cgroup: self.cgroups.path(event.cgroup, event.tgid).to_vec(),
            cmdline: self.cmdlines.as_ref().map(of).unwrap_or_default(),
        }
    }
}

/// The name of an event's program.
fn exe(event: &Event) -> &[u8] {
    let name = until_nul(&event.exe);
    // One that fills all of its place may have been longer.
    &name[..name.len().min(EXE_LEN - 1)]
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    let len = bytes.iter().position(|&byte| byte == 0);
    &bytes[..len.unwrap_or(bytes.len())]
}
