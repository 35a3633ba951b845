//! One blob being brought here, extent by extent.
//!
//! ```text
//! extent:  missing ──write_extent──▶ writing ──written, synced, journaled──▶ written ──in its turn──▶ hashed
//!             ▲                         │ error                                 │ read back, crc32c wrong
//!             └─────────────────────────┴───────────────────────────────────────┘
//! ```
//! The hash goes in offset order: from the caller's buffer when an extent comes in its turn, else by reading back.
//! A sync that failed poisons the writer: the kernel may have dropped any page, so nothing of the file is believed.

use std::{
    fmt, io,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, atomic::Ordering},
};

use base::ByteSize;
use types::{Digest, ManifestFile};

use crate::{
    ContentMismatch, DiskTrouble, ExtentBusy, ExtentLength, ExtentOutOfRange, ExtentsMissing, FinishError,
    PartialPoisoned, PublishedBlob, Supplier, WriteExtentError,
    flight::FlightGuard,
    hash::ContentHasher,
    index::PartialProgress,
    partial::{Opened, Partial, remove_if_there},
    store::Inner,
};

/// Extents that one call reads back at most, so that no stream stands still for the others: with one, a hash that
/// fell behind would never catch up.
const CATCH_UP_EXTENTS: u32 = 2;
/// The piece in which bytes are read back: larger than the page cache's own read-ahead, small beside an extent.
const READ_BYTES: usize = 1024 * 1024;

/// The place of an extent in its file, from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtentIndex(pub u32);

impl ExtentIndex {
    fn at(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ExtentIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "extent {}", self.0)
    }
}

/// The right to write one blob. Share it by reference (or in an `Arc`) between streams; extents may come in any order
/// and several at once. Dropping it without [`BlobWriter::finish`] keeps what is there for the next claim.
pub struct BlobWriter {
    store: Arc<Inner>,
    file: ManifestFile,
    supplier: Supplier,
    partial: Partial,
    progress: Arc<PartialProgress>,
    extents: Mutex<Extents>,
    hashing: Mutex<Hashing>,
    flight: FlightGuard,
}

impl fmt::Debug for BlobWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobWriter")
            .field("file", &self.file)
            .field("supplier", &self.supplier)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Missing,
    Writing,
    Written { crc: u32 },
}

/// What becomes of the partial file when the writer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It stays for the next claim.
    Keep,
    /// It can't be believed.
    Discard,
    /// It has become a blob, or another's blob serves in its place.
    Published,
}

#[derive(Debug)]
struct Extents {
    states: Vec<Extent>,
    fate: Fate,
}

#[derive(Debug)]
struct Hashing {
    hasher: ContentHasher,
    next: ExtentIndex,
}

impl BlobWriter {
    pub(crate) fn new(
        store: Arc<Inner>,
        file: ManifestFile,
        supplier: Supplier,
        opened: Opened,
        progress: Arc<PartialProgress>,
        flight: FlightGuard,
    ) -> Self {
        let states =
            opened.extents.iter().map(|crc| crc.map_or(Extent::Missing, |crc| Extent::Written { crc }));
        let hasher = ContentHasher::like(&file.digest, file.size);
        Self {
            store,
            supplier,
            partial: opened.partial,
            progress,
            extents: Mutex::new(Extents { states: states.collect(), fate: Fate::Keep }),
            hashing: Mutex::new(Hashing { hasher, next: ExtentIndex(0) }),
            flight,
            file,
        }
    }

    /// Returns the file as claimed.
    pub const fn file(&self) -> &ManifestFile {
        &self.file
    }

    /// Returns how long an extent of this file is; the last one may be shorter. A resumed file keeps the size that it
    /// was begun with.
    pub const fn extent_bytes(&self) -> u64 {
        self.partial.extent_bytes.bytes()
    }

    /// Returns how many extents the file has.
    pub fn extent_count(&self) -> u32 {
        u32::try_from(self.partial.extent_bytes.count(self.file.size))
            .expect("a journal's limit is below u32's")
    }

    /// Returns which bytes of the file an extent holds. An extent beyond the end is empty.
    pub fn extent_range(&self, index: ExtentIndex) -> Range<u64> {
        let start = u64::from(index.0).saturating_mul(self.extent_bytes()).min(self.file.size);
        start..start.saturating_add(self.extent_bytes()).min(self.file.size)
    }

