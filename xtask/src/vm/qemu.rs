//! One guest: QEMU's command line, its console, its end. Knows what a guest
//! looks like from outside, and nothing of tests.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::initramfs::{Payload, System};
use super::plan::Machine;
use crate::cache::Cache;
use crate::kernels::Image;
use crate::tools::Tools;

/// What init says when it has begun.
pub(crate) const UP: &str = "skbcap-guest: up";

/// A guest whose kernel works boots within this time, under emulation on a
/// busy machine.
pub(crate) const BOOT: Duration = Duration::from_secs(60);

/// One that is virtualised does so much faster.
const BOOT_KVM: Duration = Duration::from_secs(5);

/// The processor that is emulated: without its instructions that copy bytes, a copy takes as many
/// steps as it has words.
const EMULATED: &str = "max,erms=off,fsrm=off";

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Accelerator {
    /// The processor.
    Kvm,
    /// QEMU.
    Tcg,
}

/// A guest's parts.
pub(crate) struct Guest<'a> {
    /// Its kernel.
    pub(crate) kernel: &'a Image,
    /// Its files.
    pub(crate) initramfs: &'a Path,
    /// Where it writes its results.
    pub(crate) disk: Option<&'a Path>,
    /// What it is like.
    pub(crate) machine: &'a Machine,
    /// More kernel arguments.
    pub(crate) append: &'a str,
}

/// What follows on a line of the console.
pub(crate) enum Next {
    /// Nothing changes.
    Go,
    /// What comes next must come within this time.
    Within(Duration),
    /// The guest is not needed any longer.
    Stop,
}

/// How a guest ended.
#[derive(Debug, PartialEq)]
pub(crate) enum End {
    /// The guest switched itself off, or its kernel died.
    Off,
    /// QEMU crashed. Up to 10.0 it may while a guest with several processors boots: an assertion in
    /// `iotlb_to_section` fails when one of them moves a device's memory
    /// (<https://gitlab.com/qemu-project/qemu/-/issues/1921>).
    Crashed,
    /// It was stopped: it took too long.
    Stopped,
}

