//! Frames that are exchanged with a peer: a program that turns them away and leaves all others to
//! another one.
//!
//! Written here and not by libpcap, which need not be there; and to the language of expressions a
//! frame with a VLAN tag is another one, and `vlan` changes what all behind it means. Pure: knows
//! nothing of who the peer is.

use std::net::IpAddr;

use super::cbpf::{Instruction, Invalid, Program};
use crate::pcapng::LinkType;

#[cfg(test)]
mod tests;

/// A protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    fn number(self) -> u32 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

/// One end of what is exchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// What is spoken with it.
    pub transport: Transport,
    /// Its ports, a few; all of them if none is named.
    pub ports: Vec<u16>,
}

/// A program that selects what `selected` does, or everything, but for frames from and to these
/// peers: whole packets and any fragments of them, behind VLAN tags too. [`None`] for link types
/// other than Ethernet and raw IP, in whose frames no peer is looked for.
///
/// # Errors
///
/// When `selected` is as long as a program can be.
pub fn without(
    peers: &[Peer],
    link_type: LinkType,
    selected: Option<&Program>,
) -> Result<Option<Program>, Invalid> {
    let mut code = Code::default();
    for peer in peers {
        if code.turn_away(peer, link_type).is_none() {
            return Ok(None);
        }
    }
    match selected {
        Some(program) if peers.is_empty() => return Ok(Some(program.clone())),
        Some(program) => {
            // As a program finds them.
            code.push(SET_X, 0);
            code.push(SET_A, 0);
            code.0.extend(program.instructions());
        }
        None => code.push(RETURN, u32::MAX),
    }
    Program::new(&code.0).map(Some)
}

// Operations, as linux/bpf_common.h puts them together.
const LOAD_LEN: u16 = code(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN);
const LOAD_BYTE: u16 = code(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS);
const LOAD_HALF: u16 = code(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS);
const LOAD_BYTE_BEHIND_X: u16 = code(libc::BPF_LD | libc::BPF_B | libc::BPF_IND);
const LOAD_HALF_BEHIND_X: u16 = code(libc::BPF_LD | libc::BPF_H | libc::BPF_IND);
const LOAD_WORD_BEHIND_X: u16 = code(libc::BPF_LD | libc::BPF_W | libc::BPF_IND);
const SET_A: u16 = code(libc::BPF_LD | libc::BPF_IMM);
const SET_X: u16 = code(libc::BPF_LDX | libc::BPF_IMM);
const RECALL_A: u16 = code(libc::BPF_LD | libc::BPF_MEM);
const RECALL_X: u16 = code(libc::BPF_LDX | libc::BPF_MEM);
const KEEP_A: u16 = code(libc::BPF_ST);
const KEEP_X: u16 = code(libc::BPF_STX);
const ADD: u16 = code(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K);
const ADD_X: u16 = code(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_X);
const AND: u16 = code(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K);
const SHIFT_LEFT: u16 = code(libc::BPF_ALU | libc::BPF_LSH | libc::BPF_K);
const JUMP: u16 = code(libc::BPF_JMP | libc::BPF_JA);
const IS: u16 = code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K);
const IS_AT_LEAST: u16 = code(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K);
const IS_AT_LEAST_X: u16 = code(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_X);
const RETURN: u16 = code(libc::BPF_RET | libc::BPF_K);
const TAX: u16 = code(libc::BPF_MISC | libc::BPF_TAX);
const TXA: u16 = code(libc::BPF_MISC | libc::BPF_TXA);

const fn code(bits: u32) -> u16 {
    bits as u16
}

// What is kept in memory.
/// Where IP's header begins.
const NETWORK: u32 = 0;
/// Where the header behind it begins, if this is no later fragment.
const PORTS: u32 = 1;
/// How far into its packet a fragment belongs: 0 for a packet that is none.
const FRAGMENT: u32 = 2;

/// `ETH_P_8021Q`, `ETH_P_8021AD` and what libpcap takes for a tag besides.
const TAGS: [u32; 3] = [0x8100, 0x88a8, 0x9100];
/// The next header of IPv6 that tells of a fragment.
const FRAGMENT_HEADER: u32 = 44;

/// Instructions, each way of which leads to the end.
#[derive(Default)]
struct Code(Vec<Instruction>);

/// Jumps that are yet to be told where they lead.
#[derive(Default)]
struct Jumps(Vec<usize>);

impl Code {
    fn push(&mut self, code: u16, k: u32) {
        self.0.push(Instruction {
            code,
            jt: 0,
            jf: 0,
            k,
        });
    }

    /// Goes on if the comparison holds, else jumps.
    fn require(&mut self, comparison: u16, k: u32, otherwise: &mut Jumps) {
        otherwise.0.push(self.0.len());
        self.push(comparison, k);
    }

    /// Jumps.
    fn jump(&mut self, jumps: &mut Jumps) {
        jumps.0.push(self.0.len());
        self.push(JUMP, 0);
    }

    /// The jumps lead to what follows.
    fn land(&mut self, jumps: Jumps) {
        for at in jumps.0 {
            let over = self.0.len() - at - 1;
            let from = &mut self.0[at];
            if from.code == JUMP {
                from.k = u32::try_from(over).expect("so many instructions at the most");
            } else {
                from.jf = u8::try_from(over).expect("a peer has a few ports");
            }
        }
    }

    /// Turns the frame away if A is this.
    fn turn_away_if(&mut self, k: u32) {
        self.push(IS, k);
        let is = self.0.last_mut().expect("just pushed");
        is.jf = 1;
        self.push(RETURN, 0);
    }

