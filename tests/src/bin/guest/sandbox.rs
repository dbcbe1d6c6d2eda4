//! What a capture may still write and call, and that its command may do whatever it may without skbcap.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{chown, symlink};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::files::{payloads, status_of, until};
use crate::lab::{Pair, run, words_of};
use crate::program::{Program, out};
use crate::shapes::kernel::Need;
use crate::skbcap::{Hook, command};
use crate::tracee::Tracee;

/// Whether a capture that was started with `--debug` says that Landlock confines it, as seccomp does;
/// `--check` says the same. All kernels from Linux 6.12 on that are tested have Landlock.
fn is_confined(skbcap: &mut Program) -> Result<bool> {
    skbcap.wait_stderr("skbcap: listening on")?;
    let check = run(&mut words_of("skbcap --check"))?;
    let mut says = |by: &str| -> Result<bool> {
        let line = skbcap.wait_stderr(by)?;
        let (_, line) = line.split_once(" ms: ").context("no time")?;
        println!("{line}");
        ensure!(check.lines().any(|said| said == line), "{check}");
        let is_confined = line.contains("forbids:");
        ensure!(is_confined || line.contains("no sandbox by"), "{line}");
        Ok(is_confined)
    };
    ensure!(says("seccomp")?);
    let is_confined = says("Landlock")?;
    ensure!(is_confined || !Need::Since(6, 12).is_met()?);
    Ok(is_confined)
}

fn directory(name: &str, owner: u32) -> Result<PathBuf> {
    let path = out(name);
    fs::create_dir(&path)?;
    chown(&path, Some(owner), None)?;
    Ok(path)
}

/// After SIGHUP: a name beside the file that leads out of its directory, to a place that skbcap might
/// write to by its rights, and one that doesn't.
pub(crate) fn sandbox() -> Result<()> {
    let pair = Pair::new("sandbox")?;
    for hook in Hook::all() {
        for (user, owner) in [("", 0), ("-Z nobody ", 65534)] {
            let own = directory(&format!("sandbox-{hook}-{owner}"), owner)?;
            let others = directory(&format!("sandbox-{hook}-{owner}-others"), owner)?;
            let name = |suffix: &str| own.join(format!("out.pcapng{suffix}"));
            let stray = others.join("stray.pcapng");
            symlink(&stray, name("1"))?;
            let words = format!(
                "--debug --hook {hook} -i va {user}-w {}",
                name("").display()
            );
            let mut skbcap = pair
                .a
                .start(&format!("skbcap-{hook}-{owner}"), &mut command(&words))?;
            let is_confined = is_confined(&mut skbcap)?;
            let send = |first: u64| {
                pair.a
                    .sh(&format!("traffic udp to=10.0.0.2:9 count=10 first={first}"))
            };
            send(0)?;
            skbcap.signal(Signal::HUP)?;
            if is_confined {
                let said = skbcap.wait_stderr("no other file")?;
                ensure!(said.contains("Permission denied"), "{said}");
                ensure!(!stray.exists(), "{hook}, {owner}: written elsewhere");
            } else {
                until("the stray file", || Ok(stray.exists()))?;
            }
            send(10)?;
            skbcap.signal(Signal::HUP)?;
            until("the next file", || Ok(name("2").exists()))?;
            send(20)?;
            let status = skbcap.interrupt()?;
            ensure!(status.success(), "{status}: {}", skbcap.stderr()?);
            let stray = (!is_confined).then_some(stray);
            let files: Vec<_> = [name("")].into_iter().chain(stray).collect();
            let files = [files, vec![name("2")]].concat();
            let wanted: Vec<u64> = (0..30).collect();
            let found = payloads(&files)?;
            ensure!(found == wanted, "{hook}, {owner}: {found:?}");
        }
    }
    Ok(())
}

