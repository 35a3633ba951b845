//! Becoming the worker's user, and giving up every right for good.

use std::{io, os::fd::BorrowedFd};

use rustix::{
    process::{DumpableBehavior, Gid, Signal, Uid, set_dumpable_behavior, set_parent_process_death_signal},
    thread::{
        CapabilitiesSecureBits, CapabilitySet, CapabilitySets, LinkNameSpaceType, UnshareFlags,
        clear_ambient_capability_set, move_into_link_name_space, remove_capability_from_bounding_set,
        set_capabilities, set_capabilities_secure_bits, set_no_new_privs, set_thread_groups,
        set_thread_res_gid, set_thread_res_uid,
    },
};

use super::seccomp::Filters;
use crate::protocol::{During as _, Identity, Refusal};

/// Moves into the worker's user namespace, as its root, and locks the mounts.
///
/// The mount namespace is copied once more: in a copy that belongs to a lesser user namespace every mount is
/// locked, so that not even its root with all capabilities could make one writable or take it away
/// (mount_namespaces(7), "Restrictions on mount namespaces").
pub(super) fn become_worker(users: BorrowedFd<'_>, identity: Identity) -> Result<(), Refusal> {
    move_into_link_name_space(users, Some(LinkNameSpaceType::User)).forbidden("entering a user namespace")?;
    super::namespaces::unshare(UnshareFlags::NEWNS).forbidden("a locked mount namespace")?;
    match identity {
        Identity::Range { .. } => set_thread_groups(&[]).during("leave the agent's groups")?,
        // With one id there is no right to change groups; those that are not mapped give nothing inside.
        Identity::Single => {}
    }
    let (root, wheel) = (Uid::ROOT, Gid::ROOT);
    set_thread_res_gid(wheel, wheel, wheel).during("become the worker's group")?;
    set_thread_res_uid(root, root, root).during("become the worker's user")
}

/// Gives up every capability, also those that executing a program could bring back, and most system calls.
pub(super) fn give_up(filters: &Filters) -> Result<(), Refusal> {
    // All of them locked: root is a name, not a right.
    set_capabilities_secure_bits(
        CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_SETUID_FIXUP
            | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
            | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED,
    )
    .during("lock the rights of root")?;
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The kernel knows no capability of this number, nor any higher one.
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(error).during("empty the bounding set"),
        }
    }
    clear_ambient_capability_set().during("empty the ambient set")?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .during("give up the capabilities")?;
    set_no_new_privs(true).during("forbid new privileges")?;
    filters.apply().during("filter the system calls")
}

/// Keeps other processes of the same user from looking into this one.
pub(super) fn hide() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Ends this process when its parent ends. Has to be asked for again after every change of user or rights.
pub(super) fn end_with_parent() -> io::Result<()> {
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}
