//! Whose frames are wanted: what was asked for, looked up on this machine.

use super::target::Facts;
use crate::{
    config::Config,
    kernel::senders::{self, Wanted},
};

/// Why senders can't be told apart, or one that was asked for isn't there.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    /// This kernel doesn't tell who sent a frame.
    #[error("cannot tell whose frames are {wanted}: {why}")]
    NoClaims {
        /// What was asked for.
        wanted: &'static str,
        /// Why not, in words.
        why: String,
    },
    /// skbcap is in a container.
    #[error(
        "process ids here are not the kernel's own: run skbcap in the host's pid namespace to \
         capture by process"
    )]
    PidNamespace,
}

/// What the kernel side is to be told, `followed` being the command's process.
pub(super) fn wanted(config: &Config, followed: Option<u32>) -> Result<Wanted, SenderError> {
    let _ = config;
    let wanted = Wanted {
        followed,
        ..Wanted::default()
    };
    if wanted.asks_for_processes() && !senders::sees_kernels_ids() {
        return Err(SenderError::PidNamespace);
    }
    Ok(wanted)
}

/// Fails where frames have no senders, and one is asked for.
pub(super) fn must_be_known(wanted: &Wanted, facts: &Facts) -> Result<(), SenderError> {
    match &facts.sockets {
        Err(why) if wanted.is_any() => Err(no_claims(wanted, why.to_string())),
        _ => Ok(()),
    }
}

/// The error of a kernel that makes no claim.
pub(super) fn no_claims(wanted: &Wanted, why: String) -> SenderError {
    let wanted = if wanted.followed.is_some() {
        "the command's"
    } else {
        "wanted"
    };
    SenderError::NoClaims { wanted, why }
}
