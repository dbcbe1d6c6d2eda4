//! The path of a process's program, where that can be made sure of.

use std::{collections::HashMap, fs, os::unix::ffi::OsStringExt, os::unix::fs::MetadataExt};

use skbcap_common::process::Event;

/// Paths by what the kernel side tells of a program: the filesystem's device, the inode, the name.
#[derive(Debug, Default)]
pub(crate) struct Programs(HashMap<(u32, u64, Vec<u8>), Vec<u8>>);

impl Programs {
    /// The path of the program that an event is about, whose name is `name`; that name where no path
    /// can be made sure of: the process is gone or another program by now, and was none that was
    /// seen before, or its file is gone, or lies in layers (overlayfs) and so has other numbers.
    pub(super) fn path(&mut self, event: &Event, name: &[u8]) -> Vec<u8> {
        if event.exe_inode == 0 {
            return Vec::new();
        }
        let key = (event.exe_device, event.exe_inode, name.to_vec());
        if let Some(path) = self.0.get(&key) {
            return path.clone();
        }
        let Some(path) = ask(event, name) else {
            return name.to_vec();
        };
        self.0.insert(key, path.clone());
        path
    }
}

/// Asks `/proc`, which answers for whatever the process is now: the file must be the very one.
fn ask(event: &Event, name: &[u8]) -> Option<Vec<u8>> {
    let link = format!("/proc/{}/exe", event.tgid);
    let path = fs::read_link(&link).ok()?;
    let file = fs::metadata(&link).ok()?;
    // `s_dev`: 12 bits of the major number, then 20 of the minor (include/linux/kdev_t.h).
    let device = file.dev();
    let device = rustix::fs::major(device) << 20 | rustix::fs::minor(device) & 0xf_ffff;
    let is_it = file.ino() == event.exe_inode
        && device == event.exe_device
        && path.is_absolute()
        && path
            .file_name()
            .is_some_and(|last| last.as_encoded_bytes() == name);
    is_it.then(|| path.into_os_string().into_vec())
}
