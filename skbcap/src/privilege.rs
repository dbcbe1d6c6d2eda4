//! What skbcap may do once it listens: as little as it can.
//!
//! Owns users and capabilities of this process. Must not know what they are wanted for.

use std::env;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use rustix::thread::{CapabilitySet, CapabilitySets};

/// A user to become (`-Z`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// As it was given.
    pub name: String,
    uid: libc::uid_t,
    gid: libc::gid_t,
    /// The groups that a login would have.
    groups: Vec<libc::gid_t>,
    /// Where the user is at home, if that is known.
    pub home: Option<OsString>,
}

/// Why nobody can be found of that name.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// There is none.
    #[error("there is no user '{}': -Z takes a name out of /etc/passwd or the like", .0.escape_debug())]
    Missing(String),
    /// The system couldn't say.
    #[error("cannot look up the user '{}'", .0.escape_debug())]
    Unknown(String, #[source] io::Error),
}

/// Bytes for a user's entry; glibc asks for 1024, directory services may want more.
const ENTRY_LEN: usize = 64 << 10;

/// The most groups that a process can have (`NGROUPS_MAX`).
const MAX_GROUPS: usize = 65536;

impl User {
    /// Looks a user up.
    ///
    /// # Errors
    ///
    /// If there is none of that name.
    #[expect(unsafe_code, reason = "the C library's own functions for users")]
    pub fn named(name: &str) -> Result<Self, UserError> {
        let missing = || UserError::Missing(name.to_owned());
        let c_name = CString::new(name).map_err(|_| missing())?;
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let mut texts = vec![0u8; ENTRY_LEN];
        let mut found = ptr::null_mut();
        // SAFETY: each pointer is to live memory of the length that is given; the name ends with
        // NUL.
        let result = unsafe {
            libc::getpwnam_r(
                c_name.as_ptr(),
                entry.as_mut_ptr(),
                texts.as_mut_ptr().cast(),
                texts.len(),
                &raw mut found,
            )
        };
        match (found.is_null(), result) {
            (false, _) => {}
            // Which of these says that there is no such user is each system's own.
            (true, 0 | libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM) => {
                return Err(missing());
            }
            (true, error) => {
                let error = io::Error::from_raw_os_error(error);
                return Err(UserError::Unknown(name.to_owned(), error));
            }
        }
        // SAFETY: what was found is in `entry`.
        let (uid, gid) = unsafe { ((*found).pw_uid, (*found).pw_gid) };
        // SAFETY: likewise, and it points to a text that ends, in `texts`.
        let home = unsafe { CStr::from_ptr((*found).pw_dir) };
        Ok(Self {
            home: Some(OsStr::from_bytes(home.to_bytes()).to_owned()),
            name: name.to_owned(),
            uid,
            gid,
            groups: groups(&c_name, gid),
        })
    }

    /// The user that called `sudo` to run this process as root; [`None`] if it was none, or root.
    #[must_use]
    pub fn of_sudo() -> Option<Self> {
        let number = |name| env::var(name).ok()?.parse().ok();
        let uid = number("SUDO_UID").filter(|uid| *uid != 0 && is_root())?;
        let gid = number("SUDO_GID")?;
        let name = env::var("SUDO_USER").ok()?;
        let listed = Self::named(&name).ok().filter(|user| user.uid == uid);
        Some(match listed {
            Some(user) => Self { gid, ..user },
            None => Self {
                name,
                uid,
                gid,
                groups: vec![gid],
                home: None,
            },
        })
    }

