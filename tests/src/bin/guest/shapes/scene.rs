//! Where a shape is made: its namespaces, their cables, and what they say to each other.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::judge::Counts;
use crate::lab::{Space, words_of};
use crate::program::Program;
use crate::tcp::stream;

/// Bytes of a stream that has frames of many sizes.
pub(crate) const STREAM: u64 = 300_000;

/// One shape's namespaces and what runs in them.
pub(crate) struct Scene {
    name: &'static str,
    spaces: Vec<Space>,
    /// End with it.
    programs: Vec<Program>,
}

impl Scene {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            spaces: Vec::new(),
            programs: Vec::new(),
        }
    }

    /// One more namespace; it has no IPv6.
    pub(crate) fn add_space(&mut self) -> Result<()> {
        let name = format!("{}-{}", self.name, self.spaces.len());
        self.spaces.push(Space::new(&name)?);
        Ok(())
    }

    /// One more namespace, with IPv6.
    pub(crate) fn add_space_with_ipv6(&mut self) -> Result<()> {
        let name = format!("{}-{}", self.name, self.spaces.len());
        self.spaces.push(Space::with_ipv6(&name)?);
        Ok(())
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn space(&self, at: usize) -> &Space {
        &self.spaces[at]
    }

    pub(crate) fn a(&self) -> &Space {
        self.space(0)
    }

    pub(crate) fn b(&self) -> &Space {
        self.space(1)
    }

    pub(crate) fn c(&self) -> &Space {
        self.space(2)
    }

    /// A program that runs until the shape is done with.
    pub(crate) fn run_along(&mut self, program: Program) {
        self.programs.push(program);
    }

    /// Two namespaces and a cable, `NAME0` with 10.0.0.1 to `NAME1` with 10.0.0.2, which need not ask
    /// for each other. What goes to 10.0.0.9 is answered by nobody.
    pub(crate) fn cable(&mut self) -> Result<()> {
        self.add_space()?;
        self.add_space()?;
        let name = self.name;
        self.lay(0, 1)?;
        for (at, host) in [(0, 1), (1, 2)] {
            let other = 3 - host;
            self.space(at).ips(&format!(
                "address add 10.0.0.{host}/24 dev {name}{at}\n\
                 neigh add 10.0.0.{other} lladdr 02:00:00:00:00:0{other} dev {name}{at} nud permanent"
            ))?;
        }
        // A slow guest's streams are slow, and of those TCP makes short super-frames
        // (net/ipv4/tcp_output.c: tcp_tso_autosize): so many segments at least. More would be longer
        // than the device takes.
        self.a().sysctl("net/ipv4/tcp_min_tso_segs", "45")?;
        self.a().ips(&format!(
            "neigh add 10.0.0.9 lladdr 02:00:00:00:00:99 dev {name}0 nud permanent"
        ))
    }

    /// The same over IPv6: fd00::1 and fd00::2, which ask for each other.
    pub(crate) fn cable6(&mut self) -> Result<()> {
        self.add_space_with_ipv6()?;
        self.add_space_with_ipv6()?;
        for space in &self.spaces {
            space.sysctl("net/ipv6/conf/default/router_solicitations", "0")?;
        }
        self.lay(0, 1)?;
        let name = self.name;
        for (at, host) in [(0, 1), (1, 2)] {
            let space = self.space(at);
            // A neighbour that was believed is asked again later: not while captures end.
            let delay = format!("net/ipv6/neigh/{name}{at}/delay_first_probe_time");
            space.sysctl(&delay, "600")?;
            space.ips(&format!("address add fd00::{host}/64 dev {name}{at} nodad"))?;
        }
        Ok(())
    }

    /// A veth, up: `NAMEn` in namespace `from` to `NAMEn+1` in `to`, where n is twice `from`; their
    /// addresses end in n + 1 and n + 2.
    pub(crate) fn lay(&self, from: usize, to: usize) -> Result<()> {
        let name = self.name;
        let (one, other) = (2 * from, 2 * from + 1);
        self.space(from).ips(&format!(
            "link add dev {name}{one} address 02:00:00:00:00:0{} type veth \
             peer name {name}{other} address 02:00:00:00:00:0{} netns {}\n\
             link set dev {name}{one} up",
            one + 1,
            other + 1,
            self.space(to).name()
        ))?;
        self.space(to)
            .ips(&format!("link set dev {name}{other} up"))
    }

    /// Datagrams of several sizes, whole and in fragments, from the first namespace.
    pub(crate) fn datagrams(&self, to: &str) -> Result<()> {
        self.a()
            .sh(&format!("traffic udp to={to}:9 sizes=1,100,1400,3000"))?;
        Ok(())
    }

    /// A stream from the first namespace to the second, and back what acknowledges it.
    pub(crate) fn stream(&self, to: &str) -> Result<()> {
        let send = format!("tcp-send bytes={STREAM}");
        stream(self.a(), self.b(), &format!("{to}:80"), &send, STREAM)
    }

    /// Echo requests, datagrams and a stream.
    pub(crate) fn talk(&self, to: &str) -> Result<Counts> {
        self.a().sh(&format!("ping -n -c 1 -s 1000 {to}"))?;
        self.datagrams(to)?;
        self.stream(to)?;
        Ok(Counts::default())
    }
}

impl Space {
    /// `ip` commands, one a line.
    pub(crate) fn ips(&self, lines: &str) -> Result<()> {
        let path = Path::new("/tmp").join(format!("{}.batch", self.name()));
        std::fs::write(&path, lines)?;
        let mut command = words_of(&format!("ip -n {} -batch", self.name()));
        command.arg(&path);
        crate::lab::run(&mut command).with_context(|| lines.to_owned())?;
        Ok(())
    }

    /// `tc` with words, in this namespace.
    pub(crate) fn tc(&self, words: &str) -> Result<String> {
        crate::lab::run(&mut words_of(&format!("tc -n {} {words}", self.name())))
    }

    /// Writes to files of `/sys/class/net/DEVICE`, which are those of whoever mounts `/sys`.
    pub(crate) fn tune(&self, device: &str, values: &[(&str, &str)]) -> Result<()> {
        let writes: Vec<String> = values
            .iter()
            .map(|(name, value)| format!("echo {value} > /sys/class/net/{device}/{name}"))
            .collect();
        let mut exec = words_of(&format!("ip netns exec {} sh -c", self.name()));
        exec.arg(writes.join(" && "));
        ensure!(
            exec.status()?.success(),
            "cannot set {values:?} of {device}"
        );
        Ok(())
    }
}

/// The number behind a word of a program's output, each time it stands there, in sum.
pub(crate) fn number_behind(text: &str, word: &str) -> Result<u64> {
    let mut sum = None;
    for (at, _) in text.match_indices(word) {
        let rest = text[at + word.len()..].trim_start();
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
        let number: u64 = digits.unwrap_or_default().parse()?;
        *sum.get_or_insert(0) += number;
    }
    sum.with_context(|| format!("no {word} in:\n{text}"))
}
