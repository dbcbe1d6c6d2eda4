//! What a captured frame costs its sender at least, whatever a program does: the kernel's ways into
//! programs where skbcap has them, reading its clock, and having it copy the frame.

use std::any::Any;

use anyhow::Result;
use skbcap::kernel::btf::Btf;

use crate::icount::{ROUNDS, SIZES, cable, send_all};
use crate::native::{Attached, Does, empty_fentry, empty_kprobe};

/// Ethernet, IPv4 and UDP before the payload.
const HEADERS: usize = 42;

/// By which a write to a socket goes, whatever the call.
const WRITE: &str = "security_socket_sendmsg";

/// What stands in the table: each with what the ones before it have.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Least {
    Nothing,
    Tracepoint,
    Write,
    Copy,
    Kprobe,
}

const ALL: [(Least, &str); 5] = [
    (Least::Nothing, "nothing"),
    (Least::Tracepoint, "an empty program at the tracepoint"),
    (Least::Write, "and one at each write to a socket"),
    (
        Least::Copy,
        "the first reads the clock, and has the frame copied",
    ),
    (Least::Kprobe, "and an empty one at the kprobe"),
];

/// The table of docs/performance.md, "At least". Linux 6.11.
pub(crate) fn icount_least() -> Result<()> {
    let pair = cable("least")?;
    let btf = Btf::running()?;
    let sizes = &SIZES[..2];
    println!("programs                                            | 64 bytes | 1514 bytes");
    let mut before = [0.0; 2];
    for (least, name) in ALL {
        let mut costs = [0.0; 2];
        for (cost, &size) in costs.iter_mut().zip(sizes) {
            let bytes = (size.payload + HEADERS) as u32;
            let mut rounds = Vec::new();
            for _ in 0..ROUNDS {
                let attached = attach(&btf, least, bytes)?;
                rounds.push(send_all(&pair.a, &[size], None)?[0].all);
                drop(attached);
            }
            rounds.sort_by(f64::total_cmp);
            *cost = rounds[ROUNDS / 2];
        }
        if least == Least::Nothing {
            before = costs;
        } else {
            let [short, long] = [0, 1].map(|place| costs[place] - before[place]);
            println!("{name:51} | {short:8.0} | {long:10.0}");
        }
    }
    Ok(())
}

/// Attaches them; they go when the result does.
fn attach(btf: &Btf, least: Least, bytes: u32) -> Result<Vec<Box<dyn Any>>> {
    let mut attached: Vec<Box<dyn Any>> = Vec::new();
    if least >= Least::Copy {
        attached.push(Box::new(Attached::new(btf, Does::Copy(bytes))?));
    } else if least >= Least::Tracepoint {
        attached.push(Box::new(Attached::new(btf, Does::Nothing)?));
    }
    if least >= Least::Write {
        attached.push(Box::new(empty_fentry(btf, WRITE)?));
    }
    if least >= Least::Kprobe {
        attached.push(Box::new(empty_kprobe(c"__dev_queue_xmit")?));
    }
    Ok(attached)
}