/// Files in directories that are named by the time, and a name that leads to another directory, in
/// which the same file is written anew.
pub(crate) fn sandbox_directories() -> Result<()> {
    let pair = Pair::new("sandboxdirs")?;
    let hook = Hook::all()[0];
    let own = directory("by-the-second", 0)?;
    for second in 0..=60 {
        fs::create_dir_all(own.join(format!("{second:02}/deeper")))?;
    }
    let words = format!(
        "--debug --hook {hook} -i va -G 1 -w {}/%S/deeper/out.pcapng",
        own.display()
    );
    let mut skbcap = pair.a.start("skbcap-seconds", &mut command(&words))?;
    is_confined(&mut skbcap)?;
    pair.a
        .sh("traffic udp to=10.0.0.2:9 count=30 gap_us=100000")?;
    let status = skbcap.interrupt()?;
    ensure!(status.success(), "{status}: {}", skbcap.stderr()?);
    let files: Vec<PathBuf> = (0..=60)
        .map(|second| own.join(format!("{second:02}/deeper/out.pcapng")))
        .filter(|file| file.exists())
        .collect();
    ensure!(files.len() > 2, "{files:?}");
    let found: BTreeSet<u64> = payloads(&files)?.into_iter().collect();
    let wanted: BTreeSet<u64> = (0..30).collect();
    ensure!(found == wanted, "{found:?}");

    let elsewhere = directory("elsewhere", 0)?;
    let link = directory("links", 0)?.join("link.pcapng");
    let file = elsewhere.join("file.pcapng");
    fs::write(&file, "")?;
    symlink(&file, &link)?;
    let words = format!("--debug --hook {hook} -i va -G 1 -w {}", link.display());
    let mut skbcap = pair.a.start("skbcap-link", &mut command(&words))?;
    is_confined(&mut skbcap)?;
    pair.a.sh("traffic udp to=10.0.0.2:9 count=1 first=1")?;
    std::thread::sleep(Duration::from_millis(1100));
    pair.a.sh("traffic udp to=10.0.0.2:9 count=1 first=2")?;
    let status = skbcap.interrupt()?;
    ensure!(status.success(), "{status}: {}", skbcap.stderr()?);
    ensure!(payloads(&[file])? == [2]);
    Ok(())
}

/// The command runs programs, writes where it likes, and connects.
pub(crate) fn sandbox_command() -> Result<()> {
    let pair = Pair::new("sandboxcmd")?;
    let own = directory("sandbox-command", 0)?;
    let others = directory("sandbox-command-others", 0)?;
    let mut server = pair
        .b
        .start("server", &mut words_of("traffic tcp-serve at=10.0.0.2:80"))?;
    server.wait_stdout("listening")?;
    let file = own.join("out.pcapng");
    let words = format!("--debug -w {}", file.display());
    let mut skbcap = command(&words);
    skbcap.args(["--", "sh", "-c"]);
    skbcap.arg(
        "traffic udp to=10.0.0.2:9 count=5 && traffic tcp-send to=10.0.0.2:80 bytes=5000 \
         && readlink /proc/$PPID/exe && sh -c 'echo written > $1/file' sh $1 && exit 3",
    );
    skbcap.arg("sh").arg(&others);
    let mut skbcap = pair.a.start("skbcap-command", &mut skbcap)?;
    is_confined(&mut skbcap)?;
    let status = skbcap.wait()?;
    ensure!(status.code() == Some(3), "{status}: {}", skbcap.stderr()?);
    ensure!(fs::read(others.join("file"))? == b"written\n");
    // It sees skbcap, though not the other way round.
    let said = skbcap.stdout()?;
    ensure!(said.trim_end().ends_with("/skbcap"), "{said}");
    server.finish()?;
    run(words_of("skbcap verify").arg(&file))?;
    Ok(())
}

