//! A process of its own enters it and tries what must work there, and what must not.

use std::fs::{self, File};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use super::*;
use crate::sandbox::tests::in_another_process;

/// What the process leaves where it may, at its end: else it would not have been run at all.
const DONE: &str = "inside/done";

#[test]
fn a_process_writes_below_its_directories_and_does_little_else() {
    in_another_process(DONE, inside);
}

/// Waits for a line, and then makes a file, by another program.
fn held(file: &Path) -> Child {
    Command::new("sh")
        .args([
            "-c",
            "read line && sh -c 'echo held > \"$1\"' sh \"$1\"",
            "sh",
        ])
        .arg(file)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap()
}

fn inside(place: &Path) {
    let (inside, outside) = (place.join("inside"), place.join("outside"));
    fs::create_dir_all(inside.join("deeper")).unwrap();
    fs::create_dir(&outside).unwrap();
    let held_file = outside.join("held");
    let mut child = held(&held_file);
    let program = format!("/proc/{}/exe", child.id());
    fs::read_link(&program).unwrap();
    let mut open = File::create(outside.join("open")).unwrap();
    let old = outside.join("old");
    fs::write(&old, "old").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = tcp.local_addr().unwrap();
    let socket = inside.join("socket");
    let _named = UnixListener::bind(&socket).unwrap();
    let name = format!("skbcap-sandbox-{}", std::process::id());
    let abstract_name = SocketAddr::from_abstract_name(name).unwrap();
    let _unnamed = UnixListener::bind_addr(&abstract_name).unwrap();
    let device = || File::open("/dev/ptmx").is_ok_and(|file| file.is_terminal());
    let has_device = device();

    let sandbox = Landlock::around(&[&inside]).unwrap();
    let confined = sandbox.enter().unwrap();

    // What writing needs.
    for text in ["once, and more", "again"] {
        fs::write(inside.join("file"), text).unwrap();
        fs::write(inside.join("deeper/file"), text).unwrap();
    }
    assert_eq!(fs::read(inside.join("file")).unwrap(), b"again");
    open.write_all(b"still open").unwrap();
    open.set_len(5).unwrap();
    assert_eq!(fs::read(outside.join("open")).unwrap(), b"still");
    let later = inside.join("later");
    thread::spawn(|| fs::write(later, ""))
        .join()
        .unwrap()
        .unwrap();
    fs::write(place.join(DONE), confined.to_string()).unwrap();

    // What was started before.
    let seen = fs::read_link(&program);
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::test_kill_process(id).unwrap();
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(fs::read(held_file).unwrap(), b"held\n");

    let By::Version(version) = confined.by else {
        fs::write(outside.join("new"), "").unwrap();
        return;
    };
    let forbidden = |what: &str, since: ABI, result: io::Result<()>| match result {
        Ok(()) => assert!(version < since, "{what}"),
        Err(error) => {
            assert!(version >= since, "{what}: {error}");
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{what}: {error}");
        }
    };
    let is = |what, result| forbidden(what, ABI::V1, result);
    is("another's program", seen.map(drop));
    is("a new file", fs::write(outside.join("new"), ""));
    let new = outside.join("new");
    let thread = thread::spawn(|| fs::write(new, ""));
    is("a new file in a thread", thread.join().unwrap());
    is("an old file", fs::write(&old, ""));
    is("removal", fs::remove_file(inside.join("file")));
    is(
        "a name",
        fs::rename(inside.join("file"), inside.join("name")),
    );
    is("a link", symlink(&outside, inside.join("link")));
    is("a directory", fs::create_dir(inside.join("directory")));
    is("a socket", UnixListener::bind(inside.join("new")).map(drop));
    is("a program", Command::new("true").status().map(drop));
    let cut = rustix::fs::open(&old, OFlags::RDONLY | OFlags::TRUNC, Mode::empty());
    forbidden("cutting", ABI::V3, cut.map(drop).map_err(io::Error::from));
    forbidden("TCP", ABI::V4, TcpStream::connect(tcp).map(drop));
    forbidden(
        "TCP, listening",
        ABI::V4,
        TcpListener::bind("127.0.0.1:0").map(drop),
    );
    if has_device {
        assert_eq!(device(), version < ABI::V5, "ioctl");
    }
    let stream = UnixStream::connect_addr(&abstract_name);
    forbidden("an abstract name", ABI::V6, stream.map(drop));
    forbidden(
        "a socket's path",
        ABI::V9,
        UnixStream::connect(&socket).map(drop),
    );
}
