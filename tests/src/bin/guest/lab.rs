//! Network namespaces to make traffic in: nothing in them sends what a test does not ask for.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::AsFd;

use crate::program::Program;

/// A network namespace, which goes when this does.
#[derive(Debug)]
pub(crate) struct Space {
    name: String,
}

impl Space {
    /// A new one, with loopback up and without IPv6: a device that comes up with it sends.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let space = Self::with_ipv6(name)?;
        space.sysctl("net/ipv6/conf/all/disable_ipv6", "1")?;
        space.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        Ok(space)
    }

    /// A new one, with loopback up.
    pub(crate) fn with_ipv6(name: &str) -> Result<Self> {
        // What an interrupted run on a host left behind.
        let _ = Command::new("ip").args(["netns", "delete", name]).output();
        run(Command::new("ip").args(["netns", "add", name]))?;
        let space = Self {
            name: name.to_owned(),
        };
        space.ip("link set dev lo up")?;
        Ok(space)
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Its inode number, which is how captures name it.
    pub(crate) fn inode(&self) -> Result<u64> {
        Ok(self.path().metadata()?.ino())
    }

    /// `ip -n NAME WORDS`.
    pub(crate) fn ip(&self, words: &str) -> Result<String> {
        let mut command = Command::new("ip");
        command.args(["-n", &self.name]).args(words.split(' '));
        run(&mut command)
    }

    /// Sets one of the namespace's own values below `/proc/sys`.
    pub(crate) fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{name}");
        self.within(|| std::fs::write(&path, value).with_context(|| format!("cannot set {path}")))
    }

    /// Runs a function in a thread that is in the namespace.
    pub(crate) fn within<T: Send>(&self, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let file = File::open(self.path()).context("cannot open the namespace")?;
        thread::scope(|scope| {
            scope
                .spawn(move || {
                    // The thread's alone; what it starts is in it too.
                    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                        .context("cannot enter the namespace")?;
                    f()
                })
                .join()
                .map_err(|_| anyhow!("a thread panicked"))?
        })
    }

    /// Runs a program in it to its end, which must be a good one; what it printed.
    pub(crate) fn run(&self, command: &mut Command) -> Result<String> {
        self.within(|| run(command))
    }

    /// As [`Space::run`], the words of the command in one string.
    pub(crate) fn sh(&self, words: &str) -> Result<String> {
        self.run(&mut words_of(words))
    }

    /// Starts a program in it.
    pub(crate) fn start(&self, name: &str, command: &mut Command) -> Result<Program> {
        self.within(|| Program::start(name, command))
    }

    /// A tun device of some type, with an IP network, as long as the program runs.
    pub(crate) fn tun(&self, name: &str, kind: u16, network: &str) -> Result<Program> {
        let words = format!("traffic tun a={name} b={name}-b type={kind}");
        let mut carrier = self.start(&format!("carrier-{name}"), &mut words_of(&words))?;
        carrier.wait_stdout("up")?;
        self.ip(&format!("address add {network}.1/24 dev {name}"))?;
        self.ip(&format!("link set dev {name} up"))?;
        Ok(carrier)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // A guest ends with it; on a host it is the next run's matter.
        let _ = Command::new("ip")
            .args(["netns", "delete", &self.name])
            .output();
    }
}

/// A command from one string of words.
pub(crate) fn words_of(words: &str) -> Command {
    let mut words = words.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

/// Runs a program to its end, which must be a good one; what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{stderr}",
        output.status
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A file system, mounted as long as this is there.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// `mount WORDS PLACE`.
    pub(crate) fn new(words: &str, place: PathBuf) -> Result<Self> {
        run(words_of(&format!("mount {words}")).arg(&place))?;
        Ok(Self(place))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("umount").arg(&self.0)) {
            eprintln!("{error:#}");
        }
    }
}

/// Whether a module is there. A host may lack it.
pub(crate) fn has_module(name: &str) -> bool {
    words_of(&format!("modprobe {name}"))
        .status()
        .is_ok_and(|status| status.success())
}

/// Two namespaces and a cable: `va` with 10.0.0.1 in one, `vb` with 10.0.0.2 in the other.
pub(crate) struct Pair {
    pub(crate) a: Space,
    pub(crate) b: Space,
}

impl Pair {
    /// Without IPv6, and with neighbours that need not be asked for.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let pair = Self {
            a: Space::new(&format!("{name}-a"))?,
            b: Space::new(&format!("{name}-b"))?,
        };
        pair.cable()?;
        pair.a
            .ip("neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev va nud permanent")?;
        pair.b
            .ip("neigh add 10.0.0.1 lladdr 02:00:00:00:00:01 dev vb nud permanent")?;
        Ok(pair)
    }

    /// With all that neighbours say to each other.
    pub(crate) fn talkative(name: &str) -> Result<Self> {
        let pair = Self {
            a: Space::with_ipv6(&format!("{name}-a"))?,
            b: Space::with_ipv6(&format!("{name}-b"))?,
        };
        pair.cable()?;
        Ok(pair)
    }

    fn cable(&self) -> Result<()> {
        let Self { a, b } = self;
        a.ip(&format!(
            "link add dev va address 02:00:00:00:00:01 type veth \
             peer name vb address 02:00:00:00:00:02 netns {}",
            b.name
        ))?;
        for (space, device, address) in [(a, "va", "10.0.0.1/24"), (b, "vb", "10.0.0.2/24")] {
            space.ip(&format!("address add {address} dev {device}"))?;
            // A neighbour that was believed is asked again after 5 s: not while captures end.
            space.sysctl(
                &format!("net/ipv4/neigh/{device}/delay_first_probe_time"),
                "600",
            )?;
            space.sysctl(
                &format!("net/ipv6/neigh/{device}/delay_first_probe_time"),
                "600",
            )?;
            space.sysctl(&format!("net/ipv6/conf/{device}/router_solicitations"), "0")?;
            space.ip(&format!("link set dev {device} up"))?;
        }
        Ok(())
    }
}
