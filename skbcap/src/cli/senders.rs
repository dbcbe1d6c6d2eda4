//! Whose frames are wanted.

use std::path::PathBuf;

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

    /// Only what processes in this cgroup sent, or in one below: a directory of cgroup v2
    #[arg(long, value_name = "PATH", help_heading = SENDERS)]
    pub cgroup: Vec<PathBuf>,

    /// All but what --pid would capture; likewise --not-tid, --not-comm, --not-uid, --not-cgroup
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

    /// All but what --cgroup would capture
    #[arg(long, value_name = "PATH", hide_short_help = true, help_heading = SENDERS)]
    pub not_cgroup: Vec<PathBuf>,
}

impl SenderOptions {
    /// The first of them that was given.
    #[must_use]
    pub fn given(&self) -> Option<&'static str> {
        let options = [
            (self.pid.len(), "--pid"),
            (self.tid.len(), "--tid"),
            (self.comm.len(), "--comm"),
            (self.uid.len(), "--uid"),
            (self.cgroup.len(), "--cgroup"),
            (self.not_pid.len(), "--not-pid"),
            (self.not_tid.len(), "--not-tid"),
            (self.not_comm.len(), "--not-comm"),
            (self.not_uid.len(), "--not-uid"),
            (self.not_cgroup.len(), "--not-cgroup"),
        ];
        let mut given = options.into_iter().filter(|(times, _)| *times > 0);
        given.next().map(|(_, option)| option)
    }
}
