//! Whose frames are wanted: what was asked for, looked up on this machine.

use std::io;

use rustix::fs::FileType;
use skbcap_common::sender::{UNWANTED, WANTED, kind};

use super::{own::writes_to_stdout, target::Facts};
use crate::{
    config::{Config, Sides},
    kernel::{
        cgroups::{Cgroup, CgroupError},
        senders::{self, Wanted},
    },
    privilege::{User, UserError},
};

/// Why senders can't be told apart, or one that was asked for isn't there.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    /// This kernel doesn't tell who sent a frame.
    #[error("cannot tell whose frames are {wanted}: {why}")]
    NoClaims {
        /// What was asked for.
        wanted: &'static str,
        /// Why not, in words.
        why: String,
    },
    /// skbcap is in a container.
    #[error(
        "process ids here are not the kernel's own: run skbcap in the host's pid namespace to \
         capture by process"
    )]
    PidNamespace,
    /// There is none of that id.
    #[error("there is no process {0}: --pid takes the id of one that runs; 'ps -e' lists them")]
    Process(u32),
    /// It is one of a process's threads, and not the first.
    #[error("{thread} is a thread of process {process}: --tid {thread} takes what that one sends")]
    IsThread {
        /// The thread.
        thread: u32,
        /// Its process.
        process: u32,
    },
    /// There is none of that id.
    #[error("there is no thread {0}: --tid takes the id of one that runs; 'ps -eL' lists them")]
    Thread(u32),
    /// There is none of that name.
    #[error("there is no user '{}': --uid takes a name out of /etc/passwd or the like, or a number",
        .0.escape_debug())]
    User(String),
    /// There is no such cgroup.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
}

/// What the kernel side is to be told, `followed` being the command's process.
pub(super) fn wanted(config: &Config, followed: Option<u32>) -> Result<Wanted, SenderError> {
    let asked = &config.senders;
    let mut wanted = Wanted {
        followed,
        ..Wanted::default()
    };
    let by_id = [&asked.processes, &asked.threads];
    let by_id = by_id.iter().any(|ids| !ids.is_empty()) || !asked.cgroups.is_empty();
    if (by_id || followed.is_some()) && !senders::sees_kernels_ids() {
        return Err(SenderError::PidNamespace);
    }
    let numbers = &mut wanted.numbers;
    add(numbers, kind::PROCESS, &asked.processes, |pid| {
        process(*pid)
    })?;
    add(numbers, kind::THREAD, &asked.threads, |tid| thread(*tid))?;
    add(numbers, kind::USER, &asked.users, |name| user(name))?;
    for (names, bits) in [
        (&asked.names.wanted, WANTED),
        (&asked.names.unwanted, UNWANTED),
    ] {
        let patterns = names.iter().map(|name| name.pattern(bits));
        wanted.patterns.extend(patterns);
    }
    for (cgroups, bits) in [
        (&asked.cgroups.wanted, WANTED),
        (&asked.cgroups.unwanted, UNWANTED),
    ] {
        for path in cgroups {
            let place = wanted.cgroups.len() as u32;
            wanted.numbers.push((kind::CGROUP, place, bits));
            wanted.cgroups.push(Cgroup::open(path)?);
        }
    }
    Ok(wanted)
}

fn add<T>(
    numbers: &mut Vec<(u32, u32, u32)>,
    kind: u32,
    sides: &Sides<T>,
    number: impl Fn(&T) -> Result<u32, SenderError>,
) -> Result<(), SenderError> {
    for (side, bits) in [(&sides.wanted, WANTED), (&sides.unwanted, UNWANTED)] {
        for one in side {
            numbers.push((kind, number(one)?, bits));
        }
    }
    Ok(())
}

fn process(pid: u32) -> Result<u32, SenderError> {
    match senders::process_of(pid) {
        Some(process) if process == pid => Ok(pid),
        Some(process) => Err(SenderError::IsThread {
            thread: pid,
            process,
        }),
        None => Err(SenderError::Process(pid)),
    }
}

fn thread(tid: u32) -> Result<u32, SenderError> {
    let process = senders::process_of(tid).ok_or(SenderError::Thread(tid));
    process.map(|_| tid)
}

fn user(name: &str) -> Result<u32, SenderError> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    match User::named(name) {
        Ok(user) => Ok(user.id()),
        Err(UserError::Missing(_) | UserError::Unknown(..)) => {
            Err(SenderError::User(name.to_owned()))
        }
    }
}

/// Where the output is a socket, what is written to it is sent, too: that is not captured again.
pub(super) fn leave_out_own(wanted: &mut Wanted, config: &Config, facts: &Facts) {
    let is_socket = || {
        let status = rustix::fs::fstat(io::stdout()).ok();
        status.is_some_and(|status| FileType::from_raw_mode(status.st_mode) == FileType::Socket)
    };
    if writes_to_stdout(config)
        && facts.sockets.is_ok()
        && senders::sees_kernels_ids()
        && is_socket()
    {
        let own = std::process::id();
        wanted.numbers.push((kind::PROCESS, own, UNWANTED));
    }
}

/// Fails where frames have no senders, and one is asked for.
pub(super) fn must_be_known(wanted: &Wanted, facts: &Facts) -> Result<(), SenderError> {
    match &facts.sockets {
        Err(why) if wanted.is_any() => Err(no_claims(wanted, why.to_string())),
        _ => Ok(()),
    }
}

/// The error of a kernel that makes no claim.
pub(super) fn no_claims(wanted: &Wanted, why: String) -> SenderError {
    let wanted = if wanted.followed.is_some() {
        "the command's"
    } else {
        "wanted"
    };
    SenderError::NoClaims { wanted, why }
}