    /// The user's number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.uid
    }

    /// Does something as this user, and goes back: for files that are to be the user's own.
    ///
    /// # Errors
    ///
    /// When this process may not become that user.
    ///
    /// # Panics
    ///
    /// When there is no way back.
    pub fn act<T>(&self, act: impl FnOnce() -> T) -> io::Result<T> {
        let own_groups = own_groups()?;
        let (uid, gid) = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        set_groups(&self.groups)?;
        set_effective(self.gid, self.uid)?;
        let done = act();
        // In the other order: only root may change the rest.
        set_effective_user(uid).expect("the saved user is root");
        set_effective_group(gid).expect("root may");
        set_groups(&own_groups).expect("root may");
        Ok(done)
    }

    /// Becomes this user for good, and no more than that.
    ///
    /// # Errors
    ///
    /// When this process may not become that user.
    #[expect(unsafe_code, reason = "system calls that change the process")]
    pub fn become_entirely(&self) -> io::Result<()> {
        set_groups(&self.groups)?;
        // SAFETY: these take numbers. They change all threads of the process.
        check(unsafe { libc::setresgid(self.gid, self.gid, self.gid) })?;
        // SAFETY: as above.
        check(unsafe { libc::setresuid(self.uid, self.uid, self.uid) })
    }

    /// Becomes this user for good, with the capabilities that this process has.
    #[expect(unsafe_code, reason = "system calls that change the process")]
    fn become_for_good(&self) -> io::Result<()> {
        set_groups(&self.groups)?;
        // SAFETY: these take numbers. They change all threads of the process.
        check(unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) })?;
        // SAFETY: as above.
        check(unsafe { libc::setresgid(self.gid, self.gid, self.gid) })?;
        // SAFETY: as above.
        check(unsafe { libc::setresuid(self.uid, self.uid, self.uid) })
    }
}

/// Whether a user can be changed at all: as in tcpdump, nobody but root has another one to become.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Gives up, for good, all capabilities but `kept`, and the ways to get new ones; and becomes `user`
/// first. Keeps only what there was.
///
/// # Errors
///
/// What the kernel says. The process may then have less than before, never more.
pub fn give_up(user: Option<&User>, kept: CapabilitySet) -> io::Result<()> {
    if let Some(user) = user {
        user.become_for_good()?;
    }
    let has = rustix::thread::capabilities(None)?;
    let kept = kept & has.permitted;
    rustix::thread::set_no_new_privs(true)?;
    // The ambient set goes with the permitted one.
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(())
}

/// Gives up for now, in effect only, all capabilities but these; returns those there were.
///
/// # Errors
///
/// What the kernel says.
pub fn only(kept: CapabilitySet) -> io::Result<CapabilitySet> {
    let has = rustix::thread::capabilities(None)?;
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: kept & has.permitted,
            ..has
        },
    )?;
    Ok(has.effective)
}

#[expect(unsafe_code, reason = "the C library's own function for groups")]
fn groups(name: &CStr, gid: libc::gid_t) -> Vec<libc::gid_t> {
    let mut groups = vec![gid; MAX_GROUPS];
    let mut count = MAX_GROUPS as libc::c_int;
    // SAFETY: writes at most `count` groups to a live array of that many.
    let result =
        unsafe { libc::getgrouplist(name.as_ptr(), gid, groups.as_mut_ptr(), &raw mut count) };
    let found = usize::try_from(count).unwrap_or(0);
    // More than a process can have: the first will do.
    groups.truncate(if result < 0 { MAX_GROUPS } else { found });
    groups
}

fn own_groups() -> io::Result<Vec<libc::gid_t>> {
    let groups = rustix::process::getgroups()?;
    Ok(groups
        .into_iter()
        .map(rustix::process::Gid::as_raw)
        .collect())
}

#[expect(unsafe_code, reason = "a system call that changes the process")]
fn set_groups(groups: &[libc::gid_t]) -> io::Result<()> {
    // SAFETY: as many groups as are said are there.
    check(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })
}

/// Of group and user, in this order: a user who isn't root can't change groups.
fn set_effective(gid: libc::gid_t, uid: libc::uid_t) -> io::Result<()> {
    set_effective_group(gid)?;
    set_effective_user(uid)
}

#[expect(unsafe_code, reason = "a system call that changes the process")]
fn set_effective_group(gid: libc::gid_t) -> io::Result<()> {
    // SAFETY: it takes a number, and changes all threads of the process.
    check(unsafe { libc::setegid(gid) })
}

#[expect(unsafe_code, reason = "a system call that changes the process")]
fn set_effective_user(uid: libc::uid_t) -> io::Result<()> {
    // SAFETY: it takes a number, and changes all threads of the process.
    check(unsafe { libc::seteuid(uid) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_names() {
        let root = User::named("root").unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(root.groups.contains(&0));
        for name in ["", "no such user", "a\0b"] {
            let error = User::named(name).unwrap_err();
            assert!(matches!(error, UserError::Missing(_)), "{error}");
        }
    }
}
