//! Our policy: the very functions that the store goes by, on a shelf made up from the simulated disk.

use base::{ByteSize, Timestamp};
use scheduler::eviction::{
    BlobIndex, EvictionPolicy, Experience, Shelf, Shelved, Standing, Used, Uses, choose,
};

use super::Policy;
use crate::eviction::{disk::Disk, replay::Setup, trace::Trace};

/// `scheduler::eviction` with its experience.
pub(super) struct Larder<'a> {
    trace: &'a Trace,
    setup: Setup,
    /// For each model.
    uses: Vec<Option<Uses>>,
    /// By the largest blob, as the store has it.
    experience: Experience<usize>,
}

impl<'a> Larder<'a> {
    pub(super) fn new(trace: &'a Trace, setup: Setup) -> Self {
        let uses = vec![None; trace.models().len()];
        Self { trace, setup, uses, experience: Experience::default() }
    }

    fn shelf(&self, disk: &Disk<'_>, now: Timestamp) -> Shelf<usize> {
        let mut shelf = Shelf::new();
        let mut numbers: Vec<Option<BlobIndex>> = vec![None; self.trace.blobs().len()];
        for model in disk.models() {
            let blobs = self.trace.models()[*model]
                .blobs
                .iter()
                .map(|blob| *numbers[*blob].get_or_insert_with(|| shelf.blob(self.trace.blobs()[*blob])));
            let blobs = blobs.collect();
            shelf.model(Shelved {
                key: *model,
                blobs,
                standing: Standing::Free,
                uses: self.uses[*model].clone().unwrap_or_else(|| Uses::first(now)),
                refetch_rate_bytes: self.setup.rate_bytes,
                copies_elsewhere: 0,
            });
        }
        shelf
    }
}

impl Policy for Larder<'_> {
    fn used(&mut self, _: usize, model: usize, now: Timestamp) {
        let bytes = self.trace.bytes_of(model);
        let used = Used { bytes, fetch_time: self.setup.fetch_time(bytes) };
        let blobs = self.trace.models()[model].blobs.iter().copied();
        if let Some(largest) = blobs.max_by_key(|blob| self.trace.blobs()[*blob]) {
            self.experience.record(&largest, used, self.setup.disk, now);
        }
        match &mut self.uses[model] {
            Some(uses) => uses.record(now),
            none @ None => *none = Some(Uses::first(now)),
        }
    }

    fn victims(&mut self, disk: &Disk<'_>, needed: u64, now: Timestamp) -> Vec<usize> {
        let policy = EvictionPolicy {
            outlook: self.experience.outlook(),
            fetch_overhead: self.setup.fetch_overhead,
            ..EvictionPolicy::default()
        };
        let plan = choose(&self.shelf(disk, now), ByteSize(needed), now, &policy);
        plan.victims.into_iter().map(|victim| victim.key).collect()
    }

    fn left(&mut self, _: usize) {}
}
