//! The guest's test runner: `guest --list` names the tests, `guest run NAME`
//! runs one, as root, in a virtual machine of `cargo xtask vm`. What a test
//! prints is its log, and the files it leaves in `/out` come to the host.
//!
//! On a host, `SKBCAP_OUT=DIR guest run NAME` runs most of them too, with
//! `skbcap`, the traffic programs and tcpdump in PATH: they make namespaces of
//! their own.

mod bad_input;
mod beside;
mod boot;
mod clock;
mod devices;
mod frames;
mod icount;
mod lab;
mod life;
mod limits;
mod program;
mod recordings;
mod report;
mod skbcap;
mod tcp;
mod udp;

use std::env;
use std::process::ExitCode;

use anyhow::{Result, bail};

/// A test: its name; what it wants of its guest, as docs/development.md says;
/// itself.
type Test = (&'static str, &'static str, fn() -> Result<()>);

/// All tests, in the order in which they run.
const TESTS: &[Test] = &[
    ("boot", "", boot::boot),
    ("tcpdump_runs", "", boot::tcpdump_runs),
    ("chronyd_frame", "", frames::chronyd_frame),
    ("ping", "", frames::ping),
    ("arp", "", frames::arp),
    ("ipv6", "", frames::ipv6),
    ("udp_sizes", "", udp::udp_sizes),
    ("udp_threads_identity", "", udp::udp_threads_identity),
    ("order", "", udp::order),
    ("tcp_bulk", "", tcp::tcp_bulk),
    ("tcp_bulk_netns", "", tcp::tcp_bulk_netns),
    ("sendfile_17_frags", "", tcp::sendfile_17_frags),
    ("loopback", "", tcp::loopback),
    ("page_bases", "", tcp::page_bases),
    ("vlan", "", devices::vlan),
    ("vlan_unaccelerated", "", devices::vlan_unaccelerated),
    ("tun", "", devices::tun),
    ("snaplen", "", limits::snaplen),
    ("count", "", limits::count),
    ("ring_full", "", limits::ring_full),
    ("pipe", "", life::pipe),
    ("idle", "", life::idle),
    ("disk_full", "", life::disk_full),
    ("second_signal", "", life::second_signal),
    ("record_replay", "", recordings::record_replay),
    ("hook_auto", "", life::hook_auto),
    ("bad_input", "", bad_input::bad_input),
    (
        "lockdown",
        "append=lockdown=confidentiality",
        bad_input::lockdown,
    ),
    ("wallclock", "", clock::wallclock),
    ("clock_step", "", clock::clock_step),
    (
        "icount_capture",
        "alone seconds=300",
        icount::icount_capture,
    ),
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["--list"] => {
            for (name, wants, _) in TESTS {
                println!("{}", format!("{name} {wants}").trim_end());
            }
            Ok(())
        }
        ["run", wanted] => match TESTS.iter().find(|(name, ..)| *name == wanted) {
            Some((_, _, test)) => test(),
            None => bail!("there is no test {wanted}"),
        },
        _ => bail!("usage: guest --list, guest run NAME"),
    }
}
