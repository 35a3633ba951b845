//! The store's handle, and what its parts share.

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use base::{ByteSize, Clock, Disk, DiskLock};
use bytes::Bytes;
use types::{Digest, Manifest, ManifestFile, ModelKey};

use crate::{
    BlobWaiter, BlobWriter, ClaimError, DepartureCause, DiskTrouble, ExtentBytes, ImportError,
    ImportObserver, ImportReport, ImportRequest, OpenStoreError, PublishModelError, PublishSmallError,
    RemoveModelError, Removed, SmallBatch, StoreOptions, StoredModel, Supplier, VerifyModelError,
    VerifyReport, ViewError, ViewId, ViewLease, ViewSpec,
    flight::{FlightGuard, FlightKey, Flights},
    history::History,
    index::{Index, PartialProgress},
    layout::{Layout, PartialOwner},
    linked::LinkedBlobs,
    notes::NotesTable,
    partial::{Partial, PartialPaths},
    room::Reservations,
    scrub::Verified,
    strays::Strays,
    suppliers::SupplierLog,
    view::ViewTable,
};

/// The store of one host. Cheap to clone; the lock is let go when the last handle, writer and lease are dropped.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

/// What a claim gives.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once, once per file")]
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
    /// Bytes of damaged blobs that were moved aside.
    pub quarantined: ByteSize,
    /// Bytes that running fetches have yet to find room for.
    pub reserved: ByteSize,
    /// How many models are whole.
    pub models: u64,
    /// How many models lack a file that was damaged or lost.
    pub damaged: u64,
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
    /// Blobs that a scrub found sound.
    pub blobs_scrubbed: u64,
    /// Bytes of these.
    pub bytes_scrubbed: u64,
    /// Blobs that were found damaged and moved aside.
    pub blobs_quarantined: u64,
    /// Of these, blobs that were brought again.
    pub blobs_repaired: u64,
}

impl Store {
    /// Opens the store in a folder: takes its lock, clears what a crash left, rebuilds the index from the disk.
    ///
    /// # Errors
    /// [`OpenStoreError`] by condition.
    pub fn open(disk: Arc<dyn Disk>, clock: Clock, options: StoreOptions) -> Result<Self, OpenStoreError> {
        Ok(Self(Arc::new(crate::open::open(disk, clock, options)?)))
    }

    /// Claims one file of a model, to be written unless it is here or on its way.
    ///
    /// # Errors
    /// [`ClaimError`] by condition; a disk without room for the whole file says so here.
    pub fn claim(&self, file: &ManifestFile, supplier: &Supplier) -> Result<Claim, ClaimError> {
        let inner = &self.0;
        if inner.index().satisfies(file, supplier) {
            return Ok(Claim::Present);
        }
        let flight = match inner.flights.enter((PartialOwner::of(supplier), file.digest)) {
            Ok(flight) => flight,
            Err(waiter) => return Ok(Claim::Busy(waiter)),
        };
        // The one before may have finished between the look and the entry.
        if inner.index().satisfies(file, supplier) {
            return Ok(Claim::Present);
        }
        Ok(Claim::Write(inner.begin_write(file, supplier, flight)?))
    }

    /// Checks and publishes small files that are whole in memory, with one round of syncs for all.
    ///
    /// # Errors
    /// [`PublishSmallError`] by condition. Files with wrong bytes are no error but listed in the answer.
    pub fn publish_small(
        &self,
        files: Vec<(ManifestFile, Bytes)>,
        supplier: &Supplier,
    ) -> Result<SmallBatch, PublishSmallError> {
        self.0.publish_small(files, supplier)
    }

    /// Returns what this supplier would have to bring for a model to be whole.
    pub fn missing(&self, manifest: &Manifest, supplier: &Supplier) -> Missing {
        self.0.index().missing(manifest, supplier)
    }

    /// Returns whether a model is whole and this supplier may have every file of it. To be asked before a view is leased
    /// on a tenant's behalf: that a model is listed says only that somebody brought it.
    pub fn holds(&self, key: &ModelKey, supplier: &Supplier) -> bool {
        let index = self.0.index();
        index.model(key).is_some_and(|model| index.missing(&model.manifest, supplier).files.is_empty())
    }

    /// Records a model as whole.
    ///
    /// # Errors
    /// [`PublishModelError`] by condition; files that are here but that this supplier may not have count as missing.
    pub fn publish_model(
        &self,
        manifest: &Manifest,
        supplier: &Supplier,
    ) -> Result<Arc<StoredModel>, PublishModelError> {
        self.0.publish_model(manifest, supplier)
    }

