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
mod cgroups;
mod chosen;
mod clock;
mod command;
mod devices;
mod expression_chains;
mod expression_cost;
mod expressions;
mod files;
mod files_beside;
mod forward;
mod frames;
mod icount;
mod invocations;
mod lab;
mod law;
mod least;
mod life;
mod limits;
mod link_type_table;
mod link_types;
mod missed;
mod native;
mod own_output;
mod program;
mod recordings;
mod report;
mod rootless;
mod sandbox;
mod senders;
mod shapes;
mod share;
mod shared;
mod skbcap;
mod soak;
mod stale_code;
mod stress;
mod stress_machine;
mod tcp;
mod tracee;
mod udp;
mod who;
mod write_cost;
mod xmit;

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
    ("chronyd_frame", "seconds=180", frames::chronyd_frame),
    ("ping", "seconds=180", frames::ping),
    ("arp", "seconds=180", frames::arp),
    ("ipv6", "seconds=180", frames::ipv6),
    ("udp_sizes", "seconds=180", udp::udp_sizes),
    (
        "udp_threads_identity",
        "seconds=180",
        udp::udp_threads_identity,
    ),
    ("order", "seconds=180", udp::order),
    ("tcp_bulk", "seconds=180", tcp::tcp_bulk),
    ("tcp_bulk_netns", "seconds=180 ends", tcp::tcp_bulk_netns),
    ("sendfile_17_frags", "seconds=180", tcp::sendfile_17_frags),
    ("loopback", "seconds=180", tcp::loopback),
    ("page_bases", "seconds=180 ends", tcp::page_bases),
    ("vlan", "seconds=180", devices::vlan),
    (
        "vlan_unaccelerated",
        "seconds=180 ends",
        devices::vlan_unaccelerated,
    ),
    ("tun", "seconds=180", devices::tun),
    ("link_types", "seconds=300 ends", link_types::link_types),
    (
        "link_types_none",
        "seconds=180 once",
        link_types::without_link_type,
    ),
    (
        "link_type_table",
        "seconds=400",
        link_type_table::link_type_table,
    ),
    ("netlink", "seconds=180 ends", link_types::netlink),
    ("invocations", "seconds=400 named", invocations::invocations),
    ("expressions", "seconds=900 smp=2", expressions::expressions),
    (
        "expression_shapes",
        "seconds=400 smp=2",
        expressions::expression_shapes,
    ),
    (
        "expression_beside",
        "seconds=180 smp=2 ends",
        expressions::expression_beside,
    ),
    (
        "expression_lengths",
        "seconds=300 ends",
        expressions::expression_lengths,
    ),
    (
        "expression_chains",
        "seconds=400 smp=2",
        expression_chains::expression_chains,
    ),
    // 5.10's veth has no NAPI of its own, and so no GRO.
    ("frag_list", "seconds=180 since=6.1", forward::frag_list),
    ("snaplen", "seconds=180 ends", limits::snaplen),
    ("count", "seconds=180 once", limits::count),
    ("ring_full", "seconds=180 ends", limits::ring_full),
    // 5.10 sends with softirqs disabled from before the kprobe on, and misses nothing there.
    (
        "missed_softirq",
        "seconds=180 since=6.1 ends",
        missed::missed_softirq,
    ),
    (
        "missed_map_calls",
        "seconds=180 since=6.1 append=preempt=full",
        missed::missed_map_calls,
    ),
    (
        "missed_socket_calls",
        "seconds=180 since=6.1 append=preempt=full ends",
        missed::missed_socket_calls,
    ),
    (
        "missed_forks",
        "seconds=300 since=newest append=preempt=full",
        missed::missed_forks,
    ),
    ("xmit_senders", "seconds=180 ends", xmit::xmit_senders),
    (
        "command_family",
        "seconds=180 once",
        command::command_family,
    ),
    (
        "command_status",
        "seconds=180 once",
        command::command_status,
    ),
    (
        "command_signals",
        "seconds=180 once",
        command::command_signals,
    ),
    (
        "command_environment",
        "seconds=180 once",
        command::command_environment,
    ),
    ("chosen_devices", "seconds=300 ends", chosen::chosen_devices),
    (
        "chosen_namespaces",
        "seconds=180 ends",
        chosen::chosen_namespaces,
    ),
    ("senders", "seconds=300", senders::senders),
    ("cgroups", "seconds=300 ends", cgroups::cgroups),
    ("shared_senders", "seconds=180 ends", shared::shared_senders),
    ("own_frames", "seconds=180 ends", senders::own_frames),
    (
        "own_frames_nfs",
        "seconds=600 once",
        own_output::own_frames_nfs,
    ),
    (
        "senders_missing",
        "seconds=180 once",
        senders::senders_missing,
    ),
    ("who_sent_it", "seconds=180", who::who_sent_it),
    ("who_fields", "seconds=180 ends", who::who_fields),
    ("who_current", "seconds=180 ends", who::who_current),
    ("who_cgroup", "seconds=180 ends", who::who_cgroup),
    ("who_cmdline", "seconds=180 ends", who::who_cmdline),
    (
        "who_fields_lines",
        "seconds=180 once",
        who::who_fields_lines,
    ),
    (
        "who_many_sockets",
        "seconds=180 ends",
        who::who_many_sockets,
    ),
    ("pipe", "seconds=180 once", life::pipe),
    ("idle", "seconds=180 ends", life::idle),
    (
        "types_from_a_file",
        "seconds=180 once",
        life::types_from_a_file,
    ),
    // Kernels from 6.12 on have turns of different lengths.
    ("short_turns", "seconds=180 on=6.12", life::short_turns),
    // Linux 7.3 maps a page of a map when it is first used.
    ("mapped_rings", "seconds=180 on=newest", life::mapped_rings),
    ("disk_full", "seconds=180 once", life::disk_full),
    ("rotated_files", "seconds=180 once", files::rotated_files),
    ("privileges", "seconds=180 ends", files::privileges),
    ("without_root", "seconds=180 ends", rootless::without_root),
    ("sandbox", "seconds=180 ends", sandbox::sandbox),
    (
        "sandbox_directories",
        "seconds=180 ends",
        sandbox::sandbox_directories,
    ),
    (
        "sandbox_command",
        "seconds=180 ends",
        sandbox::sandbox_command,
    ),
    ("sandbox_calls", "seconds=240 ends", sandbox::sandbox_calls),
    ("second_signal", "seconds=180 once", life::second_signal),
    (
        "record_replay",
        "seconds=180 once",
        recordings::record_replay,
    ),
    ("hook_auto", "seconds=180 ends", life::hook_auto),
    ("bad_input", "seconds=180 once", bad_input::bad_input),
    (
        "lockdown",
        "seconds=180 append=lockdown=confidentiality",
        bad_input::lockdown,
    ),
    ("wallclock", "seconds=180 once", clock::wallclock),
    ("clock_step", "seconds=180 once", clock::clock_step),
    ("shapes", "seconds=900 memory=4096 on=6.12", shapes::all),
    ("some_shapes", "seconds=180 off=6.12", shapes::some),
    ("stress_stopped", "seconds=180", stress::stress_stopped),
    ("stress_sender", "seconds=180", stress::stress_sender),
    (
        "stress_slow_output",
        "seconds=180 once",
        stress::stress_slow_output,
    ),
    (
        "stress_stalled_pipe",
        "seconds=180 once",
        stress::stress_stalled_pipe,
    ),
    ("stress_burst", "seconds=180", stress::stress_burst),
    ("stress_two", "seconds=180 ends", stress::stress_two),
    (
        "stress_cpus",
        "seconds=180 smp=3",
        stress_machine::stress_cpus,
    ),
    (
        "stress_devices",
        "seconds=300 ends",
        stress_machine::stress_devices,
    ),
    (
        "stress_interfaces",
        "seconds=400 once",
        stress_machine::stress_interfaces,
    ),
    (
        "stress_attach",
        "seconds=600",
        stress_machine::stress_attach,
    ),
    (
        "soak_stress",
        "alone smp=3 memory=4096 seconds=3600",
        soak::soak_stress,
    ),
    (
        "icount_write",
        "alone seconds=300",
        write_cost::icount_write,
    ),
    ("icount_gate", "alone seconds=300", icount::icount_gate),
    (
        "icount_capture",
        "alone seconds=1200",
        icount::icount_capture,
    ),
    (
        "icount_disk",
        "alone memory=4096 seconds=1800",
        icount::icount_disk,
    ),
    ("icount_least", "alone seconds=300", least::icount_least),
    (
        "icount_attribution",
        "alone seconds=900",
        icount::icount_attribution,
    ),
    (
        "icount_expression",
        "alone seconds=900",
        expression_cost::icount_expression,
    ),
    ("stale_code", "named seconds=180", stale_code::stale_code),
    ("native_cost", "alone", native::native_cost),
    ("native_drops", "alone", native::native_drops),
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
            Some((_, _, test)) => {
                share::tell();
                test()
            }
            None => bail!("there is no test {wanted}"),
        },
        _ => bail!("usage: guest --list, guest run NAME"),
    }
}