impl Guest<'_> {
    /// The command, but for the console.
    fn command(&self, tools: &Tools, accelerator: Accelerator) -> Result<Command> {
        let mut command = tools.command("qemu-system-x86_64")?;
        for dir in ["seabios", "qemu"] {
            command
                .arg("-L")
                .arg(tools.root().join("usr/share").join(dir));
        }
        command.args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ]);
        let smp = self.machine.smp.unwrap_or(2);
        let mut append = String::from(
            "console=ttyS0 panic=-1 oops=panic quiet mitigations=off tsc=reliable \
             no_timer_check random.trust_cpu=on",
        );
        if self.machine.icount {
            // A nanosecond of the guest's time is an instruction.
            command.args(["-smp", "1", "-accel", "tcg,tb-size=512"]);
            command.args(["-icount", "shift=0,sleep=off", "-cpu", EMULATED]);
            append.push_str(" nokaslr skbcap.icount");
        } else {
            command.arg("-smp").arg(smp.to_string());
            match accelerator {
                Accelerator::Kvm => command.args(["-accel", "kvm", "-cpu", "host"]),
                Accelerator::Tcg => {
                    command.args(["-accel", "tcg,thread=multi,tb-size=512", "-cpu", EMULATED])
                }
            };
        }
        for argument in &self.machine.append {
            append.push(' ');
            append.push_str(argument);
        }
        append.push(' ');
        append.push_str(self.append);
        command
            .arg("-m")
            .arg(format!("{}M", self.machine.memory.unwrap_or(2048)));
        command.arg("-kernel").arg(self.kernel.vmlinuz());
        command.arg("-initrd").arg(self.initramfs);
        command.arg("-append").arg(append);
        if !self.machine.icount {
            // Where instructions count, the thread that reads it would too.
            command.args(["-device", "virtio-rng-pci"]);
        }
        if let Some(disk) = self.disk {
            let disk = disk
                .to_str()
                .context("the repository's path must be UTF-8")?;
            // A comma ends an option's value, two are one comma.
            let disk = disk.replace(',', ",,");
            command
                .arg("-drive")
                .arg(format!("if=virtio,format=raw,cache=unsafe,file={disk}"));
        }
        Ok(command)
    }

    /// Boots it, gives each line of the console to `line`, and keeps all of
    /// them in the file `console`. Stops it after `limit`, which `line` can
    /// set anew, or as soon as `line` says so.
    pub(crate) fn run(
        &self,
        tools: &Tools,
        accelerator: Accelerator,
        console: &Path,
        limit: Duration,
        mut line: impl FnMut(&str) -> Next,
    ) -> Result<End> {
        let mut log = File::create(console)?;
        let mut command = self.command(tools, accelerator)?;
        command.args(["-serial", "file:/dev/fd/1"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(log.try_clone()?);
        let child = command.spawn().context("cannot start QEMU")?;
        let mut child = Stopped(child);
        let stdout = child.0.stdout.take().context("QEMU's console is a pipe")?;
        let (send, receive) = mpsc::channel();
        thread::spawn(move || {
            for bytes in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                if send.send(bytes).is_err() {
                    break;
                }
            }
        });
        let mut deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match receive.recv_timeout(left) {
                Ok(bytes) => {
                    let text = String::from_utf8_lossy(&bytes);
                    let text = text.trim_end_matches('\r');
                    writeln!(log, "{text}")?;
                    match line(text) {
                        Next::Go => {}
                        Next::Within(limit) => deadline = Instant::now() + limit,
                        Next::Stop => return Ok(End::Stopped),
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Ok(End::Stopped),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = child.0.wait()?;
        Ok(match status.signal() {
            Some(_) => End::Crashed,
            None => End::Off,
        })
    }

    /// Boots it with the console on the terminal.
    pub(crate) fn interact(&self, tools: &Tools, accelerator: Accelerator) -> Result<()> {
        println!("Ctrl-A X stops QEMU, Ctrl-A H tells more");
        let mut command = self.command(tools, accelerator)?;
        command
            .args(["-serial", "mon:stdio"])
            .status()
            .context("cannot start QEMU")?;
        Ok(())
    }
}

/// QEMU, which does not outlive us.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        // Both fail when it has ended, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Accelerator {
    /// KVM where it works, which a device file alone does not say: a guest
    /// must have booted. The outcome holds until the machine boots again.
    pub(crate) fn find(
        cache: &Cache,
        tools: &Tools,
        kernel: &Image,
        system: &System,
    ) -> Result<Self> {
        if File::options()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_err()
        {
            return Ok(Self::Tcg);
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let remembered = cache.path("accelerator");
        let works = format!("kvm works {boot}");
        let fails = format!("kvm fails {boot}");
        match fs::read_to_string(&remembered) {
            Ok(text) if text == works => return Ok(Self::Kvm),
            Ok(text) if text == fails => return Ok(Self::Tcg),
            _ => {}
        }
        println!("trying whether KVM works");
        let dir = Scratch::new()?;
        let initramfs = dir.0.join("initramfs");
        system.write(
            &Payload {
                programs: &[],
                tests: "",
            },
            &initramfs,
        )?;
        let machine = Machine::default();
        let guest = Guest {
            kernel,
            initramfs: &initramfs,
            disk: None,
            machine: &machine,
            append: "",
        };
        let mut up = false;
        guest.run(tools, Self::Kvm, &dir.0.join("console"), BOOT_KVM, |line| {
            up |= line.contains(UP);
            if up { Next::Stop } else { Next::Go }
        })?;
        println!(
            "KVM {}",
            if up {
                "works"
            } else {
                "does not work here: guests are emulated"
            }
        );
        fs::write(&remembered, if up { works } else { fails })?;
        Ok(if up { Self::Kvm } else { Self::Tcg })
    }
}

/// A directory that goes when this does.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    /// A new one below `target`.
    pub(crate) fn new() -> Result<Self> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // A number only has to differ from the others.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let all = crate::repository().join("target/vm-scratch");
        if number == 0 {
            remove_left(&all);
        }
        let dir = all.join(format!("{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self(dir))
    }
}

/// Removes what runs left behind that were killed.
fn remove_left(all: &Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.split('-').next().unwrap_or(&name);
        if !Path::new("/proc").join(pid).exists() {
            // Another run may be doing the same.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing depends on its being gone.
        let _ = fs::remove_dir_all(&self.0);
    }
}
