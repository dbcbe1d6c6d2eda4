//! Blocks and options as they lie in a file, without a judgement of what they say.
//!
//! Any byte order, any input: what is no block ends the walk with the byte at which it happened.
//! Independent of what writes the files.

/// `shb`: begins a section.
pub const SECTION_HEADER: u32 = 0x0a0d_0d0a;
/// `idb`: describes an interface.
pub const INTERFACE_DESCRIPTION: u32 = 1;
/// `pb`: a packet, as blocks held them before `epb`.
pub const OBSOLETE_PACKET: u32 = 2;
/// `spb`: a packet without time or interface.
pub const SIMPLE_PACKET: u32 = 3;
/// `isb`: an interface's counts.
pub const INTERFACE_STATISTICS: u32 = 5;
/// `epb`: a packet.
pub const ENHANCED_PACKET: u32 = 6;

/// A section's byte-order magic, in the section's byte order.
const MAGIC: u32 = 0x1a2b_3c4d;
/// The type and the length before a block's body, and the length behind it.
const FRAMING: usize = 12;

/// The order in which a section's numbers have their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// The least significant byte first.
    Little,
    /// The most significant byte first.
    Big,
}

impl ByteOrder {
    /// The number at `at`; [`None`] beyond the end.
    #[must_use]
    pub fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes = bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => u16::from_le_bytes(*bytes),
            Self::Big => u16::from_be_bytes(*bytes),
        })
    }

    /// The number at `at`; [`None`] beyond the end.
    #[must_use]
    pub fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => u32::from_le_bytes(*bytes),
            Self::Big => u32::from_be_bytes(*bytes),
        })
    }

    /// The number at `at`; [`None`] beyond the end.
    #[must_use]
    pub fn u64(self, bytes: &[u8], at: usize) -> Option<u64> {
        let bytes = bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => u64::from_le_bytes(*bytes),
            Self::Big => u64::from_be_bytes(*bytes),
        })
    }

    /// The time at `at`, which is always two numbers: the high half, then the low.
    #[must_use]
    pub fn time(self, bytes: &[u8], at: usize) -> Option<u64> {
        let high = self.u32(bytes, at)?;
        let low = self.u32(bytes, at + 4)?;
        Some(u64::from(high) << 32 | u64::from(low))
    }
}

/// A block whose lengths hold.
#[derive(Clone, Copy, Debug)]
pub struct RawBlock<'a> {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its type.
    pub kind: u32,
    /// The section's byte order.
    pub order: ByteOrder,
    /// What lies between the two lengths.
    pub body: &'a [u8],
}

impl<'a> RawBlock<'a> {
    /// The offset in the file of a byte of the body.
    #[must_use]
    pub fn offset_of(&self, in_body: usize) -> u64 {
        self.offset + 8 + in_body as u64
    }

    /// The options that begin at `at` in the body.
    #[must_use]
    pub fn options(&self, at: usize) -> RawOptions<'a> {
        let rest = self.body.get(at..).unwrap_or_default();
        RawOptions {
            order: self.order,
            offset: self.offset_of(at),
            rest,
            ended: rest.is_empty(),
        }
    }
}

/// Why a walk over blocks ended before the file did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {what}")]
pub struct Broken {
    /// Where the block, or the option, begins that could not be read.
    pub offset: u64,
    /// What is wrong with it.
    pub what: BrokenKind,
}

/// What can be wrong with a block's or an option's outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenKind {
    /// The file does not begin with a section header.
    #[error("no pcapng: the first block is of type {0:#010x}")]
    NoSection(u32),
    /// A section header without the magic number.
    #[error("a section header without byte-order magic")]
    Magic,
    /// The file ends inside the block.
    #[error("the file ends {missing} bytes before the block does")]
    Truncated {
        /// Bytes that are missing, as far as can be told.
        missing: u64,
    },
    /// A block's length is below 12 or no multiple of 4.
    #[error("a block of length {0}")]
    Length(u32),
    /// The length behind the body is not that before it.
    #[error("a block of length {before} that ends as one of length {behind}")]
    Lengths {
        /// The length before the body.
        before: u32,
        /// The length behind it.
        behind: u32,
    },
    /// An option goes on behind its block's end.
    #[error("option {code} of {len} bytes goes on behind its block's end")]
    Option {
        /// The option's code.
        code: u16,
        /// Its length.
        len: u16,
    },
    /// A block's options end in the middle of one.
    #[error("options end in the middle of one")]
    OptionHeader,
    /// The last option is not the end of options.
    #[error("options without an end of options")]
    NoEndOfOptions,
    /// Something stands behind the end of options.
    #[error("bytes behind the end of options")]
    BehindEndOfOptions,
}

