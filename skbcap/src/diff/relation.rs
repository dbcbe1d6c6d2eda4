//! Two frames beside each other: which fields differ, and whether that has a name.

use std::fmt;

use clap::ValueEnum;

use super::checksum::{self, Side};
use super::fields;
use super::layers::Header;

/// Fields that are told of one pair.
const MAX_FIELDS: usize = 256;

/// A difference between two captures, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Difference {
    /// A checksum that one side has unfinished and the other right.
    Checksum,
    /// A super-frame on one side, its segments on the other.
    Segmentation,
    /// A VLAN tag that only one side has.
    Vlan,
    /// Another link-layer header: Ethernet, a cooked one, or none.
    Cooked,
    /// Fewer bytes kept than the file's snapshot length says.
    Cut,
    /// The same frames in another order.
    Order,
    /// Anything else. Never ignored.
    #[value(skip)]
    Bytes,
}

impl Difference {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Checksum,
        Self::Segmentation,
        Self::Vlan,
        Self::Cooked,
        Self::Cut,
        Self::Order,
        Self::Bytes,
    ];

    /// As it is written everywhere.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Checksum => "checksum",
            Self::Segmentation => "segmentation",
            Self::Vlan => "vlan",
            Self::Cooked => "cooked",
            Self::Cut => "cut",
            Self::Order => "order",
            Self::Bytes => "bytes",
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Some of the differences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Differences(u8);

impl Differences {
    /// Whether it is one of them.
    #[must_use]
    pub fn contains(self, difference: Difference) -> bool {
        self.0 & 1 << difference as u8 != 0
    }

    /// Each once, in order.
    pub fn iter(self) -> impl Iterator<Item = Difference> {
        let all = Difference::ALL.into_iter();
        all.filter(move |&difference| self.contains(difference))
    }

    /// Whether every one has a name of its own.
    pub(super) fn are_named(self) -> bool {
        !self.contains(Difference::Bytes)
    }
}

/// Bytes of one field that differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldDiff {
    /// The field, such as `tcp.flags` or `payload+12`.
    pub name: String,
    /// Where the bytes lie in each frame: ours, theirs.
    pub offsets: [usize; 2],
    /// From the first that differs to the last.
    pub len: usize,
}

/// How two frames differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relation {
    /// By their names.
    pub differences: Differences,
    /// Which bytes; empty where only something is missing on one side.
    pub fields: Vec<FieldDiff>,
}

impl Relation {
    fn add(&mut self, difference: Difference) {
        self.differences.0 |= 1 << difference as u8;
    }

    /// Says that the frames differ, whether or not it was found out where.
    pub(super) fn differs(&mut self) {
        self.add(Difference::Bytes);
    }

    pub(super) fn field(&mut self, name: &str, offsets: [usize; 2], len: usize) {
        self.add(Difference::Bytes);
        self.push(name.into(), offsets, len);
    }

    fn push(&mut self, name: String, offsets: [usize; 2], len: usize) {
        if self.fields.len() < MAX_FIELDS {
            self.fields.push(FieldDiff { name, offsets, len });
        }
    }
}

/// Compares two frames, of which at most `cut` bytes count.
pub(super) fn relate(ours: Side<'_>, theirs: Side<'_>, cut: usize) -> Relation {
    let mut relation = Relation::default();
    let sides = [ours, theirs];
    let data = sides.map(|side| &side.frame.data[..side.frame.data.len().min(cut)]);
    let mut network = sides.map(|side| side.layers.network);
    let [one, other] = sides.map(|side| (side.layers.header, side.frame.len));
    if one == other {
        // No tag was put in, whatever the bytes look like: what differs stands at the same place.
        network = [network[0]; 2];
        bytes(sides, data, [0, 0], network, &mut relation);
    } else {
        link(sides, data, &mut relation);
    }
    bytes(sides, data, network, data.map(<[u8]>::len), &mut relation);

    let lens = sides.map(|side| u64::from(side.frame.len));
    let true_lens = [0, 1].map(|side| lens[side].saturating_sub(network[side] as u64));
    if true_lens[0] != true_lens[1] {
        relation.field("frame.len", [0, 0], 0);
        return relation;
    }
    let kept = [0, 1].map(|side| data[side].len().saturating_sub(network[side]));
    if kept[0] != kept[1] && sides[usize::from(kept[1] < kept[0])].is_short(cut) {
        relation.add(Difference::Cut);
    }
    relation
}

