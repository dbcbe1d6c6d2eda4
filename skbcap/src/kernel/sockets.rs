//! From the kernel's types to what the programs need to know of its sockets, files and tasks.
//!
//! Nothing here is needed to capture: where it can't be told, no claim is made.
//!
//! Source: `include/net/sock.h`, `include/net/request_sock.h`, `include/linux/fs.h` at 5.10, 6.1, 6.12
//! and 7.2.

use skbcap_common::owner::Sockets;

use super::{
    btf::Btf,
    layout::{LayoutError, check},
};

/// Where everything lies in the kernel that `btf` describes.
///
/// # Errors
///
/// [`LayoutError`], which names the structure and the field.
pub fn sockets(btf: &Btf) -> Result<Sockets, LayoutError> {
    let offset = |structure: &'static str, field: &'static str, size: u32| {
        check(structure, field, btf.member(structure, field)?, size, None)
    };
    let kernel = btf.member("sock", "sk_kern_sock")?;
    let shift = kernel.bit_offset % 8;
    if kernel.bit_size != 1 {
        return Err(LayoutError::Field {
            structure: "sock",
            field: "sk_kern_sock",
            problem: format!("has {} bits, not 1", kernel.bit_size),
        });
    }
    Ok(Sockets {
        known: 1,
        socket_sk: offset("socket", "sk", 8)?,
        family: offset("sock", "__sk_common.skc_family", 2)?,
        state: offset("sock", "__sk_common.skc_state", 1)?,
        kind: offset("sock", "sk_type", 2)?,
        kernel: kernel.byte_offset(),
        kernel_mask: 1 << shift,
        listener: offset("request_sock", "__req_common.skc_listener", 8)?,
        file_inode: offset("file", "f_inode", 8)?,
        file_private: offset("file", "private_data", 8)?,
        inode_mode: offset("inode", "i_mode", 2)?,
        task_flags: offset("task_struct", "flags", 4)?,
        task_tgid: offset("task_struct", "tgid", 4)?,
        task_leader: offset("task_struct", "group_leader", 8)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::btf::RUNNING_KERNEL;

    #[test]
    fn the_running_kernels_sockets_are_known() {
        if !std::path::Path::new(RUNNING_KERNEL).exists() {
            eprintln!("this kernel shows no types");
            return;
        }
        let found = sockets(&Btf::running().unwrap()).unwrap();
        // A mini-socket has all of the common part, and a state within.
        assert!(found.known == 1 && found.state < found.kind, "{found:?}");
        assert!(found.kernel_mask.is_power_of_two() && found.kernel_mask < 256);
    }
}