/// Walks over the blocks of a file; ends after the first that is broken.
#[derive(Clone, Debug)]
pub struct RawBlocks<'a> {
    bytes: &'a [u8],
    at: usize,
    order: Option<ByteOrder>,
}

impl<'a> RawBlocks<'a> {
    /// The blocks of a file.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            order: None,
        }
    }

    fn block(&mut self) -> Result<RawBlock<'a>, BrokenKind> {
        let rest = &self.bytes[self.at..];
        // The type of a section header reads the same in both orders.
        let order = self.order.unwrap_or(ByteOrder::Little);
        let missing = |needed: usize| BrokenKind::Truncated {
            missing: (needed - rest.len()) as u64,
        };
        let kind = order.u32(rest, 0).ok_or_else(|| missing(FRAMING))?;
        let order = match (kind, self.order) {
            (SECTION_HEADER, _) => section_order(rest).ok_or_else(|| {
                if rest.len() < FRAMING {
                    missing(FRAMING)
                } else {
                    BrokenKind::Magic
                }
            })?,
            (_, Some(order)) => order,
            (kind, None) => return Err(BrokenKind::NoSection(kind)),
        };
        let before = order.u32(rest, 4).ok_or_else(|| missing(FRAMING))?;
        let len = before as usize;
        if len < FRAMING || !len.is_multiple_of(4) {
            return Err(BrokenKind::Length(before));
        }
        let Some(block) = rest.get(..len) else {
            return Err(missing(len));
        };
        let behind = order.u32(block, len - 4).unwrap_or_default();
        if behind != before {
            return Err(BrokenKind::Lengths { before, behind });
        }
        self.order = Some(order);
        let offset = self.at as u64;
        self.at += len;
        Ok(RawBlock {
            offset,
            kind,
            order,
            body: &block[8..len - 4],
        })
    }
}

impl<'a> Iterator for RawBlocks<'a> {
    type Item = Result<RawBlock<'a>, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.bytes.len() {
            return None;
        }
        let offset = self.at as u64;
        Some(self.block().map_err(|what| {
            self.at = self.bytes.len();
            Broken { offset, what }
        }))
    }
}

/// The byte order that a section header names.
fn section_order(block: &[u8]) -> Option<ByteOrder> {
    [ByteOrder::Little, ByteOrder::Big]
        .into_iter()
        .find(|order| order.u32(block, 8) == Some(MAGIC))
}

/// An option, with the padding behind its value.
#[derive(Clone, Copy, Debug)]
pub struct RawOption<'a> {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its code, never 0.
    pub code: u16,
    /// Its value.
    pub value: &'a [u8],
    /// 0 to 3 bytes.
    pub padding: &'a [u8],
}

/// Walks over the options of a block; ends after the first that is broken.
#[derive(Clone, Debug)]
pub struct RawOptions<'a> {
    order: ByteOrder,
    offset: u64,
    rest: &'a [u8],
    ended: bool,
}

impl<'a> RawOptions<'a> {
    fn option(&mut self) -> Result<Option<RawOption<'a>>, BrokenKind> {
        if self.rest.is_empty() {
            return Err(BrokenKind::NoEndOfOptions);
        }
        let code = self
            .order
            .u16(self.rest, 0)
            .ok_or(BrokenKind::OptionHeader)?;
        let len = self
            .order
            .u16(self.rest, 2)
            .ok_or(BrokenKind::OptionHeader)?;
        let end = 4 + usize::from(len);
        let next = end.next_multiple_of(4);
        let (Some(value), Some(padding)) = (self.rest.get(4..end), self.rest.get(end..next)) else {
            return Err(BrokenKind::Option { code, len });
        };
        if code == 0 {
            return match (len, self.rest.len()) {
                (0, 4) => Ok(None),
                _ => Err(BrokenKind::BehindEndOfOptions),
            };
        }
        let option = RawOption {
            offset: self.offset,
            code,
            value,
            padding,
        };
        self.rest = &self.rest[next..];
        self.offset += next as u64;
        Ok(Some(option))
    }
}

impl<'a> Iterator for RawOptions<'a> {
    type Item = Result<RawOption<'a>, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let offset = self.offset;
        let next = self.option();
        self.ended = !matches!(next, Ok(Some(_)));
        next.map_err(|what| Broken { offset, what }).transpose()
    }
}
