//! tcpdump and skbcap beside each other, and what the one saw that the other did not.

use std::ops::Range;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Result, ensure};
use rustix::process::Signal;
use skbcap_tests::capture::{self, Packet};
use skbcap_tests::compare::{Some3, compare};

use crate::lab::{Space, words_of};
use crate::program::{Program, out};
use crate::share;
use crate::skbcap::{Done, Hook, Skbcap};

/// tcpdump hands over what is in its ring once a second; at its end it does not.
pub(crate) const LAST_BLOCK: Duration = Duration::from_millis(1200);

/// A device to compare on.
#[derive(Clone, Copy)]
pub(crate) struct Point<'a> {
    pub(crate) space: &'a Space,
    pub(crate) device: &'a str,
}

/// One tcpdump, of what leaves by one device.
pub(crate) struct Tcpdump {
    program: Program,
    device: String,
    inode: u64,
    pub(crate) file: PathBuf,
}

/// KiB of the ring of a tcpdump that is one of a few.
const BUFFER_KIB: u32 = 65536;

/// All that capture at once.
pub(crate) struct Beside {
    tcpdumps: Vec<Tcpdump>,
    skbcaps: Vec<(Hook, Skbcap)>,
    begin_ns: u64,
}

/// What tcpdump saw of one device.
pub(crate) struct Seen {
    pub(crate) device: String,
    pub(crate) inode: u64,
    pub(crate) packets: Vec<Packet>,
}

/// What all of them saw.
pub(crate) struct Outcome {
    pub(crate) tcpdump: Vec<Seen>,
    pub(crate) skbcap: Vec<(Hook, Done)>,
    /// When all of them captured: what the kernel itself sends before or later, a multicast report,
    /// some may not have seen.
    all_ns: Range<u64>,
}

/// Nanoseconds since 1970.
pub(crate) fn now_ns() -> Result<u64> {
    Ok(UNIX_EPOCH.elapsed()?.as_nanos().try_into()?)
}

impl Beside {
    /// A tcpdump for each point, and in the first point's namespace a skbcap for each hook that is this
    /// kernel's share. `words` is the rest of skbcap's command line.
    pub(crate) fn start(points: &[Point<'_>], words: &str) -> Result<Self> {
        let mut tcpdumps = Vec::new();
        for point in points {
            tcpdumps.push(Tcpdump::launch(point, BUFFER_KIB, None)?);
        }
        let mut skbcaps = Vec::new();
        for hook in share::two(&Hook::with_xmit())? {
            let words = format!("--hook {hook} {words}");
            let name = hook.to_string();
            skbcaps.push((hook, Skbcap::launch(points[0].space, &name, &words)?));
        }
        for tcpdump in &mut tcpdumps {
            tcpdump.listen()?;
        }
        let listening = |(hook, skbcap): (Hook, Skbcap)| Ok((hook, skbcap.listen()?));
        let skbcaps = skbcaps.into_iter().map(listening).collect::<Result<_>>()?;
        Ok(Self {
            tcpdumps,
            skbcaps,
            begin_ns: now_ns()?,
        })
    }

    /// Ends all of them.
    pub(crate) fn stop(self) -> Result<Outcome> {
        sleep(LAST_BLOCK);
        let mut outcome = Outcome {
            tcpdump: Vec::new(),
            skbcap: Vec::new(),
            all_ns: self.begin_ns..now_ns()?,
        };
        for tcpdump in self.tcpdumps {
            outcome.tcpdump.push(tcpdump.stop()?);
        }
        for (hook, skbcap) in self.skbcaps {
            outcome.skbcap.push((hook, skbcap.stop()?));
        }
        Ok(outcome)
    }
}

impl Tcpdump {
    /// Starts it; it need not listen yet.
    pub(crate) fn launch(point: &Point<'_>, buffer_kib: u32, snaplen: Option<u32>) -> Result<Self> {
        let Point { space, device } = point;
        let name = format!("tcpdump-{}-{device}", space.name());
        let file = out(&format!("{name}.pcap"));
        let mut command = words_of("tcpdump -n -Z root --nano");
        command.arg("-B").arg(buffer_kib.to_string());
        if let Some(snaplen) = snaplen {
            command.arg("-s").arg(snaplen.to_string());
        }
        command.arg("-i").arg(device).arg("-w").arg(&file);
        if *device != "lo" {
            // On loopback it would see nothing: what leaves comes in there.
            command.args(["-Q", "out"]);
        }
        Ok(Self {
            program: space.start(&name, &mut command)?,
            device: (*device).to_owned(),
            inode: space.inode()?,
            file,
        })
    }

