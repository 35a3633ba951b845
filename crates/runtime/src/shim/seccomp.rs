//! The system calls that a worker may not make.
//!
//! A deny list, because workers are programs of any kind; it is the third wall, after a user namespace without
//! capabilities and mounts that are locked. What it keeps away is the kernel code that only administration needs,
//! where most ways out of containers were found. Everything else that the kernel would refuse to a user without
//! capabilities is left to the kernel.

use std::{collections::BTreeMap, io};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter, sock_filter,
};

/// Refused with EPERM, whatever the arguments. Made for both architectures; `OLD` adds those that newer ones lack.
const DENIED: &[libc::c_long] = &[
    // Mounts, with both generations of the interface.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    // Namespaces.
    libc::SYS_unshare,
    libc::SYS_setns,
    // Files by handle reach past mounts.
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_perf_event_open,
    // Programs, keys and modules inside the kernel.
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    // The machine as a whole.
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
];

/// open_tree(2) and mount_setattr(2) in one, since Linux 6.15: newer than the C library's list, and 467 on every
/// architecture (scripts/syscall.tbl).
const OPEN_TREE_ATTR: libc::c_long = 467;

#[cfg(target_arch = "x86_64")]
const OLD: &[libc::c_long] = &[
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
    libc::SYS__sysctl,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[libc::c_long] = &[];

/// Flags of clone(2) that make namespaces.
const NAMESPACE_FLAGS: [libc::c_int; 8] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    // The time namespace's bit is among those that clone(2) uses for the child's signal; no signal has it.
    0x80,
];
/// Families of sockets that stay in the worker's network, or on this host by permission. The others, virtual
/// machine sockets above all, do not heed network namespaces.
const SOCKET_FAMILIES: [libc::c_int; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
/// Requests to a terminal that put words into its reader's mouth.
const TERMINAL_REQUESTS: [libc::c_ulong; 2] = [libc::TIOCSTI, libc::TIOCLINUX];
/// System calls of the x32 interface begin here; they pass a filter that looks for the usual numbers.
#[cfg(target_arch = "x86_64")]
const X32_FIRST: u32 = 0x4000_0000;

/// The filters, compiled, in the order in which they are applied.
#[derive(Debug)]
pub(super) struct Filters(Vec<BpfProgram>);

impl Filters {
    /// Compiles them.
    pub(super) fn compile() -> io::Result<Self> {
        let mut programs = vec![refusals()?, unknown_clone()?];
        programs.extend(other_interfaces());
        Ok(Self(programs))
    }

    /// Applies them to this process and all that it starts, for ever. Nothing can raise privileges afterwards.
    pub(super) fn apply(&self) -> io::Result<()> {
        self.0.iter().try_for_each(|program| apply_filter(program).map_err(io::Error::other))
    }
}

fn refusals() -> io::Result<BpfProgram> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        DENIED.iter().chain(OLD).map(|number| (*number, Vec::new())).collect();
    let mut refuse = |number: libc::c_long, conditions: Vec<SeccompCondition>| -> io::Result<()> {
        let rule = SeccompRule::new(conditions).map_err(io::Error::other)?;
        rules.entry(number).or_default().push(rule);
        Ok(())
    };
    for flag in NAMESPACE_FLAGS {
        let flag = u64::from(flag.cast_unsigned());
        refuse(libc::SYS_clone, vec![condition(0, SeccompCmpOp::MaskedEq(flag), flag)?])?;
    }
    let others = SOCKET_FAMILIES
        .iter()
        .map(|family| condition(0, SeccompCmpOp::Ne, u64::from(family.cast_unsigned())))
        .collect::<io::Result<Vec<_>>>()?;
    refuse(libc::SYS_socket, others.clone())?;
    refuse(libc::SYS_socketpair, others)?;
    for request in TERMINAL_REQUESTS {
        refuse(libc::SYS_ioctl, vec![condition(1, SeccompCmpOp::Eq, request)?])?;
    }
    // A lease on a model's file would hold up whoever opens it on the host.
    let lease = u64::from(libc::F_SETLEASE.cast_unsigned());
    refuse(libc::SYS_fcntl, vec![condition(1, SeccompCmpOp::Eq, lease)?])?;
    compile(rules, libc::EPERM)
}

/// Its flags are in memory, where a filter can't look; told that it does not exist, libraries take clone(2).
fn unknown_clone() -> io::Result<BpfProgram> {
    compile(BTreeMap::from([(libc::SYS_clone3, Vec::new())]), libc::ENOSYS)
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> io::Result<SeccompCondition> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value).map_err(io::Error::other)
}

/// A call of another architecture's interface ends the process: the program that seccompiler makes begins so.
fn compile(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: libc::c_int) -> io::Result<BpfProgram> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let refused = SeccompAction::Errno(errno.cast_unsigned());
    let filter =
        SeccompFilter::new(rules, SeccompAction::Allow, refused, architecture).map_err(io::Error::other)?;
    BpfProgram::try_from(filter).map_err(io::Error::other)
}

/// Refuses the x32 interface, which shares its architecture's name with the usual one.
#[cfg(target_arch = "x86_64")]
fn other_interfaces() -> Option<BpfProgram> {
    let step = |code: u32, jt, jf, k| sock_filter { code: u16::try_from(code).unwrap_or(0), jt, jf, k };
    Some(vec![
        // The call's number is the first field of `struct seccomp_data` (seccomp(2)).
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32_FIRST),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned()),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ])
}

#[cfg(not(target_arch = "x86_64"))]
fn other_interfaces() -> Option<BpfProgram> {
    None
}
