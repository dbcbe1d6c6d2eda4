//! Whose frames are wanted.

use clap::Args;

const SENDERS: &str = "Whose frames to capture";

/// Options that look at who sent a frame.
#[derive(Clone, Debug, Default, Args)]
pub struct SenderOptions {
    /// Only what this process sent; may be repeated, as all of these
    #[arg(long, value_name = "PID", allow_negative_numbers = true, help_heading = SENDERS)]
    pub pid: Vec<String>,

    /// Only what this thread sent
    #[arg(long, value_name = "TID", allow_negative_numbers = true, help_heading = SENDERS)]
    pub tid: Vec<String>,

    /// Only what threads of this name sent: a pattern with *, ? and [a-z]
    #[arg(long, value_name = "NAME", help_heading = SENDERS)]
    pub comm: Vec<String>,

    /// Only what this user's processes sent
    #[arg(long, value_name = "USER", allow_negative_numbers = true, help_heading = SENDERS)]
    pub uid: Vec<String>,

    /// All but what --pid would capture; likewise --not-tid, --not-comm, --not-uid
    #[arg(long, value_name = "PID", allow_negative_numbers = true, help_heading = SENDERS)]
    pub not_pid: Vec<String>,

    /// All but what --tid would capture
    #[arg(long, value_name = "TID", allow_negative_numbers = true, hide_short_help = true, help_heading = SENDERS)]
    pub not_tid: Vec<String>,

    /// All but what --comm would capture
    #[arg(long, value_name = "NAME", hide_short_help = true, help_heading = SENDERS)]
    pub not_comm: Vec<String>,

    /// All but what --uid would capture
    #[arg(long, value_name = "USER", allow_negative_numbers = true, hide_short_help = true, help_heading = SENDERS)]
    pub not_uid: Vec<String>,
}

impl SenderOptions {
    /// The first of them that was given.
    #[must_use]
    pub fn given(&self) -> Option<&'static str> {
        let options = [
            (&self.pid, "--pid"),
            (&self.tid, "--tid"),
            (&self.comm, "--comm"),
            (&self.uid, "--uid"),
            (&self.not_pid, "--not-pid"),
            (&self.not_tid, "--not-tid"),
            (&self.not_comm, "--not-comm"),
            (&self.not_uid, "--not-uid"),
        ];
        let mut given = options.into_iter().filter(|(typed, _)| !typed.is_empty());
        given.next().map(|(_, option)| option)
    }
}
