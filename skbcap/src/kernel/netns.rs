//! Network namespaces and the interfaces in them.
//!
//! Owns how a namespace is opened, told apart (its inode number, which the programs compare) and
//! looked into. Must not know: the command line's words for them, frames.

use std::ffi::CStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

/// `_IO(0xb7, 3)`: `include/uapi/linux/nsfs.h`. Minimum kernel: 4.11.
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;

/// Why a namespace can't be used.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// Its file could not be opened.
    #[error(
        "cannot open the network namespace {} (--netns takes self, all, a process id, or a path \
         such as /run/netns/NAME)",
        path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is something else.
    #[error(
        "{} is no network namespace; --netns takes self, all, a process id, or a path such as \
         /run/netns/NAME",
        path.display()
    )]
    NoNamespace {
        /// The file.
        path: PathBuf,
    },
    /// It could not be entered.
    #[error("cannot enter the network namespace {}: {source}{}", path.display(), enter_hint(source))]
    Enter {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its interfaces could not be listed.
    #[error("cannot list the interfaces of the network namespace {}: {source}", path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn enter_hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM) => "; this needs CAP_SYS_ADMIN",
        _ => "",
    }
}

/// A network namespace, kept open: it stays in existence, and its number its own.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    path: PathBuf,
    inode: u32,
}

/// An interface by its two names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// `dev->ifindex`: unique within the namespace.
    pub index: u32,
    /// `dev->name`.
    pub name: String,
}

/// No interface of that name or number.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no interface \"{wanted}\" in this network namespace; there are: {}", names(.there))]
pub struct UnknownInterface {
    /// What was asked for.
    pub wanted: String,
    /// What there is.
    pub there: Vec<Interface>,
}

fn names(interfaces: &[Interface]) -> String {
    if interfaces.is_empty() {
        return "none".into();
    }
    interfaces
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.index)
    }
}

impl Namespace {
    /// The calling thread's.
    ///
    /// # Errors
    ///
    /// [`NetnsError::Open`] without `/proc` or `CONFIG_NET_NS`.
    pub fn own() -> Result<Self, NetnsError> {
        Self::at(Path::new("/proc/thread-self/ns/net"))
    }

    /// That of a process.
    ///
    /// # Errors
    ///
    /// [`NetnsError::Open`]: no such process, or it is another user's (`CAP_SYS_PTRACE`).
    pub fn of_process(pid: u32) -> Result<Self, NetnsError> {
        Self::at(&PathBuf::from(format!("/proc/{pid}/ns/net")))
    }

    /// That of a file, e.g. `/run/netns/NAME`.
    ///
    /// # Errors
    ///
    /// [`NetnsError::Open`], [`NetnsError::NoNamespace`].
    pub fn at(path: &Path) -> Result<Self, NetnsError> {
        let open = |source| NetnsError::Open {
            path: path.into(),
            source,
        };
        let file = File::open(path).map_err(open)?;
        if !is_network_namespace(&file) {
            return Err(NetnsError::NoNamespace { path: path.into() });
        }
        let inode = file.metadata().map_err(open)?.ino();
        // The kernel's own number has 32 bits (include/linux/ns_common.h:ns_common.inum@5.10).
        let inode = u32::try_from(inode)
            .map_err(|_| open(io::Error::other("its inode number has more than 32 bits")))?;
        Ok(Self {
            file,
            path: path.into(),
            inode,
        })
    }

    /// The number that the programs compare: `net.ns.inum`.
    #[must_use]
    pub fn inode(&self) -> u32 {
        self.inode
    }

    /// The file it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The interfaces in it, by number.
    ///
    /// # Errors
    ///
    /// [`NetnsError::Enter`] if it is another one than ours and may not be entered;
    /// [`NetnsError::List`].
    pub fn interfaces(&self) -> Result<Vec<Interface>, NetnsError> {
        self.inside(name_index)
    }

    /// What `look` finds in it.
    ///
    /// # Errors
    ///
    /// [`NetnsError::Enter`] if it is another one than ours and may not be entered;
    /// [`NetnsError::List`] with what `look` says.
    pub fn inside<T: Send>(&self, look: fn() -> io::Result<T>) -> Result<T, NetnsError> {
        let list = |source| NetnsError::List {
            path: self.path.clone(),
            source,
        };
        if Self::own().is_ok_and(|own| own.inode == self.inode) {
            return look().map_err(list);
        }
        // A namespace is a thread's: one that ends again takes it along.
        let inside = || -> Result<T, NetnsError> {
            enter(&self.file).map_err(|source| NetnsError::Enter {
                path: self.path.clone(),
                source,
            })?;
            look().map_err(list)
        };
        thread::scope(|scope| {
            let thread = thread::Builder::new()
                .spawn_scoped(scope, inside)
                .map_err(list)?;
            thread
                .join()
                .unwrap_or_else(|_| Err(list(io::Error::other("the thread ended early"))))
        })
    }
}