    /// Returns the models that are whole, sorted by key.
    pub fn list(&self) -> Vec<Arc<StoredModel>> {
        self.0.index().models().cloned().collect()
    }

    /// Returns a model when it is whole.
    pub fn get(&self, key: &ModelKey) -> Option<Arc<StoredModel>> {
        self.0.index().model(key).cloned()
    }

    /// Removes a model and frees the bytes that no other one names.
    ///
    /// # Errors
    /// [`RemoveModelError`] by condition.
    pub fn remove(&self, key: &ModelKey) -> Result<Removed, RemoveModelError> {
        self.0.remove_model(key, DepartureCause::Removed)
    }

    /// Reads every byte of a model again and tells what was found. Changes nothing.
    ///
    /// # Errors
    /// [`VerifyModelError`] by condition.
    pub fn verify(&self, key: &ModelKey) -> Result<VerifyReport, VerifyModelError> {
        self.0.verify_model(key)
    }

    /// Takes over an existing Hugging Face cache, every file verified. What is here already is not read. Running it again
    /// goes on where it ended, also after a crash.
    ///
    /// # Errors
    /// [`ImportError`] by condition; what is wrong with single snapshots stands in the report.
    pub fn import(
        &self,
        request: &ImportRequest,
        observer: &mut ImportObserver<'_>,
    ) -> Result<ImportReport, ImportError> {
        crate::import::run(self, request, observer)
    }

    /// Returns the blobs that were linked from a cache: their owner can still write them by another name, so they are
    /// checked more often.
    pub fn linked(&self) -> BTreeSet<Digest> {
        self.0.linked.all()
    }

    /// Returns what the store takes on the disk.
    ///
    /// # Errors
    /// The disk's.
    pub fn disk_usage(&self) -> Result<DiskUsage, DiskTrouble> {
        let root = self.0.layout.root();
        let space = self.0.disk.space(root).map_err(|error| DiskTrouble::new("measuring", root, error))?;
        let reserved = self.0.reserved_bytes();
        let index = self.0.index();
        Ok(DiskUsage {
            blobs: index.blob_bytes(),
            unreferenced: index.unreferenced_bytes(),
            partial: index.partial_bytes(),
            quarantined: index.quarantined_bytes(),
            reserved,
            models: index.models().count() as u64,
            damaged: index.damaged().count() as u64,
            total: ByteSize(space.total),
            available: ByteSize(space.available),
        })
    }

    /// Returns what happened since the store was opened.
    pub fn counters(&self) -> StoreCounters {
        self.0.counters.read()
    }

    /// Leases a view, made when it is not there yet. The caller has proven that who will see it may read the model:
    /// with [`Store::holds`], and with a grant.
    ///
    /// # Errors
    /// [`ViewError`] by condition.
    pub fn view(&self, spec: &ViewSpec) -> Result<ViewLease, ViewError> {
        crate::view::lease(&self.0, spec)
    }

    /// Removes the views that stood here when the store was opened and that are neither leased nor in `keep`.
    /// Returns how many. An agent calls it once it has leased again what its workers use.
    ///
    /// # Errors
    /// The disk's; what could not be removed is tried again at the next sweep.
    pub fn sweep_views(&self, keep: &BTreeSet<ViewId>) -> Result<usize, DiskTrouble> {
        crate::view::sweep(&self.0, keep)
    }

    /// Leaves the folders of views in place from now on, whatever leases are dropped: for an agent that stops while
    /// its workers go on.
    pub fn leave_views(&self) {
        self.0.views.leave();
    }
}

impl Store {
    pub(crate) const fn inner(&self) -> &Arc<Inner> {
        &self.0
    }
}

/// What the parts of an open store share.
///
/// Locks are taken in this order: publication, views, reservations, index, verified, notes. The index's and the notes' are
/// never held across a call to the disk.
pub(crate) struct Inner {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Clock,
    pub(crate) layout: Layout,
    pub(crate) extent_bytes: ExtentBytes,
    pub(crate) index: Mutex<Index>,
    pub(crate) flights: Arc<Flights>,
    pub(crate) publication: Mutex<Publication>,
    pub(crate) reservations: Mutex<Reservations>,
    pub(crate) notes: Mutex<NotesTable>,
    pub(crate) verified: Mutex<Verified>,
    /// Blobs with names outside of the store.
    pub(crate) linked: LinkedBlobs,
    pub(crate) views: ViewTable,
    pub(crate) counters: Counters,
    pub(crate) next_scratch: AtomicU64,
    /// Partial files that could be neither believed nor removed: they are removed before they are begun again.
    pub(crate) tainted: Mutex<HashSet<FlightKey>>,
    #[expect(dead_code, reason = "held for its drop, which is the last of all")]
    pub(crate) lock: DiskLock,
}

