//! What a kernel side that is loaded says of itself: what it became, what it missed, what it lacks.

use super::{FUNCTION, Kernel, Loaded, Misses, Unseen, Watch};
use crate::kernel::{btf::Btf, missed};

impl Kernel {
    /// What the kernel made of the programs, a line each: for `--debug` and measurements.
    #[must_use]
    pub fn effort(&mut self) -> Vec<String> {
        let parts = self.parts.clone().into_iter();
        parts
            .filter_map(|part| {
                let info = self.program(part).info().ok()?;
                // Linux 5.16, kernel/bpf/verifier.c:bpf_check.
                let verified = info.verified_instruction_count();
                Some(format!(
                    "{}: {} bytes of machine code, {} instructions verified",
                    part.program,
                    info.size_jitted(),
                    verified.map_or_else(|| "unknown".to_owned(), |count| count.to_string())
                ))
            })
            .collect()
    }

    /// Takes hold of what tells of misses, while there are privileges to.
    pub(super) fn misses(&mut self, btf: &Btf) -> Option<Misses> {
        match self.program(self.parts[0]) {
            Loaded::Kprobe(program) if missed::is_known(btf) => Misses::of_kprobe(program).ok(),
            Loaded::Kprobe(_) => None,
            Loaded::Tracepoint(program) => Misses::of_tracepoint(program).ok(),
        }
    }

    /// Frames that the kernel did not hand to the hook so far: `None` where it doesn't count them.
    #[must_use]
    pub fn missed(&self) -> Option<u64> {
        self.misses.as_ref()?.count().ok()
    }

    /// What would tell of misses, before anything is attached: whether the kernel answers does not
    /// depend on that.
    #[must_use]
    pub fn unattached_misses(&mut self, btf: &Btf) -> Option<Misses> {
        let first = self.program(self.parts[0]);
        if matches!(first, Loaded::Kprobe(_)) && !missed::is_known(btf) {
            return None;
        }
        Misses::of_program(&first.info().ok()?).ok()
    }

    /// Whether the kernel copies frames by itself, and so needs no page bases: at a tracepoint, and
    /// with a kprobe for devices without egress tc and nft.
    #[must_use]
    pub fn copies_by_itself(&self) -> bool {
        self.parts
            .iter()
            .any(|part| part.program == part.faster && part.place != FUNCTION)
    }

    /// Calls on sockets that the programs that watch them did not see, at most: frames of one whose
    /// first write was not seen are said to be another's. 0 also where the kernel doesn't answer:
    /// before 5.19, without `CAP_BPF`.
    #[must_use]
    pub fn socket_calls_missed(&self) -> u64 {
        self.watchers.iter().map(Unseen::at_most).sum()
    }

    /// Forks that were not seen, at most, so that the new processes are not followed: as
    /// [`Kernel::socket_calls_missed`].
    #[must_use]
    pub fn forks_missed(&self) -> u64 {
        self.follower.at_most()
    }

    /// What of the programs that watch sockets the kernel did not take, and what that lowers, in
    /// words. Empty: it took all. To be asked before [`Kernel::watch_sockets`].
    #[must_use]
    pub fn unwatched(&self) -> Vec<String> {
        self.watch.as_ref().map_or_else(Vec::new, Watch::lowered)
    }
}
