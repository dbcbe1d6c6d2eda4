//! Filter expressions while capturing: what the kernel selects is what `tcpdump -r` selects from a
//! capture of all there was.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fixtures::sys::send_frame;
use skbcap::diff::Capture;
use skbcap_tests::{expressions, frames};

use crate::lab::{Pair, Space};
use crate::link_types::{ARPHRD_CAN, CAN, has_module, tun};
use crate::program::{Program, out};
use crate::skbcap::{Hook, Skbcap, verify};

/// skbcap where it can open libpcap; a host's own can, where that has one.
const PROGRAM: &str = "skbcap-libpcap";

/// Captures at a time: each takes its time to begin.
const AT_ONCE: usize = 8;

/// A frame's length and bytes.
type Frame = (u32, Vec<u8>);

/// The frames of a file, in the order of their bytes: captures of several CPUs may differ in theirs.
fn read(bytes: &[u8]) -> Result<Vec<Frame>> {
    let capture = Capture::read(bytes)?;
    ensure!(capture.trouble.is_none(), "{:?}", capture.trouble);
    let mut frames: Vec<Frame> = capture
        .frames
        .iter()
        .map(|frame| (frame.len, frame.data.to_vec()))
        .collect();
    frames.sort();
    Ok(frames)
}

/// What `tcpdump -r` selects of a file, or what it says of the expression.
fn expected(all: &Path, expression: &str) -> Result<Result<Vec<Frame>, String>> {
    let mut command = Command::new("tcpdump");
    command.args(["-n", "-Z", "root", "-w", "-", "-r"]).arg(all);
    let output = command.arg(expression).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let last = said.lines().last().unwrap_or_default();
        let message = last.strip_prefix("tcpdump: ").context("tcpdump's words")?;
        return Ok(Err(message.to_owned()));
    }
    read(&output.stdout).map(Ok)
}

/// A capture with an expression, started.
struct Filtered {
    program: Program,
    file: PathBuf,
}

impl Filtered {
    fn start(space: &Space, name: &str, words: &str, expression: &str) -> Result<Self> {
        let file = out(&format!("{name}.pcapng"));
        let mut command = Command::new(PROGRAM);
        command.args(words.split_whitespace());
        command.arg("-w").arg(&file).arg(expression);
        let program = space.start(name, &mut command)?;
        Ok(Self { program, file })
    }

    /// Ends it. The frames, or why there are none: its last words, with status 2.
    fn stop(mut self) -> Result<Result<Vec<Frame>, String>> {
        if self.program.is_running()? {
            let status = self.program.interrupt()?;
            let said = self.program.stderr()?;
            ensure!(status.success(), "{status}: {said}");
            verify(&self.file)?;
            return read(&fs::read(&self.file)?).map(Ok);
        }
        let status = self.program.wait()?;
        let said = self.program.stderr()?;
        ensure!(status.code() == Some(2), "{status}: {said}");
        let line = said.lines().find_map(|line| line.strip_prefix("skbcap: "));
        Ok(Err(line.context("no word")?.to_owned()))
    }

