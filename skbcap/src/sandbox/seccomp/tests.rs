//! A process of its own enters it and tries what must work there, and what must not.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use libc::c_long;

use super::*;
use crate::sandbox::tests::{again, in_another_process, place};

/// What the process leaves at its end: else it would not have been run at all.
const DONE: &str = "done";

/// Of each sort that docs/usage.md tells of, whatever is listed.
const PROMISED: [c_long; 16] = [
    libc::SYS_execve,
    libc::SYS_fork,
    libc::SYS_clone,
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_msgsnd,
    libc::SYS_unlink,
    libc::SYS_chmod,
    libc::SYS_mount,
    libc::SYS_setns,
    libc::SYS_ptrace,
    libc::SYS_setuid,
    libc::SYS_bpf,
    libc::SYS_io_uring_setup,
    libc::SYS_init_module,
    // The `execve` of x32.
    0x4000_0000 | 520,
];

#[test]
fn a_process_writes_and_starts_threads_and_does_little_else() {
    in_another_process(DONE, inside);
}

/// What a system call says to zeros, or to these.
#[expect(unsafe_code, reason = "calls that nobody has functions for")]
fn answer(call: c_long, arguments: [c_long; 2]) -> Option<i32> {
    let [first, second] = arguments;
    // SAFETY: in here they are refused before anything is done; those that aren't take no pointers but
    // null, and nothing that is in use.
    let result = unsafe { libc::syscall(call, first, second, 0, 0, 0, 0) };
    (result < 0).then(|| io::Error::last_os_error().raw_os_error().unwrap())
}

fn inside(place: &Path) {
    let mut open = File::create(place.join("open")).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut child = Command::new("sh")
        .args(["-c", "read line && exec sh -c 'exit 3'"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let (go, wait) = mpsc::channel::<()>();
    let older = thread::spawn(move || wait.recv().map(|()| Command::new("true").status()));
    let speculation = speculation();
    let told = answer(libc::SYS_bpf, [15, 0]);

    let confined = enter();
    assert!(confined.is_any(), "{confined}");

    // What a capture needs.
    open.write_all(b"still open").unwrap();
    open.set_len(5).unwrap();
    assert_eq!(fs::read(place.join("open")).unwrap(), b"still");
    let later = place.join("later");
    let thread = thread::spawn(|| fs::write(later, ""));
    thread.join().unwrap().unwrap();
    let own = socket.local_addr().unwrap();
    socket.send_to(b"still open", own).unwrap();
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::test_kill_process(id).unwrap();
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert_eq!(answer(libc::SYS_bpf, [15, 0]), told);
    let file = c_long::from(open.as_raw_fd());
    let ioctl = |request: u64| answer(libc::SYS_ioctl, [file, request.cast_signed()]);
    assert_eq!(ioctl(libc::TIOCGWINSZ), Some(libc::ENOTTY));
    assert_eq!(self::speculation(), speculation);

    // What it doesn't.
    assert_eq!(answer(libc::SYS_clone3, [0, 0]), Some(libc::ENOSYS));
    assert_eq!(ioctl(libc::TIOCSTI), Some(libc::EPERM));
    assert_eq!(ioctl(libc::TIOCLINUX), Some(libc::EPERM));
    // Half a thread; the kernel itself would say EINVAL.
    let half = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_NEWUSER;
    let half = answer(libc::SYS_clone, [half.into(), 0]);
    assert_eq!(half, Some(libc::EPERM));
    let rules = refused::rules().unwrap();
    let listed = rules.iter().map(|(call, _)| *call);
    for call in listed.chain(PROMISED) {
        if call != libc::SYS_ioctl {
            assert_eq!(answer(call, [0, 0]), Some(libc::EPERM), "{call:#x}");
        }
    }
    let kind = |error: io::Error| error.kind();
    let denied = Err(ErrorKind::PermissionDenied);
    let program = Command::new("true").status().map(drop);
    assert_eq!(program.map_err(kind), denied);
    go.send(()).unwrap();
    let program = older.join().unwrap().unwrap().map(drop);
    assert_eq!(program.map_err(kind), denied, "in an older thread");
    fs::write(place.join(DONE), confined.to_string()).unwrap();
}

/// What the kernel says of this thread's speculation.
fn speculation() -> Vec<String> {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let lines = status
        .lines()
        .filter(|line| line.starts_with("Speculation"));
    lines.map(str::to_owned).collect()
}

#[test]
fn numbers_of_32_bit_programs_end_the_process() {
    if place().is_some() {
        assert!(enter().is_any());
        get_id_as_32_bit_programs_do();
        return;
    }
    let signal = again("").signal();
    // The latter where the kernel doesn't run programs of 32 bits.
    assert!(
        [Some(libc::SIGSYS), Some(libc::SIGSEGV)].contains(&signal),
        "{signal:?}"
    );
}

#[expect(unsafe_code, reason = "there is no other way to such a call")]
fn get_id_as_32_bit_programs_do() {
    const GETPID: u32 = 20;
    // SAFETY: the call takes nothing and returns a number; what the kernel may change is told.
    unsafe {
        std::arch::asm!(
            "int 0x80",
            inlateout("eax") GETPID => _,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
}
