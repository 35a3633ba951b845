//! Limits of memory and processes by control groups, of either version, where the system lets us make them.
//!
//! A worker's group is made below the group that the agent is in, so limits around the agent hold for its workers
//! too. In version 2 a group that holds processes can't have limited groups below it; there the group beside the
//! agent's is taken instead. Where neither may be written, the worker runs without the limit, and that is said.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Pid, Signal};
use types::WorkerId;

use crate::protocol::Limits;

/// A group can't be removed while its last process is being torn down, which takes milliseconds.
const REMOVE_TRIES: u32 = 50;
const REMOVE_PAUSE: Duration = Duration::from_millis(10);

/// What a group limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Controller {
    Memory,
    Pids,
}

impl Controller {
    const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }
}

/// The version of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The control groups of one worker.
#[derive(Debug, Default)]
pub(super) struct ControlGroups {
    groups: Vec<(Version, PathBuf)>,
    /// What could not be limited, in sentences.
    pub(super) notes: Vec<String>,
}

impl ControlGroups {
    /// Makes the groups and sets their limits.
    pub(super) fn create(worker: &WorkerId, limits: Limits) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (memberships, mounts) = (read("/proc/self/cgroup"), read("/proc/self/mountinfo"));
        let mut made = Self::default();
        for (controller, limit) in
            [(Controller::Pids, Some(u64::from(limits.pids))), (Controller::Memory, limits.memory)]
        {
            let result = match own_group(controller, &memberships, &mounts) {
                None => Err(io::Error::other("the system has no control group for it")),
                Some((version, own)) => made.enter(version, &own, worker, controller, limit),
            };
            if let (Err(error), Some(limit)) = (result, limit) {
                made.notes
                    .push(format!("the limit of {limit} for {} is not applied: {error}", controller.name()));
            }
        }
        made
    }

    /// Finds or makes the worker's group for a controller, and sets its limit.
    fn enter(
        &mut self,
        version: Version,
        own: &Path,
        worker: &WorkerId,
        controller: Controller,
        limit: Option<u64>,
    ) -> io::Result<()> {
        let name = format!("larder-{worker}");
        let group = match (version, self.groups.iter().find(|(made, _)| *made == Version::Two)) {
            (Version::Two, Some((_, group))) => group.clone(),
            (Version::Two, None) => make_v2(own, &name)?,
            (Version::One, _) => {
                let group = own.join(name);
                fs::create_dir(&group)?;
                group
            }
        };
        if self.groups.iter().all(|(_, made)| *made != group) {
            self.groups.push((version, group.clone()));
        }
        limit.map_or(Ok(()), |limit| set_limit(version, &group, controller, limit))
    }

    /// Puts another process, and all that it will start, into the groups of version 2.
    pub(super) fn admit(&self, process: u32) -> io::Result<()> {
        let mut groups = self.groups.iter().filter(|(version, _)| *version == Version::Two);
        groups.try_for_each(|(_, group)| fs::write(group.join("cgroup.procs"), process.to_string()))
    }

    /// Puts this process, which has one thread, into the groups of version 1. A thread that moves itself is spared
    /// the wait for every processor of the machine (measured: 15 ms of a start that takes 10).
    pub(super) fn join(&self) -> io::Result<()> {
        let mut groups = self.groups.iter().filter(|(version, _)| *version == Version::One);
        groups.try_for_each(|(_, group)| fs::write(group.join("tasks"), "0"))
    }

    /// Returns whether the system ended a process of the worker for want of memory.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        self.groups.iter().any(|(version, group)| {
            let file = match version {
                Version::One => "memory.oom_control",
                Version::Two => "memory.events",
            };
            let text = fs::read_to_string(group.join(file)).unwrap_or_default();
            text.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count.trim() != "0"))
        })
    }

    /// Returns the groups' folders.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.groups.iter().map(|(_, path)| path.clone()).collect()
    }
}

/// Ends whatever is still in these groups, and removes them. Groups that are gone are fine.
pub(crate) fn remove(groups: &[PathBuf]) {
    for group in groups {
        for _ in 0..REMOVE_TRIES {
            match fs::remove_dir(group) {
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => end_members(group),
                Ok(()) | Err(_) => break,
            }
            std::thread::sleep(REMOVE_PAUSE);
        }
    }
}

fn end_members(group: &Path) {
    let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for pid in members.lines().filter_map(|line| line.parse().ok()).filter_map(Pid::from_raw) {
        // One that is gone already is what we want.
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

/// Returns the folder of the group that this process is in for a controller, as mounted here.
fn own_group(controller: Controller, memberships: &str, mounts: &str) -> Option<(Version, PathBuf)> {
    let member = |version: Version| {
        memberships.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let fits = match version {
                Version::One => controllers.split(',').any(|name| name == controller.name()),
                Version::Two => controllers.is_empty(),
            };
            fits.then(|| PathBuf::from(path))
        })
    };
    let version = if member(Version::One).is_some() { Version::One } else { Version::Two };
    let path = member(version)?;
    mounts.lines().find_map(|line| {
        // "36 35 98:0 /root /point options … - type source super-options" (proc_pid_mountinfo(5)).
        let (before, after) = line.split_once(" - ")?;
        let fields: Vec<&str> = before.split(' ').collect();
        let (root, point) = (fields.get(3)?, fields.get(4)?);
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.nth(1)?);
        let fits = match version {
            Version::One => kind == "cgroup" && options.split(',').any(|name| name == controller.name()),
            Version::Two => kind == "cgroup2",
        };
        let inside = path.strip_prefix(root).ok().filter(|_| fits)?;
        Some((version, Path::new(point).join(inside)))
    })
}

/// Makes a group that can have limits, below the own group or beside it.
fn make_v2(own: &Path, name: &str) -> io::Result<PathBuf> {
    let mut refused = io::Error::other("there is no group in which limits can be set");
    for parent in [Some(own), own.parent()].into_iter().flatten() {
        // Writing is refused in a group with processes and where nothing was delegated; then the next one is tried.
        let attempt = fs::write(parent.join("cgroup.subtree_control"), "+memory +pids").and_then(|()| {
            let group = parent.join(name);
            fs::create_dir(&group)?;
            Ok(group)
        });
        match attempt {
            Ok(group) => return Ok(group),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

fn set_limit(version: Version, group: &Path, controller: Controller, limit: u64) -> io::Result<()> {
    let write = |file: &str, value: &str| fs::write(group.join(file), value);
    let limit = limit.to_string();
    match (version, controller) {
        (Version::One | Version::Two, Controller::Pids) => write("pids.max", &limit),
        (Version::One, Controller::Memory) => {
            write("memory.limit_in_bytes", &limit)?;
            // Swap is accounted only where the kernel was told to; without it there is nothing to limit.
            write("memory.memsw.limit_in_bytes", &limit).or(Ok(()))
        }
        (Version::Two, Controller::Memory) => {
            write("memory.max", &limit)?;
            // A worker that swaps is no worker: it is ended as a whole. Kernels without these files do without.
            write("memory.swap.max", "0").or(io::Result::Ok(()))?;
            write("memory.oom.group", "1").or(Ok(()))
        }
    }
}

#[cfg(test)]
mod tests;
