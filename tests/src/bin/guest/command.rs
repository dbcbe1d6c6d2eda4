//! `skbcap … -- COMMAND`: all that the command and its descendants send, and nothing else.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use skbcap_tests::capture::{self, Packet};

use crate::lab::{Pair, Space, words_of};
use crate::limits::sequences;
use crate::program::{Program, out};
use crate::skbcap::{Hook, command, verify};

/// Sends to port 10 as long as a test takes.
pub(crate) fn noise(space: &Space) -> Result<Program> {
    let words = "traffic udp to=10.0.0.2:10 count=1000000 gap_us=2000 first=1000000";
    space.start("noise", &mut words_of(words))
}

/// A program with arguments behind a command line in words.
pub(crate) fn with_command(words: &str, program: &[&str]) -> Command {
    let mut skbcap = command(words);
    skbcap.arg("--").args(program);
    skbcap
}

pub(crate) fn run(space: &Space, command: &mut Command) -> Result<Output> {
    let output = space.within(|| Ok(command.output()?))?;
    println!("{command:?}: {}", output.status);
    println!("{}", String::from_utf8_lossy(&output.stderr));
    Ok(output)
}

/// The destination port of an Ethernet frame of UDP or TCP over IPv4.
fn port(packet: &Packet) -> Option<u16> {
    let data = &packet.data;
    let header = 14 + usize::from(data.get(14)? & 15) * 4;
    Some(u16::from_be_bytes([
        *data.get(header + 2)?,
        *data.get(header + 3)?,
    ]))
}

/// Processes that are made and gone at once, in several generations.
const FAMILY: &str = "\
    send() { traffic udp to=10.0.0.2:9 count=5 first=$1; }
    send 0
    send 5 &
    (send 10 & (send 15; (send 20 &) ) ) &
    for n in 25 30 35 40; do send $n & done
    wait
    exec sh -c 'traffic tcp-send to=10.0.0.2:80 bytes=5000; traffic udp to=10.0.0.2:9 count=5 first=45; \
        sleep 1; exit 3'";

/// Nothing else's frames in the file, none of theirs missing, and the command's exit status.
pub(crate) fn command_family() -> Result<()> {
    let pair = Pair::new("family")?;
    let _noise = noise(&pair.a)?;
    for hook in Hook::with_xmit() {
        let mut server = pair
            .b
            .start("server", &mut words_of("traffic tcp-serve at=10.0.0.2:80"))?;
        server.wait_stdout("listening")?;
        let file = out(&format!("family-{hook}.pcapng"));
        let words = format!("--hook {hook} -w {}", file.display());
        let output = run(&pair.a, &mut with_command(&words, &["sh", "-c", FAMILY]))?;
        ensure!(output.status.code() == Some(3), "{}", output.status);
        verify(&file)?;
        let captured = capture::read_pcapng(&file)?;
        let (tcp, udp): (Vec<_>, Vec<_>) = captured
            .packets
            .into_iter()
            .partition(|packet| port(packet) == Some(80));
        let mut found = sequences(&udp)?;
        found.sort_unstable();
        let wanted: Vec<u64> = (0..50).collect();
        ensure!(found == wanted, "{hook}: {found:?}");
        let processes: BTreeSet<u32> = udp.iter().map(|packet| packet.more().who.tgid).collect();
        ensure!(processes.len() == 10, "{hook}: {processes:?}");
        // SYN, data, FIN, at the least.
        ensure!(tcp.len() >= 3, "{hook}: {} of TCP", tcp.len());
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(said.contains("filtered: another sender"), "{said}");
        server.finish()?;
    }
    Ok(())
}

/// What a shell would make of the command's end.
pub(crate) fn command_status() -> Result<()> {
    let pair = Pair::new("status")?;
    let space = &pair.a;
    let file = out("status.pcapng");
    let write = format!("-w {}", file.display());
    let not_executable = out("plain");
    fs::write(&not_executable, "")?;
    let not_executable = not_executable.to_str().context("an odd name")?;
    let statuses: [(&str, &[&str], i32); 6] = [
        (&write, &["true"], 0),
        (&write, &["false"], 1),
        (&write, &["sh", "-c", "exit 3"], 3),
        (&write, &["sh", "-c", "kill -TERM $$"], 143),
        // It goes on beyond the capture.
        ("--time-limit 0.1", &["sh", "-c", "sleep 1; exit 4"], 4),
        (
            "-c 1",
            &[
                "sh",
                "-c",
                "traffic udp to=10.0.0.2:9 count=5 >&2; sleep 1; exit 5",
            ],
            5,
        ),
    ];
    for (words, program, status) in statuses {
        let output = run(space, &mut with_command(words, program))?;
        ensure!(
            output.status.code() == Some(status),
            "{program:?}: {}",
            output.status
        );
        // It is the command's.
        ensure!(output.stdout.is_empty(), "{program:?}: {:?}", output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(said.contains("captured"), "{said}");
        // Its frames are told beside it.
        ensure!(
            !words.contains("-c 1") || said.contains("> 10.0.0.2.9: UDP"),
            "{said}"
        );
    }
    verify(&file)?;

    // Nothing is emptied for a command that isn't there.
    fs::write(&file, "not to be lost")?;
    let touched = out("touched");
    let touched = touched.to_str().context("an odd name")?;
    let refused: [(&str, &[&str], &str); 6] = [
        (&write, &[not_executable], "Permission denied"),
        (&write, &["/"], "Permission denied"),
        (&write, &["no-such-command"], "No such file"),
        (&write, &["/no/such"], "No such file"),
        ("-i nowhere0", &["touch", touched], "nowhere0"),
        ("--hok", &["touch", touched], "--hok"),
    ];
    for (words, program, why) in refused {
        let output = run(space, &mut with_command(words, program))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(2) && said.contains(why) && said.lines().count() == 1,
            "{program:?}: {}: {said}",
            output.status
        );
    }
    ensure!(fs::read_to_string(&file)? == "not to be lost");
    ensure!(!fs::exists(touched)?, "a command ran");
    fs::remove_file(&file)?;
    not_run(space, &write, &file)
}

