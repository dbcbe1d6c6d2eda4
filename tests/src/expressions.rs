//! Filter expressions: every primitive of pcap-filter(7), and long ones.

/// Expressions longer than one would type. The second one compiles to 4,000 instructions or so for
/// Ethernet. Of twice as many hosts as in the first, libpcap's optimiser needs ten times as long: 3 s, and
/// half a minute where it is emulated.
#[must_use]
pub fn long() -> [String; 3] {
    let hosts = (0..128u16).map(|n| format!("host 10.0.{}.{n}", n % 3));
    let nets = (0..200).map(|n| format!("net 2001:db8:{n:x}::/48"));
    [
        hosts.collect::<Vec<_>>().join(" or "),
        pairs(399),
        format!("ip6 and not ({})", nets.collect::<Vec<_>>().join(" or ")),
    ]
}

/// So many pairs of ports, each of which compiles to ten instructions or so for Ethernet.
#[must_use]
pub fn pairs(count: u32) -> String {
    let each = (1..=count).map(|n| format!("(udp src port {n} and dst port {})", 1000 + n));
    each.collect::<Vec<_>>().join(" or ")
}

/// All of them.
///
/// # Panics
///
/// When there are fewer than there should be.
#[must_use]
pub fn corpus() -> Vec<String> {
    let lines = include_str!("expressions.txt").lines();
    let is_expression = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let mut corpus: Vec<String> = lines.filter(is_expression).map(str::to_owned).collect();
    assert!(corpus.len() >= 80);
    corpus.extend(long());
    corpus
}
