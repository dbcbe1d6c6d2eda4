//! Filter expressions while capturing: what the kernel selects is what `tcpdump -r` selects from a
//! capture of all there was.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fixtures::sys::PacketSocket;
use rustix::process::Signal;
use skbcap::diff::Capture;
use skbcap_tests::capture::{self, Packet};
use skbcap_tests::{expressions, frames};

use crate::lab::{Pair, Space, has_module};
use crate::link_types::{ARPHRD_CAN, CAN};
use crate::program::{Program, out};
use crate::share;
use crate::skbcap::{Hook, Skbcap, command, verify};

/// skbcap where it can open libpcap; a host's own can, where that has one.
pub(crate) const PROGRAM: &str = "skbcap-libpcap";

/// Captures at a time: each takes its time to begin.
pub(crate) const AT_ONCE: usize = 8;

/// A frame's length and bytes.
pub(crate) type Frame = (u32, Vec<u8>);

/// The frames of a file, in the order of their bytes: captures of several CPUs may differ in theirs.
pub(crate) fn read(bytes: &[u8]) -> Result<Vec<Frame>> {
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
pub(crate) fn expected(all: &Path, expression: &str) -> Result<Result<Vec<Frame>, String>> {
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

/// skbcap with these words, and where it can open libpcap.
pub(crate) fn with_libpcap(words: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(words.split_whitespace());
    command
}

/// The command, which does not say who sent a frame, and so starts faster.
pub(crate) fn without_senders(mut command: Command) -> Command {
    command.env("SKBCAP_ATTRIBUTION", "none");
    command
}

/// A capture with an expression, started.
pub(crate) struct Filtered {
    pub(crate) program: Program,
    file: PathBuf,
}

impl Filtered {
    /// Of a command without `-w` and an expression.
    pub(crate) fn start(
        space: &Space,
        name: &str,
        mut command: Command,
        expression: &str,
    ) -> Result<Self> {
        let file = out(&format!("{name}.pcapng"));
        command.arg("-w").arg(&file).arg(expression);
        let program = space.start(name, &mut command)?;
        Ok(Self { program, file })
    }

    /// Ends it. The frames, or why there are none: its last words, with status 2.
    pub(crate) fn stop(mut self) -> Result<Result<Vec<Frame>, String>> {
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
    pub(crate) fn listen(&mut self) -> Result<()> {
        self.program.wait_stderr("skbcap: ")?;
        while self.program.is_running()? && !self.program.stderr()?.contains("skbcap: listening on")
        {
            sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

/// Sends every frame of a link type by a device.
pub(crate) fn send_all(space: &Space, device: &str, link_type: u32) -> Result<()> {
    space.within(|| {
        let socket = PacketSocket::raw(device, 0)?;
        for frame in frames::framed(link_type) {
            let sent = socket.send(&frame);
            sent.with_context(|| format!("{frame:02x?}"))?;
        }
        Ok(())
    })
}

/// Captures with each of the expressions at once, and without any; `send` makes traffic. How many
/// of the expressions divide the frames.
pub(crate) fn compare(
    space: &Space,
    hook: Hook,
    words: &str,
    expressions: &[String],
    send: impl Fn() -> Result<()>,
) -> Result<usize> {
    let words = format!("-B 4096 --hook {hook} {words}");
    let mut all = without_senders(command(&words));
    let all = Skbcap::launch_with(space, "all", &mut all)?.listen()?;
    let mut captures = Vec::new();
    for (at, expression) in expressions.iter().enumerate() {
        let command = without_senders(with_libpcap(&words));
        let name = format!("filtered-{at}");
        captures.push(Filtered::start(space, &name, command, expression)?);
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

/// The corpus, by all hooks and by both devices in turn.
pub(crate) fn expressions() -> Result<()> {
    let pair = Pair::new("filter")?;
    let _ = has_module("tun");
    let _carrier = pair.a.tun("ta", libc::ARPHRD_NONE, "10.9.0")?;
    let corpus = expressions::corpus();
    let hooks = Hook::with_xmit();
    let (mut compared, mut dividing) = (0, 0);
    let chunks = share::mine(corpus.chunks(AT_ONCE).collect())?;
    for (turn, some) in chunks.into_iter().enumerate() {
        let hook = hooks[turn % hooks.len()];
        let (device, link_type) = match turn % 4 {
            3 => ("ta", frames::RAW),
            _ => ("va", frames::ETHERNET),
        };
        compared += some.len();
        dividing += compare(&pair.a, hook, &format!("-i {device}"), some, || {
            send_all(&pair.a, device, link_type)
        })?;
    }
    println!("{dividing} of {compared} expressions divide the frames");
    ensure!(
        compared >= 32 && dividing >= compared / 3,
        "only {dividing} of {compared} expressions divide the frames"
    );
    Ok(())
}

/// Frames whose bytes lie elsewhere than in one piece: a tag in metadata, fragments, more than was
/// asked for; and those that are written in another form.
pub(crate) fn expression_shapes() -> Result<()> {
    let pair = Pair::new("filtershapes")?;
    let a = &pair.a;
    let _ = has_module("tun");
    let _carrier = a.tun("tc", ARPHRD_CAN, "10.13.0")?;
    let has_vlans = has_module("8021q");
    if has_vlans {
        a.ip("link add link va name va.7 type vlan id 7")?;
        a.ip("address add 10.7.0.1/24 dev va.7")?;
        a.ip("link set dev va.7 up")?;
        a.ip("neigh add 10.7.0.2 lladdr 02:00:00:00:00:02 dev va.7 nud permanent")?;
    }
    let with_each_hook = [
        "vlan and udp port 9",
        // Behind `vlan`, all else is looked for behind a tag.
        "udp port 9 and not vlan",
        "len > 1400",
        // By a word of the packet: all of it is looked at.
        "ether[len - 1] = 0x61 or udp[4:2] > 1000",
        "ip[2:2] > 20000 and ip[20000:4] != 0",
    ];
    let with_one = ["vlan 7", "udp[udp[4:2] - 1] & 1 = 0"];
    let send = || -> Result<()> {
        let to = if has_vlans { "10.7.0.2" } else { "10.0.0.2" };
        a.sh(&format!("traffic udp to={to}:9 sizes=1,100,1400,3000"))?;
        // Loopback makes super-frames of more than one part of these.
        a.sh("traffic udp to=10.0.0.1:9 sizes=9000,30000,60000")?;
        send_all(a, "va", frames::ETHERNET)
    };
    for (number, hook) in share::mine(Hook::with_xmit())?.into_iter().enumerate() {
        let also = if number == 0 { &with_one[..] } else { &[] };
        let expressions = with_each_hook.iter().chain(also);
        let expressions: Vec<String> = expressions.map(|&text| text.to_owned()).collect();
        let dividing = compare(a, hook, "", &expressions, send)?;
        // A host may have no VLANs.
        let without = if has_vlans { 0 } else { 1 + also.len() / 2 };
        ensure!(
            dividing == expressions.len() - without,
            "{hook}: {dividing}"
        );
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
        let command = without_senders(with_libpcap(words));
        let mut some = Filtered::start(a, "some", command, "udp dst port 9 and len > 200")?;
        some.listen()?;
        a.sh("traffic udp to=10.0.0.2:9 sizes=1,100,1000,1400")?;
        let frames = some.stop()?.map_err(anyhow::Error::msg)?;
        ensure!(frames.len() == 2, "{words}: {frames:?}");
    }
    Ok(())
}

/// What two files with a link type each hold, and what was said at the end.
struct Split {
    files: [Vec<Packet>; 2],
    said: String,
}

impl Split {
    /// `N` of the line `N WHAT`; 0 without such a line.
    fn count(&self, what: &str) -> Result<u64> {
        let line = self.said.lines().find_map(|line| line.strip_suffix(what));
        line.map_or(Ok(0), |number| Ok(number.parse()?))
    }
}

/// Ends a capture with `--split-linktype` of Ethernet and raw IP, or waits for the end of a replay.
fn ended(mut skbcap: Skbcap) -> Result<Split> {
    if !skbcap.listening.is_empty() {
        skbcap.program.signal(Signal::INT)?;
    }
    let status = skbcap.program.wait()?;
    let said = skbcap.program.stderr()?;
    ensure!(status.success(), "{status}: {said}");
    let read = |file: &Path| {
        verify(file)?;
        capture::read_pcapng(file).map(|capture| capture.packets)
    };
    let files = [
        read(&skbcap.file)?,
        read(&skbcap.file.with_extension("raw.pcapng"))?,
    ];
    Ok(Split { files, said })
}

/// All that is known of a packet but when it was taken, which two captures may see differently.
fn known(packet: &Packet) -> Packet {
    Packet {
        time_ns: 0,
        ..packet.clone()
    }
}

/// What a capture does besides, it does of the frames that an expression selects: says who sent
/// them, records them, writes a file for each link type, and counts those that it turns away.
pub(crate) fn expression_beside() -> Result<()> {
    let pair = Pair::new("filterbeside")?;
    let a = &pair.a;
    let _ = has_module("tun");
    let _carrier = a.tun("ta", libc::ARPHRD_NONE, "10.9.0")?;
    for hook in share::mine(Hook::with_xmit())? {
        let ring = out(&format!("{hook}.ring"));
        let words = format!("-i va -i ta --hook {hook} --split-linktype");
        let all = Skbcap::start(a, &format!("all-{hook}"), &words)?;
        let mut filtered = with_libpcap(&words);
        filtered.arg("--record").arg(&ring).arg("udp dst port 9");
        let some = Skbcap::launch_with(a, &format!("some-{hook}"), &mut filtered)?.listen()?;
        a.sh("traffic udp to=10.0.0.2:9 sizes=1,100,1000")?;
        a.sh("traffic udp to=10.0.0.2:10 sizes=1,100")?;
        a.sh("traffic udp to=10.9.0.2:9 sizes=2,200")?;
        a.sh("traffic udp to=10.9.0.2:10 sizes=2,200")?;
        let (all, some) = (ended(all)?, ended(some)?);

        for ((selected, of_all), start) in some.files.iter().zip(&all.files).zip([14, 0]) {
            // The destination's port, behind IPv4's shortest header.
            let wanted = of_all.iter().filter(|packet| {
                let ip = &packet.data[start..];
                ip.len() > 23 && ip[9] == 17 && ip[22..24] == [0, 9]
            });
            let wanted: Vec<_> = wanted.map(known).collect();
            let selected: Vec<_> = selected.iter().map(known).collect();
            ensure!(selected == wanted, "{hook}: {selected:?}\n{wanted:?}");
        }
        let counts = some.files.each_ref().map(Vec::len);
        ensure!(counts == [3, 2], "{hook}: {counts:?}");
        println!("{hook}: {}", some.files[1][0].more().comment);

        let turned_away = some.count(" filtered: not what the expression selects")?;
        let elsewhere = some.count(" filtered: another namespace or interface")?;
        ensure!(turned_away >= 4, "{hook}: {turned_away}");
        ensure!(
            some.count(" frames captured")? == 5
                && some.count(" frames seen")? == 5 + turned_away + elsewhere,
            "{hook}: it does not add up:\n{}",
            some.said
        );

        let mut replay = command("--split-linktype --replay");
        replay.arg(&ring);
        let again = Skbcap::launch_with(&pair.b, &format!("again-{hook}"), &mut replay)?;
        let again = ended(again)?;
        ensure!(
            again.files == some.files,
            "{hook}: other frames by --replay: {:?}",
            again.files
        );
        fs::remove_file(&ring)?;
    }
    Ok(())
}

/// An expression of more than a thousand of libpcap's instructions loads with each hook, and one of
/// five thousand; much longer ones are refused before anything is attached.
pub(crate) fn expression_lengths() -> Result<()> {
    let pair = Pair::new("filterlengths")?;
    let hooks = share::mine(Hook::with_xmit())?;
    let hooks = hooks.into_iter().map(|hook| (hook, 150));
    for (hook, count) in hooks.chain([(Hook::Queue, 500)]) {
        let words = format!("-i va --debug --hook {hook}");
        let expression = format!("udp dst port 9 or {}", expressions::pairs(count));
        let name = format!("long-{hook}-{count}");
        let command = with_libpcap(&words);
        let mut capture = Filtered::start(&pair.a, &name, command, &expression)?;
        capture.listen()?;
        pair.a.sh("traffic udp to=10.0.0.2:9 sizes=1,100")?;
        pair.a.sh("traffic udp to=10.0.0.2:10 sizes=1,100")?;
        let said = capture.program.stderr()?;
        let told = said
            .lines()
            .find_map(|line| line.split_once("the expression is "));
        let (_, told) = told.context("not told")?;
        println!("{hook}, {count} pairs: {told}");
        let frames = capture.stop()?.map_err(anyhow::Error::msg)?;
        ensure!(frames.len() == 2, "{} frames", frames.len());
    }
    let (text, file) = (out("refused"), out("refused.pcapng"));
    let too_long = (
        expressions::pairs(20_000),
        "libpcap can't compile an expression this long",
    );
    let too_many_loops = (
        ["protochain 17"; 12].join(" or "),
        "the expression is too long",
    );
    for (expression, told) in [too_long, too_many_loops] {
        fs::write(&text, expression)?;
        let mut command = with_libpcap("-i va");
        command.arg("-w").arg(&file).arg("-F").arg(&text);
        let output = pair.a.within(|| Ok(command.output()?))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(2)
                && said.starts_with(&format!("skbcap: {told}"))
                && said.lines().count() == 1
                && !file.exists(),
            "{}: {said}",
            output.status
        );
    }
    fs::remove_file(&text)?;
    Ok(())
}
