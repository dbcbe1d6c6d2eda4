//! The calls, and why a capture has no use for them.

use libc::*;
use seccompiler::{
    BackendError, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition as Condition,
    SeccompRule,
};

/// Calls that have one thing in common.
struct Group {
    /// What can't be done without them.
    what: &'static str,
    calls: &'static [c_long],
}

/// Refused whatever their arguments are.
const GROUPS: [Group; 11] = [
    // The command was started before, and nothing else is.
    Group {
        what: "programs",
        calls: &[SYS_execve, SYS_execveat, SYS_uselib],
    },
    // `clone` is among `rules`.
    Group {
        what: "processes",
        calls: &[SYS_fork, SYS_vfork],
    },
    // Frames come by shared memory, signals by a pair that is there. Devices are told of by the programs.
    Group {
        what: "sockets",
        calls: &[
            SYS_socket,
            SYS_socketpair,
            SYS_connect,
            SYS_bind,
            SYS_listen,
            SYS_accept,
            SYS_accept4,
        ],
    },
    // Memory and queues that other processes find by number or by name.
    Group {
        what: "System V IPC and message queues",
        calls: &[
            SYS_shmget,
            SYS_shmat,
            SYS_shmctl,
            SYS_semget,
            SYS_semop,
            SYS_semtimedop,
            SYS_semctl,
            SYS_msgget,
            SYS_msgsnd,
            SYS_msgrcv,
            SYS_msgctl,
            SYS_mq_open,
            SYS_mq_unlink,
        ],
    },
    // Plain files are made, written to and cut. Nothing else is done to them, and nothing else is made.
    Group {
        what: "removing, renaming and linking",
        calls: &[
            SYS_unlink,
            SYS_unlinkat,
            SYS_rmdir,
            SYS_rename,
            SYS_renameat,
            SYS_renameat2,
            SYS_link,
            SYS_linkat,
            SYS_symlink,
            SYS_symlinkat,
            SYS_mkdir,
            SYS_mkdirat,
            SYS_mknod,
            SYS_mknodat,
            SYS_open_by_handle_at,
            SYS_name_to_handle_at,
        ],
    },
    Group {
        what: "modes and owners",
        calls: &[
            SYS_chmod,
            SYS_fchmod,
            SYS_fchmodat,
            SYS_fchmodat2,
            SYS_chown,
            SYS_fchown,
            SYS_lchown,
            SYS_fchownat,
            SYS_utime,
            SYS_utimes,
            SYS_futimesat,
            SYS_utimensat,
            SYS_setxattr,
            SYS_lsetxattr,
            SYS_fsetxattr,
            SETXATTRAT,
            SYS_removexattr,
            SYS_lremovexattr,
            SYS_fremovexattr,
            REMOVEXATTRAT,
            FILE_SETATTR,
        ],
    },
    // Namespaces are opened, and looked into, before.
    Group {
        what: "mounts and namespaces",
        calls: &[
            SYS_mount,
            SYS_umount2,
            SYS_pivot_root,
            SYS_chroot,
            SYS_move_mount,
            SYS_fsopen,
            SYS_fspick,
            SYS_fsconfig,
            SYS_fsmount,
            SYS_open_tree,
            OPEN_TREE_ATTR,
            SYS_mount_setattr,
            SYS_setns,
            SYS_unshare,
        ],
    },
    // What `--fields` wants to know of them stands in `/proc`.
    Group {
        what: "other processes' memory",
        calls: &[
            SYS_ptrace,
            SYS_process_vm_readv,
            SYS_process_vm_writev,
            SYS_process_madvise,
            SYS_process_mrelease,
            SYS_migrate_pages,
            SYS_move_pages,
            SYS_kcmp,
            SYS_pidfd_getfd,
        ],
    },
    // They were given up before.
    Group {
        what: "users and capabilities",
        calls: &[
            SYS_setuid,
            SYS_setreuid,
            SYS_setresuid,
            SYS_setfsuid,
            SYS_setgid,
            SYS_setregid,
            SYS_setresgid,
            SYS_setfsgid,
            SYS_setgroups,
            SYS_capset,
        ],
    },
    // Large, and old ways out of sandboxes. What is done by an io_uring no filter sees. `bpf` is among
    // `rules`.
    Group {
        what: "BPF and keys",
        calls: &[
            SYS_perf_event_open,
            SYS_fanotify_init,
            SYS_userfaultfd,
            SYS_io_uring_setup,
            SYS_io_uring_enter,
            SYS_io_uring_register,
            SYS_add_key,
            SYS_request_key,
            SYS_keyctl,
        ],
    },
    Group {
        what: "the machine's state",
        calls: &[
            SYS_init_module,
            SYS_finit_module,
            SYS_delete_module,
            SYS_kexec_load,
            SYS_kexec_file_load,
            SYS_reboot,
            SYS_swapon,
            SYS_swapoff,
            SYS_acct,
            SYS_quotactl,
            SYS_quotactl_fd,
            SYS_sethostname,
            SYS_setdomainname,
            SYS_settimeofday,
            SYS_clock_settime,
            SYS_clock_adjtime,
            SYS_adjtimex,
            SYS_syslog,
            SYS_iopl,
            SYS_ioperm,
            SYS_modify_ldt,
            SYS_personality,
            SYS_vhangup,
        ],
    },
];

