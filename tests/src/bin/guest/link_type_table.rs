//! Devices of every type there is, and the link type that each one's frames get.

use std::fs;
use std::thread::sleep;

use anyhow::{Result, ensure};
use skbcap::diff::{Capture, Difference};
use skbcap::link_type;
use skbcap::pcapng::LinkType;

use crate::beside::LAST_BLOCK;
use crate::files_beside::{adds_up, compared, end_skbcap, end_tcpdump, same, skbcap, tcpdump};
use crate::lab::{Pair, has_module, words_of};
use crate::program::out;
use crate::share;

/// Every device type of `include/uapi/linux/if_arp.h`, but for those of monitors, of which messages
/// are no frames.
const DEVICE_TYPES: &[u16] = &[
    0, 1, 2, 3, 4, 5, 6, 7, 8, 15, 18, 19, 23, 24, 27, 32, 256, 257, 258, 259, 260, 264, 270, 271,
    272, 280, 290, 512, 513, 516, 517, 518, 519, 768, 769, 770, 771, 772, 773, 774, 775, 776, 777,
    778, 779, 780, 781, 782, 783, 784, 785, 786, 787, 800, 801, 802, 803, 804, 805, 820, 821, 822,
    823, 825, 826, 0xfffe, 0xffff,
];
/// IrDA and LAPD, gone from Linux: their link types begin with a header of libpcap's.
const OWN_HEADER: [u16; 2] = [783, 8445];

/// Devices of every type there is: each frame has the link type that libpcap gives it, and is the
/// same; or libpcap makes a header, and then it is raw IP or has no link type.
pub(crate) fn link_type_table() -> Result<()> {
    const AT_ONCE: usize = 12;
    const LINKTYPE_LINUX_SLL: LinkType = LinkType(113);
    let pair = Pair::new("table")?;
    let a = &pair.a;
    let _ = has_module("tun");
    let (mut known, mut cooked, mut uncompared) = (0, 0, 0);
    let rounds = share::mine(DEVICE_TYPES.chunks(AT_ONCE).enumerate().collect())?;
    for (round, kinds) in rounds {
        let mut devices = Vec::new();
        for kind in kinds {
            let name = format!("t{kind}");
            let words = format!("traffic tun a={name} b={name}-b type={kind}");
            let mut carrier = a.start(&format!("carrier-{name}"), &mut words_of(&words))?;
            carrier.wait_stdout("up")?;
            a.ip(&format!("link set dev {name} up"))?;
            let (tcpdump, file) = tcpdump(a, &name, "")?;
            devices.push((*kind, name, carrier, tcpdump, file));
        }
        for (.., tcpdump, _) in &mut devices {
            tcpdump.wait_stderr("link")?;
        }
        let words = "--hook queue --split-linktype";
        let (mut ours, file) = skbcap(a, &format!("round-{round}"), words)?;
        for (_, name, ..) in &devices {
            // An IPv4 packet, as far as anybody looks.
            let hex = format!("4500003c{}", "5a".repeat(56));
            a.sh(&format!(
                "traffic frame device={name} protocol=2048 hex={hex}"
            ))?;
        }
        sleep(LAST_BLOCK);
        let said = end_skbcap(&mut ours)?;
        let mut written = 0;
        for (kind, name, _carrier, tcpdump, theirs) in &mut devices {
            // libpcap compiles no filter for some, not even an empty one, and captures nothing.
            let refused = refused_link_type(&tcpdump.stderr()?);
            let libpcaps = match refused {
                Some(link_type) => link_type,
                None => {
                    end_tcpdump(tcpdump)?;
                    Capture::read(&fs::read(&*theirs)?)?.interfaces[0].link_type
                }
            };
            let own = link_type::of_device(*kind);
            let Some(own) = own else {
                let is_header = libpcaps == LINKTYPE_LINUX_SLL || OWN_HEADER.contains(kind);
                ensure!(
                    is_header,
                    "{kind} has no link type, but libpcap's {libpcaps:?}"
                );
                let named = format!("frames of {name} are not written");
                ensure!(said.matches(&named).count() == 1, "{said}");
                continue;
            };
            written += 1;
            let differences: &[Difference] = if own == libpcaps {
                known += 1;
                &[]
            } else {
                cooked += 1;
                ensure!(
                    (own, libpcaps) == (LinkType::RAW, LINKTYPE_LINUX_SLL),
                    "{kind} is {own:?} and libpcap's {libpcaps:?}"
                );
                &[Difference::Cooked]
            };
            let part = match own {
                LinkType::ETHERNET => file.clone(),
                other => file.with_extension(format!("{}.pcapng", link_type::name(other))),
            };
            if refused.is_some() {
                uncompared += 1;
                continue;
            }
            compared([&part, theirs], Some(name), |found| {
                ensure!(found.matched + found.pairs.len() == 1, "no frame of {kind}");
                same(found, differences, false)
            })?;
        }
        ensure!(adds_up(&said)? == written, "{said}");
        // tcpdump does not read all of these, and whoever runs this has every reader open what has
        // such a name.
        for entry in fs::read_dir(out(""))? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "pcapng")
            {
                fs::rename(&path, path.with_extension("kept"))?;
            }
        }
    }
    println!(
        "{known} types as libpcap's, {uncompared} of them without a frame of its; {cooked} raw IP \
         where it makes a header"
    );
    let is_all = (known, cooked) == (35, 7);
    ensure!(
        is_all || (known > 0 && !share::is_whole()?),
        "not as many as the table has"
    );
    Ok(())
}

/// `tcpdump: unknown data link type N (min 104, max 289)`.
fn refused_link_type(said: &str) -> Option<LinkType> {
    let (_, number) = said.split_once("unknown data link type ")?;
    Some(LinkType(number.split(' ').next()?.parse().ok()?))
}
