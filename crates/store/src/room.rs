//! Admission: whether a model fits, what would have to go, and the reservation that keeps the answer true.
//!
//! A reservation counts the files that its fetch still has to bring and for which no partial file has reserved room on
//! the disk. So nothing is counted twice while bytes arrive, and nothing has to be kept in step.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::Arc,
};

use base::ByteSize;
use types::{Digest, Manifest};

use crate::{CacheTooSmall, DiskTooSmall, DiskTrouble, Supplier, flight::FlightKey, store::Inner};

/// Room that fetches leave to others on the disk, unless an operator says otherwise: the spool (4 GB at most), kept
/// logs (1.6 GB), the private folders of workers, the system itself.
const DISK_FREE_MIN: ByteSize = ByteSize(10_000_000_000);
/// But no more than this part of a disk, so that a small one is not all floor; file systems keep as much for root.
const DISK_FREE_PARTS: u64 = 20;
/// What the common file systems allocate at once.
const BLOCK_BYTES: u64 = 4096;

/// Bounds of what the store may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomLimits {
    /// Bytes that blobs, partial files and what is in quarantine may take.
    pub cache_bytes_max: ByteSize,
    /// Bytes of the disk that stay free.
    pub disk_free_min: ByteSize,
}

impl RoomLimits {
    /// Returns the free room that is kept on a disk of this size unless an operator says otherwise.
    pub fn default_disk_free_min(total: ByteSize) -> ByteSize {
        DISK_FREE_MIN.min(ByteSize(total.bytes() / DISK_FREE_PARTS))
    }
}

/// Whether a model can be brought.
#[derive(Debug)]
pub enum Admission {
    /// It fits, and room for it is reserved while the reservation lives.
    Fits(Reservation),
    /// It fits once so many bytes have gone.
    Needs(Shortfall),
    /// It does not fit whatever goes.
    Never(NeverFits),
}

/// What is lacking for a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// Bytes that have to go.
    pub bytes: ByteSize,
    /// Bytes that the fetch has yet to find room for.
    pub wanted: ByteSize,
}

/// Why a model can never be brought within these limits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NeverFits {
    /// It is larger than the cache may be.
    #[error(transparent)]
    Cache(#[from] CacheTooSmall),
    /// It is larger than what others leave of the disk.
    #[error(transparent)]
    Disk(#[from] DiskTooSmall),
}

/// Room for one fetch. Dropping it gives back what was not used.
pub struct Reservation {
    store: Arc<Inner>,
    number: u64,
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.store.reservations().held.remove(&self.number);
    }
}

/// The reservations of fetches that run.
#[derive(Debug, Default)]
pub(crate) struct Reservations {
    held: BTreeMap<u64, Held>,
    next: u64,
}

#[derive(Debug)]
struct Held {
    manifest: Arc<Manifest>,
    supplier: Supplier,
}

impl Reservations {
    /// Returns the digests of all files that running fetches bring or rely on.
    pub(crate) fn digests(&self) -> HashSet<Digest> {
        let files = self.held.values().flat_map(|held| held.manifest.files());
        files.map(|file| file.digest).collect()
    }
}

/// Files that have yet to find room, counted as the cache and as the disk count them.
#[derive(Clone, Copy, Debug, Default)]
struct Outstanding {
    cache: ByteSize,
    disk: ByteSize,
}

/// Returns what a file takes on a disk: whole blocks, and one for its inode and journal.
const fn on_disk(size: u64) -> u64 {
    size.div_ceil(BLOCK_BYTES).saturating_add(1).saturating_mul(BLOCK_BYTES)
}

impl Inner {
    /// Answers for one model, and reserves in the same breath.
    pub(crate) fn admit(
        self: &Arc<Self>,
        manifest: &Arc<Manifest>,
        supplier: &Supplier,
        limits: &RoomLimits,
    ) -> Result<Admission, DiskTrouble> {
        let mut reservations = self.reservations();
        let (others, all) = self.outstanding(&reservations, Some((manifest, supplier)));
        // After the look at what is outstanding: a file that finds its room in between is counted in both.
        let root = self.layout.root();
        let space = self.disk.space(root).map_err(|error| DiskTrouble::new("measuring", root, error))?;
        let taken = self.taken();
        if let Some(never) = never_fits(manifest, limits, space.available, taken) {
            return Ok(Admission::Never(never));
        }
        let beyond_limit = (taken + all.cache).bytes().saturating_sub(limits.cache_bytes_max.bytes());
        let below_floor = (all.disk + limits.disk_free_min).bytes().saturating_sub(space.available);
        let bytes = ByteSize(beyond_limit.max(below_floor));
        let wanted = ByteSize(all.cache.bytes().saturating_sub(others.cache.bytes()));
        // What is here in full needs no room, however full the disk is.
        if bytes.bytes() > 0 && all.disk.bytes() > others.disk.bytes() {
            return Ok(Admission::Needs(Shortfall { bytes, wanted }));
        }
        let number = reservations.next;
        reservations.next += 1;
        let held = Held { manifest: Arc::clone(manifest), supplier: supplier.clone() };
        reservations.held.insert(number, held);
        Ok(Admission::Fits(Reservation { store: Arc::clone(self), number }))
    }

    /// Returns what the store takes already: blobs, the room of partial files, quarantine.
    pub(crate) fn taken(&self) -> ByteSize {
        let index = self.index();
        index.blob_bytes() + index.partial_bytes() + index.quarantined_bytes()
    }

    /// Returns the bytes that running fetches have yet to find room for.
    pub(crate) fn reserved_bytes(&self) -> ByteSize {
        self.outstanding(&self.reservations(), None).0.cache
    }

    /// Sums what the reservations have outstanding: without and with one more. A file that several bring counts once.
    fn outstanding(
        &self,
        reservations: &Reservations,
        more: Option<(&Arc<Manifest>, &Supplier)>,
    ) -> (Outstanding, Outstanding) {
        let index = self.index();
        let mut files: HashMap<FlightKey, u64> = HashMap::new();
        let sum = |files: &HashMap<FlightKey, u64>| {
            let mut sum = Outstanding::default();
            for ((_, digest), size) in files {
                // Bytes that are brought once more, as proof, are dropped for those that are here.
                if index.blob(digest).is_none() {
                    sum.cache += ByteSize(*size);
                }
                sum.disk += ByteSize(on_disk(*size));
            }
            sum
        };
        for held in reservations.held.values() {
            files.extend(index.unreserved(&held.manifest, &held.supplier));
        }
        let others = sum(&files);
        let Some((manifest, supplier)) = more else { return (others, others) };
        files.extend(index.unreserved(manifest, supplier));
        (others, sum(&files))
    }
}

/// Tells whether a model can't fit even with everything else gone.
fn never_fits(
    manifest: &Manifest,
    limits: &RoomLimits,
    available: u64,
    taken: ByteSize,
) -> Option<NeverFits> {
    let files: HashMap<Digest, u64> = manifest.files().iter().map(|file| (file.digest, file.size)).collect();
    let bytes: ByteSize = files.values().copied().map(ByteSize).sum();
    if bytes > limits.cache_bytes_max {
        return Some(CacheTooSmall { bytes, max: limits.cache_bytes_max }.into());
    }
    let most = (ByteSize(available) + taken).bytes().saturating_sub(limits.disk_free_min.bytes());
    (bytes.bytes() > most)
        .then(|| DiskTooSmall { bytes, most: ByteSize(most), floor: limits.disk_free_min }.into())
}