/// What only the kernel finds out, when it is to run it: a capture without a frame.
fn not_run(space: &Space, write: &str, file: &Path) -> Result<()> {
    // Whoever called sudo may not run what root may.
    for (mode, status, why) in [
        (0o755, 127, "No such file"),
        (0o700, 126, "Permission denied"),
    ] {
        let script = out("script");
        fs::write(&script, "#!/no/such/interpreter\n")?;
        fs::set_permissions(&script, Permissions::from_mode(mode))?;
        let name = script.to_str().context("an odd name")?;
        let mut sudo = with_command(write, &[name]);
        sudo.envs([
            ("SUDO_UID", "1000"),
            ("SUDO_GID", "1000"),
            ("SUDO_USER", "user"),
        ]);
        let output = run(space, &mut sudo)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(status) && said.contains(why),
            "{mode:o}: {}: {said}",
            output.status
        );
        verify(file)?;
        let packets = capture::read_pcapng(file)?.packets;
        ensure!(packets.is_empty(), "{} packets", packets.len());
        fs::remove_file(script)?;
    }
    fs::remove_file(file)?;
    Ok(())
}

/// SIGINT is the command's, SIGTERM is passed on.
pub(crate) fn command_signals() -> Result<()> {
    let pair = Pair::new("signals")?;
    for (signal, end, status) in [
        (
            Signal::INT,
            "touch $1; sleep 2; traffic udp to=10.0.0.2:9; exit 6",
            6,
        ),
        (
            Signal::TERM,
            "trap 'traffic udp to=10.0.0.2:9; exit 7' TERM; touch $1; while :; do sleep 0.1; done",
            7,
        ),
    ] {
        let file = out(&format!("signal-{status}.pcapng"));
        let mark = out(&format!("signal-{status}"));
        let words = format!("-w {}", file.display());
        let mark_name = mark.to_str().context("an odd name")?;
        let mut skbcap = with_command(&words, &["sh", "-c", end, "sh", mark_name]);
        let mut skbcap = pair.a.start(&format!("skbcap-{status}"), &mut skbcap)?;
        skbcap.wait_stderr("skbcap: listening on")?;
        while !mark.exists() {
            ensure!(skbcap.is_running()?, "{}", skbcap.stderr()?);
            sleep(Duration::from_millis(20));
        }
        skbcap.signal(signal)?;
        if signal == Signal::INT {
            skbcap.signal(signal)?;
        }
        let ended = skbcap.wait()?;
        ensure!(
            ended.code() == Some(status),
            "{ended}: {}",
            skbcap.stderr()?
        );
        verify(&file)?;
        let packets = capture::read_pcapng(&file)?.packets;
        ensure!(packets.len() == 1, "{} packets", packets.len());
    }
    Ok(())
}

/// The command is what it would be without skbcap; under sudo, its caller's.
pub(crate) fn command_environment() -> Result<()> {
    let pair = Pair::new("environment")?;
    let tell = "id -u; id -g; id -G; echo $HOME $USER; \
        grep -E '^(NoNewPrivs|THP_enabled|Sig(Blk|Ign|Cgt)|Cap...|Seccomp):' /proc/self/status; \
        ls -l /proc/self/fd | wc -l; cat";
    let said = |command: &mut Command| -> Result<String> {
        let input = out("input");
        fs::write(&input, "its standard input\n")?;
        command.stdin(fs::File::open(input)?);
        let output = run(&pair.a, command)?;
        ensure!(output.status.success(), "{}", output.status);
        Ok(String::from_utf8(output.stdout)?)
    };
    let words = format!("-w {}", out("environment.pcapng").display());
    let plain = said(Command::new("sh").args(["-c", tell]))?;
    let ours = said(&mut with_command(&words, &["sh", "-c", tell]))?;
    ensure!(ours == plain, "{ours}\nnot\n{plain}");
    ensure!(plain.ends_with("its standard input\n"), "{plain}");

    let mut sudo = with_command(&words, &["sh", "-c", tell]);
    sudo.envs([
        ("SUDO_UID", "1000"),
        ("SUDO_GID", "1000"),
        ("SUDO_USER", "user"),
    ]);
    let callers = said(&mut sudo)?;
    println!("{callers}");
    let groups = callers.lines().nth(2).unwrap_or_default();
    ensure!(
        callers.starts_with("1000\n1000\n") && !groups.split(' ').any(|group| group == "0"),
        "{callers}"
    );
    ensure!(callers.contains("\n/tmp user\n"), "{callers}");
    ensure!(callers.contains("CapEff:\t0000000000000000"), "{callers}");
    Ok(())
}
