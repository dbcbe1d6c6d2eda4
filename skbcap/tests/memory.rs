//! What is told of processes while no frame comes takes little memory.
//!
//! One test alone: the memory is the whole process's.

use std::fs;
use std::path::PathBuf;

use skbcap::{
    capture::Pipeline,
    clock::Offset,
    config::{LinkTypes, Output},
    output::{AnySink, FileOutput, Origin, Pcapng},
};
use skbcap_common::process::{Event, what};
use zerocopy::FromZeros;

/// More events than a capture has wait.
const EVENTS: u32 = 200_000;
const PROCESSES: u32 = 500;
const SOCKETS: u32 = 5_000;

/// A long-lived process writes to one of its sockets.
fn event(number: u32) -> Event {
    let mut event = Event::new_zeroed();
    event.what = what::USED;
    event.time_ns = u64::from(number);
    event.socket = 0xffff_8880_0000_0000 + u64::from(number % SOCKETS) * 0x400;
    // None that `/proc` knows: it says what the kernel side told.
    event.tgid = u32::MAX - number % PROCESSES;
    event.exe_inode = 7;
    event.comm = zerocopy::transmute!(*b"some-service-10\0");
    event.exe[..30].copy_from_slice(b"some-service-with-a-long-name\0");
    event
}

/// This process's memory that is in the machine and no file's, in KiB.
fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mut lines = status.lines();
    let kib = lines
        .find_map(|line| line.strip_prefix("RssAnon:")?.strip_suffix(" kB"))
        .unwrap();
    kib.trim().parse().unwrap()
}

#[test]
fn events_that_wait_share_their_processes() {
    let output = FileOutput::open(&Output::File(PathBuf::from("/dev/null")))
        .unwrap()
        .unwrap();
    let sink = Pcapng::new(output, Origin::default(), 1500, LinkTypes::Mixed)
        .unwrap()
        .telling("exe,uid".parse().unwrap());
    let offset = Offset {
        at_monotonic_ns: 0,
        offset_ns: 0,
        uncertainty_ns: 0,
    };
    let mut pipeline = Pipeline::new(AnySink::Pcapng(Box::new(sink)), None, offset, None);
    let before = resident_kib();
    for number in 0..EVENTS {
        pipeline.learn(Some(&event(number)));
    }
    let more = resident_kib() - before;
    println!("{EVENTS} events of {PROCESSES} processes take {more} KiB");
    assert!(more < 8 << 10, "{more} KiB");
}