    /// Waits until it listens.
    pub(crate) fn listen(&mut self) -> Result<()> {
        self.program.wait_stderr("listening on").map(drop)
    }

    /// Has it end; [`LAST_BLOCK`] before that its last frames must be in its ring.
    pub(crate) fn interrupt(&self) -> Result<()> {
        self.program.signal(Signal::INT)
    }

    fn stop(self) -> Result<Seen> {
        self.interrupt()?;
        let (device, inode, file) = (self.device.clone(), self.inode, self.file.clone());
        self.finish()?;
        Ok(Seen {
            device,
            inode,
            packets: capture::read_pcap(&file)?,
        })
    }

    /// Waits for its end, which must be a good one, without losses.
    pub(crate) fn finish(mut self) -> Result<()> {
        let status = self.program.wait()?;
        let said = self.program.stderr()?;
        ensure!(status.success(), "tcpdump ended with {status}:\n{said}");
        ensure!(
            said.contains("\n0 packets dropped by kernel"),
            "tcpdump lost packets:\n{said}"
        );
        Ok(())
    }
}

impl Outcome {
    /// Every frame that tcpdump saw while all captured is in skbcap's file byte for byte, the other way
    /// round, and there is nothing else in it. At least `least` frames were seen on each device.
    pub(crate) fn same(&self, least: usize) -> Result<()> {
        for seen in &self.tcpdump {
            println!("tcpdump {}: {} frames", seen.device, seen.packets.len());
            ensure!(
                seen.packets.len() >= least,
                "tcpdump saw {} frames on {}, at least {least} should be",
                seen.packets.len(),
                seen.device
            );
        }
        for (hook, done) in &self.skbcap {
            let mut compared = 0;
            let mut missing = 0;
            for seen in &self.tcpdump {
                let ours = done.of(&seen.device, seen.inode);
                compared += ours.len();
                missing += seen.compare(*hook, &ours, &self.all_ns)?;
            }
            ensure!(
                compared == done.capture.packets.len(),
                "{hook}: {} packets on other devices than those compared",
                done.capture.packets.len() - compared
            );
            println!(
                "{hook}: {compared} frames, {missing} missing, {}",
                done.misses()?
            );
            ensure!(missing == 0, "{hook}: {missing} frames are missing");
        }
        Ok(())
    }
}

impl Seen {
    /// How many frames skbcap lacks; it may have none that tcpdump lacks.
    fn compare(&self, hook: Hook, ours: &[Packet], all_ns: &Range<u64>) -> Result<usize> {
        let mut difference = compare(&self.packets, ours);
        let only = [
            (&mut difference.only_first, &self.packets[..]),
            (&mut difference.only_second, ours),
        ];
        for (places, packets) in only {
            places.retain(|&place| all_ns.contains(&packets[place].time_ns));
        }
        if !difference.only_first.is_empty() {
            print!(
                "{hook} {}: {} of tcpdump's {} frames are not in skbcap's {}:\n{}",
                self.device,
                difference.only_first.len(),
                self.packets.len(),
                ours.len(),
                Some3(&difference.only_first, &self.packets)
            );
        }
        ensure!(
            difference.only_second.is_empty(),
            "{hook} {}: {} of skbcap's {} frames are not in tcpdump's {}:\n{}",
            self.device,
            difference.only_second.len(),
            ours.len(),
            self.packets.len(),
            Some3(&difference.only_second, ours)
        );
        Ok(difference.only_first.len())
    }
}

impl Done {
    /// The packets of one device of one namespace.
    pub(crate) fn of(&self, device: &str, inode: u64) -> Vec<Packet> {
        let description = format!("netns={inode} ");
        self.capture
            .packets
            .iter()
            .filter(|packet| {
                let more = packet.more();
                more.device == device && more.description.starts_with(&description)
            })
            .cloned()
            .collect()
    }
}
