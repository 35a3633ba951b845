//! What the keeper tells the server, and the pins that the server tells it.

use std::{
    collections::BTreeSet,
    sync::{PoisonError, atomic::Ordering},
};

use api::StoreReport;
use base::{ByteSize, Timestamp};
use scheduler::eviction::Standing;
use store::{DiskUsage, KeepModelError, PinnedBy};
use types::{Fault, ModelKey};

use super::{Keeper, policy};

impl Keeper {
    /// Returns how the store stands. Blocks.
    pub(crate) fn report(&self, usage: &DiskUsage) -> StoreReport {
        let inner = &self.0;
        let (shelf, wishes) = (inner.store.shelf(), self.wishes());
        let sum = |keeps: &dyn Fn(&store::ModelFacts) -> bool| -> u64 {
            shelf.models.iter().filter(|facts| keeps(facts)).map(|facts| facts.bytes().bytes()).sum()
        };
        let free =
            |facts: &&store::ModelFacts| policy::standing(facts, &wishes, None, shelf.at) == Standing::Free;
        let evictable: ByteSize = shelf.models.iter().filter(free).map(store::ModelFacts::frees).sum();
        let above_floor = usage.available.bytes().saturating_sub(inner.limits.disk_free_min.bytes());
        let below_limit = inner.limits.cache_bytes_max.bytes().saturating_sub(shelf.taken.bytes());
        let room = above_floor.min(below_limit).saturating_sub(shelf.reserved.bytes());
        let counters = inner.store.counters();
        let scrubbed_at = inner.counts.scrub_completed_at.load(Ordering::Relaxed);
        StoreReport {
            limit: inner.limits.cache_bytes_max.bytes(),
            floor: inner.limits.disk_free_min.bytes(),
            free: room,
            evictable: evictable.bytes() + shelf.strays.bytes(),
            pinned: sum(&|facts| facts.pin.is_some()),
            leased: sum(&|facts| facts.leases > 0),
            unreferenced: usage.unreferenced.bytes(),
            partial: usage.partial.bytes(),
            evictions: inner.counts.evictions.load(Ordering::Relaxed),
            evicted: inner.counts.evicted_bytes.load(Ordering::Relaxed),
            scrubbed: counters.bytes_scrubbed,
            scrub_completed_at: i64::try_from(scrubbed_at)
                .ok()
                .filter(|micros| *micros > 0)
                .map(Timestamp::from_micros),
            damaged_files: counters.blobs_quarantined,
        }
    }

    /// Pins exactly these of the models that are here. One that is pinned because what was known of it can't be read
    /// stays so until an operator has pinned and unpinned it. Blocks.
    pub(crate) fn pin_only(&self, pins: &BTreeSet<ModelKey>) {
        let _alone = self.0.pinning.lock().unwrap_or_else(PoisonError::into_inner);
        let store = &self.0.store;
        for model in store.list() {
            let key = model.manifest.key();
            let changed = match store.pinned(key).map(|pin| pin.by) {
                Some(PinnedBy::Operator) if !pins.contains(key) => store.unpin(key),
                Some(PinnedBy::Doubt) | None if pins.contains(key) => store.pin(key),
                Some(PinnedBy::Operator | PinnedBy::Doubt) | None => Ok(()),
            };
            match changed {
                // It went while it was looked at.
                Ok(()) | Err(KeepModelError::NotHere(_)) => {}
                Err(error) => {
                    tracing::warn!(model = %key, reason = %error.fault(), "a pin could not be noted");
                }
            }
        }
    }
    /// Removes a model, and returns the bytes that are free again. The server removes none that an operator keeps: one
    /// whose pin is still noted here was unpinned a moment ago. Blocks.
    ///
    /// # Errors
    /// The fault that the asker sees.
    pub(crate) fn remove(&self, key: &ModelKey) -> Result<ByteSize, Fault> {
        let _alone = self.0.pinning.lock().unwrap_or_else(PoisonError::into_inner);
        let store = &self.0.store;
        if store.pinned(key).is_some_and(|pin| pin.by == PinnedBy::Operator) {
            store.unpin(key).map_err(|error| error.fault())?;
        }
        store.remove(key).map(|removed| removed.freed).map_err(|error| error.fault())
    }
}
