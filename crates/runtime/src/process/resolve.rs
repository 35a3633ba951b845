//! From a start as the agent gives it to one as the shim carries it out: defaults filled in, mounts checked. Pure.

use std::path::{Path, PathBuf};

use base::ByteSize;

use super::Confinement;
use crate::{
    DriverError, Egress, Mount, MountSource, ResolvedStart,
    protocol::{Cause, Enclosure, Identity, Limits, Refusal, Spec},
    shim::IDS_PER_WORKER,
};

/// Processes and threads of a worker that asks for no limit. Numerical libraries start a thread for each processor,
/// several times over; this is room for that on the largest machines, and stops a fork bomb within a second.
const PIDS_DEFAULT: u32 = 4096;
/// What a worker that asks for no limit may write, in all. It is kept in memory, so it is no more than caches,
/// compiled code and a few of the largest bodies of the job protocol (20 MB) need.
const SCRATCH_DEFAULT: ByteSize = ByteSize::mib(1024);
/// The first host id of the first worker. The ids from here to 2^31 are set aside for nobody by any distribution
/// (systemd, "Users, Groups, UIDs and GIDs"), in contrast to those below, which container engines hand out.
const FIRST_ID: u32 = 0x7000_0000;
/// Workers that can have ids of their own: as many as fit between [`FIRST_ID`] and 2^31.
pub(super) const SLOTS_MAX: u32 = (0x8000_0000 - FIRST_ID) / IDS_PER_WORKER;

/// Whether this process may give workers users of their own, by its own user and the users that it knows
/// (user_namespaces(7), "uid_map").
pub(super) fn can_give_ids(is_root: bool, uid_map: &str) -> bool {
    let last = FIRST_ID + (SLOTS_MAX - 1) * IDS_PER_WORKER + (IDS_PER_WORKER - 1);
    is_root && uid_map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        matches!(numbers[..], [first, _, count] if first <= FIRST_ID.into() && first + count > last.into())
    })
}

/// Returns the users of the worker in a slot.
pub(super) fn identity(own_ids: bool, slot: u32) -> Identity {
    if own_ids { Identity::Range { first: FIRST_ID + slot * IDS_PER_WORKER } } else { Identity::Single }
}

/// Puts together what the shim gets.
pub(super) fn spec(
    start: ResolvedStart,
    run_folder: PathBuf,
    enclosure: Enclosure,
    slot: u32,
    protected: &[PathBuf],
) -> Result<Spec, DriverError> {
    let ResolvedStart { worker, command, env, relay_env, folder, python, mounts, devices, limits, egress } =
        start;
    for device in &devices {
        if !device.starts_with("/dev") {
            return Err(refused(device, "it is no device file"));
        }
    }
    let mut all_mounts = Vec::new();
    let (mut programs, mut links) = (Vec::new(), Vec::new());
    if let Some(python) = &python {
        programs.push(python.folder().join("bin"));
        links.extend_from_slice(python.links());
        for path in python.mounts() {
            refuse_protected(path, protected)?;
            all_mounts.push(Mount { target: path.clone(), source: MountSource::ReadOnly(path.clone()) });
        }
    }
    for mount in &mounts {
        let plain = mount.target.is_absolute()
            && mount.target.components().all(|part| !matches!(part, std::path::Component::ParentDir));
        if !plain {
            return Err(refused(&mount.target, "its place in the worker is no plain absolute path"));
        }
    }
    all_mounts.extend(mounts);
    Ok(Spec {
        worker,
        run_folder,
        enclosure,
        slot,
        command: command.into(),
        env,
        relay_env,
        programs,
        folder,
        mounts: all_mounts,
        links,
        devices,
        limits: Limits {
            memory: limits.memory.map(ByteSize::bytes),
            pids: limits.pids.unwrap_or(PIDS_DEFAULT),
            scratch: limits.scratch.unwrap_or(SCRATCH_DEFAULT).bytes(),
        },
        egress,
    })
}

/// Returns how a worker is enclosed.
pub(super) fn enclosure(confinement: Confinement, identity: Identity) -> Enclosure {
    match confinement {
        Confinement::Sandbox => Enclosure::Sandbox(identity),
        Confinement::None => Enclosure::Plain,
    }
}

/// Returns whether a worker's relay is the one that all share.
pub(super) fn shares_relay(enclosure: Enclosure, egress: Egress) -> bool {
    match (enclosure, egress) {
        (Enclosure::Sandbox(_), Egress::None) => false,
        (Enclosure::Sandbox(_), Egress::Shared) | (Enclosure::Plain, Egress::None | Egress::Shared) => true,
    }
}

/// Refuses a folder that holds a protected one, or lies in it.
fn refuse_protected(path: &Path, protected: &[PathBuf]) -> Result<(), DriverError> {
    if protected.iter().any(|secret| secret.starts_with(path) || path.starts_with(secret)) {
        return Err(refused(path, "Larder's own data is in the same place"));
    }
    Ok(())
}

fn refused(path: &Path, reason: &'static str) -> DriverError {
    DriverError::MountRefused { path: path.to_owned(), reason }
}

/// Turns the shim's word into an error. `hint` is asked for only when namespaces are forbidden.
pub(super) fn error(refusal: Refusal, spec: &Spec, hint: impl FnOnce(Option<i32>) -> String) -> DriverError {
    let program = || spec.command.first().cloned().unwrap_or_default();
    let source = |cause: Cause| std::io::Error::from(cause);
    match refusal {
        Refusal::Forbidden { stage, cause } => {
            let source = source(cause);
            DriverError::NamespacesForbidden { stage, hint: hint(source.raw_os_error()), source }
        }
        Refusal::Failed { stage, cause } => DriverError::SandboxFailed { stage, source: source(cause) },
        Refusal::ProgramNotFound { path } => DriverError::ProgramNotFound { program: program(), path },
        Refusal::ProgramRefused { cause } => {
            DriverError::ProgramRefused { program: program(), source: source(cause) }
        }
        Refusal::FolderNotFound => {
            DriverError::FolderNotFound { path: spec.folder.clone().unwrap_or_default() }
        }
    }
}

#[cfg(test)]
mod tests;
