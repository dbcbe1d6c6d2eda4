//! Two captures compared: which frames both have, and which only one.
//!
//! Knows capture files of any writer and byte order, and nothing of kernels or of how skbcap takes
//! frames. Both captures are held as borrowed bytes (a mapped file); a frame costs an index.
//!
//! A frame is the same in both if its original length is the same, and its bytes, cut to the
//! smaller of the two snapshot lengths. Frames that occur more than once are counted: the first
//! here belongs to the first there.

mod checksum;
pub mod command;
mod compare;
mod explain;
mod fields;
mod json;
mod layers;
mod relation;
mod segments;
mod table;
mod text;

pub use crate::read::{Capture, Frame, Interface, NotACapture, Trouble, TroubleKind};
pub use compare::{Options, Report, Skew, compare};
pub use explain::{Explanation, Pair, Segmented, explain};
pub use relation::{Difference, Differences, FieldDiff, Relation};
