//! Room for workers on one host: slots, memory, GPUs.

use std::collections::BTreeMap;

use base::ByteSize;
use types::{GpuNeed, HostCapacity};

use super::WorkerNeed;

/// What is left of a host for further workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Worker slots in use.
    pub(crate) workers: u32,
    /// Worker slots in all.
    pub(crate) workers_max: u32,
    memory: ByteSize,
    /// Ids of free GPUs by kind, in the order of the kinds' names and of the ids.
    gpus: BTreeMap<String, Vec<String>>,
}

/// GPUs chosen for a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GpuPick {
    /// The place of their kind in the need's order; zero when any will do.
    pub(crate) rank: u32,
    /// Their ids.
    pub(crate) uuids: Vec<String>,
}

impl Room {
    /// Returns the room of a host without workers.
    pub(crate) fn of(capacity: &HostCapacity) -> Self {
        let mut gpus: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for gpu in &capacity.gpus {
            gpus.entry(gpu.kind.clone()).or_default().push(gpu.uuid.clone());
        }
        gpus.values_mut().for_each(|uuids| uuids.sort_unstable());
        Self { workers: 0, workers_max: capacity.workers_max, memory: capacity.memory, gpus }
    }

    /// Takes what a worker holds. A host that shrank under its workers has nothing left, not less than nothing.
    pub(crate) fn take(&mut self, need: &WorkerNeed, gpus: &[String]) {
        self.workers = self.workers.saturating_add(1);
        self.memory = ByteSize(self.memory.0.saturating_sub(need.memory.0));
        for free in self.gpus.values_mut() {
            free.retain(|uuid| !gpus.contains(uuid));
        }
    }

    /// Returns the GPUs that a worker would get, or none when there is no room for it.
    pub(crate) fn fits(&self, need: &WorkerNeed) -> Option<GpuPick> {
        if self.workers >= self.workers_max || self.memory < need.memory {
            None
        } else {
            self.pick(&need.gpu)
        }
    }

    /// Returns whether there are GPUs enough of a kind that will do.
    pub(crate) fn pick(&self, need: &GpuNeed) -> Option<GpuPick> {
        let count = usize::try_from(need.count).unwrap_or(usize::MAX);
        if count == 0 {
            return Some(GpuPick { rank: 0, uuids: Vec::new() });
        }
        let take = |rank: usize, free: &Vec<String>| {
            let rank = u32::try_from(rank).unwrap_or(u32::MAX);
            (free.len() >= count).then(|| GpuPick { rank, uuids: free[..count].to_vec() })
        };
        if need.kinds.is_empty() {
            // The kind with the fewest left over, so that larger needs still find theirs.
            let tightest =
                self.gpus.values().filter(|free| free.len() >= count).min_by_key(|free| free.len());
            return tightest.and_then(|free| take(0, free));
        }
        need.kinds.iter().enumerate().find_map(|(rank, kind)| take(rank, self.gpus.get(kind)?))
    }

    /// Returns whether any GPU of a kind that will do exists here, however few.
    pub(crate) fn has_kind(&self, need: &GpuNeed) -> bool {
        let any = |free: &Vec<String>| !free.is_empty();
        need.count == 0
            || (need.kinds.is_empty() && self.gpus.values().any(any))
            || need.kinds.iter().any(|kind| self.gpus.get(kind).is_some_and(any))
    }

    /// Returns how loaded the host is with so many more workers on their way, in quarters of its worker slots.
    pub(crate) fn load_tier(&self, coming: u32) -> u32 {
        self.workers.saturating_add(coming).saturating_mul(4) / self.workers_max.max(1)
    }

    /// Returns whether its memory could hold the worker.
    pub(crate) fn has_memory(&self, need: &WorkerNeed) -> bool {
        self.memory >= need.memory
    }
}