    /// Returns the extents that are still to be written, in order. One that was there may come back when it is read
    /// for the hash and found damaged.
    pub fn missing_extents(&self) -> Vec<ExtentIndex> {
        let extents = self.extents();
        let missing = (0..).zip(&extents.states).filter(|(_, state)| **state == Extent::Missing);
        missing.map(|(index, _)| ExtentIndex(index)).collect()
    }

    /// Returns how many bytes are still to be written.
    pub fn missing_bytes(&self) -> ByteSize {
        ByteSize(self.file.size.saturating_sub(self.progress.present.load(Ordering::Relaxed)))
    }

    /// Writes one whole extent. Blocks until it survives a power loss (a file of one extent does so only when it is
    /// finished). An extent that is there already is left as it is.
    ///
    /// # Errors
    /// [`WriteExtentError`] by condition.
    pub fn write_extent(&self, index: ExtentIndex, bytes: &[u8]) -> Result<(), WriteExtentError> {
        let range = self.extent_range(index);
        let count = self.extent_count();
        if index.0 >= count {
            return Err(ExtentOutOfRange { index, count }.into());
        }
        let (expected, given) = (range.end - range.start, bytes.len() as u64);
        if expected != given {
            return Err(ExtentLength { index, expected, given }.into());
        }
        {
            let mut extents = self.extents();
            if extents.fate == Fate::Discard {
                return Err(PartialPoisoned.into());
            }
            match extents.states[index.at()] {
                // Two writes at once could leave on the disk what was never hashed.
                Extent::Writing => return Err(ExtentBusy { index }.into()),
                Extent::Written { .. } => return Ok(()),
                Extent::Missing => extents.states[index.at()] = Extent::Writing,
            }
        }
        let crc = crc32c::crc32c(bytes);
        if let Err(trouble) = self.store_extent(index, range.start, bytes, crc) {
            self.extents().states[index.at()] = Extent::Missing;
            return Err(trouble.into());
        }
        self.progress.present.fetch_add(given, Ordering::Relaxed);
        self.extents().states[index.at()] = Extent::Written { crc };
        self.hash_in_turn(index, bytes);
        Ok(())
    }

    /// Checks the digest and publishes the blob. Blocks until it survives a power loss.
    ///
    /// # Errors
    /// [`FinishError`] by condition. Missing extents and a full disk keep what is there for the next claim; wrong
    /// bytes are thrown away.
    pub fn finish(self) -> Result<PublishedBlob, FinishError> {
        let actual = self.digest_of_all()?;
        if actual != self.file.digest {
            self.extents().fate = Fate::Discard;
            self.store.counters.add_mismatch(self.file.size);
            return Err(ContentMismatch {
                path: self.file.path.clone(),
                expected: self.file.digest,
                actual,
                discarded: ByteSize(self.file.size),
            }
            .into());
        }
        let path = self.partial.data_path();
        let disk = &self.store.disk;
        disk.chmod(path, 0o444).map_err(|error| DiskTrouble::new("protecting", path, error))?;
        if let Err(error) = self.partial.file.sync() {
            self.extents().fate = Fate::Discard;
            return Err(DiskTrouble::new("syncing", path, error).into());
        }
        let published = self.store.publish_verified(&self.file, &self.supplier, path);
        // It may have got its name although something failed after that.
        let has_moved = || disk.metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if published.is_ok() || has_moved() {
            self.extents().fate = Fate::Published;
        }
        Ok(published?)
    }

    /// Hashes what is left and returns the digest of the whole file.
    fn digest_of_all(&self) -> Result<Digest, FinishError> {
        if self.extents().fate == Fate::Discard {
            return Err(PartialPoisoned.into());
        }
        let mut hashing = self.hashing.lock().unwrap_or_else(PoisonError::into_inner);
        self.catch_up(&mut hashing, u32::MAX);
        if hashing.next.0 < self.extent_count() {
            // One damaged extent is seldom alone: all are found now, so that one more round brings them all.
            self.find_damage(hashing.next);
            let missing = self.missing_extents();
            return Err(ExtentsMissing { path: self.file.path.clone(), missing }.into());
        }
        Ok(hashing.hasher.clone().finish())
    }