    /// Goes on if the frame has so many bytes behind what X is kept as. A load beyond its end would
    /// turn it away.
    fn require_bytes(&mut self, kept: u32, bytes: u32, otherwise: &mut Jumps) {
        self.push(RECALL_X, kept);
        self.push(TXA, 0);
        self.push(ADD, bytes);
        self.push(TAX, 0);
        self.push(LOAD_LEN, 0);
        self.require(IS_AT_LEAST_X, 0, otherwise);
        self.push(RECALL_X, kept);
    }

    /// Turns frames from and to the peer away; all others lead to the end. [`None`]: as of
    /// [`without`].
    fn turn_away(&mut self, peer: &Peer, link_type: LinkType) -> Option<()> {
        let mut other = Jumps::default();
        // An address's words, and where they lie: to whom, and from whom.
        let (words, places) = match peer.address.to_canonical() {
            IpAddr::V4(address) => {
                self.find_network(link_type, 0x0800, 4, &mut other)?;
                self.read_ipv4(peer.transport, &mut other);
                (vec![address.to_bits()], [16, 12])
            }
            IpAddr::V6(address) => {
                self.find_network(link_type, 0x86dd, 6, &mut other)?;
                self.read_ipv6(peer.transport, &mut other);
                let bits = address.to_bits();
                let words = [96, 64, 32, 0].map(|shift| (bits >> shift) as u32);
                (words.to_vec(), [24, 8])
            }
        };
        for (address_at, port_at) in places.into_iter().zip([2, 0]) {
            let mut next = Jumps::default();
            self.push(RECALL_X, NETWORK);
            for (word, at) in words.iter().zip((address_at..).step_by(4)) {
                self.push(LOAD_WORD_BEHIND_X, at);
                self.require(IS, *word, &mut next);
            }
            if peer.ports.is_empty() {
                self.push(RETURN, 0);
            } else {
                // Only the first fragment has ports.
                self.push(RECALL_A, FRAGMENT);
                let mut later = Jumps::default();
                self.require(IS, 0, &mut later);
                self.require_bytes(PORTS, 4, &mut next);
                self.push(LOAD_HALF_BEHIND_X, port_at);
                for port in &peer.ports {
                    self.turn_away_if((*port).into());
                }
                self.jump(&mut next);
                self.land(later);
                self.push(RETURN, 0);
            }
            self.land(next);
        }
        self.land(other);
        Some(())
    }

    /// Keeps where IP's header of this version begins.
    fn find_network(
        &mut self,
        link_type: LinkType,
        ether_type: u32,
        version: u32,
        other: &mut Jumps,
    ) -> Option<()> {
        match link_type {
            LinkType::ETHERNET => {
                // No frame with an IPv4 header is shorter, and none with an IPv6 one.
                self.push(LOAD_LEN, 0);
                self.require(IS_AT_LEAST, 14 + 20, other);
                let mut found = Jumps::default();
                for type_at in [12, 16] {
                    self.push(SET_X, type_at + 2);
                    self.push(LOAD_HALF, type_at);
                    let [first, second, third] = TAGS;
                    self.push(IS, first);
                    self.push(IS, second);
                    let at = self.0.len() - 2;
                    (self.0[at].jt, self.0[at + 1].jt) = (2, 1);
                    self.require(IS, third, &mut found);
                }
                self.push(SET_X, 22);
                self.push(LOAD_HALF, 20);
                self.land(found);
                self.require(IS, ether_type, other);
            }
            LinkType::RAW => {
                self.push(LOAD_LEN, 0);
                self.require(IS_AT_LEAST, 20, other);
                self.push(SET_X, 0);
                self.push(LOAD_BYTE, 0);
                self.push(AND, 0xf0);
                self.require(IS, version << 4, other);
            }
            _ => return None,
        }
        self.push(KEEP_X, NETWORK);
        Some(())
    }

    /// Goes on with a packet of IPv4 and this transport, of which what is to be kept is kept.
    fn read_ipv4(&mut self, transport: Transport, other: &mut Jumps) {
        self.require_bytes(NETWORK, 20, other);
        self.push(LOAD_BYTE_BEHIND_X, 9);
        self.require(IS, transport.number(), other);
        self.push(LOAD_HALF_BEHIND_X, 6);
        self.push(AND, 0x1fff);
        self.push(KEEP_A, FRAGMENT);
        self.push(LOAD_BYTE_BEHIND_X, 0);
        self.push(AND, 0xf);
        self.push(SHIFT_LEFT, 2);
        self.push(ADD_X, 0);
        self.push(KEEP_A, PORTS);
    }

    /// The same of IPv6. Of the headers that may stand in between, Linux gives its own packets only
    /// the fragment's.
    fn read_ipv6(&mut self, transport: Transport, other: &mut Jumps) {
        self.require_bytes(NETWORK, 40, other);
        let (mut whole, mut told) = (Jumps::default(), Jumps::default());
        self.push(LOAD_BYTE_BEHIND_X, 6);
        self.require(IS, FRAGMENT_HEADER, &mut whole);
        self.require_bytes(NETWORK, 48, other);
        self.push(LOAD_HALF_BEHIND_X, 42);
        self.push(AND, 0xfff8);
        self.push(KEEP_A, FRAGMENT);
        self.push(TXA, 0);
        self.push(ADD, 48);
        self.push(KEEP_A, PORTS);
        self.push(LOAD_BYTE_BEHIND_X, 40);
        self.jump(&mut told);
        self.land(whole);
        self.push(SET_A, 0);
        self.push(KEEP_A, FRAGMENT);
        self.push(TXA, 0);
        self.push(ADD, 40);
        self.push(KEEP_A, PORTS);
        self.push(LOAD_BYTE_BEHIND_X, 6);
        self.land(told);
        self.require(IS, transport.number(), other);
    }
}
