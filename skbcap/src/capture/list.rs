//! `-D`: the interfaces there are to capture on, as a table.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::target;
use crate::config::Config;
use crate::escape::escape_into;
use crate::kernel::devices::{self, Device};
use crate::kernel::netns::{Namespace, NetnsError};
use crate::link_type;
use crate::namespaces::Namespaces;

/// Prints them: of some namespaces, or of all that have a name or a process.
pub(super) fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let namespaces = match target::namespaces(config)? {
        Namespaces::All => all()?,
        Namespaces::AllBut(left_out) => {
            let mut namespaces = all()?;
            namespaces.retain(|one| left_out.iter().all(|other| other.inode() != one.inode()));
            namespaces
        }
        Namespaces::Only(these) => these,
    };
    let mut rows = Vec::new();
    for namespace in &namespaces {
        match namespace.inside(devices::all) {
            Ok(devices) => rows.extend(devices.iter().map(|device| row(device, namespace))),
            // One of many may be gone by now, or closed to us.
            Err(error) if namespaces.len() > 1 => super::say(format_args!("{error}")),
            Err(error) => return Err(error.into()),
        }
    }
    let widths: [usize; 4] = std::array::from_fn(|column| {
        let lens = rows
            .iter()
            .map(|row: &[String; 5]| row[column].chars().count());
        lens.max().unwrap_or(0)
    });
    let mut out = io::stdout().lock();
    for [index, name, state, link_type, namespace] in &rows {
        let [index_width, name_width, state_width, type_width] = widths;
        let result = writeln!(
            out,
            "{index:>index_width$}.{name:name_width$}  {state:state_width$}  \
             {link_type:type_width$}  {namespace}"
        );
        match result {
            // Whoever reads no further has seen what was wanted.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            result => result?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(device: &Device, namespace: &Namespace) -> [String; 5] {
    let mut words = vec![if device.is_up() { "Up" } else { "Down" }];
    if device.is_running() {
        words.push("Running");
    }
    if device.is_loopback() {
        words.push("Loopback");
    }
    let link_type = link_type::of_device(device.dev_type).map_or_else(
        || format!("device type {}, no link type", device.dev_type),
        |known| link_type::name(known).into_owned(),
    );
    let mut of = format!("netns={}", namespace.inode());
    if let Ok(name) = namespace.path().strip_prefix(NAMED) {
        of.push(' ');
        escape_into(&mut of, name.as_os_str().as_encoded_bytes(), b"");
    } else if let Some(pid) = process(namespace.path()) {
        of.push_str(&format!(" of process {pid}"));
    }
    let mut name = String::new();
    escape_into(&mut name, device.name.as_bytes(), b"");
    let state = format!("[{}]", words.join(", "));
    [device.index.to_string(), name, state, link_type, of]
}

/// Where `ip netns` keeps namespaces.
const NAMED: &str = "/run/netns";

/// Our own first, then those with a name, then those of processes; each once.
fn all() -> Result<Vec<Namespace>, NetnsError> {
    let own = Namespace::own()?;
    let mut others = BTreeMap::new();
    let named = entries(Path::new(NAMED)).into_iter();
    let mut pids: Vec<u32> = entries(Path::new("/proc"))
        .iter()
        .filter_map(|path| path.file_name()?.to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    let of_processes = pids
        .into_iter()
        .map(|pid| PathBuf::from(format!("/proc/{pid}/ns/net")));
    let mut found = vec![own];
    for path in named.chain(of_processes) {
        // Other users' processes, and those that end right now.
        let Ok(namespace) = Namespace::at(&path) else {
            continue;
        };
        if namespace.inode() != found[0].inode() {
            let next = others.len();
            others.entry(namespace.inode()).or_insert((next, namespace));
        }
    }
    let mut others: Vec<_> = others.into_values().collect();
    others.sort_by_key(|(place, _)| *place);
    found.extend(others.into_iter().map(|(_, namespace)| namespace));
    Ok(found)
}

fn process(path: &Path) -> Option<&str> {
    let pid = path.strip_prefix("/proc").ok()?.iter().next()?.to_str()?;
    pid.bytes().all(|byte| byte.is_ascii_digit()).then_some(pid)
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