    fn store_extent(
        &self,
        index: ExtentIndex,
        offset: u64,
        bytes: &[u8],
        crc: u32,
    ) -> Result<(), DiskTrouble> {
        let path = self.partial.data_path();
        let written = self.partial.file.write_all_at(bytes, offset);
        written.map_err(|error| DiskTrouble::new("writing", path, error))?;
        let Some(journal) = &self.partial.journal else { return Ok(()) };
        let synced = self.partial.file.sync().map_err(|error| DiskTrouble::new("syncing", path, error));
        let recorded = synced.and_then(|()| {
            let recorded = journal.record(index.0, crc);
            recorded.map_err(|error| DiskTrouble::new("writing", self.partial.journal_path(), error))
        });
        if recorded.is_err() {
            self.extents().fate = Fate::Discard;
        }
        recorded
    }

    /// Hashes an extent that was just written when its turn has come, and some of those that waited for it. When
    /// another thread is hashing, it or a later call will come to this extent.
    fn hash_in_turn(&self, index: ExtentIndex, bytes: &[u8]) {
        let mut hashing = match self.hashing.try_lock() {
            Ok(hashing) => hashing,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if hashing.next == index {
            hashing.hasher.update(bytes);
            hashing.next.0 += 1;
        }
        self.catch_up(&mut hashing, CATCH_UP_EXTENTS);
    }

    /// Reads back and hashes at most so many extents that are next in order and there.
    fn catch_up(&self, hashing: &mut Hashing, extents_max: u32) {
        let end = self.extent_count().min(hashing.next.0.saturating_add(extents_max));
        while hashing.next.0 < end {
            let index = hashing.next;
            let Extent::Written { crc } = self.extents().states[index.at()] else { return };
            let mut hasher = hashing.hasher.clone();
            if !self.read_back(index, crc, |bytes| hasher.update(bytes)) {
                return self.forget_damaged(index);
            }
            hashing.hasher = hasher;
            hashing.next.0 += 1;
        }
    }

    /// Reads back every extent from here on that is there, and forgets those that are damaged.
    fn find_damage(&self, from: ExtentIndex) {
        for index in (from.0..self.extent_count()).map(ExtentIndex) {
            let state = self.extents().states[index.at()];
            if let Extent::Written { crc } = state
                && !self.read_back(index, crc, |_| {})
            {
                self.forget_damaged(index);
            }
        }
    }

    /// Gives an extent on the disk piece by piece to `take`. Returns whether it is what was written.
    fn read_back(&self, index: ExtentIndex, crc: u32, mut take: impl FnMut(&[u8])) -> bool {
        let range = self.extent_range(index);
        let left = |offset| usize::try_from(range.end - offset).unwrap_or(usize::MAX);
        let mut buffer = vec![0; READ_BYTES.min(left(range.start))];
        let mut actual = 0;
        let mut offset = range.start;
        while offset < range.end {
            let wanted = buffer.len().min(left(offset));
            let read = match self.partial.file.read_at(&mut buffer[..wanted], offset) {
                Ok(0) => return false,
                Ok(read) => read,
                Err(error) => {
                    tracing::warn!(path = %self.file.path, %index, %error, "an extent can't be read back");
                    return false;
                }
            };
            actual = crc32c::crc32c_append(actual, &buffer[..read]);
            take(&buffer[..read]);
            offset += read as u64;
        }
        actual == crc
    }

    fn forget_damaged(&self, index: ExtentIndex) {
        tracing::warn!(path = %self.file.path, %index, "an extent is damaged on the disk and is fetched again");
        self.store.counters.add_damaged_extent();
        let range = self.extent_range(index);
        self.progress.present.fetch_sub(range.end - range.start, Ordering::Relaxed);
        self.extents().states[index.at()] = Extent::Missing;
        if let Some(journal) = &self.partial.journal
            && let Err(error) = journal.erase(index.0)
        {
            // Its crc32c will tell again.
            tracing::warn!(path = %self.file.path, %index, %error, "a damaged extent's record stays");
        }
    }

    fn extents(&self) -> MutexGuard<'_, Extents> {
        self.extents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        let disk = &self.store.disk;
        let key = (self.flight.owner().clone(), self.file.digest);
        // A file of one extent has nothing to resume from.
        let keep = self.partial.journal.is_some();
        let removed = match self.extents().fate {
            Fate::Keep if keep => return,
            Fate::Keep | Fate::Discard => self.partial.discard(disk),
            Fate::Published => remove_if_there(disk, self.partial.journal_path()),
        };
        self.store.index().remove_partial(&key);
        if let Err(error) = removed {
            self.store.tainted().insert(key);
            tracing::warn!(path = %self.file.path, %error, "what is left of a partial file stays until the next open");
        }
    }
}
