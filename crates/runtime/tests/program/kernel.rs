//! What the hostile worker asks the kernel itself. Arguments are such that a call that were allowed would still
//! change nothing on the machine: wrong magic numbers, null pointers, descriptors that are not open.

use std::{
    ffi::CStr,
    io,
    ptr::{null, null_mut},
};

use crate::hostile::{answer, tell};

/// Tries to get at a view's mount with both generations of the interface.
pub(crate) fn harm_mount(path: &CStr, tell: &dyn Fn(&str, io::Result<()>)) {
    let told = |what: &str, result: libc::c_long| tell(what, answer(result).map(drop));
    let writable = [0_u64, 1, 0, 0];
    // SAFETY: every pointer is null where that is allowed, or to a value that lives during the call.
    unsafe {
        for (what, flags) in [
            ("remount writable", libc::MS_REMOUNT | libc::MS_BIND),
            ("remount the file system writable", libc::MS_REMOUNT),
            ("bind over", libc::MS_BIND),
            ("move", libc::MS_MOVE),
            ("make shared", libc::MS_SHARED),
        ] {
            let source = c"/tmp".as_ptr();
            told(what, libc::mount(source, path.as_ptr(), null(), flags, null()).into());
        }
        told("mount over", libc::mount(c"x".as_ptr(), path.as_ptr(), c"tmpfs".as_ptr(), 0, null()).into());
        told("unmount", libc::umount2(path.as_ptr(), 0).into());
        told("unmount lazily", libc::umount2(path.as_ptr(), libc::MNT_DETACH).into());
        let (at, size) = (libc::AT_FDCWD, size_of_val(&writable));
        told(
            "mount_setattr",
            libc::syscall(libc::SYS_mount_setattr, at, path.as_ptr(), 0, writable.as_ptr(), size),
        );
        told("open_tree", libc::syscall(libc::SYS_open_tree, at, path.as_ptr(), 1));
        // Asked without attributes it opens the path as open_tree does; 467 on every architecture.
        told("open_tree_attr", libc::syscall(467, at, path.as_ptr(), 0, null::<u64>(), 0));
        told("fspick", libc::syscall(libc::SYS_fspick, at, path.as_ptr(), 0));
        told("move_mount", libc::syscall(libc::SYS_move_mount, at, path.as_ptr(), at, c"/tmp".as_ptr(), 0));
        told("pivot_root", libc::syscall(libc::SYS_pivot_root, path.as_ptr(), path.as_ptr()));
        told("chroot", libc::chroot(path.as_ptr()).into());
        told("swapon", libc::swapon(path.as_ptr(), 0).into());
    }
}

/// Tries every call that a worker has no business with.
pub(crate) fn ask_for_everything() {
    become_more();
    make_namespaces();
    reach_processes();
    reach_kernel();
    open_sockets();
    use_other_interfaces();
}

fn become_more() {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let header = Header { version: 0x2008_0522, pid: 0 };
    let all = [u32::MAX; 6];
    // SAFETY: the pointers are to values of the layouts that the calls want, which live during them.
    unsafe {
        tell("capset", answer(libc::syscall(libc::SYS_capset, &raw const header, all.as_ptr())));
        tell("setresuid", answer(libc::setresuid(1000, 1000, 1000)));
        tell("setresgid", answer(libc::setresgid(1000, 1000, 1000)));
        tell("setgroups", answer(libc::setgroups(1, [7].as_ptr())));
        let (raise, admin) = (libc::PR_CAP_AMBIENT_RAISE, 21);
        tell("raise an ambient capability", answer(libc::prctl(libc::PR_CAP_AMBIENT, raise, admin, 0, 0)));
        tell("allow new privileges", answer(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0)));
        tell("unlock the rights of root", answer(libc::prctl(libc::PR_SET_SECUREBITS, 0, 0, 0, 0)));
        tell("nice", answer(libc::setpriority(libc::PRIO_PROCESS, 0, -10)));
    }
}

fn make_namespaces() {
    for (name, flag) in [
        ("user", libc::CLONE_NEWUSER),
        ("mount", libc::CLONE_NEWNS),
        ("pid", libc::CLONE_NEWPID),
        ("net", libc::CLONE_NEWNET),
        ("ipc", libc::CLONE_NEWIPC),
        ("uts", libc::CLONE_NEWUTS),
        ("cgroup", libc::CLONE_NEWCGROUP),
    ] {
        // SAFETY: without shared memory or files these behave like fork; a child that came to be ends at once.
        unsafe {
            tell(&format!("unshare {name}"), answer(libc::unshare(flag)));
            let child = libc::syscall(libc::SYS_clone, flag | libc::SIGCHLD, 0, 0, 0, 0);
            if child == 0 {
                libc::_exit(0);
            }
            tell(&format!("clone {name}"), answer(child));
        }
    }
    let arguments = [0_u64; 11];
    // SAFETY: the struct is larger than any the kernel knows and its rest is zero.
    let clone3 = unsafe { libc::syscall(libc::SYS_clone3, arguments.as_ptr(), size_of_val(&arguments)) };
    if clone3 == 0 {
        // SAFETY: the child ends at once.
        unsafe { libc::_exit(0) };
    }
    tell("clone3", answer(clone3));
    // SAFETY: no pointer is passed.
    tell("setns", answer(unsafe { libc::setns(-1, 0) }));
}