/// What the kernel answers to calls that are made in the capture's name, whoever it is and whatever it
/// may look at; and that the capture goes on as if nothing had been.
pub(crate) fn sandbox_calls() -> Result<()> {
    let pair = Pair::new("sandboxcalls")?;
    // In a process without a sandbox these answer something else.
    let mut plain = Program::start("plain", &mut words_of("cat"))?;
    let mut input = plain.child.stdin.take().context("no input")?;
    input.write_all(b"ready\n")?;
    plain.wait_stdout("ready")?;
    let tracee = Tracee::stop(plain.id())?;
    for (name, call, error) in REFUSED.into_iter().filter(|one| !one.0.ends_with("fork")) {
        let answer = tracee.call(call, [0, 0])?;
        println!("{name} without a sandbox: {answer}");
        ensure!(answer != -i64::from(error), "{name}: {answer}");
    }
    tracee.go_on()?;
    drop(input);
    ensure!(plain.wait()?.success());

    for hook in Hook::all() {
        for (name, options) in [
            ("root", ""),
            ("nobody", "-Z nobody"),
            ("exe", "--fields exe,cgroup"),
        ] {
            let own = directory(&format!("calls-{hook}-{name}"), 0)?;
            if name == "nobody" {
                chown(&own, Some(65534), None)?;
            }
            let file = own.join("out.pcapng");
            let words = format!(
                "--debug --hook {hook} -i va {options} -w {}",
                file.display()
            );
            let mut skbcap = pair
                .a
                .start(&format!("skbcap-{hook}-{name}"), &mut command(&words))?;
            skbcap.wait_stderr("the sandbox (seccomp) forbids:")?;
            skbcap.wait_stderr("skbcap: listening on")?;
            let is_left = "Speculation_Store_Bypass";
            let own_status = fs::read_to_string("/proc/self/status")?;
            let left = status_of(&skbcap, is_left)?;
            println!("{is_left}: {left}");
            ensure!(
                own_status.contains(&format!("{is_left}:\t{left}\n")),
                "{own_status}"
            );
            let send = |first: u64| {
                pair.a
                    .sh(&format!("traffic udp to=10.0.0.2:9 count=10 first={first}"))
            };
            send(0)?;
            for task in fs::read_dir(format!("/proc/{}/task", skbcap.id()))? {
                let status = fs::read_to_string(task?.path().join("status"))?;
                ensure!(status.contains("Seccomp:\t2\n"), "{status}");
            }
            let tracee = Tracee::stop(skbcap.id())?;
            let id = tracee.call(libc::SYS_getpid, [0, 0])?;
            ensure!(id == i64::from(skbcap.id()), "{id}");
            for (name, call, error) in REFUSED {
                let answer = tracee.call(call, [0, 0])?;
                ensure!(answer == -i64::from(error), "{name}: {answer}");
            }
            tracee.go_on()?;
            send(10)?;
            skbcap.signal(Signal::HUP)?;
            let next = own.join("out.pcapng1");
            until("the next file", || Ok(next.exists()))?;
            send(20)?;
            let status = skbcap.interrupt()?;
            ensure!(status.success(), "{status}: {}", skbcap.stderr()?);
            let found = payloads(&[file, next])?;
            ensure!(found == (0..30).collect::<Vec<u64>>(), "{hook}: {found:?}");
        }
    }
    Ok(())
}

/// Calls, by name and number, and how they are refused: to zeros none of them does anything by itself.
const REFUSED: [(&str, i64, i32); 10] = [
    ("execve", libc::SYS_execve, libc::EPERM),
    ("fork", libc::SYS_fork, libc::EPERM),
    ("clone, as fork", libc::SYS_clone, libc::EPERM),
    ("clone3", libc::SYS_clone3, libc::ENOSYS),
    ("socket", libc::SYS_socket, libc::EPERM),
    ("connect", libc::SYS_connect, libc::EPERM),
    ("unlink", libc::SYS_unlink, libc::EPERM),
    ("chmod", libc::SYS_chmod, libc::EPERM),
    ("io_uring_setup", libc::SYS_io_uring_setup, libc::EPERM),
    ("execve of x32", 0x4000_0000 | 520, libc::EPERM),
];
