//! From the kernel's types to what the programs need to know of its tasks, where a capture is to tell
//! more of processes than their names and numbers.
//!
//! Source: `include/linux/sched.h`, `include/linux/mm_types.h`, `include/linux/fs.h`,
//! `include/linux/dcache.h`, `include/linux/cgroup-defs.h`, `include/linux/kernfs.h` at 5.10, 6.1, 6.12
//! and 7.2.

use skbcap_common::process::Tasks;

use super::{
    btf::Btf,
    layout::{LayoutError, check},
};

/// Where everything lies in the kernel that `btf` describes.
///
/// # Errors
///
/// [`LayoutError`], which names the structure and the field.
pub fn tasks(btf: &Btf) -> Result<Tasks, LayoutError> {
    let offset = |structure: &'static str, field: &'static str, size: u32| {
        check(structure, field, btf.member(structure, field)?, size, None)
    };
    Ok(Tasks {
        known: 1,
        start: offset("task_struct", "start_boottime", 8)?,
        parent: offset("task_struct", "real_parent", 8)?,
        exec_id: offset("task_struct", "self_exec_id", 8)?,
        cred: offset("task_struct", "cred", 8)?,
        uid: offset("cred", "uid.val", 4)?,
        nsproxy: offset("task_struct", "nsproxy", 8)?,
        net_ns: offset("nsproxy", "net_ns", 8)?,
        mm: offset("task_struct", "mm", 8)?,
        exe_file: offset("mm_struct", "exe_file", 8)?,
        dentry: offset("file", "f_path.dentry", 8)?,
        name: offset("dentry", "d_name.name", 8)?,
        inode: offset("inode", "i_ino", 8)?,
        super_block: offset("inode", "i_sb", 8)?,
        device: offset("super_block", "s_dev", 4)?,
        cgroups: 0,
        cgroup: 0,
        cgroup_node: 0,
        node_id: 0,
        reserved: 0,
    })
}

/// Adds where tasks have their cgroups, which not every kernel knows.
///
/// # Errors
///
/// [`LayoutError`], which names the structure and the field.
pub fn cgroups(btf: &Btf, tasks: Tasks) -> Result<Tasks, LayoutError> {
    let offset = |structure: &'static str, field: &'static str| {
        check(structure, field, btf.member(structure, field)?, 8, None)
    };
    Ok(Tasks {
        cgroups: offset("task_struct", "cgroups")?,
        cgroup: offset("css_set", "dfl_cgrp")?,
        cgroup_node: offset("cgroup", "kn")?,
        node_id: offset("kernfs_node", "id")?,
        ..tasks
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::btf::RUNNING_KERNEL;
    use std::path::Path;

    #[test]
    fn the_running_kernels_tasks_are_known() {
        if !Path::new(RUNNING_KERNEL).exists() {
            eprintln!("this kernel shows no types");
            return;
        }
        let btf = Btf::running().unwrap();
        let found = tasks(&btf).unwrap();
        assert!(found.known == 1 && found.parent != found.start, "{found:?}");
        if Path::new("/proc/self/cgroup").exists() {
            let found = cgroups(&btf, found).unwrap();
            assert!(found.known == 1 && found.cgroups != 0, "{found:?}");
        }
    }
}
