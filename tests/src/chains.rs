//! Packets with chains of headers, as `protochain` follows them.

/// Hop-by-hop options.
pub const HOP_BY_HOP: u8 = 0;
/// A routing header.
pub const ROUTING: u8 = 43;
/// A fragment's header.
pub const FRAGMENT: u8 = 44;
/// An authentication header.
pub const AUTHENTICATION: u8 = 51;
/// Options for the destination.
pub const DESTINATION: u8 = 60;

/// The kinds of IPv6's extension headers that have a common form.
pub const EXTENSIONS: [u8; 4] = [HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION];

/// A header of this kind that takes so many bytes more than it must, in its units of eight (or four, for
/// an authentication header); `next` is what stands behind it.
fn header(kind: u8, more: u8, next: u8) -> Vec<u8> {
    match kind {
        // Four units and two, and an integrity check of three.
        AUTHENTICATION => {
            let mut header = vec![next, 4 + more, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1];
            header.resize(24 + 4 * usize::from(more), 0xc5);
            header
        }
        FRAGMENT => vec![next, 0, 0, 1, 0, 0, 0, 9],
        kind => {
            let mut header = vec![next, more];
            // No segment left, or an option that fills the header.
            header.extend(match kind {
                ROUTING => [4, 0],
                _ => [1, 4 + 8 * more],
            });
            header.resize(8 + 8 * usize::from(more), 0);
            header
        }
    }
}

/// Headers behind one another, each with what it has more than it must, and `payload` of the protocol
/// `last` behind them. The first one's kind, and the bytes.
#[must_use]
pub fn chain(headers: &[(u8, u8)], last: u8, payload: &[u8]) -> (u8, Vec<u8>) {
    let mut next = last;
    let mut bytes = payload.to_vec();
    for &(kind, more) in headers.iter().rev() {
        bytes.splice(0..0, header(kind, more, next));
        next = kind;
    }
    (next, bytes)
}

/// So many headers of all kinds in turn but authentication, as they stand in [`chain`].
#[must_use]
pub fn extensions(count: usize) -> Vec<(u8, u8)> {
    let header = |at| (EXTENSIONS[at % EXTENSIONS.len()], (at % 3) as u8);
    (0..count).map(header).collect()
}

/// Chains of both IP versions, short and long, as their version, the first header's kind and the bytes.
/// None is longer than while capturing is looked at.
pub(crate) fn chains() -> Vec<(u8, u8, Vec<u8>)> {
    let mut chains = Vec::new();
    let mut push = |version, (kind, bytes)| chains.push((version, kind, bytes));
    for last in [6, 17, 58] {
        let payload = &[0x11; 24];
        for count in [2, 3, 5, 9, 32] {
            push(6, chain(&extensions(count), last, payload));
        }
        for headers in [
            &[(AUTHENTICATION, 0)][..],
            &[(AUTHENTICATION, 3)],
            &[(HOP_BY_HOP, 0), (AUTHENTICATION, 0)],
            &[(ROUTING, 2), (FRAGMENT, 0), (AUTHENTICATION, 1)],
            &[(AUTHENTICATION, 0), (DESTINATION, 1)],
        ] {
            push(6, chain(headers, last, payload));
        }
    }
    push(6, chain(&extensions(4), 59, &[]));
    push(4, chain(&[(AUTHENTICATION, 0)], 17, &[0x11; 24]));
    push(4, chain(&[(AUTHENTICATION, 2)], 6, &[0x11; 24]));
    push(4, chain(&[(AUTHENTICATION, 0); 2], 17, &[0x11; 24]));
    chains
}
