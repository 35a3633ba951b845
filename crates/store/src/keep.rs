//! Keeping: what the store's handle offers beyond bringing and showing models.

use std::{sync::Arc, time::Duration};

use base::ByteSize;
use types::{Digest, Manifest, ModelKey};

use crate::{
    Admission, Departure, DepartureCause, DiskTrouble, EvictionReason, KeepModelError, Pin, PinnedBy,
    Provenance, Quarantined, RemoveModelError, Removed, RoomLimits, ScrubPeriods, ScrubTarget, Scrubbing,
    Shelf, Store, StoredModel, Supplier, Swept, Use, Why,
};

impl Store {
    /// Tells whether a model can be brought within limits, and reserves its room when it can.
    ///
    /// # Errors
    /// The disk's, when it does not tell its room.
    pub fn admit(
        &self,
        manifest: &Arc<Manifest>,
        supplier: &Supplier,
        limits: &RoomLimits,
    ) -> Result<Admission, DiskTrouble> {
        self.inner().admit(manifest, supplier, limits)
    }

    /// Returns what is here and why. Blocks for a look at each blob of a linked import.
    pub fn shelf(&self) -> Shelf {
        self.inner().shelf()
    }

    /// Returns what is known of a model that is or was here.
    pub fn why(&self, key: &ModelKey) -> Option<Why> {
        self.inner().why(key)
    }

    /// Returns what left the store, the latest first.
    pub fn history(&self) -> Vec<Departure> {
        self.inner().publication().history.entries().iter().rev().cloned().collect()
    }

    /// Returns the models that lack a file: not listed, not leased, until a fetch has brought it.
    pub fn damaged(&self) -> Vec<Arc<StoredModel>> {
        self.inner().index().damaged().cloned().collect()
    }

    /// Removes a model that nobody uses or keeps, to make room, and notes why.
    ///
    /// # Errors
    /// [`RemoveModelError`] by condition.
    pub fn evict(
        &self,
        key: &ModelKey,
        reason: EvictionReason,
        score: String,
    ) -> Result<Removed, RemoveModelError> {
        self.inner().remove_model(key, DepartureCause::Evicted { reason, score })
    }

    /// Removes the oldest strays of at least this age until so many bytes are free: blobs that no model names, partial
    /// files that nobody continues. What a reservation counts on stays.
    ///
    /// # Errors
    /// The disk's; what was removed before is gone.
    pub fn sweep_strays(&self, age_min: Duration, bytes: ByteSize) -> Result<Swept, DiskTrouble> {
        self.inner().sweep_strays(age_min, bytes)
    }

    /// Keeps a model until [`Store::unpin`]. Durable on return.
    ///
    /// # Errors
    /// [`KeepModelError`] by condition.
    pub fn pin(&self, key: &ModelKey) -> Result<(), KeepModelError> {
        let inner = self.inner();
        let pin = Pin { since: inner.clock.now(), by: PinnedBy::Operator };
        inner.change_notes(key, |notes| match notes.pin {
            Some(Pin { by: PinnedBy::Operator, .. }) => {}
            Some(Pin { by: PinnedBy::Doubt, .. }) | None => notes.pin = Some(pin),
        })
    }

    /// Lets a model go when its time comes. Durable on return.
    ///
    /// # Errors
    /// [`KeepModelError`] by condition.
    pub fn unpin(&self, key: &ModelKey) -> Result<(), KeepModelError> {
        self.inner().change_notes(key, |notes| notes.pin = None)
    }

    /// Returns whether a model is pinned.
    pub fn pinned(&self, key: &ModelKey) -> Option<Pin> {
        self.inner().notes().get(key).pin
    }

    /// Returns how a model came, where that is known.
    pub fn provenance(&self, key: &ModelKey) -> Option<Provenance> {
        self.inner().notes().get(key).provenance
    }

    /// Notes how a model came. Durable on return. What was known before is replaced.
    ///
    /// # Errors
    /// [`KeepModelError`] by condition.
    pub fn note_provenance(&self, key: &ModelKey, provenance: Provenance) -> Result<(), KeepModelError> {
        self.inner().change_notes(key, |notes| notes.provenance = Some(provenance))
    }

    /// Notes a use, in memory; [`Store::flush`] writes it. A model that is not here has none.
    pub fn note_use(&self, key: &ModelKey, kind: Use) {
        self.inner().note_use(key, kind);
    }

    /// Writes what was noted since the last time: uses, and which blobs were verified.
    ///
    /// # Errors
    /// The disk's; what could not be written is tried again next time.
    pub fn flush(&self) -> Result<(), DiskTrouble> {
        let uses = self.inner().flush_notes();
        self.inner().flush_verified().and(uses)
    }

    /// Returns at most so many blobs whose verification is due, the least recently verified first.
    pub fn scrub_due(&self, periods: &ScrubPeriods, count_max: usize) -> Vec<ScrubTarget> {
        self.inner().scrub_due(periods, count_max)
    }

    /// Begins the slow verification of a blob.
    ///
    /// # Errors
    /// The disk's. A blob that is gone since is one of them.
    pub fn scrub(&self, digest: &Digest) -> Result<Scrubbing, DiskTrouble> {
        self.inner().begin_scrub(digest)
    }

    /// Reads suspect blobs once more, and moves aside those that are wrong again. Their models are damaged until a
    /// fetch has brought what they lack; workers that run keep what they have open.
    ///
    /// # Errors
    /// The disk's. Blobs before the one that failed were moved.
    pub fn quarantine(&self, suspects: &[Digest]) -> Result<Quarantined, DiskTrouble> {
        self.inner().quarantine(suspects)
    }
}
