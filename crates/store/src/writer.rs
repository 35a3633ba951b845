//! One blob being brought here, extent by extent.
//!
//! ```text
//! extent:  missing ──begin_extent──▶ writing ──written, synced, journaled──▶ written
//!             ▲                         │ given up                            │ read back, crc32c wrong
//!             └─────────────────────────┴─────────────────────────────────────┘
//! ```
//! Pieces of an extent are written as they come, past the page cache where the file system lets them, and hashed in
//! offset order ([`order`]). Extents are synced and recorded when they are whole ([`commit`]).
//! A sync that failed poisons the writer: the kernel may have dropped any page, so nothing of the file is believed.

mod commit;
mod extent;
mod order;

use std::{
    fmt, io,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use base::{BLOCK_BYTES, BlockBuffer, ByteSize};
use bytes::Bytes;
use types::{Digest, ManifestFile};

use self::{
    commit::Commits,
    order::{Hash, HashOrder},
};
pub use self::{extent::ExtentWriter, order::ReorderBudget};

use crate::{
    ContentMismatch, DiskTrouble, ExtentBusy, ExtentLength, ExtentOutOfRange, ExtentsMissing, FinishError,
    PartialPoisoned, PublishedBlob, Supplier, WriteExtentError,
    flight::FlightGuard,
    index::PartialProgress,
    partial::{Opened, Partial, remove_if_there},
    store::Inner,
};

/// Extents that one call reads back at most, so that no stream stands still for the others: with one, a hash that
/// fell behind would never catch up.
const CATCH_UP_EXTENTS: u32 = 2;
/// The piece in which bytes are written and read back when a caller has whole extents: larger than the page cache's own
/// read-ahead and what a disk needs to be busy, small beside an extent.
const PIECE_BYTES: usize = 1024 * 1024;

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
    order: HashOrder,
    commits: Commits,
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
        let order = HashOrder::new(&file.digest, file.size, opened.partial.extent_bytes.bytes());
        Self {
            store,
            supplier,
            partial: opened.partial,
            progress,
            extents: Mutex::new(Extents { states: states.collect(), fate: Fate::Keep }),
            order,
            commits: Commits::default(),
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

    /// Gives this writer memory for bytes that come before their turn to be hashed. Without, they are read back.
    pub fn keep_early(&mut self, budget: Arc<ReorderBudget>) {
        self.order.set_budget(budget);
    }

    /// Writes one whole extent. Blocks until it survives a power loss (a file of one extent does so only when it is
    /// finished). An extent that is there already is left as it is.
    ///
    /// # Errors
    /// [`WriteExtentError`] by condition.
    pub fn write_extent(&self, index: ExtentIndex, bytes: &[u8]) -> Result<(), WriteExtentError> {
        let range = self.extent_range(index);
        if index.0 < self.extent_count() && range.end - range.start != bytes.len() as u64 {
            let (expected, given) = (range.end - range.start, bytes.len() as u64);
            return Err(ExtentLength { index, expected, given }.into());
        }
        if !self.enter(index)? {
            return Ok(());
        }
        let mut offset = range.start;
        for piece in bytes.chunks(PIECE_BYTES) {
            // Copied into whole blocks: a copy costs less than the page cache does.
            let mut buffer = BlockBuffer::with_capacity(piece.len());
            buffer.fill(piece);
            let written = self.write_piece(offset, buffer.bytes());
            if let Err(trouble) = written {
                self.leave(index);
                return Err(trouble.into());
            }
            self.hash_piece(offset, Bytes::from_owner(buffer));
            offset += piece.len() as u64;
        }
        self.commit(index, crc32c::crc32c(bytes))
    }

    /// Begins to write an extent piece by piece; `None` when it is there already.
    ///
    /// # Errors
    /// [`WriteExtentError`] by condition.
    pub fn begin_extent(
        self: &Arc<Self>,
        index: ExtentIndex,
    ) -> Result<Option<ExtentWriter>, WriteExtentError> {
        Ok(self.enter(index)?.then(|| ExtentWriter::new(Arc::clone(self), index)))
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
        let mut hash = self.order.hash();
        self.catch_up(&mut hash, u32::MAX);
        if self.order.front() < self.file.size {
            // One damaged extent is seldom alone: all are found now, so that one more round brings them all.
            self.find_damage(self.extent_at(self.order.front()));
            let missing = self.missing_extents();
            return Err(ExtentsMissing { path: self.file.path.clone(), missing }.into());
        }
        Ok(hash.digest())
    }

    /// Takes the right to write an extent. `false` when it is there already.
    fn enter(&self, index: ExtentIndex) -> Result<bool, WriteExtentError> {
        let count = self.extent_count();
        if index.0 >= count {
            return Err(ExtentOutOfRange { index, count }.into());
        }
        let mut extents = self.extents();
        if extents.fate == Fate::Discard {
            return Err(PartialPoisoned.into());
        }
        match extents.states[index.at()] {
            // Two writes at once could leave on the disk what was never hashed.
            Extent::Writing => Err(ExtentBusy { index }.into()),
            Extent::Written { .. } => Ok(false),
            Extent::Missing => {
                extents.states[index.at()] = Extent::Writing;
                Ok(true)
            }
        }
    }

    /// Gives up an extent that was entered.
    fn leave(&self, index: ExtentIndex) {
        let mut hash = self.order.hash();
        self.order.give_up(&mut hash, self.extent_range(index));
        self.extents().states[index.at()] = Extent::Missing;
    }

    /// Writes bytes to their place: whole blocks past the page cache, the rest through it.
    fn write_piece(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskTrouble> {
        let blocks = bytes.len() - bytes.len() % BLOCK_BYTES;
        let written =
            self.partial.write_blocks(&bytes[..blocks], offset).and_then(|()| match &bytes[blocks..] {
                [] => Ok(()),
                rest => self.partial.file.write_all_at(rest, offset + blocks as u64),
            });
        written.map_err(|error| DiskTrouble::new("writing", self.partial.data_path(), error))
    }

    /// Makes an extent durable whose bytes are all written, and counts it as there.
    fn commit(&self, index: ExtentIndex, crc: u32) -> Result<(), WriteExtentError> {
        if self.partial.journal.is_some() {
            let committed = self.commits.commit((index, crc), |records| self.sync_and_record(records));
            if let Err(error) = committed {
                self.leave(index);
                return Err(error);
            }
        }
        let range = self.extent_range(index);
        self.progress.present.fetch_add(range.end - range.start, Ordering::Relaxed);
        self.extents().states[index.at()] = Extent::Written { crc };
        self.hash_on();
        Ok(())
    }

    fn sync_and_record(&self, records: &[(ExtentIndex, u32)]) -> Result<(), DiskTrouble> {
        let Some(journal) = &self.partial.journal else { return Ok(()) };
        let path = self.partial.data_path();
        let synced = self.partial.file.sync_contents();
        let recorded = synced.map_err(|error| DiskTrouble::new("syncing", path, error)).and_then(|()| {
            let recorded = journal.record(records.iter().map(|(index, crc)| (index.0, *crc)));
            recorded.map_err(|error| DiskTrouble::new("writing", self.partial.journal_path(), error))
        });
        if recorded.is_err() {
            self.extents().fate = Fate::Discard;
        }
        recorded
    }

    /// Hashes a piece that was written, now or in its turn.
    fn hash_piece(&self, offset: u64, bytes: Bytes) {
        self.order.offer(offset, bytes);
        self.hash_on();
    }

    /// Hashes what is next in order, and some of what waited for it. When another thread is hashing, it comes to what
    /// is new by itself.
    fn hash_on(&self) {
        while let Some(mut hash) = self.order.try_hash() {
            self.catch_up(&mut hash, CATCH_UP_EXTENTS);
            drop(hash);
            if !self.order.has_next() || !self.may_enter(self.order.front()) {
                return;
            }
        }
    }

    /// Hashes what is next in order and in memory, and reads back at most so many extents that are not.
    fn catch_up(&self, hash: &mut Hash, extents_max: u32) {
        let is_written = |start| self.crc_of(self.extent_at(start)).is_some();
        for _ in 0..extents_max {
            self.order.hash_early(hash, is_written);
            let front = self.order.front();
            let index = self.extent_at(front);
            if front >= self.file.size || !self.may_enter(front) {
                return;
            }
            let Some(crc) = self.crc_of(index) else { return };
            let range = self.extent_range(index);
            let mut hasher = hash.at_start_of(range.start);
            if !self.read_back(index, crc, |bytes| hasher.update(bytes)) {
                self.order.give_up(hash, range);
                return self.forget_damaged(index);
            }
            self.order.pass(hash, hasher, range.end);
        }
        self.order.hash_early(hash, is_written);
    }

    /// Returns whether the hash may go on at an offset: not at the start of an extent while the one before is not yet
    /// durable, because it may still be given up.
    fn may_enter(&self, offset: u64) -> bool {
        offset == 0
            || !offset.is_multiple_of(self.extent_bytes())
            || self.crc_of(self.extent_at(offset - 1)).is_some()
    }

    fn extent_at(&self, offset: u64) -> ExtentIndex {
        ExtentIndex(u32::try_from(offset / self.extent_bytes()).expect("a journal's limit is below u32's"))
    }

    /// Returns the crc32c of an extent that is there.
    fn crc_of(&self, index: ExtentIndex) -> Option<u32> {
        match self.extents().states.get(index.at()) {
            Some(Extent::Written { crc }) => Some(*crc),
            Some(Extent::Missing | Extent::Writing) | None => None,
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
        let mut buffer = BlockBuffer::with_capacity(PIECE_BYTES.min(left(range.start)));
        let mut actual = 0;
        let mut offset = range.start;
        while offset < range.end {
            let read = buffer.fill_by(left(offset), |bytes| self.partial.read_blocks(bytes, offset));
            if let Err(error) = read {
                tracing::warn!(path = %self.file.path, %index, %error, "an extent can't be read back");
                return false;
            }
            if buffer.bytes().is_empty() {
                return false;
            }
            actual = crc32c::crc32c_append(actual, buffer.bytes());
            take(buffer.bytes());
            offset += buffer.bytes().len() as u64;
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
