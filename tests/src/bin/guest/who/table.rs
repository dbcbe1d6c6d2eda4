//! What is known of each frame, what was said of it, and the table that the two make.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Result, ensure};
use skbcap_common::By;
use skbcap_tests::capture::{Capture, More, Packet, Segment};

use crate::lab::Space;
use crate::skbcap::Done;

/// What is known of a frame.
pub(super) enum Truth {
    /// These processes, one of which would do: none wrote its bytes, but they hold its socket.
    OneOf(BTreeSet<u32>),
    /// Likewise; or no process, when the kernel already answers for a socket that is closed, or the
    /// frame has lost its socket.
    Closed(BTreeSet<u32>),
    /// All of these wrote bytes in it.
    All(BTreeSet<u32>),
    /// No process.
    Kernel,
    /// It names another thread or program than the one that sent it.
    Wrong,
}

impl Truth {
    /// The same of a frame that may have lost its socket on its way.
    pub(super) fn of_any(self) -> Self {
        match self {
            Self::OneOf(set) => Self::Closed(set),
            other => other,
        }
    }
}

pub(super) fn set(of: &[u32]) -> BTreeSet<u32> {
    of.iter().copied().collect()
}

/// How many frames were said to be whose.
#[derive(Debug, Default)]
struct Row {
    frames: u64,
    right: u64,
    shared: u64,
    kernel: u64,
    unknown: u64,
    wrong: u64,
    face_value_wrong: u64,
    first_wrong: Option<String>,
    first_unknown: Option<String>,
}

impl Row {
    fn judge(&mut self, more: &More, truth: &Truth) {
        let who = &more.who;
        let named =
            |set: &BTreeSet<u32>, all: bool| set.contains(&who.tgid) && (!all || set.len() == 1);
        let writers = |set: &BTreeSet<u32>| set.iter().all(|one| who.writers.contains(one));
        let count = match (who.by, truth) {
            (Some(By::Task | By::Socket), Truth::OneOf(set) | Truth::Closed(set))
                if named(set, false) =>
            {
                &mut self.right
            }
            (Some(By::Task | By::Socket), Truth::All(set)) if named(set, true) => &mut self.right,
            (Some(By::Kernel), Truth::Kernel | Truth::Closed(_)) => &mut self.kernel,
            // Of a socket with several writers; one writer's bytes are his all the same.
            (Some(By::Shared), Truth::OneOf(set) | Truth::Closed(set))
                if set.len() > 1 && writers(set) =>
            {
                &mut self.shared
            }
            (Some(By::Shared), Truth::All(set)) if writers(set) => &mut self.shared,
            (Some(By::Unknown), _) => {
                self.first_unknown
                    .get_or_insert_with(|| more.comment.clone());
                &mut self.unknown
            }
            _ => {
                self.first_wrong.get_or_insert_with(|| more.comment.clone());
                &mut self.wrong
            }
        };
        *count += 1;
        self.frames += 1;
    }

    fn judge_face_value(&mut self, more: &More, truth: &Truth) {
        let right = match truth {
            Truth::OneOf(set) => set.contains(&more.who.tgid),
            Truth::Closed(set) => more.who.tgid == 0 || set.contains(&more.who.tgid),
            Truth::All(set) => set.len() == 1 && set.contains(&more.who.tgid),
            // The idle task stands for nobody.
            Truth::Kernel => more.who.tgid == 0,
            Truth::Wrong => false,
        };
        self.face_value_wrong += u64::from(!right);
    }
}

/// Where frames of a row leave.
pub(super) struct Place {
    netns: String,
    device: &'static str,
    taken: Taken,
}

/// When frames are taken, and so in which of the captures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// As they are sent.
    Sent,
    /// As the driver gets them.
    Driven,
}

/// The captures of the same frames.
pub(super) struct Captures<'c> {
    taken: Taken,
    /// The one under test.
    claims: &'c Capture,
    /// One that makes no claim.
    face_value: &'c Capture,
}

impl<'c> Captures<'c> {
    /// The one under test is the first.
    pub(super) fn of(taken: Taken, [claims, face_value]: &'c [Done; 2]) -> Self {
        Self {
            taken,
            claims: &claims.capture,
            face_value: &face_value.capture,
        }
    }
}

impl Place {
    pub(super) fn new(space: &Space, device: &'static str) -> Result<Self> {
        Self::taken(space, device, Taken::Sent)
    }

    /// Behind the device's queue.
    pub(super) fn behind_queue(space: &Space, device: &'static str) -> Result<Self> {
        Self::taken(space, device, Taken::Driven)
    }

    fn taken(space: &Space, device: &'static str, taken: Taken) -> Result<Self> {
        Ok(Self {
            netns: format!("netns={} ", space.inode()?),
            device,
            taken,
        })
    }

    fn has(&self, more: &More) -> bool {
        more.device == self.device && more.description.starts_with(&self.netns)
    }
}

/// What is known of a frame; `None`: it is not of the row.
type Known = dyn Fn(&Packet) -> Option<Truth>;

/// A row before its frames are known.
struct Case {
    name: &'static str,
    places: Vec<Place>,
    truth: Box<Known>,
}

/// The rows, each with the truth about its frames.
#[derive(Default)]
pub(super) struct Cases {
    cases: Vec<Case>,
    /// One that goes may leave its number to another.
    spaces: Vec<Space>,
}

