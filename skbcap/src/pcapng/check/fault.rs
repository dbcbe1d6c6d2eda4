//! What can be wrong with a file.

use crate::pcapng::raw::BrokenKind;

/// Something wrong, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {what}")]
pub struct Fault {
    /// Where the block, the option or the field begins.
    pub offset: u64,
    /// What is wrong.
    pub what: FaultKind,
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message is its description")]
pub enum FaultKind {
    #[error("{0}")]
    Broken(BrokenKind),
    #[error("a block of type {0:#010x} that skbcap does not write")]
    UnknownBlock(u32),
    #[error("a block too short for its fields")]
    ShortBlock,
    #[error("padding that is not zero")]
    Padding,
    #[error("option {0} is unknown in this block")]
    UnknownOption(u16),
    #[error("option {0} stands more than once")]
    RepeatedOption(u16),
    #[error("option {code} has {len} bytes")]
    OptionLength { code: u16, len: usize },
    #[error("option {0} is not UTF-8")]
    NotUtf8(u16),
    #[error("option {0} holds a control character")]
    NotOneLine(u16),
    #[error("version {0}.{1}, not 1.0")]
    Version(u16, u16),
    #[error("a reserved field that is not zero")]
    Reserved,
    #[error("a snapshot length of {0}")]
    Snaplen(u32),
    #[error("a snapshot length of {found}, where other interfaces have {first}")]
    UnequalSnaplen { found: u32, first: u32 },
    #[error("times are not in nanoseconds")]
    Resolution,
    #[error("interface {0} has no description")]
    UndefinedInterface(u32),
    #[error("{captured} bytes of a packet of {len}")]
    CapturedOverLen { captured: u32, len: u32 },
    #[error("{captured} bytes of a packet, where the snapshot length is {snaplen}")]
    CapturedOverSnaplen { captured: u32, snaplen: u32 },
    #[error("packet data goes on behind its block's end")]
    Data,
    #[error("time goes back by {0} ns")]
    TimeGoesBack(u64),
    #[error("the statistics' start is after their end")]
    StatisticsTimes,
    #[error("the statistics' times leave out a packet")]
    StatisticsLeaveOut,
    #[error("the statistics count {counted} packets, there are {packets}")]
    StatisticsCount { counted: u64, packets: u64 },
    #[error("{received} packets received are not {delivered} delivered and {dropped} dropped")]
    StatisticsSum {
        received: u64,
        delivered: u64,
        dropped: u64,
    },
    #[error("the statistics count {counted} packets dropped, the packets {between}")]
    StatisticsDropped { counted: u64, between: u64 },
    #[error("a packet whose comment is not one of skbcap's: {key} is missing or malformed")]
    Comment { key: &'static str },
    #[error(
        "{captured} bytes of a packet of {len}, fewer than the snapshot length keeps, and no reason"
    )]
    CutUnexplained { captured: u32, len: u32 },
    #[error("a packet that is said to be cut, and is whole as far as the snapshot length goes")]
    CutButWhole,
    #[error("interface {0} has no statistics")]
    NoStatistics(u32),
    #[error("the statistics of dropped packets do not say where they were dropped")]
    NoLosses,
    #[error("{between} packets are said to be dropped between others, the others say {told}")]
    LossesBetween { between: u64, told: u64 },
    #[error("{between} packets dropped between others and {after} behind them are not {dropped}")]
    LossesSum {
        between: u64,
        after: u64,
        dropped: u64,
    },
    #[error(
        "the file ends without an account: its capture did not come to its end, or another program \
         has rewritten it"
    )]
    NoAccount,
    #[error("the account's {seen} frames seen are not the {sum} that it tells the ways of")]
    AccountSeen { seen: u64, sum: u64 },
    #[error("the account says {said} frames captured, the file has {packets}")]
    AccountCaptured { said: u64, packets: u64 },
    #[error("the account says {said} frames dropped, the statistics {told}")]
    AccountDropped { said: u64, told: u64 },
    #[error("the account says {said} frames cut short, the file has {cut}")]
    AccountCutShort { said: u64, cut: u64 },
    #[error("something stands behind the account")]
    BehindAccount,
}

impl FaultKind {
    /// Whether it is one in whoever's file. The others are of what skbcap promises, and other
    /// programs don't.
    #[must_use]
    pub fn is_anybodys(&self) -> bool {
        match self {
            Self::Broken(kind) => *kind != BrokenKind::NoEndOfOptions,
            Self::ShortBlock
            | Self::Version(..)
            | Self::UndefinedInterface(_)
            | Self::CapturedOverLen { .. }
            | Self::CapturedOverSnaplen { .. }
            | Self::Data
            | Self::StatisticsCount { .. }
            | Self::StatisticsDropped { .. } => true,
            _ => false,
        }
    }
}