/// Done by a call that is left for all else.
const TERMINALS: &str = "typing into terminals";

// Not in every C library's list: include/uapi/asm-generic/unistd.h, Linux 6.13, 6.15 and 6.17.
const SETXATTRAT: c_long = 463;
const REMOVEXATTRAT: c_long = 466;
const OPEN_TREE_ATTR: c_long = 467;
const FILE_SETATTR: c_long = 469;

/// Set in the numbers of x32, programs of 64 bits whose pointers have 32. To a filter they are of the
/// same architecture (arch/x86/include/uapi/asm/unistd.h).
const X32: c_long = 0x4000_0000;
/// Those that x32 has besides, in place of calls with pointers in what they are given: among them
/// another `execve`, `ioctl` and `ptrace` (arch/x86/entry/syscalls/syscall_64.tbl).
const X32_ONLY: std::ops::RangeInclusive<c_long> = 512..=547;

/// What the kernel tells of a program that is there already: how many frames it missed.
const BPF_OBJ_GET_INFO_BY_FD: u64 = 15;

/// All of it, in words.
pub(super) fn in_words() -> String {
    let groups = GROUPS.iter().map(|group| group.what);
    groups.chain([TERMINALS]).collect::<Vec<_>>().join(", ")
}

/// What is refused of each call: when one of the rules holds, or, without any, always.
pub(super) fn rules() -> Result<Vec<(c_long, Vec<SeccompRule>)>, BackendError> {
    // The kernel takes the lower half of each of these arguments.
    let when = |argument, op, value| {
        SeccompRule::new(vec![Condition::new(argument, Len::Dword, op, value)?])
    };
    let always = GROUPS.iter().flat_map(|group| group.calls);
    let mut rules: Vec<_> = always.map(|call| (*call, Vec::new())).collect();
    rules.extend([
        // The file may be written by a thread that is yet to come.
        (
            SYS_clone,
            vec![when(0, Op::MaskedEq(CLONE_THREAD as u64), 0)?],
        ),
        (SYS_bpf, vec![when(0, Op::Ne, BPF_OBJ_GET_INFO_BY_FD)?]),
        // To whom a terminal belongs, a command is typed into it as by its user's own hand.
        (
            SYS_ioctl,
            vec![when(1, Op::Eq, TIOCSTI)?, when(1, Op::Eq, TIOCLINUX)?],
        ),
    ]);
    let twins = rules.iter().map(|(call, _)| *call);
    let twins: Vec<_> = twins.chain([SYS_clone3]).chain(X32_ONLY).collect();
    rules.extend(twins.iter().map(|call| (X32 | call, Vec::new())));
    Ok(rules)
}
