//! What `skbcap diff --json` found of one device, and whether the reasons that a row expects explain
//! all of it. A reason that explains nothing is as wrong as a difference without one.

use std::fmt;
use std::ops::Range;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Why a capture differs from tcpdump's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The device has no checksum offload: tcpdump sees checksums that the kernel has filled in.
    Checksum,
    /// Super-frames of ours are segments there, all of them.
    Segmentation,
    /// libpcap wrote a header of its own making before each frame.
    OwnHeader,
    /// tcpdump kept fewer bytes of a frame than both should.
    Cut,
    /// The kernel put a VLAN tag in, or took one out.
    Tag,
    /// Exactly these fields of the frames are others.
    Rewritten(&'static [&'static str]),
    /// Some bit or other.
    Corrupted,
    /// As many of ours are not there as the qdisc dropped.
    Dropped,
    /// As many of ours are not there as egress tc or nft dropped or sent elsewhere.
    Stopped,
    /// As many more are there as netem made.
    Duplicated,
    /// The device hands frames to tcpdump by itself, without sending them.
    OwnTap,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checksum => "checksum",
            Self::Segmentation => "segmentation",
            Self::OwnHeader => "tcpdump's own header",
            Self::Cut => "cut by tcpdump",
            Self::Tag => "tagged at egress",
            Self::Rewritten(_) => "rewritten at egress",
            Self::Corrupted => "corrupted by netem",
            Self::Dropped => "dropped by the qdisc",
            Self::Stopped => "stopped at egress",
            Self::Duplicated => "duplicated by netem",
            Self::OwnTap => "the device's own tap",
        })
    }
}

/// A cell of the table.
pub(crate) fn cell(reasons: &[Reason]) -> String {
    if reasons.is_empty() {
        return "equal".into();
    }
    let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    reasons.join(", ")
}

/// What the kernel counted of a shape's traffic.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Frames that went into the hook and not to the driver.
    pub(crate) stopped: u64,
    /// Frames that the driver was given without their having passed the hook.
    pub(crate) duplicated: u64,
}

/// What `skbcap diff --json` said.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) same: usize,
    /// Frames of theirs.
    pub(crate) theirs: usize,
    pub(crate) segmented: usize,
    /// Pairs that differ: the names of their differences, and of their fields.
    pub(crate) pairs: Vec<(Vec<String>, Vec<String>)>,
    pub(crate) only: [usize; 2],
    /// A few of the frames that only one side has.
    examples: Vec<String>,
}

impl Found {
    /// Of frames that only one side has, those of the time in which both captured, which is told in
    /// nanoseconds since 1970: a timer's frame may leave when one has ended and the other has not.
    pub(crate) fn parse(json: &[u8], both_ns: &Range<u64>) -> Result<Self> {
        let json: Value = serde_json::from_slice(json).context("diff wrote no JSON")?;
        let list = |value: &Value| value.as_array().cloned().context("a list");
        let texts = |values: &Value, of: &dyn Fn(&Value) -> Value| -> Result<Vec<String>> {
            let text = |value| of(value).as_str().map(str::to_owned).context("a text");
            list(values)?.iter().map(text).collect()
        };
        let number = |value: &Value| value.as_u64().map(|n| n as usize).context("a number");
        let mut pairs = Vec::new();
        for pair in list(&json["pairs"])? {
            let differences = texts(&pair["differences"], &Value::clone)?;
            let fields = texts(&pair["fields"], &|field| field["name"].clone())?;
            pairs.push((differences, fields));
        }
        let mut only = [0; 2];
        let mut examples = Vec::new();
        for (side, name) in ["only_ours", "only_theirs"].into_iter().enumerate() {
            let mut frames = list(&json[name])?;
            frames.retain(|frame| {
                let time_ns = frame["time_ns"].as_u64();
                time_ns.is_none_or(|time_ns| both_ns.contains(&time_ns))
            });
            only[side] = frames.len();
            let some = frames.iter().take(5);
            examples.extend(some.map(|frame| format!("{name}: {frame}")));
        }
        let segmented = list(&json["segmented"])?;
        for one in &segmented {
            ensure!(one["side"] == "ours", "their super-frame: {one}");
        }
        for side in ["ours", "theirs"] {
            ensure!(json[side]["trouble"].is_null(), "{}", json[side]);
        }
        Ok(Self {
            same: number(&json["same"])?,
            theirs: number(&json["theirs"]["frames"])?,
            segmented: segmented.len(),
            pairs,
            only,
            examples,
        })
    }

    /// Whether these reasons explain everything, and each of them something.
    pub(crate) fn explained_by(&self, reasons: &[Reason], counts: Counts) -> Result<()> {
        let mut rest = Rest {
            pairs: self.pairs.clone(),
            segmented: self.segmented,
            only: self.only,
        };
        for reason in reasons {
            ensure!(
                rest.take(*reason, counts, self),
                "not as {reason} makes it: {self}"
            );
        }
        rest.pairs
            .retain(|(differences, _)| !differences.is_empty());
        ensure!(
            rest.pairs.is_empty() && rest.segmented == 0 && rest.only == [0; 2],
            "unexplained: {self}"
        );
        Ok(())
    }
}

