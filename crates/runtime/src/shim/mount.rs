//! The few mount calls that a worker's root is made of: thin, so that each line of `root` is one idea.
//!
//! Everything is a detached mount first, found by its descriptor and by no path: it gets its restrictions before
//! anybody can see it, and where it came from can't be confused with where it goes.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::CWD,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
        fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
        unmount,
    },
};

/// Nothing with a set-user-ID bit gives rights, and no device file is a device.
pub(super) const HARMLESS: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);
/// [`HARMLESS`], and nothing can be written.
pub(super) const READ_ONLY: MountAttrFlags = HARMLESS.union(MountAttrFlags::MOUNT_ATTR_RDONLY);
/// A device file that must stay one: nothing else about it is left.
pub(super) const DEVICE: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// Whether what is mounted below a folder comes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    Whole,
    Single,
}

/// Returns a copy of what is at `path`, with these restrictions.
pub(super) fn clone_of(path: impl AsRef<Path>, attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, path.as_ref(), flags)?;
    restrict(&tree, "", attributes, Depth::Whole)?;
    Ok(tree)
}

/// Adds restrictions to the mount of `folder`, or to the one at `path` in it.
pub(super) fn restrict(
    folder: impl AsFd,
    path: &str,
    attributes: MountAttrFlags,
    depth: Depth,
) -> io::Result<()> {
    set_attributes(folder.as_fd(), path, attributes, None, depth)
}

/// Shows a detached mount's files as if their owners' ids were mapped by this user namespace.
pub(super) fn map_owners(tree: &OwnedFd, users: BorrowedFd<'_>) -> io::Result<()> {
    set_attributes(tree.as_fd(), "", MountAttrFlags::MOUNT_ATTR_IDMAP, Some(users), Depth::Single)
}

fn set_attributes(
    folder: BorrowedFd<'_>,
    path: &str,
    attributes: MountAttrFlags,
    users: Option<BorrowedFd<'_>>,
    depth: Depth,
) -> io::Result<()> {
    let path = std::ffi::CString::new(path).expect("our own paths hold no NUL");
    let mut flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW;
    if depth == Depth::Whole {
        flags |= libc::AT_RECURSIVE;
    }
    let users = users
        .map_or(0, |users| u64::try_from(users.as_raw_fd()).expect("a descriptor is no negative number"));
    let attr = MountAttr { set: attributes.bits().into(), clear: 0, propagation: 0, userns: users };
    // SAFETY: the path is NUL-terminated and the struct has the layout and size of mount_setattr(2); the kernel
    // only reads both during the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            folder.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Returns a fresh file system. An option without a value is a flag.
pub(super) fn fresh(
    kind: &str,
    options: &[(&str, Option<&str>)],
    attributes: MountAttrFlags,
) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in options {
        match value {
            Some(value) => fsconfig_set_string(context.as_fd(), *name, *value)?,
            None => fsconfig_set_flag(context.as_fd(), *name)?,
        }
    }
    fsconfig_create(context.as_fd())?;
    Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Puts a detached mount at a path.
pub(super) fn attach(tree: impl AsFd, target: impl AsRef<Path>) -> io::Result<()> {
    move_mount(tree.as_fd(), "", CWD, target.as_ref(), MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    Ok(())
}

/// Takes away what is mounted at a path, with everything below it.
pub(super) fn detach(target: &str) -> io::Result<()> {
    Ok(unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?)
}
