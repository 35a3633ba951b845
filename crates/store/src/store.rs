//! The store's handle.

use std::{collections::BTreeSet, sync::Arc};

use base::{ByteSize, Clock, Disk};
use bytes::Bytes;
use types::{Manifest, ManifestFile, ModelKey};

use crate::{
    BlobWaiter, BlobWriter, ClaimError, DiskTrouble, OpenStoreError, PublishModelError, PublishSmallError,
    RemoveModelError, Removed, SmallBatch, StoreOptions, StoredModel, Supplier, VerifyModelError, VerifyReport,
    ViewError, ViewId, ViewLease, ViewSpec,
};

/// The store of one host. Cheap to clone; the lock is let go when the last handle, writer and lease are dropped.
#[derive(Clone, Debug)]
pub struct Store(());

/// What a claim gives.
#[derive(Debug)]
pub enum Claim {
    /// The bytes are here and this supplier may have them.
    Present,
    /// The caller is to bring them.
    Write(BlobWriter),
    /// Another is bringing them; wait, then claim again.
    Busy(BlobWaiter),
}

/// What must still be brought for a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Bytes, net of extents that are here already.
    pub bytes: ByteSize,
    /// The files, each digest once, sorted by path.
    pub files: Vec<ManifestFile>,
}

/// What the store takes on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Bytes of published blobs.
    pub blobs: ByteSize,
    /// Of these, bytes that no model names: files of fetches that are not whole yet, or were given up.
    pub unreferenced: ByteSize,
    /// Bytes reserved by partial files.
    pub partial: ByteSize,
    /// How many models are whole.
    pub models: u64,
    /// Bytes in all on the file system.
    pub total: ByteSize,
    /// Bytes that may still be written to it.
    pub available: ByteSize,
}

/// What happened since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreCounters {
    /// Blobs published.
    pub blobs_published: u64,
    /// Bytes published.
    pub bytes_published: u64,
    /// Files whose bytes were not what their digest promised.
    pub mismatches: u64,
    /// Bytes thrown away with them.
    pub bytes_discarded: u64,
    /// Extents that were found damaged when read back.
    pub extents_damaged: u64,
}

impl Store {
    /// Opens the store in a folder: takes its lock, clears what a crash left, rebuilds the index from the disk.
    ///
    /// # Errors
    /// [`OpenStoreError`] by condition.
    pub fn open(_disk: Arc<dyn Disk>, _clock: Clock, _options: StoreOptions) -> Result<Self, OpenStoreError> {
        unreachable!("being built")
    }

    /// Claims one file of a model, to be written unless it is here or on its way.
    ///
    /// # Errors
    /// [`ClaimError`] by condition; a disk without room for the whole file says so here.
    pub fn claim(&self, _file: &ManifestFile, _supplier: &Supplier) -> Result<Claim, ClaimError> {
        unreachable!("being built")
    }

    /// Checks and publishes small files that are whole in memory, with one round of syncs for all.
    ///
    /// # Errors
    /// [`PublishSmallError`] by condition. Files with wrong bytes are no error but listed in the answer.
    pub fn publish_small(
        &self,
        _files: Vec<(ManifestFile, Bytes)>,
        _supplier: &Supplier,
    ) -> Result<SmallBatch, PublishSmallError> {
        unreachable!("being built")
    }

    /// Returns what this supplier would have to bring for a model to be whole.
    pub fn missing(&self, _manifest: &Manifest, _supplier: &Supplier) -> Missing {
        unreachable!("being built")
    }

    /// Records a model as whole.
    ///
    /// # Errors
    /// [`PublishModelError`] by condition.
    pub fn publish_model(
        &self,
        _manifest: &Manifest,
        _supplier: &Supplier,
    ) -> Result<Arc<StoredModel>, PublishModelError> {
        unreachable!("being built")
    }

    /// Returns the models that are whole, sorted by key.
    pub fn list(&self) -> Vec<Arc<StoredModel>> {
        unreachable!("being built")
    }

    /// Returns a model when it is whole.
    pub fn get(&self, _key: &ModelKey) -> Option<Arc<StoredModel>> {
        unreachable!("being built")
    }

    /// Removes a model and frees the bytes that no other one names.
    ///
    /// # Errors
    /// [`RemoveModelError`] by condition.
    pub fn remove(&self, _key: &ModelKey) -> Result<Removed, RemoveModelError> {
        unreachable!("being built")
    }

    /// Reads every byte of a model again and tells what was found.
    ///
    /// # Errors
    /// [`VerifyModelError`] by condition.
    pub fn verify(&self, _key: &ModelKey) -> Result<VerifyReport, VerifyModelError> {
        unreachable!("being built")
    }

    /// Returns what the store takes on the disk.
    ///
    /// # Errors
    /// The disk's.
    pub fn disk_usage(&self) -> Result<DiskUsage, DiskTrouble> {
        unreachable!("being built")
    }

    /// Returns what happened since the store was opened.
    pub fn counters(&self) -> StoreCounters {
        unreachable!("being built")
    }

    /// Leases a view, made when it is not there yet. The caller has proven that who will see it may read the model.
    ///
    /// # Errors
    /// [`ViewError`] by condition.
    pub fn view(&self, _spec: &ViewSpec) -> Result<ViewLease, ViewError> {
        unreachable!("being built")
    }

    /// Removes the views that stood here when the store was opened and that are neither leased nor in `keep`.
    /// Returns how many. An agent calls it once it has leased again what its workers use.
    ///
    /// # Errors
    /// The disk's; what could not be removed is tried again at the next open.
    pub fn sweep_views(&self, _keep: &BTreeSet<ViewId>) -> Result<usize, DiskTrouble> {
        unreachable!("being built")
    }

    /// Leaves the folders of views in place from now on, whatever leases are dropped: for an agent that stops while
    /// its workers go on.
    pub fn leave_views(&self) {
        unreachable!("being built")
    }
}
