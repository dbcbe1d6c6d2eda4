//! What is known of the processes that use sockets: put together from what the kernel side tells,
//! asked for each frame.
//!
//! A process is its number and its start: another that gets the number is another. So is the same
//! one when it executes another program. What is said of a frame was told before the frame was sent,
//! of its very socket; where that is not known, nothing is said. Must not know: where frames come
//! from, where the words go.

mod cgroup;
mod cmdline;
mod fields;
mod news;
mod program;
pub(crate) mod words;

pub(crate) use self::fields::append;
pub use self::fields::{Field, Fields, UnknownField};
pub use self::news::{Inquirer, News};

use std::{collections::HashMap, rc::Rc};

use skbcap_common::{By, Flags, RecordHeader, process::what};

/// Sockets and processes that are known at a time: behind these, all is forgotten and learnt anew.
const MOST: usize = 1 << 18;

/// Uses of a socket that are kept.
const USES: usize = 16;

/// A process, as long as it is one program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// Its number, in the initial pid namespace.
    pub tgid: u32,
    /// When it was started: nanoseconds on `CLOCK_BOOTTIME`.
    pub start_ns: u64,
    /// Its user, in the initial user namespace.
    pub uid: u32,
    /// Its parent, by tgid.
    pub parent: u32,
    /// The inode number of its network namespace.
    pub netns: u32,
    /// The name of the thread that did what was told.
    pub comm: Vec<u8>,
    /// Its program: the path where that could be made sure of, else the last part of it; empty
    /// where it has none.
    pub exe: Vec<u8>,
    /// The path of its cgroup; empty where that is not known.
    pub cgroup: Vec<u8>,
    /// Its command line, words with a NUL byte between; empty where it is not known, or nobody asked.
    pub cmdline: Vec<u8>,
}

/// What is known of a frame: numbers of processes, for [`Processes::get`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The process that sent it.
    pub sender: Option<u32>,
    /// The process that created its socket, if that is another.
    pub owner: Option<u32>,
}

/// A socket, from its birth until another has its address.
#[derive(Clone, Debug, Default)]
struct Life {
    born_ns: u64,
    creator: Option<u32>,
    /// Who used it, since when.
    uses: Vec<(u64, u32)>,
}

/// All that was told.
#[derive(Debug, Default)]
pub struct Processes {
    /// The last two at each address: frames of the first may still come.
    sockets: HashMap<u64, [Option<Life>; 2]>,
    processes: Vec<Rc<Process>>,
    numbers: HashMap<Rc<Process>, u32>,
}

impl Processes {
    /// Takes something that was told; `None`: something was not, and so all that is known may be
    /// over. Returns whether all was forgotten, and numbers of processes begin anew.
    pub fn learn(&mut self, news: Option<&News>) -> bool {
        let is_over = news.is_none() || self.sockets.len() > MOST || self.processes.len() > MOST;
        if is_over {
            *self = Self::default();
        }
        if let Some(news) = news {
            self.add(news);
        }
        is_over
    }

    fn add(&mut self, news: &News) {
        let (time, socket) = (news.time_ns, news.socket);
        let Some(process) = &news.process else {
            let parent = self.latest(news.listener);
            let uses = parent.map_or_else(Vec::new, |life| life.uses.clone());
            self.begin(
                socket,
                Life {
                    born_ns: time,
                    creator: None,
                    uses,
                },
            );
            return;
        };
        let process = self.number(process);
        if news.what == what::CREATED {
            self.begin(
                socket,
                Life {
                    born_ns: time,
                    creator: Some(process),
                    uses: vec![(time, process)],
                },
            );
            return;
        }
        let lives = self.sockets.entry(socket).or_default();
        let uses = &mut lives[0].get_or_insert_default().uses;
        uses.retain(|&(_, other)| other != process || news.what == what::USED);
        if uses.len() >= USES {
            uses.remove(0);
        }
        uses.push((time, process));
    }

    /// What is known of a frame.
    #[must_use]
    pub fn of(&self, header: &RecordHeader) -> Known {
        let by = Flags(header.flags).by();
        if !matches!(by, Some(By::Task | By::Socket | By::Shared)) {
            return Known::default();
        }
        let Some(lives) = self.sockets.get(&header.socket) else {
            return Known::default();
        };
        let mut lives = lives.iter().flatten();
        let Some(life) = lives.find(|life| life.born_ns <= header.time_ns) else {
            return Known::default();
        };
        let sender = life.uses.iter().rev().find(|&&(since, process)| {
            since <= header.time_ns && self.get(process).tgid == header.tgid
        });
        let sender = sender.map(|&(_, process)| process);
        let owner = life.creator.filter(|&creator| {
            let creator = self.get(creator);
            match sender.map(|sender| self.get(sender)) {
                Some(sender) => (creator.tgid, creator.start_ns) != (sender.tgid, sender.start_ns),
                None => creator.tgid != header.tgid,
            }
        });
        Known { sender, owner }
    }

    /// The process of a number.
    ///
    /// # Panics
    ///
    /// When [`Processes::of`] gave no such number since all was forgotten.
    #[must_use]
    pub fn get(&self, number: u32) -> &Process {
        &self.processes[number as usize]
    }

    fn latest(&self, socket: u64) -> Option<&Life> {
        self.sockets.get(&socket)?[0].as_ref()
    }

    fn begin(&mut self, socket: u64, life: Life) {
        let lives = self.sockets.entry(socket).or_default();
        lives.swap(0, 1);
        lives[0] = Some(life);
    }

    fn number(&mut self, process: &Rc<Process>) -> u32 {
        if let Some(&number) = self.numbers.get(process) {
            return number;
        }
        let number = self.processes.len() as u32;
        self.processes.push(Rc::clone(process));
        self.numbers.insert(Rc::clone(process), number);
        number
    }
}

#[cfg(test)]
mod tests;