/// What is not explained yet.
struct Rest {
    pairs: Vec<(Vec<String>, Vec<String>)>,
    segmented: usize,
    only: [usize; 2],
}

impl Rest {
    /// Takes away what a reason explains; whether there was any of it.
    fn take(&mut self, reason: Reason, counts: Counts, found: &Found) -> bool {
        let mut differing = |name: &str, fits: &dyn Fn(&[String]) -> bool| {
            let mut any = false;
            for (differences, fields) in &mut self.pairs {
                if differences.iter().any(|one| one == name) && fits(fields) {
                    differences.retain(|one| one != name);
                    any = true;
                }
            }
            any
        };
        let any = |_: &[String]| true;
        match reason {
            Reason::Checksum => differing("checksum", &any),
            Reason::OwnHeader => differing("cooked", &any) && found.same == 0,
            Reason::Cut => differing("cut", &any),
            Reason::Tag => differing("vlan", &any),
            Reason::Corrupted => differing("bytes", &|fields| fields.len() == 1),
            Reason::Rewritten(expected) => differing("bytes", &|fields| fields == expected),
            Reason::Segmentation => std::mem::take(&mut self.segmented) > 0,
            Reason::Dropped | Reason::Stopped => {
                let only = std::mem::take(&mut self.only[0]) as u64;
                only > 0 && only == counts.stopped
            }
            Reason::Duplicated => {
                let only = std::mem::take(&mut self.only[1]) as u64;
                only > 0 && only == counts.duplicated
            }
            Reason::OwnTap => {
                let only = std::mem::take(&mut self.only[1]);
                only > 0 && only == found.theirs
            }
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            same,
            theirs,
            segmented,
            pairs,
            only: [ours, only_theirs],
            examples,
        } = self;
        write!(
            f,
            "{same} of tcpdump's {theirs} frames the same, {segmented} cut up, {} differ, \
             {ours} only ours, {only_theirs} only theirs",
            pairs.len()
        )?;
        for (differences, fields) in pairs.iter().take(3) {
            write!(f, "\n  {}: {}", differences.join(", "), fields.join(", "))?;
        }
        for example in examples {
            write!(f, "\n  {example}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Counts, Found, Reason, cell};

    fn found(segmented: &str, pairs: &str, only_ours: &str) -> Found {
        let json = format!(
            r#"{{"same": 2, "ours": {{"trouble": null}}, "theirs": {{"frames": 4, "trouble": null}},
                 "segmented": [{segmented}], "pairs": [{pairs}],
                 "only_ours": [{only_ours}], "only_theirs": []}}"#
        );
        Found::parse(json.as_bytes(), &(10..20)).unwrap()
    }

    const SUPER_FRAME: &str = r#"{"side": "ours"}"#;
    const CHECKSUM: &str = r#"{"differences": ["checksum"], "fields": [{"name": "tcp.checksum"}]}"#;
    const TTL: &str = r#"{"differences": ["bytes"], "fields": [{"name": "ipv4.ttl"}]}"#;

    #[test]
    fn reasons_must_explain_all_and_each_something() {
        let none = Counts::default();
        let both = [Reason::Segmentation, Reason::Checksum];
        let is_explained = |found: &Found, reasons: &[Reason]| found.explained_by(reasons, none);
        assert!(is_explained(&found("", "", ""), &[]).is_ok());
        assert!(is_explained(&found(SUPER_FRAME, CHECKSUM, ""), &both).is_ok());
        assert!(is_explained(&found(SUPER_FRAME, "", ""), &both).is_err());
        assert!(is_explained(&found(SUPER_FRAME, CHECKSUM, ""), &both[..1]).is_err());
        assert!(is_explained(&found(SUPER_FRAME, TTL, ""), &both[..1]).is_err());
        assert_eq!(cell(&both), "segmentation, checksum");
    }

    #[test]
    fn only_the_fields_that_a_rule_rewrites_are_excused() {
        let rewritten = |fields| {
            found("", TTL, "").explained_by(&[Reason::Rewritten(fields)], Counts::default())
        };
        assert!(rewritten(&["ipv4.ttl"]).is_ok());
        assert!(rewritten(&["ipv4.ttl", "ipv4.checksum"]).is_err());
        assert!(rewritten(&["ipv4.src"]).is_err());
    }

    #[test]
    fn what_left_while_one_captured_tells_nothing() {
        let only = |times: &str| found("", "", times).only[0];
        assert_eq!(only(r#"{"time_ns": 9}, {"time_ns": 20}"#), 0);
        assert_eq!(
            only(r#"{"time_ns": 9}, {"time_ns": 10}, {"time_ns": 19}"#),
            2
        );
        assert_eq!(only("{}"), 1);
    }

    #[test]
    fn as_many_are_lost_as_were_counted() {
        let lost = found("", "", "{}, {}");
        let stopped = |stopped| {
            let counts = Counts {
                stopped,
                ..Counts::default()
            };
            lost.explained_by(&[Reason::Dropped], counts)
        };
        assert!(stopped(2).is_ok());
        assert!(stopped(3).is_err());
        assert!(lost.explained_by(&[], Counts::default()).is_err());
        assert!(
            found("", "", "")
                .explained_by(&[Reason::Dropped], Counts::default())
                .is_err()
        );
    }
}