/// The interface that `wanted` names, or whose number it is. A name goes first: it may consist of
/// digits.
///
/// # Errors
///
/// [`UnknownInterface`], which lists those there are.
pub fn resolve(interfaces: &[Interface], wanted: &str) -> Result<Interface, UnknownInterface> {
    let by_name = interfaces.iter().find(|interface| interface.name == wanted);
    let by_number = || {
        interfaces
            .iter()
            .find(|interface| wanted.parse() == Ok(interface.index))
    };
    by_name
        .or_else(by_number)
        .cloned()
        .ok_or_else(|| UnknownInterface {
            wanted: wanted.into(),
            there: interfaces.into(),
        })
}

#[expect(unsafe_code, reason = "an ioctl without an argument")]
fn is_network_namespace(file: &File) -> bool {
    // SAFETY: the descriptor is open; the request takes no argument and writes nothing. Files
    // that are no namespaces refuse it, or give another number.
    unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) == libc::CLONE_NEWNET }
}

#[expect(unsafe_code, reason = "a system call on this thread")]
fn enter(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open; only the calling thread's namespace changes, no memory.
    match unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The interfaces of the calling thread's namespace.
#[expect(unsafe_code, reason = "libc hands out an array of its own")]
pub(super) fn name_index() -> io::Result<Vec<Interface>> {
    // SAFETY: takes nothing; the result is null or an array that is freed below.
    let list = unsafe { libc::if_nameindex() };
    if list.is_null() {
        return Err(io::Error::last_os_error());
    }
    let mut interfaces = Vec::new();
    let mut entry = list;
    // SAFETY: the array ends with an entry of index 0 and a null name, before which each entry
    // holds a name that ends with NUL; it is freed once, after the last use.
    unsafe {
        while (*entry).if_index != 0 && !(*entry).if_name.is_null() {
            let name = CStr::from_ptr((*entry).if_name)
                .to_string_lossy()
                .into_owned();
            interfaces.push(Interface {
                index: (*entry).if_index,
                name,
            });
            entry = entry.add(1);
        }
        libc::if_freenameindex(list);
    }
    interfaces.sort_by_key(|interface| interface.index);
    Ok(interfaces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Vec<Interface> {
        vec![
            Interface {
                index: 1,
                name: "lo".into(),
            },
            Interface {
                index: 7,
                name: "1".into(),
            },
        ]
    }

    #[test]
    fn interfaces_are_found_by_name_then_by_number() {
        assert_eq!(resolve(&two(), "lo").unwrap().index, 1);
        assert_eq!(resolve(&two(), "7").unwrap().name, "1");
        assert_eq!(resolve(&two(), "1").unwrap().index, 7, "a name goes first");
    }

    #[test]
    fn an_unknown_interface_lists_those_there_are() {
        assert_eq!(
            resolve(&two(), "eth9").unwrap_err().to_string(),
            "there is no interface \"eth9\" in this network namespace; there are: lo (1), 1 (7)"
        );
        assert!(
            resolve(&[], "0")
                .unwrap_err()
                .to_string()
                .ends_with("there are: none")
        );
    }

    #[test]
    fn our_own_namespace_has_a_number_and_interfaces() {
        let own = Namespace::own().unwrap();
        let process = Namespace::of_process(std::process::id()).unwrap();
        assert_eq!(own.inode(), process.inode());
        assert!(
            own.interfaces()
                .unwrap()
                .iter()
                .all(|interface| interface.index > 0)
        );
    }

    #[test]
    fn other_files_are_no_namespaces() {
        let error = Namespace::at(Path::new("/proc/self/ns/mnt")).unwrap_err();
        assert!(matches!(error, NetnsError::NoNamespace { .. }), "{error}");
        let error = Namespace::at(Path::new("/dev/null")).unwrap_err();
        assert!(matches!(error, NetnsError::NoNamespace { .. }), "{error}");
        let error = Namespace::at(Path::new("/nonexistent")).unwrap_err();
        assert!(matches!(error, NetnsError::Open { .. }), "{error}");
    }

    #[test]
    #[expect(unsafe_code, reason = "a new namespace for a thread of the test")]
    fn another_namespace_is_looked_into() {
        let (ready, wait) = std::sync::mpsc::channel();
        let (finish, finished) = std::sync::mpsc::channel::<()>();
        let other = thread::spawn(move || {
            // SAFETY: only this thread's namespace changes.
            let made = unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0;
            let namespace = made.then(|| Namespace::own().unwrap());
            ready.send(namespace).unwrap();
            let _ = finished.recv();
        });
        // Without root there is nothing to look into.
        if let Some(namespace) = wait.recv().unwrap() {
            let own = Namespace::own().unwrap();
            assert_ne!(namespace.inode(), own.inode());
            let names = namespace.interfaces().unwrap();
            assert!(
                names.iter().any(|interface| interface.name == "lo"),
                "{names:?}"
            );
            assert_eq!(
                Namespace::own().unwrap().inode(),
                own.inode(),
                "we stayed where we were"
            );
        }
        drop(finish);
        other.join().unwrap();
    }
}