    /// Waits until it listens, or ends.
    fn listen(&mut self) -> Result<()> {
        self.program.wait_stderr("skbcap: ")?;
        while self.program.is_running()? && !self.program.stderr()?.contains("skbcap: listening on")
        {
            sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

/// Sends every frame of a link type by a device.
fn send_all(space: &Space, device: &str, link_type: u32) -> Result<()> {
    space.within(|| {
        for frame in frames::framed(link_type) {
            send_frame(device, 0, &frame).with_context(|| format!("{frame:02x?}"))?;
        }
        Ok(())
    })
}

/// Captures with each of the expressions at once, and without any; `send` makes traffic. How many
/// of the expressions divide the frames.
fn compare(
    space: &Space,
    hook: Hook,
    words: &str,
    expressions: &[String],
    send: impl Fn() -> Result<()>,
) -> Result<usize> {
    let words = format!("-B 4096 --hook {hook} {words}");
    let all = Skbcap::start(space, "all", &words)?;
    let mut captures = Vec::new();
    for (at, expression) in expressions.iter().enumerate() {
        captures.push(Filtered::start(
            space,
            &format!("filtered-{at}"),
            &words,
            expression,
        )?);
    }
    for capture in &mut captures {
        capture.listen()?;
    }
    send()?;
    let all = all.stop()?;
    let total = all.capture.packets.len();
    let mut dividing = 0;
    for (expression, capture) in expressions.iter().zip(captures) {
        let shown: String = expression.chars().take(100).collect();
        let ours = capture.stop().with_context(|| shown.clone())?;
        let theirs = expected(&out("all.pcapng"), expression)?;
        let count = |frames: &Result<Vec<Frame>, String>| match frames {
            Ok(frames) => format!("{} frames", frames.len()),
            Err(message) => message.clone(),
        };
        ensure!(
            ours == theirs,
            "{hook} {shown}: skbcap: {}, tcpdump: {}",
            count(&ours),
            count(&theirs)
        );
        let selected = ours.as_ref().map_or(0, Vec::len);
        println!("{hook} {shown}: {} of {total}", count(&ours));
        dividing += usize::from(selected > 0 && selected < total);
    }
    Ok(dividing)
}

/// The whole corpus, by all hooks in turn.
pub(crate) fn expressions() -> Result<()> {
    let pair = Pair::new("filter")?;
    let _ = has_module("tun");
    let _carrier = tun(&pair.a, "ta", libc::ARPHRD_NONE, "10.9.0")?;
    let corpus = expressions::corpus();
    let hooks = Hook::with_xmit();
    let mut dividing = 0;
    for (at, some) in corpus.chunks(AT_ONCE).enumerate() {
        let hook = hooks[at % hooks.len()];
        let (device, link_type) = match at % 4 {
            3 => ("ta", frames::RAW),
            _ => ("va", frames::ETHERNET),
        };
        dividing += compare(&pair.a, hook, &format!("-i {device}"), some, || {
            send_all(&pair.a, device, link_type)
        })?;
    }
    ensure!(
        dividing >= 80,
        "only {dividing} expressions divide the frames"
    );
    Ok(())
}

/// Frames whose bytes lie elsewhere than in one piece: a tag in metadata, fragments, more than was
/// asked for; and those that are written in another form.
pub(crate) fn expression_shapes() -> Result<()> {
    let pair = Pair::new("filtershapes")?;
    let a = &pair.a;
    let _ = has_module("tun");
    let _carrier = tun(a, "tc", ARPHRD_CAN, "10.13.0")?;
    let has_vlans = has_module("8021q");
    if has_vlans {
        a.ip("link add link va name va.7 type vlan id 7")?;
        a.ip("address add 10.7.0.1/24 dev va.7")?;
        a.ip("link set dev va.7 up")?;
        a.ip("neigh add 10.7.0.2 lladdr 02:00:00:00:00:02 dev va.7 nud permanent")?;
    }
    let expressions: Vec<String> = [
        "vlan 7",
        "vlan and udp port 9",
        "not vlan and udp port 9",
        "len > 1400",
        // By a word of the packet: all of it is looked at.
        "ether[len - 1] = 0x61 or udp[4:2] > 1000",
        "udp[udp[4:2] - 1] & 1 = 0",
        "ip[2:2] > 20000 and ip[20000:4] != 0",
        "ip proto 17 and ether[6000:2] = ether[6002:2]",
    ]
    .map(str::to_owned)
    .into();
    let send = || -> Result<()> {
        let to = if has_vlans { "10.7.0.2" } else { "10.0.0.2" };
        a.sh(&format!("traffic udp to={to}:9 sizes=1,100,1400,3000"))?;
        // Loopback makes super-frames of more than one part of these.
        a.sh("traffic udp to=10.0.0.1:9 sizes=9000,30000,60000")?;
        send_all(a, "va", frames::ETHERNET)
    };
    for hook in Hook::with_xmit() {
        let dividing = compare(a, hook, "", &expressions[..4], send)?;
        ensure!(
            dividing >= if has_vlans { 4 } else { 2 },
            "{hook}: {dividing}"
        );
        let dividing = compare(a, hook, "-i lo -i va", &expressions[4..], send)?;
        ensure!(dividing >= 3, "{hook}: {dividing}");
    }
    let can: Vec<String> = [
        "link[0] = 0x80",
        "link[3] = 0x23",
        "len > 16",
        "link[5] = 4",
    ]
    .map(str::to_owned)
    .into();
    let fd = format!("2301008040040000{}", "5a".repeat(64));
    compare(a, Hook::Queue, "-i tc", &can, || {
        for hex in [CAN.replace(' ', ""), fd.clone()] {
            a.sh(&format!("traffic frame device=tc protocol=12 hex={hex}"))?;
        }
        Ok(())
    })?;
    // What is kept is not what is looked at, and how it is written neither.
    for words in ["-s 14", "--linktype sll2"] {
        let some = Filtered::start(a, "some", words, "udp dst port 9 and len > 200")?;
        let mut some = some;
        some.listen()?;
        a.sh("traffic udp to=10.0.0.2:9 sizes=1,100,1000,1400")?;
        let frames = some.stop()?.map_err(anyhow::Error::msg)?;
        ensure!(frames.len() == 2, "{words}: {frames:?}");
    }
    Ok(())
}

/// An expression of more than a thousand instructions loads, and a much longer one is refused
/// before anything is attached.
pub(crate) fn expression_lengths() -> Result<()> {
    let pair = Pair::new("filterlengths")?;
    let pairs = |count: u32| {
        let each = (1..=count).map(|n| format!("(udp src port {n} and dst port {})", 1000 + n));
        each.collect::<Vec<_>>().join(" or ")
    };
    let long = format!("udp dst port 9 or {}", pairs(500));
    for hook in Hook::with_xmit() {
        let words = format!("--debug --hook {hook}");
        let mut capture = Filtered::start(&pair.a, &format!("long-{hook}"), &words, &long)?;
        capture.listen()?;
        pair.a.sh("traffic udp to=10.0.0.2:9 sizes=1,100")?;
        pair.a.sh("traffic udp to=10.0.0.2:10 sizes=1,100")?;
        let said = capture.program.stderr()?;
        let told = said.lines().find(|line| line.contains("the expression is"));
        println!("{hook}: {}", told.context("not told")?);
        let frames = capture.stop()?.map_err(anyhow::Error::msg)?;
        ensure!(frames.len() == 2, "{} frames", frames.len());
    }
    let mut command = Command::new(PROGRAM);
    command.arg("-F");
    let file = out("too-long");
    fs::write(&file, pairs(20_000))?;
    let output = pair.a.within(|| Ok(command.arg(&file).output()?))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said.chars().take(400).collect();
    println!("{}: {said}", output.status);
    ensure!(
        output.status.code() == Some(2) && said.contains("the expression is too long"),
        "{}: {said}",
        output.status
    );
    fs::remove_file(&file)?;
    Ok(())
}
