//! The path of a cgroup (v2) by its number, and the container that a path tells of.
//!
//! A cgroup's number is the inode number of its directory, is never used again, and the directory is
//! never renamed: so a path that was found once is right for good. Nothing else is believed.

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Bytes of a container's id, in hexadecimal.
const ID_LEN: usize = 64;

/// Frames wait while all cgroups are looked at: of so many parts of the time, in one at the most.
const REST: u32 = 20;

/// Cgroups by number. An empty path: there is none of that number any more, nor will there be.
#[derive(Debug, Default)]
pub(super) struct Cgroups {
    paths: HashMap<u64, Vec<u8>>,
    /// Where the file system is mounted; `None` until somebody asks.
    root: Option<PathBuf>,
    /// No walk before that.
    rests_until: Option<Instant>,
}

impl Cgroups {
    /// The path of the cgroup that the kernel side tells of process `tgid`, from the mounted root on;
    /// empty where it can't be shown.
    pub(super) fn path(&mut self, number: u64, tgid: u32) -> &[u8] {
        if number == 0 {
            return &[];
        }
        if !self.paths.contains_key(&number) {
            self.find(number, tgid);
        }
        self.paths.get(&number).map_or(&[], Vec::as_slice)
    }

    /// Looks for a number that is not known: where the process is now, and then everywhere.
    fn find(&mut self, number: u64, tgid: u32) {
        let root = self
            .root
            .get_or_insert_with(|| mounted().unwrap_or_default());
        if root.as_os_str().is_empty() {
            return;
        }
        let said = fs::read(format!("/proc/{tgid}/cgroup")).unwrap_or_default();
        let mut lines = said.split(|&byte| byte == b'\n');
        let hint = lines.find_map(|line| line.strip_prefix(b"0::"));
        if let Some(path) = hint
            && is_at(&below(root, path), number)
        {
            self.paths.insert(number, path.to_vec());
            return;
        }
        let begun = Instant::now();
        if self.rests_until.is_some_and(|until| begun < until) {
            return;
        }
        let root = root.clone();
        self.walk(&root);
        // What was there when it was told of, and is not now, is gone for good.
        self.paths.entry(number).or_default();
        self.rests_until = Some(begun + begun.elapsed() * REST);
    }

    /// Takes in all that there are.
    fn walk(&mut self, root: &Path) {
        let Ok(top) = fs::metadata(root) else {
            return;
        };
        self.paths.insert(top.ino(), b"/".to_vec());
        let mut directories = vec![PathBuf::new()];
        while let Some(directory) = directories.pop() {
            // One that has gone meanwhile has nothing below it.
            let entries = fs::read_dir(root.join(&directory)).into_iter().flatten();
            for entry in entries.flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    let path = directory.join(entry.file_name());
                    let text = [b"/", path.as_os_str().as_bytes()].concat();
                    self.paths.insert(entry.ino(), text);
                    directories.push(path);
                }
            }
        }
    }
}

/// What stands at a path from the root on, which begins with a slash.
fn below(root: &Path, path: &[u8]) -> PathBuf {
    let mut all = root.to_owned().into_os_string().into_vec();
    all.extend(path);
    PathBuf::from(std::ffi::OsString::from_vec(all))
}

fn is_at(path: &Path, number: u64) -> bool {
    fs::metadata(path).is_ok_and(|found| found.ino() == number)
}

/// Where cgroup v2 is mounted.
fn mounted() -> Option<PathBuf> {
    let mounts = fs::read("/proc/self/mountinfo").ok()?;
    let mut lines = mounts.split(|&byte| byte == b'\n');
    lines.find_map(mount_of)
}

/// The mount point of a line of `mountinfo`, if that is of cgroup v2 and of the whole of it: of a part,
/// paths would begin in the middle.
///
/// Source: proc(5).
fn mount_of(line: &[u8]) -> Option<PathBuf> {
    let line = str::from_utf8(line).ok()?;
    let (mount, system) = line.split_once(" - ")?;
    if !system.starts_with("cgroup2 ") {
        return None;
    }
    let mut words = mount.split(' ').skip(3);
    let (root, point) = (words.next()?, words.next()?);
    // A space and such in it would be written in octal: such a place is not looked at.
    (root == "/" && !point.contains('\\')).then(|| PathBuf::from(point))
}

/// The id of the container that a cgroup is of, or is in: the innermost, if there are several. Only what
/// container engines name so: Docker, containerd (as Kubernetes and nerdctl use it), CRI-O, Podman.
pub(super) fn container(path: &[u8]) -> Option<&str> {
    let path = str::from_utf8(path).ok()?;
    let mut found = None;
    let mut parent = "";
    for name in path.split('/') {
        found = container_of(parent, name).or(found);
        parent = name;
    }
    found
}

