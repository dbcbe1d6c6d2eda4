//! Two network namespaces with a cable between them, to make traffic in that
//! nobody else sees. They have no names and leave nothing behind: each is there
//! as long as a process of ours is in it, and that process ends with ours,
//! however ours ends, because its standard input does.
//!
//! Knows nothing of what is sent, or of captures.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::cache::Cache;
use crate::elevate::{self, Elevation};
use crate::run::quiet;
use crate::tools::Tools;

/// The one end of the cable, and the other. As in the capture that began skbcap.
const ADDRESSES: [&str; 2] = ["192.168.178.24/24", "192.168.178.1/24"];

/// Says which process it is, and stays until its input ends.
const HOLD: &str = "echo $$; exec cat";

/// The namespaces.
pub(crate) struct Stage {
    /// Where 192.168.178.24 is.
    pub(crate) here: Space,
    /// Where 192.168.178.1 is.
    pub(crate) there: Space,
}

/// One namespace.
pub(crate) struct Space {
    holder: Child,
    pid: u32,
    /// What stands before a command, to run it in here.
    enter: Vec<OsString>,
}

impl Stage {
    /// Makes them: in a user namespace of their own where we are not root and may have one, so
    /// that they need no rights at all; else with `elevation`.
    pub(crate) fn new(cache: &Cache, elevation: Elevation) -> Result<Self> {
        let ip = ip(cache)?;
        if !elevate::is_root() {
            // Where these are allowed but may not be used, only the cable says so.
            let own = Self::make_in_user_namespace(&["--user", "--map-root-user"]);
            if let Some(stage) = own.ok().filter(|stage| stage.connect(&ip).is_ok()) {
                return Ok(stage);
            }
        }
        let stage = Self::make(elevation)?;
        stage.connect(&ip)?;
        Ok(stage)
    }

    fn make(elevation: Elevation) -> Result<Self> {
        let space = || Space::hold(elevation.command("unshare"), &[], elevation, &[]);
        Ok(Self {
            here: space()?,
            there: space()?,
        })
    }

    fn make_in_user_namespace(flags: &[&str]) -> Result<Self> {
        const ENTER: [&str; 2] = ["--user", "--preserve-credentials"];
        let plain = Elevation::default();
        let here = Space::hold(Command::new("unshare"), flags, plain, &ENTER)?;
        // The second belongs to the same user namespace, or the cable could not reach it.
        let mut unshare = Command::new("nsenter");
        unshare.arg(format!("--target={}", here.pid));
        unshare.args(ENTER).arg("unshare");
        let there = Space::hold(unshare, &[], plain, &ENTER)?;
        Ok(Self { here, there })
    }

    /// Lays the cable. No addresses are made up for its ends: a device that gets one sends.
    fn connect(&self, ip: &[OsString]) -> Result<()> {
        let run = |space: &Space, words: &str| {
            let mut command = space.command(&ip[0]);
            command.args(&ip[1..]).args(words.split(' '));
            quiet(&mut command)
        };
        let other = self.there.pid;
        run(
            &self.here,
            &format!("link add eth0 type veth peer name eth0 netns {other}"),
        )?;
        for (space, address) in [&self.here, &self.there].into_iter().zip(ADDRESSES) {
            run(space, "link set dev eth0 addrgenmode none")?;
            run(space, &format!("addr add {address} dev eth0"))?;
        }
        run(&self.there, "link set dev eth0 up")?;
        run(&self.here, "link set dev eth0 up")
    }
}

impl Space {
    /// Starts the process that `unshare` makes a namespace for.
    fn hold(
        mut unshare: Command,
        flags: &[&str],
        elevation: Elevation,
        enter: &[&str],
    ) -> Result<Self> {
        unshare.args(flags).args(["--net", "sh", "-c", HOLD]);
        unshare.stdin(Stdio::piped()).stdout(Stdio::piped());
        if !flags.is_empty() {
            // Where it is not allowed there is another way, and nothing to complain about.
            unshare.stderr(Stdio::null());
        }
        let mut holder = unshare.spawn().context("cannot start unshare")?;
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line)?;
        let pid: u32 = line
            .trim()
            .parse()
            .context("cannot make a network namespace")?;
        let nsenter = elevation.command("nsenter");
        let enter = words(&nsenter)
            .chain([format!("--target={pid}").into(), "--net".into()])
            .chain(enter.iter().map(OsString::from))
            .collect();
        Ok(Self { holder, pid, enter })
    }

    /// The process in it, whose namespace others can name.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// A command that runs in it. The process that it starts is `program` itself.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(&self.enter[0]);
        command.args(&self.enter[1..]).arg(program);
        command
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        // It ends by itself now, and its status says nothing.
        let _ = self.holder.wait();
    }
}

/// This machine's `ip`, or the one in the cache.
fn ip(cache: &Cache) -> Result<Vec<OsString>> {
    let places = ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip"];
    if let Some(ip) = places
        .into_iter()
        .find(|ip| std::fs::exists(ip).is_ok_and(|is| is))
    {
        return Ok(vec![ip.into()]);
    }
    Ok(words(&Tools::get(cache)?.command("ip")?).collect())
}

fn words(command: &Command) -> impl Iterator<Item = OsString> {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_owned)
}
