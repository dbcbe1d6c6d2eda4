//! Bytes of a ring become a [`Frame`]: borrowed, pure, no input or output.
//!
//! Knows the record layout and nothing of rings, kernels or files.

use skbcap_common::{
    owner::WRITERS,
    record::{self, By, CURRENT_LEN, Context, CurrentTask, Flags, Hook, RecordHeader},
};
use zerocopy::FromBytes;

/// One captured frame, borrowed from the ring that it was written into.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'ring> {
    /// The record's fixed part, as the kernel side wrote it.
    pub header: &'ring RecordHeader,
    /// The frame's bytes, from the link-layer header on: `captured_len` of them.
    pub data: &'ring [u8],
    /// The task that was current, where that was asked for.
    pub current: Option<&'ring CurrentTask>,
}

/// Why bytes are not a record. Never seen in a ring that our own program wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than the header, or than the header promises.
    #[error("a record of {needed} bytes in only {available} bytes")]
    Short {
        /// Bytes that the record needs.
        needed: u64,
        /// Bytes that there are.
        available: u64,
    },
    /// Another version of the layout.
    #[error("a record of version {found}; this skbcap knows version {known}", known = skbcap_common::VERSION)]
    Version {
        /// The version that the record names.
        found: u8,
    },
    /// The lengths in the header contradict each other.
    #[error(
        "a record of {record_len} bytes cannot hold {captured_len} captured bytes of a frame of {len}"
    )]
    Lengths {
        /// `record_len`.
        record_len: u32,
        /// `captured_len`.
        captured_len: u32,
        /// `len`.
        len: u32,
    },
    /// A hook that this version does not know.
    #[error("a record of an unknown hook {found}")]
    Hook {
        /// The hook's byte.
        found: u8,
    },
}

impl<'ring> Frame<'ring> {
    /// The record that begins at the start of `bytes`, which may go on behind it.
    ///
    /// # Errors
    ///
    /// When the bytes are no record of this version.
    pub fn decode(bytes: &'ring [u8]) -> Result<Self, DecodeError> {
        let available = bytes.len() as u64;
        let (header, rest) =
            RecordHeader::ref_from_prefix(bytes).map_err(|_| DecodeError::Short {
                needed: record::HEADER_LEN.into(),
                available,
            })?;
        if header.version != skbcap_common::VERSION {
            return Err(DecodeError::Version {
                found: header.version,
            });
        }
        let RecordHeader {
            record_len,
            captured_len,
            len,
            ..
        } = *header;
        let has_current = Flags(header.flags).contains(Flags::CURRENT);
        let behind = u32::from(has_current) * CURRENT_LEN;
        if captured_len > skbcap_common::MAX_SNAPLEN
            || captured_len > len
            || record_len != record::record_len(captured_len) + behind
        {
            return Err(DecodeError::Lengths {
                record_len,
                captured_len,
                len,
            });
        }
        if u64::from(record_len) > available {
            return Err(DecodeError::Short {
                needed: record_len.into(),
                available,
            });
        }
        if Hook::from_byte(header.hook).is_none() {
            return Err(DecodeError::Hook { found: header.hook });
        }
        let current = bytes.get((record_len - behind) as usize..record_len as usize);
        let current = current.filter(|_| has_current);
        Ok(Self {
            header,
            data: &rest[..captured_len as usize],
            current: current.and_then(|bytes| CurrentTask::ref_from_bytes(bytes).ok()),
        })
    }

    /// The name of the thread that [`Frame::by`] speaks of, without the NUL byte: any bytes but NUL.
    #[must_use]
    pub fn comm(&self) -> &'ring [u8] {
        if self.by() == Some(By::Shared) {
            return b"";
        }
        until_nul(&self.header.comm)
    }

    /// The name of a task, without the NUL byte.
    #[must_use]
    pub fn name(task: &CurrentTask) -> &[u8] {
        until_nul(&task.comm)
    }

    /// Who sent the frame; `None` in recordings that don't tell.
    #[must_use]
    pub fn by(&self) -> Option<By> {
        self.flags().by()
    }

    /// Whether a process is known to have sent the frame: the one that its header names.
    #[must_use]
    pub fn is_of_process(&self) -> bool {
        is_process(self.by(), self.context())
    }

    /// The processes (tgids) one of which sent the frame, under [`By::Shared`]; else zeros, as are
    /// those behind the last.
    #[must_use]
    pub fn writers(&self) -> [u32; WRITERS] {
        if self.by() == Some(By::Shared) {
            let (words, _) = self.header.comm.as_chunks::<4>();
            std::array::from_fn(|at| u32::from_le_bytes(words[at]))
        } else {
            [0; WRITERS]
        }
    }

    /// `dev->name`, without the NUL byte.
    #[must_use]
    pub fn interface_name(&self) -> &'ring [u8] {
        until_nul(&self.header.ifname)
    }

    /// What the CPU was doing.
    #[must_use]
    pub fn context(&self) -> Context {
        Context::from_byte(self.header.context)
    }

    /// Where the frame was taken.
    #[must_use]
    pub fn hook(&self) -> Hook {
        Hook::from_byte(self.header.hook).expect("checked by decode")
    }

    /// A number for the ring that the record lay in.
    #[must_use]
    pub fn ring(&self) -> u32 {
        2 * self.header.cpu + u32::from(self.flags().contains(Flags::SECOND_RING))
    }

    /// The record's flags.
    #[must_use]
    pub fn flags(&self) -> Flags {
        Flags(self.header.flags)
    }
}

