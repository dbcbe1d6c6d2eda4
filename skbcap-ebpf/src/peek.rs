//! The set-up program: kernel memory and addresses for userspace, on request.

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_smp_processor_id, bpf_probe_read_kernel,
};
use skbcap_common::peek::{PEEK_CURRENT, PEEK_DOORBELL, PEEK_LEN, PEEK_PER_CPU, PEEK_READ};

use crate::{
    maps::{DOORBELL, PEEK, PER_CPU},
    memory::opaque,
};

/// Answers the request that lies in the mailbox.
#[inline(always)]
pub(crate) fn answer() {
    let Some(peek) = PEEK.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: `peek` is the map's one value, aligned to 8; userspace waits for this program's end
    // and touches it neither before nor after. The helpers write only where they are told to, and
    // reading an address that is not mapped gives `-EFAULT`.
    unsafe {
        (*peek).cpu = bpf_get_smp_processor_id() as u32;
        (*peek).result = match (*peek).operation {
            PEEK_READ => {
                let len = opaque((*peek).len.into());
                if len == 0 || len > PEEK_LEN as u64 {
                    return;
                }
                bpf_probe_read_kernel(
                    (&raw mut (*peek).bytes).cast(),
                    len as u32,
                    (*peek).address as *const _,
                )
            }
            PEEK_CURRENT => {
                (*peek).address = bpf_get_current_task();
                0
            }
            PEEK_DOORBELL => {
                (*peek).address = (&raw const DOORBELL) as u64;
                0
            }
            PEEK_PER_CPU => {
                let Some(value) = PER_CPU.get_ptr_mut(0) else {
                    return;
                };
                (*peek).address = value as u64;
                (&raw mut (*peek).bytes)
                    .cast::<u64>()
                    .write((&raw const PER_CPU) as u64);
                0
            }
            _ => return,
        };
        (*peek).operation = 0;
    }
}