/// What lies before the network layer.
fn link(sides: [Side<'_>; 2], data: [&[u8]; 2], relation: &mut Relation) {
    let layers = sides.map(|side| side.layers);
    let [ours, theirs] = layers;
    let tags = [0, 1].map(|side| layers[side].tags(data[side]));
    if ours.header == theirs.header && tags[0].len() == tags[1].len() {
        bytes(
            sides,
            data,
            [0, 0],
            layers.map(|layers| layers.network),
            relation,
        );
        return;
    }
    if tags[0].len() == tags[1].len() {
        if let Some(at) = first_difference(&tags[0], &tags[1]) {
            relation.field("vlan.vid", layers.map(|layers| layers.tag_byte(at)), 1);
        }
    } else if tags[0].ends_with(&tags[1]) || tags[1].ends_with(&tags[0]) {
        relation.add(Difference::Vlan);
    } else {
        relation.field("vlan.vid", layers.map(|layers| layers.tag_byte(0)), 4);
    }
    if ours.header == theirs.header {
        bytes(
            sides,
            data,
            layers.map(|layers| layers.addresses().start),
            layers.map(|layers| layers.addresses().end),
            relation,
        );
    } else if layers
        .iter()
        .any(|layers| matches!(layers.header, Header::Other(_)))
    {
        relation.field("link_type", [0, 0], 0);
    } else {
        relation.add(Difference::Cooked);
    }
    if ours.ether_type != theirs.ether_type {
        let at = layers.map(|layers| layers.network.saturating_sub(2));
        relation.field("eth.type", at, 2);
    }
}

fn first_difference(ours: &[u8], theirs: &[u8]) -> Option<usize> {
    ours.iter().zip(theirs).position(|(a, b)| a != b)
}

/// The bytes of both from `from` on, up to `to`.
pub(super) fn bytes(
    sides: [Side<'_>; 2],
    data: [&[u8]; 2],
    from: [usize; 2],
    to: [usize; 2],
    relation: &mut Relation,
) {
    let part = |side: usize| {
        let to = to[side].min(data[side].len());
        data[side].get(from[side]..to).unwrap_or_default()
    };
    let (ours, theirs) = (part(0), part(1));
    let len = ours.len().min(theirs.len());
    if ours[..len] == theirs[..len] {
        return;
    }
    // A field's name, where it begins, and its first and last byte that differ.
    let mut run: Option<(String, usize, usize, usize)> = None;
    for (at, (a, b)) in ours.iter().zip(theirs).enumerate() {
        if a == b {
            continue;
        }
        let (name, start) = fields::at(sides[0].layers, data[0], from[0] + at, a ^ b);
        match &mut run {
            Some((_, field, _, last)) if *field == start && at <= *last + 16 => *last = at,
            _ => {
                if let Some(run) = run.replace((name, start, at, at)) {
                    finish(sides, from, run, relation);
                }
            }
        }
        if relation.fields.len() >= MAX_FIELDS {
            relation.add(Difference::Bytes);
            return;
        }
    }
    if let Some(run) = run {
        finish(sides, from, run, relation);
    }
}

fn finish(
    [ours, theirs]: [Side<'_>; 2],
    from: [usize; 2],
    (name, _, first, last): (String, usize, usize, usize),
    relation: &mut Relation,
) {
    let is_filled_in = match name.as_str() {
        "ipv4.checksum" => checksum::header_is_filled_in(ours, theirs),
        "tcp.checksum" | "udp.checksum" | "sctp.checksum" | "icmp.checksum" | "icmpv6.checksum" => {
            checksum::transport_is_filled_in(ours, theirs)
        }
        _ => false,
    };
    relation.add(match is_filled_in {
        true => Difference::Checksum,
        false => Difference::Bytes,
    });
    relation.push(name, from.map(|from| from + first), last - first + 1);
}