/// Whether this says that the process named beside it sent a frame. A record without a claim names
/// what was current, and that is its sender unless it was interrupted.
#[must_use]
pub fn is_process(by: Option<By>, context: Context) -> bool {
    match by {
        Some(By::Task | By::Socket) => true,
        Some(By::Kernel | By::Shared | By::Unknown) => false,
        None => context == Context::Task,
    }
}

/// The bytes before the first NUL, or all of them.
fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::{FromZeros, IntoBytes};

    fn record(captured_len: u32) -> Vec<u8> {
        let mut header = RecordHeader::new_zeroed();
        header.version = skbcap_common::VERSION;
        header.hook = Hook::Kprobe as u8;
        header.captured_len = captured_len;
        header.len = captured_len;
        header.record_len = record::record_len(captured_len);
        header.comm[..4].copy_from_slice(b"curl");
        let mut bytes = header.as_bytes().to_vec();
        bytes.resize(header.record_len as usize, 0xaa);
        bytes
    }

    /// An aligned copy: records lie at multiples of 8 in a ring.
    fn aligned(bytes: &[u8]) -> Vec<u64> {
        let mut words = vec![0u64; bytes.len().div_ceil(8)];
        words.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
        words
    }

    #[test]
    fn a_record_gives_back_its_frame() {
        let words = aligned(&record(61));
        let frame = Frame::decode(words.as_bytes()).unwrap();
        assert_eq!(frame.data, [0xaa; 61]);
        assert_eq!(frame.comm(), b"curl");
        assert_eq!(frame.hook(), Hook::Kprobe);
        assert_eq!(frame.context(), Context::Unknown);
    }

    #[test]
    fn what_was_current_stands_behind_the_bytes() {
        let current = CurrentTask {
            tgid: 7,
            pid: 8,
            comm: *b"sshd\0 leftover  \0"[..16].as_array().unwrap(),
        };
        for captured_len in [0, 61, 64] {
            let mut bytes = record(captured_len);
            let record_len = bytes.len() as u32 + CURRENT_LEN;
            bytes[..4].copy_from_slice(&record_len.to_le_bytes());
            bytes[24..28].copy_from_slice(&Flags::CURRENT.0.to_le_bytes());
            bytes.extend(current.as_bytes());
            let words = aligned(&bytes);
            let frame = Frame::decode(words.as_bytes()).unwrap();
            assert_eq!(frame.data, vec![0xaa; captured_len as usize]);
            assert_eq!(frame.current, Some(&current));
            assert_eq!(Frame::name(frame.current.unwrap()), b"sshd");
            // Its length says that there is none.
            bytes[24] = 0;
            bytes[25] = 0;
            let words = aligned(&bytes);
            assert!(Frame::decode(words.as_bytes()).is_err());
        }
    }

    #[test]
    fn a_name_that_fills_its_field_has_no_nul() {
        let mut bytes = record(0);
        bytes[40..56].copy_from_slice(b"sixteen bytes!!!");
        let words = aligned(&bytes);
        assert_eq!(
            Frame::decode(words.as_bytes()).unwrap().comm(),
            b"sixteen bytes!!!"
        );
    }

    #[test]
    fn bytes_that_are_no_record_are_named() {
        let good = record(61);
        let decode = |bytes: &[u8]| {
            let words = aligned(bytes);
            Frame::decode(&words.as_bytes()[..bytes.len()])
                .map(|_| ())
                .unwrap_err()
        };
        assert_eq!(
            decode(&good[..8]),
            DecodeError::Short {
                needed: 120,
                available: 8
            }
        );
        assert_eq!(
            decode(&good[..150]),
            DecodeError::Short {
                needed: 184,
                available: 150
            }
        );
        let mut bad = good.clone();
        bad[4] = 77;
        assert_eq!(decode(&bad), DecodeError::Version { found: 77 });
        let mut bad = good.clone();
        bad[5] = 9;
        assert_eq!(decode(&bad), DecodeError::Hook { found: 9 });
        let mut bad = good;
        bad[104] = 200;
        assert!(matches!(
            decode(&bad),
            DecodeError::Lengths {
                captured_len: 200,
                ..
            }
        ));
    }
}
