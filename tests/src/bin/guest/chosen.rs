//! Devices chosen by patterns, and namespaces that are left out.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use crate::lab::{Pair, Space};
use crate::share;
use crate::skbcap::{Hook, Skbcap};

/// Frames that each device sends.
const FRAMES: usize = 5;

/// A device of a space with a network of its own, 10.0.NUMBER.0/24, in which nobody need be asked.
fn add_device(space: &Space, name: &str, number: u32) -> Result<()> {
    space.ip(&format!("link add {name} type veth peer name far{number}"))?;
    space.ip(&format!("address add 10.0.{number}.1/24 dev {name}"))?;
    space.ip(&format!("link set dev far{number} up"))?;
    space.ip(&format!("link set dev {name} up"))?;
    space.ip(&format!(
        "neigh add 10.0.{number}.2 lladdr 02:00:00:00:00:99 dev {name} nud permanent"
    ))?;
    Ok(())
}

fn send(space: &Space, to: &str) -> Result<()> {
    space.sh(&format!("traffic udp to={to}:9 count={FRAMES}"))?;
    Ok(())
}

/// Of these devices all frames, and of others none.
fn judge(skbcap: Skbcap, words: &str, wanted: &[&str]) -> Result<()> {
    let done = skbcap.stop()?;
    let mut found = BTreeMap::<String, usize>::new();
    // Nobody listens: what comes back is ICMP.
    for packet in done
        .capture
        .packets
        .iter()
        .filter(|one| one.udp().is_some())
    {
        *found.entry(packet.more().device.clone()).or_default() += 1;
    }
    println!("{words}: {found:?}");
    let wanted = wanted.iter().map(|name| ((*name).to_owned(), FRAMES));
    ensure!(found == wanted.collect(), "{words}: {found:?}");
    ensure!(
        done.count("filtered: another namespace or interface")? > 0,
        "{}",
        done.said
    );
    Ok(())
}

/// Names by patterns, of devices that were there and of those that came later.
pub(crate) fn chosen_devices() -> Result<()> {
    let cases: [(&str, &[&str]); 8] = [
        ("-i e*", &["ea", "eb", "ec"]),
        ("-i e[ab]", &["ea", "eb"]),
        ("-i va -i ?c", &["ec", "va"]),
        ("--not-interface e*", &["va", "xd"]),
        ("-i e* --not-interface eb", &["ea", "ec"]),
        (
            "--not-interface va --not-interface lo",
            &["ea", "eb", "ec", "xd"],
        ),
        ("-i e? --not-interface *c", &["ea", "eb"]),
        // By its name while it sends.
        ("-i x*", &["xd"]),
    ];
    for hooks in share::turns(&Hook::with_xmit(), cases.len())? {
        let pair = Pair::new("chosen")?;
        let space = &pair.a;
        for (name, number) in [("ea", 1), ("eb", 2), ("ed", 4)] {
            add_device(space, name, number)?;
        }
        let mut captures = Vec::new();
        for (number, (hook, (words, _))) in hooks.iter().zip(&cases).enumerate() {
            let words = format!("--hook {hook} {words}");
            let name = format!("chosen-{number}");
            captures.push(Skbcap::launch(space, &name, &words)?);
        }
        let captures: Result<Vec<_>> = captures.into_iter().map(Skbcap::listen).collect();
        let captures = captures?;
        add_device(space, "ec", 3)?;
        space.ip("link set dev ed down")?;
        space.ip("link set dev ed name xd")?;
        space.ip("link set dev xd up")?;
        space.ip("neigh replace 10.0.4.2 lladdr 02:00:00:00:00:99 dev xd nud permanent")?;
        for network in 0..5 {
            send(space, &format!("10.0.{network}.2"))?;
        }
        let cases = hooks.iter().zip(&cases);
        for (skbcap, (hook, (words, wanted))) in captures.into_iter().zip(cases) {
            judge(skbcap, &format!("{hook} {words}"), wanted)?;
        }
    }
    Ok(())
}

/// All namespaces but some.
pub(crate) fn chosen_namespaces() -> Result<()> {
    let pair = Pair::new("chosenns")?;
    let Pair { a, b } = &pair;
    let not = |space: &Space| format!("--not-netns {} -i v[ab]", space.path().display());
    let cases = [
        ("--netns all -i v[ab]".to_owned(), vec!["va", "vb"]),
        (not(a), vec!["vb"]),
        (not(b), vec!["va"]),
        ("--not-netns self -i v[ab]".to_owned(), vec!["vb"]),
        (
            format!(
                "--netns {} --netns {} -i v[ab]",
                a.path().display(),
                b.path().display()
            ),
            vec!["va", "vb"],
        ),
        ("--netns self --netns self -i v[ab]".to_owned(), vec!["va"]),
        // An exact name is compared elsewhere.
        ("--not-netns self -i vb -i va".to_owned(), vec!["vb"]),
    ];
    for hooks in share::turns(&Hook::all(), cases.len())? {
        let mut captures = Vec::new();
        for (number, (hook, (words, _))) in hooks.iter().zip(&cases).enumerate() {
            let name = format!("chosenns-{number}");
            let words = format!("--hook {hook} {words}");
            captures.push(Skbcap::start(a, &name, &words)?);
        }
        a.sh("traffic udp to=127.0.0.1:9")?;
        send(a, "10.0.0.2")?;
        send(b, "10.0.0.1")?;
        let cases = hooks.iter().zip(&cases);
        for (skbcap, (hook, (words, wanted))) in captures.into_iter().zip(cases) {
            judge(skbcap, &format!("{hook} {words}"), wanted)?;
        }
    }
    Ok(())
}