/// The id in the name of one cgroup.
fn container_of<'a>(parent: &str, name: &'a str) -> Option<&'a str> {
    /// What stands before the id in a systemd scope, and in what CRI-O and Podman make themselves.
    const PREFIXES: [&str; 5] = ["docker-", "cri-containerd-", "crio-", "libpod-", "nerdctl-"];
    let stem = name.strip_suffix(".scope").unwrap_or(name);
    let prefixed = PREFIXES.iter().find_map(|prefix| stem.strip_prefix(prefix));
    // As runc has it below containerd where systemd is not asked: SLICE:cri-containerd:ID.
    let behind = name.rsplit_once(":cri-containerd:").map(|(_, id)| id);
    // Without systemd the id is all of the name, below one that says whose it is.
    let is_bare = parent == "docker" || parent.starts_with("pod");
    let bare = is_bare.then_some(name);
    let mut ids = [prefixed, behind, bare].into_iter().flatten();
    ids.find(|id| is_id(id))
}

fn is_id(text: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.len() == ID_LEN && text.bytes().all(is_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f4e5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9f0011223344556677aa";
    const OUTER: &str = "00004e5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9f0011223344556677";

    #[test]
    fn containers_are_known_by_their_engines_names() {
        for path in [
            format!("/system.slice/docker-{ID}.scope"),
            format!("/docker/{ID}"),
            format!("/docker/{ID}/init"),
            format!(
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1234.slice/cri-containerd-{ID}.scope"
            ),
            format!("/kubepods/burstable/pod0f1e-22/{ID}"),
            format!(
                "/system.slice/containerd.service/kubepods-burstable-pod1.slice:cri-containerd:{ID}"
            ),
            format!("/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope"),
            format!(
                "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container"
            ),
            format!("/libpod_parent/libpod-{ID}"),
            format!("/system.slice/nerdctl-{ID}.scope"),
            format!("/docker/{OUTER}/kubelet/kubepods/pod1/{ID}"),
        ] {
            assert_eq!(container(path.as_bytes()), Some(ID), "{path}");
        }
    }

    #[test]
    fn what_is_no_container_s_has_no_id() {
        for path in [
            String::new(),
            "/".to_owned(),
            "/system.slice/docker.service".to_owned(),
            format!("/system.slice/libpod-conmon-{ID}.scope"),
            format!("/system.slice/crio-conmon-{ID}.scope"),
            format!("/jobs/{ID}"),
            format!("/system.slice/docker-{}.scope", &ID[1..]),
            format!("/system.slice/docker-{}.scope", ID.to_uppercase()),
            format!("/machine.slice/my-docker-{ID}.scope"),
        ] {
            assert_eq!(container(path.as_bytes()), None, "{path}");
        }
    }

    #[test]
    fn a_whole_mount_is_found_in_its_line() {
        for (line, point) in [
            (
                "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw",
                Some("/sys/fs/cgroup"),
            ),
            (
                "42 32 0:39 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
                Some("/sys/fs/cgroup/unified"),
            ),
            (
                "33 32 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu",
                None,
            ),
            ("30 23 0:26 /docker/a /mnt rw - cgroup2 cgroup2 rw", None),
            (r"30 23 0:26 / /a\040b rw - cgroup2 cgroup2 rw", None),
            ("", None),
        ] {
            assert_eq!(
                mount_of(line.as_bytes()),
                point.map(PathBuf::from),
                "{line}"
            );
        }
    }

    /// Directories of any file system will do: a number is an inode's.
    #[test]
    fn a_path_is_that_of_the_very_number() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a.slice/b c");
        fs::create_dir_all(&deep).unwrap();
        let [top, first, second] = [root.path(), &root.path().join("a.slice"), &deep]
            .map(|path| fs::metadata(path).unwrap().ino());
        let mut cgroups = Cgroups {
            root: Some(root.path().to_owned()),
            ..Cgroups::default()
        };
        assert_eq!(cgroups.path(second, 0), b"/a.slice/b c");
        fs::remove_dir(&deep).unwrap();
        // It is gone, and was known; what was never there is known to be nowhere.
        assert_eq!(cgroups.path(second, 0), b"/a.slice/b c");
        assert_eq!(cgroups.path(first, 0), b"/a.slice");
        assert_eq!(cgroups.path(top, 0), b"/");
        assert_eq!(cgroups.path(u64::MAX, 0), b"");
        assert_eq!(cgroups.path(0, 0), b"");
    }

    /// Where this machine has cgroup v2: this very process's, as the kernel side would tell.
    #[test]
    fn the_hint_is_held_against_the_number() {
        let Some(root) = mounted() else {
            eprintln!("no cgroup v2 is mounted");
            return;
        };
        let said = fs::read_to_string("/proc/self/cgroup").unwrap();
        let path = said.lines().find_map(|line| line.strip_prefix("0::"));
        let path = path.expect("every process is in one").as_bytes();
        let number = fs::metadata(below(&root, path)).unwrap().ino();
        let mut cgroups = Cgroups::default();
        assert_eq!(cgroups.path(number, std::process::id()), path);
        assert_eq!(cgroups.paths.len(), 1, "nothing was walked");
        // Another number is not this process's, whatever /proc says.
        assert_eq!(cgroups.path(u64::MAX, std::process::id()), b"");
    }
}
