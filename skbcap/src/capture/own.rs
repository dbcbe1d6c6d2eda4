//! The frames that the output itself causes because it lies on another machine: written, they would
//! be sent, captured and written again, without end.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::fs::{FileType, Mode, OFlags};

use super::rights;
use crate::{
    config::{Config, Output},
    file_server::{FileServer, UnknownServer},
    filter::peer::Peer,
};

/// `NFS_SUPER_MAGIC`, `CIFS_SUPER_MAGIC` and `SMB2_SUPER_MAGIC` of Linux `include/uapi/linux/
/// magic.h`, and how they are called.
const NETWORKS: [(u32, &str); 3] = [
    (0x6969, "nfs"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb3"),
];

/// What is left out, and what is said of that.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// To whom the output goes.
    pub(super) peers: Vec<Peer>,
    /// A line for each of them, and for each that is not known.
    pub(super) said: Vec<String>,
}

impl Own {
    /// Looks at what the output lies on. Who opens the output must ask: others may not get at its
    /// directory.
    pub(super) fn find(config: &Config) -> Self {
        let mut own = Self::default();
        for place in places(config) {
            match server(&place) {
                Some(Ok(server)) if !own.peers.contains(&server.peer) => {
                    own.said.push(server.to_string());
                    own.peers.push(server.peer);
                }
                Some(Err(unknown)) if !own.said.contains(&unknown.to_string()) => {
                    own.said.push(unknown.to_string());
                }
                _ => {}
            }
        }
        own
    }
}

/// The server of what something lies on; [`None`] where that is this machine's own, which is asked
/// first: the list of mounts can be long.
fn server(place: &OwnedFd) -> Option<Result<FileServer, UnknownServer>> {
    let magic = u32::try_from(rustix::fs::fstatfs(place).ok()?.f_type).ok()?;
    let (_, name) = NETWORKS.iter().find(|(number, _)| *number == magic)?;
    let device = rustix::fs::fstat(place).ok()?.st_dev;
    let device = (rustix::fs::major(device), rustix::fs::minor(device));
    let text = |path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let mounts = text("/proc/self/mountinfo");
    let server = FileServer::find(device, &mounts, &text("/proc/net/nfsfs/volumes"));
    // It may be mounted where this process sees no mounts.
    Some(server.unwrap_or_else(|| Err(UnknownServer((*name).to_owned()))))
}

/// Where regular files are written: their directories, and standard output.
fn places(config: &Config) -> Vec<OwnedFd> {
    let mut places = Vec::new();
    if let Output::File(path) = &config.output
        && fs::metadata(path).map_or(true, |file| file.is_file())
    {
        for directory in rights::directories(path, config.rotate.seconds.is_some()) {
            // Of a directory by its own name it would not be seen what is yet to be mounted on it.
            let inside = directory.join(".");
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            places.extend(rustix::fs::open(inside, flags, Mode::empty()));
        }
    }
    let is_file =
        |status: rustix::fs::Stat| FileType::from_raw_mode(status.st_mode) == FileType::RegularFile;
    if writes_to_stdout(config) && rustix::fs::fstat(io::stdout()).is_ok_and(is_file) {
        places.extend(io::stdout().as_fd().try_clone_to_owned());
    }
    places
}

/// Whether frames or lines go to standard output.
pub(super) fn writes_to_stdout(config: &Config) -> bool {
    match config.output {
        Output::Stdout => true,
        Output::Print => config.run.is_empty(),
        Output::File(_) => config.print && config.run.is_empty(),
    }
}