fn reach_processes() {
    let mut byte = [0_u8];
    let local = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let remote = libc::iovec { iov_base: 0x40_0000 as *mut libc::c_void, iov_len: 1 };
    // SAFETY: attaching passes no memory; the vectors live during the calls.
    unsafe {
        let none = null_mut::<libc::c_void>();
        tell("ptrace attach", answer(libc::ptrace(libc::PTRACE_ATTACH, 1, none, none)));
        tell("ptrace seize", answer(libc::ptrace(libc::PTRACE_SEIZE, 1, none, none)));
        tell("ptrace traceme", answer(libc::ptrace(libc::PTRACE_TRACEME, 0, none, none)));
        tell(
            "read its memory",
            answer(
                i64::try_from(libc::process_vm_readv(1, &raw const local, 1, &raw const remote, 1, 0))
                    .unwrap_or(-1),
            ),
        );
        tell(
            "write its memory",
            answer(
                i64::try_from(libc::process_vm_writev(1, &raw const local, 1, &raw const remote, 1, 0))
                    .unwrap_or(-1),
            ),
        );
        let first = libc::syscall(libc::SYS_pidfd_open, 1, 0);
        tell("take its files", answer(libc::syscall(libc::SYS_pidfd_getfd, first, 0, 0)));
        tell("kcmp", answer(libc::syscall(libc::SYS_kcmp, 1, 1, 2, 0, 0)));
    }
}

fn reach_kernel() {
    let nothing: libc::c_long = 0;
    for (name, number) in [
        ("bpf", libc::SYS_bpf),
        ("perf_event_open", libc::SYS_perf_event_open),
        ("userfaultfd", libc::SYS_userfaultfd),
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("io_uring_enter", libc::SYS_io_uring_enter),
        ("io_uring_register", libc::SYS_io_uring_register),
        ("keyctl", libc::SYS_keyctl),
        ("add_key", libc::SYS_add_key),
        ("request_key", libc::SYS_request_key),
        ("init_module", libc::SYS_init_module),
        ("finit_module", libc::SYS_finit_module),
        ("delete_module", libc::SYS_delete_module),
        ("kexec_load", libc::SYS_kexec_load),
        ("open_by_handle_at", libc::SYS_open_by_handle_at),
        ("name_to_handle_at", libc::SYS_name_to_handle_at),
        ("fanotify_init", libc::SYS_fanotify_init),
        ("fsopen", libc::SYS_fsopen),
        ("quotactl", libc::SYS_quotactl),
        ("reboot", libc::SYS_reboot),
        ("syslog", libc::SYS_syslog),
        ("settimeofday", libc::SYS_settimeofday),
        ("clock_settime", libc::SYS_clock_settime),
        ("sethostname", libc::SYS_sethostname),
        ("vhangup", libc::SYS_vhangup),
        ("swapoff", libc::SYS_swapoff),
        ("acct", libc::SYS_acct),
    ] {
        // Pointers that can't be read, so that nothing would be done even without a filter.
        let (bad, many): (libc::c_long, libc::c_long) = (-1, 0x7fff_ffff);
        // SAFETY: the kernel checks pointers of its callers; none of these can be read or written.
        let result = match number {
            libc::SYS_userfaultfd => unsafe { libc::syscall(number, 1) },
            libc::SYS_keyctl => unsafe { libc::syscall(number, nothing, bad, nothing) },
            libc::SYS_io_uring_setup => unsafe { libc::syscall(number, 1, bad) },
            libc::SYS_fanotify_init => unsafe { libc::syscall(number, 0x200, nothing) },
            libc::SYS_perf_event_open => unsafe {
                libc::syscall(number, bad, nothing, nothing, bad, nothing)
            },
            _ => unsafe { libc::syscall(number, bad, bad, many, bad, nothing) },
        };
        tell(name, answer(result));
    }
}

fn open_sockets() {
    for (name, family, kind) in [
        ("virtual machine", libc::AF_VSOCK, libc::SOCK_STREAM),
        ("packet", libc::AF_PACKET, libc::SOCK_RAW),
        ("crypto", libc::AF_ALG, libc::SOCK_SEQPACKET),
        ("raw", libc::AF_INET, libc::SOCK_RAW),
        ("bluetooth", libc::AF_BLUETOOTH, libc::SOCK_RAW),
    ] {
        // SAFETY: no pointer is passed.
        tell(&format!("{name} socket"), answer(unsafe { libc::socket(family, kind, 0) }));
    }
    let letter = b'x';
    // SAFETY: the letter lives during the call.
    tell("type into a terminal", answer(unsafe { libc::ioctl(0, libc::TIOCSTI, &raw const letter) }));
}

#[cfg(target_arch = "x86_64")]
fn use_other_interfaces() {
    // SAFETY: mkdir of the x32 interface with a null path; then a child that asks for its id as a 32-bit program.
    unsafe {
        tell("the x32 interface", answer(libc::syscall(0x4000_0000 + libc::SYS_mkdir, null::<u8>(), 0)));
        let child = libc::fork();
        if child == 0 {
            std::arch::asm!("int 0x80", inlateout("eax") 20 => _);
            libc::_exit(0);
        }
        let mut status = 0;
        libc::waitpid(child, &raw mut status, 0);
        let ended = libc::WIFSIGNALED(status);
        tell(
            "the 32-bit interface",
            if ended { Err(io::Error::from_raw_os_error(libc::WTERMSIG(status))) } else { Ok(()) },
        );
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn use_other_interfaces() {}
