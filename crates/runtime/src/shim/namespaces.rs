//! Making namespaces: which users there are, and what a network of one machine needs.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
    os::fd::{AsFd as _, OwnedFd},
};

use rustix::{
    net::{AddressFamily, SocketFlags, SocketType, socket_with},
    pipe::{PipeFlags, pipe_with},
    thread::{UnshareFlags, unshare_unsafe},
};

use super::process::{self, Forked};
use crate::protocol::{During as _, Identity, Refusal};

/// Ids that a worker has when it has a range of them: those of an ordinary system, 0 to nobody (65534) and one more.
pub(crate) const IDS_PER_WORKER: u32 = 65_536;

/// Moves this process into new namespaces.
pub(super) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    debug_assert!(!flags.contains(UnshareFlags::FILES));
    // SAFETY: the table of open files, which is what makes this call unsafe, stays shared.
    Ok(unsafe { unshare_unsafe(flags) }?)
}

/// Moves this process into a user namespace in which it is root, though it is none outside.
pub(super) fn become_root_of_own() -> Result<(), Refusal> {
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    unshare(UnshareFlags::NEWUSER).forbidden("user namespaces")?;
    write_maps("self", &format!("0 {user} 1"), &format!("0 {group} 1"), Groups::Denied)
        .forbidden("mapping the own user into a user namespace")
}

/// Returns the user namespace of a worker, made by a child that is gone when this returns.
pub(super) fn worker_users(identity: Identity) -> Result<OwnedFd, Refusal> {
    let (made, makes) = pipe_with(PipeFlags::CLOEXEC).during("make a pipe")?;
    let child = match process::fork().during("start a process")? {
        Forked::Child => {
            let done = unshare(UnshareFlags::NEWUSER).and_then(|()| Ok(rustix::io::write(&makes, &[1])?));
            if done.is_ok() {
                process::pause();
            }
            process::exit_at_once(1);
        }
        Forked::Parent(child) => child,
    };
    drop(makes);
    let result = map_child(&made, identity, child.pid());
    child.kill().and_then(|()| child.wait()).during("end a process of our own")?;
    result
}

fn map_child(made: &OwnedFd, identity: Identity, pid: u32) -> Result<OwnedFd, Refusal> {
    let mut answer = [0];
    let read =
        rustix::io::retry_on_intr(|| rustix::io::read(made, &mut answer)).during("read from a pipe")?;
    if read == 0 {
        return Err(io::Error::from_raw_os_error(libc::EPERM)).forbidden("a user namespace for each worker");
    }
    let (map, groups) = match identity {
        Identity::Range { first } => (format!("0 {first} {IDS_PER_WORKER}"), Groups::Allowed),
        Identity::Single => ("0 0 1".to_owned(), Groups::Denied),
    };
    let pid = pid.to_string();
    write_maps(&pid, &map, &map, groups).forbidden("mapping users into a user namespace")?;
    let namespace = fs::File::open(format!("/proc/{pid}/ns/user")).during("open a user namespace")?;
    Ok(namespace.into())
}

/// Whether processes of a user namespace may change their groups. With a single id the kernel demands that not.
#[derive(Clone, Copy)]
enum Groups {
    Allowed,
    Denied,
}

fn write_maps(process: &str, users: &str, groups: &str, changes: Groups) -> io::Result<()> {
    match changes {
        Groups::Allowed => {}
        Groups::Denied => fs::write(format!("/proc/{process}/setgroups"), "deny")?,
    }
    fs::write(format!("/proc/{process}/uid_map"), users)?;
    fs::write(format!("/proc/{process}/gid_map"), groups)
}

/// Brings up `lo`, which a new network has down, and listens on it.
pub(super) fn listen_on_own_loopback() -> io::Result<TcpListener> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: an `ifreq` of zeroes is a valid value: it is plain data.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(*b"lo") {
        *place = libc::c_char::from_ne_bytes([byte]);
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).expect("both flags are small numbers");
    use std::os::fd::AsRawFd as _;
    // SAFETY: the request is a whole `ifreq` that lives during the call, which only reads it.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Leaves the session keyring that came from the agent, so that its keys are not the worker's.
pub(super) fn leave_keyring() {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // A kernel without keyrings has none to leave, and with a filter around us the worker can't use them either.
    // SAFETY: the operation takes a null name for "a new one" and no other argument.
    let _ = unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>())
    };
}