/// What only one publication, removal or record at a time may touch.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) suppliers: SupplierLog,
    /// Folders of blobs whose names were synced by this process, so that also those found at open are durable.
    pub(crate) synced_fans: BTreeSet<u8>,
    /// Folders whose own names were synced by this process.
    pub(crate) durable_folders: HashSet<PathBuf>,
    pub(crate) history: History,
    pub(crate) strays: Strays,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("root", &self.layout.root()).finish_non_exhaustive()
    }
}

impl Inner {
    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn publication(&self) -> MutexGuard<'_, Publication> {
        self.publication.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn reservations(&self) -> MutexGuard<'_, Reservations> {
        self.reservations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn notes(&self) -> MutexGuard<'_, NotesTable> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn verified(&self) -> MutexGuard<'_, Verified> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tainted(&self) -> MutexGuard<'_, HashSet<FlightKey>> {
        self.tainted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_write(
        self: &Arc<Self>,
        file: &ManifestFile,
        supplier: &Supplier,
        flight: FlightGuard,
    ) -> Result<BlobWriter, ClaimError> {
        let owner = flight.owner().clone();
        let key = (owner.clone(), file.digest);
        let paths = PartialPaths::new(&self.layout, &owner, &file.digest);
        self.make_durable_folder(&mut self.publication(), &paths.folder)?;
        if self.tainted().contains(&key) {
            paths.discard(&self.disk)?;
            self.tainted().remove(&key);
        }
        let opened = Partial::open(&self.disk, &paths, file, self.extent_bytes).inspect_err(|_| {
            self.index().remove_partial(&key);
        })?;
        let progress = Arc::new(PartialProgress {
            reserved: file.size,
            present: AtomicU64::new(opened.present_bytes(file.size)),
        });
        self.index().insert_partial(key, Arc::clone(&progress));
        Ok(BlobWriter::new(Arc::clone(self), file.clone(), supplier.clone(), opened, progress, flight))
    }
}

/// [`StoreCounters`], counted by several threads.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    blobs_published: AtomicU64,
    bytes_published: AtomicU64,
    mismatches: AtomicU64,
    bytes_discarded: AtomicU64,
    extents_damaged: AtomicU64,
    blobs_scrubbed: AtomicU64,
    bytes_scrubbed: AtomicU64,
    blobs_quarantined: AtomicU64,
    blobs_repaired: AtomicU64,
}

impl Counters {
    pub(crate) fn add_scrubbed(&self, bytes: u64) {
        self.blobs_scrubbed.fetch_add(1, Ordering::Relaxed);
        self.bytes_scrubbed.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_quarantined(&self) {
        self.blobs_quarantined.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_repaired(&self) {
        self.blobs_repaired.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_published(&self, bytes: u64) {
        self.blobs_published.fetch_add(1, Ordering::Relaxed);
        self.bytes_published.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_mismatch(&self, bytes: u64) {
        self.mismatches.fetch_add(1, Ordering::Relaxed);
        self.bytes_discarded.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_damaged_extent(&self) {
        self.extents_damaged.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> StoreCounters {
        StoreCounters {
            blobs_published: self.blobs_published.load(Ordering::Relaxed),
            bytes_published: self.bytes_published.load(Ordering::Relaxed),
            mismatches: self.mismatches.load(Ordering::Relaxed),
            bytes_discarded: self.bytes_discarded.load(Ordering::Relaxed),
            extents_damaged: self.extents_damaged.load(Ordering::Relaxed),
            blobs_scrubbed: self.blobs_scrubbed.load(Ordering::Relaxed),
            bytes_scrubbed: self.bytes_scrubbed.load(Ordering::Relaxed),
            blobs_quarantined: self.blobs_quarantined.load(Ordering::Relaxed),
            blobs_repaired: self.blobs_repaired.load(Ordering::Relaxed),
        }
    }
}
