//! A server of NFS version 3 (RFC 1813) with one directory, whose files are in memory, with the mount
//! protocol and the port mapper (RFC 1833) that belong to it: what Linux's client asks for to make
//! files and write them.

use std::net::{IpAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};

use super::rpc::{Answer, Call, Xdr, bytes, long, serve, words};
use crate::lab::Space;

const PORT_MAPPER: u32 = 100_000;
const NFS: u32 = 100_003;
const MOUNT: u32 = 100_005;

/// Where the port mapper is.
const PORT_MAPPERS_PORT: u16 = 111;

/// `NFS3ERR_NOENT`.
const NO_ENTRY: u32 = 2;

/// The files, by their handles but for 1: the directory is 0.
type Files = Vec<(String, Vec<u8>)>;

/// A server, which is there until this process ends.
pub(super) struct Server {
    files: Arc<Mutex<Files>>,
}

impl Server {
    /// One at this address and port of a namespace, and its port mapper.
    pub(super) fn start(space: &Space, address: IpAddr, port: u16) -> Result<Self> {
        let files = Arc::new(Mutex::new(Files::new()));
        let answer = {
            let files = Arc::clone(&files);
            Arc::new(move |call: &mut Call<'_>| answer(call, &mut locked(&files), port))
        };
        for port in [port, PORT_MAPPERS_PORT] {
            let bind = || TcpListener::bind((address, port)).context("cannot listen");
            serve(space.within(bind)?, Arc::clone(&answer));
        }
        Ok(Self { files })
    }

    /// The files, in the order in which they were made.
    pub(super) fn files(&self) -> Vec<(String, Vec<u8>)> {
        locked(&self.files).clone()
    }
}

fn locked(files: &Mutex<Files>) -> MutexGuard<'_, Files> {
    files.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(call: &mut Call<'_>, files: &mut Files, port: u16) -> Result<Answer> {
    let mut out = Vec::new();
    let arguments = &mut call.arguments;
    match (call.program, call.procedure) {
        // NULL
        (PORT_MAPPER | NFS | MOUNT, 0) => {}
        // GETPORT: all programs are at one.
        (PORT_MAPPER, 3) => words(&mut out, [port.into()]),
        // MNT, with one way to say who asks: AUTH_SYS.
        (MOUNT, 1) => {
            words(&mut out, [0]);
            bytes(&mut out, &handle(0));
            words(&mut out, [1, 1]);
        }
        // UMNT
        (MOUNT, 3) => {}
        (NFS, procedure) => match nfs(procedure, arguments, files)? {
            Some(results) => out = results,
            None => return Ok(Answer::NoProcedure),
        },
        (PORT_MAPPER | MOUNT, _) => return Ok(Answer::NoProcedure),
        _ => return Ok(Answer::NoProgram),
    }
    Ok(Answer::Results(out))
}

/// A procedure's results; nothing if there is none of that number.
fn nfs(procedure: u32, arguments: &mut Xdr<'_>, files: &mut Files) -> Result<Option<Vec<u8>>> {
    let file = number(arguments)?;
    let mut out = Vec::new();
    words(&mut out, [0]);
    match procedure {
        // GETATTR
        1 => attributes(&mut out, file, files)?,
        // SETATTR: of a file, its size.
        2 => {
            if let (Some(size), true) = (new_size(arguments)?, file > 0) {
                files[file - 1].1.resize(size, 0);
            }
            changed(&mut out, file, files)?;
        }
        // LOOKUP
        3 => {
            let name = arguments.string()?;
            match files.iter().position(|(named, _)| *named == name) {
                Some(at) => {
                    bytes(&mut out, &handle(at + 1));
                    told(&mut out, at + 1, files)?;
                }
                None => {
                    out.clear();
                    words(&mut out, [NO_ENTRY]);
                }
            }
            told(&mut out, file, files)?;
        }
        // ACCESS: whatever is asked for.
        4 => {
            told(&mut out, file, files)?;
            words(&mut out, [arguments.u32()?]);
        }
        // READ
        6 => {
            let (offset, count) = (arguments.u64()?, arguments.u32()?);
            told(&mut out, file, files)?;
            let all = contents(file, files)?;
            let rest = all.get(usize::try_from(offset)?..).unwrap_or_default();
            let part = &rest[..rest.len().min(count as usize)];
            words(
                &mut out,
                [part.len() as u32, (part.len() == rest.len()).into()],
            );
            bytes(&mut out, part);
        }
        // WRITE, which is done when it is answered (FILE_SYNC).
        7 => {
            let offset = usize::try_from(arguments.u64()?)?;
            let [_count, _stable] = [arguments.u32()?, arguments.u32()?];
            let data = arguments.bytes()?;
            let all = contents(file, files)?;
            let end = offset + data.len();
            all.resize(all.len().max(end), 0);
            all[offset..end].copy_from_slice(data);
            changed(&mut out, file, files)?;
            words(&mut out, [data.len() as u32, 2, 0, 0]);
        }
        // CREATE
        8 => {
            let name = arguments.string()?;
            let at = files.iter().position(|(named, _)| *named == name);
            let at = at.unwrap_or_else(|| {
                files.push((name, Vec::new()));
                files.len() - 1
            });
            words(&mut out, [1]);
            bytes(&mut out, &handle(at + 1));
            told(&mut out, at + 1, files)?;
            changed(&mut out, file, files)?;
        }
        // FSSTAT: much room.
        18 => {
            told(&mut out, file, files)?;
            for _ in 0..6 {
                long(&mut out, 1 << 40);
            }
            words(&mut out, [0]);
        }
        // FSINFO: reads and writes of 64 KiB.
        19 => {
            told(&mut out, file, files)?;
            let most = 1 << 16;
            words(&mut out, [most, most, 4096, most, most, 4096, most]);
            long(&mut out, 1 << 40);
            words(&mut out, [0, 1, 0x1b]);
        }
        // PATHCONF
        20 => {
            told(&mut out, file, files)?;
            words(&mut out, [1, 255, 1, 1, 0, 1]);
        }
        // COMMIT
        21 => {
            changed(&mut out, file, files)?;
            words(&mut out, [0, 0]);
        }
        _ => return Ok(None),
    }
    Ok(Some(out))
}

fn handle(file: usize) -> [u8; 8] {
    (file as u64).to_be_bytes()
}

/// Which file a handle stands for.
fn number(arguments: &mut Xdr<'_>) -> Result<usize> {
    let handle = arguments.bytes()?.try_into().context("no handle")?;
    Ok(usize::try_from(u64::from_be_bytes(handle))?)
}

fn contents(file: usize, files: &mut Files) -> Result<&mut Vec<u8>> {
    let at = file.checked_sub(1).context("a directory")?;
    let (_, contents) = files.get_mut(at).context("no such file")?;
    Ok(contents)
}

/// `fattr3`. Times never change: nobody else writes.
fn attributes(out: &mut Vec<u8>, file: usize, files: &mut Files) -> Result<()> {
    let (kind, mode, size) = match file {
        0 => (2, 0o777, 4096),
        _ => (1, 0o644, contents(file, files)?.len() as u64),
    };
    words(out, [kind, mode, 1, 0, 0]);
    long(out, size);
    long(out, size);
    words(out, [0, 0]);
    long(out, 1);
    long(out, file as u64 + 1);
    words(out, [1, 0, 1, 0, 1, 0]);
    Ok(())
}

/// `post_op_attr`.
fn told(out: &mut Vec<u8>, file: usize, files: &mut Files) -> Result<()> {
    words(out, [1]);
    attributes(out, file, files)
}

/// `wcc_data`, which need not tell how it was before.
fn changed(out: &mut Vec<u8>, file: usize, files: &mut Files) -> Result<()> {
    words(out, [0]);
    told(out, file, files)
}

/// The size of a `sattr3`.
fn new_size(arguments: &mut Xdr<'_>) -> Result<Option<usize>> {
    for _mode_and_owners in 0..3 {
        if arguments.u32()? == 1 {
            arguments.u32()?;
        }
    }
    Ok(match arguments.u32()? {
        1 => Some(usize::try_from(arguments.u64()?)?),
        _ => None,
    })
}