impl Cases {
    /// Has spaces stay until all is judged.
    pub(super) fn keep(&mut self, spaces: impl IntoIterator<Item = Space>) {
        self.spaces.extend(spaces);
    }

    /// A row: what leaves at the places, and of which `truth` knows something.
    pub(super) fn add(
        &mut self,
        name: &'static str,
        places: Vec<Place>,
        truth: impl Fn(&Packet) -> Option<Truth> + 'static,
    ) {
        println!("{name}: sent");
        self.cases.push(Case {
            name,
            places,
            truth: Box::new(truth),
        });
    }

    /// Holds captures' claims, and what others have that make none, against the truth. Nothing may
    /// be wrong, and next to nothing unknown.
    pub(super) fn judge(&self, captures: &[Captures<'_>]) -> Result<Table> {
        let mut rows = Vec::new();
        for case in &self.cases {
            let mut row = Row::default();
            for &Captures {
                taken,
                claims,
                face_value,
            } in captures
            {
                for packet in case.of(claims, taken) {
                    if let Some(truth) = (case.truth)(packet) {
                        row.judge(packet.more(), &truth);
                    }
                }
                for packet in case.of(face_value, taken) {
                    ensure!(packet.more().who.by.is_none(), "a claim unasked for");
                    if let Some(truth) = (case.truth)(packet) {
                        row.judge_face_value(packet.more(), &truth);
                    }
                }
            }
            println!("{}: {row:?}", case.name);
            rows.push((case.name, row));
        }
        Ok(Table(rows))
    }
}

impl Case {
    fn of<'c>(&self, capture: &'c Capture, taken: Taken) -> impl Iterator<Item = &'c Packet> {
        let is_there = move |packet: &&Packet| {
            let mut places = self.places.iter();
            places.any(|place| place.taken == taken && place.has(packet.more()))
        };
        capture.packets.iter().filter(is_there)
    }
}

/// The rows, counted.
pub(super) struct Table(Vec<(&'static str, Row)>);

impl Table {
    pub(super) fn text(&self) -> String {
        let mut text = String::from(
            "row\tframes\tright\tshared\tkernel\tunknown\twrong\twrong at face value\n",
        );
        for (name, row) in &self.0 {
            // Writing to a String can't fail.
            let _ = writeln!(
                text,
                "{name}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
                row.frames,
                row.right,
                row.shared,
                row.kernel,
                row.unknown,
                row.wrong,
                row.face_value_wrong
            );
        }
        text
    }

    pub(super) fn check(&self) -> Result<()> {
        for (name, row) in &self.0 {
            ensure!(row.frames > 0, "{name}: no frame");
            ensure!(row.wrong == 0, "{name}: {:?}", row.first_wrong);
            ensure!(row.unknown * 1000 <= row.frames, "{name}: {row:?}");
        }
        let face_value: u64 = self.0.iter().map(|(_, row)| row.face_value_wrong).sum();
        ensure!(face_value > 0, "there was nothing to correct");
        Ok(())
    }
}

/// Streams to a port, and who their ends are. What a side sends behind its end acknowledges only,
/// and may be sent in TIME-WAIT, without a socket of a process's.
pub(super) struct Streams {
    port: u16,
    /// Who connects.
    clients: BTreeSet<u32>,
    /// Who answers.
    servers: BTreeSet<u32>,
    /// Every 8 bytes of these processes are their writer.
    marked: bool,
    ends: RefCell<BTreeMap<(u16, u16), u32>>,
}

impl Streams {
    pub(super) fn new(port: u16, client: u32, server: u32) -> Self {
        Self {
            marked: false,
            ..Self::marked(port, set(&[client]), set(&[server]))
        }
    }

    /// The same streams, seen at another device.
    pub(super) fn again(&self) -> Self {
        Self {
            ends: RefCell::default(),
            clients: self.clients.clone(),
            servers: self.servers.clone(),
            ..*self
        }
    }

    /// The same, of a side whose every 8 bytes are their writer: the side of more than one process.
    pub(super) fn marked(port: u16, clients: BTreeSet<u32>, servers: BTreeSet<u32>) -> Self {
        Self {
            port,
            clients,
            servers,
            marked: true,
            ends: RefCell::default(),
        }
    }

    pub(super) fn truth(&self, packet: &Packet) -> Option<Truth> {
        let tcp = packet.tcp().or_else(|| packet.raw_tcp())?;
        let (side, other) = match tcp.ports {
            (_, port) if port == self.port => (&self.clients, &self.servers),
            (port, _) if port == self.port => (&self.servers, &self.clients),
            _ => return None,
        };
        Some(if self.is_behind_end(&tcp) {
            Truth::Closed(side.clone())
        } else if tcp.payload.is_empty() || !self.marked || side.len() < other.len() {
            Truth::OneOf(side.clone())
        } else {
            let words = tcp.payload.as_chunks::<8>().0;
            let pids = words.iter().map(|word| u64::from_be_bytes(*word) as u32);
            Truth::All(pids.collect())
        })
    }

    fn is_behind_end(&self, tcp: &Segment<'_>) -> bool {
        let mut ends = self.ends.borrow_mut();
        if tcp.fin {
            let behind = tcp.sequence.wrapping_add(tcp.payload.len() as u32 + 1);
            ends.insert(tcp.ports, behind);
        }
        !tcp.fin && tcp.payload.is_empty() && ends.get(&tcp.ports) == Some(&tcp.sequence)
    }
}
