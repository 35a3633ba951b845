//! The digest of a file whose pieces come in any order: what comes in its turn is hashed from memory, what comes early
//! is kept in memory within a budget, and what the budget has no room for is read back from the disk.
//!
//! The hash enters an extent only when the one before is written and recorded, so an extent that is given up is at
//! most the one that the hash stands in, and the hash goes back to its start.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicU64, Ordering},
    },
};

use base::ByteSize;
use bytes::Bytes;
use types::Digest;

use crate::hash::ContentHasher;

/// Memory for bytes that came before their turn, shared by the writers that are given it.
#[derive(Debug, Default)]
pub struct ReorderBudget {
    bytes_max: u64,
    used: AtomicU64,
}

impl ReorderBudget {
    /// Makes a budget of so many bytes.
    pub fn new(bytes_max: ByteSize) -> Arc<Self> {
        Arc::new(Self { bytes_max: bytes_max.bytes(), used: AtomicU64::new(0) })
    }

    fn take(self: &Arc<Self>, bytes: u64) -> Option<Taken> {
        let fits = |used: u64| Some(used + bytes).filter(|used| *used <= self.bytes_max);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        taken.ok().map(|_| Taken { budget: Arc::clone(self), bytes })
    }
}

/// A part of a budget; dropping it gives it back.
#[derive(Debug)]
struct Taken {
    budget: Arc<ReorderBudget>,
    bytes: u64,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Bytes that wait for their turn.
#[derive(Debug)]
struct Early {
    bytes: Bytes,
    /// `None` for a piece whose turn it is already: it waits only for another thread that is hashing.
    _taken: Option<Taken>,
}

/// How far the digest of a file is, and what waits for it.
#[derive(Debug)]
pub(super) struct HashOrder {
    extent_bytes: u64,
    budget: Arc<ReorderBudget>,
    /// By the offset of their first byte.
    early: Mutex<BTreeMap<u64, Early>>,
    /// Where the hash stands; changed only by whoever holds `hash`.
    front: AtomicU64,
    hash: Mutex<Hash>,
}

/// The hash itself, in the hands of one thread at a time.
#[derive(Debug)]
pub(super) struct Hash {
    hasher: ContentHasher,
    /// As it was at the start of the extent that the front is in, or at the end of.
    at_extent: ContentHasher,
    extent_start: u64,
}

impl HashOrder {
    pub(super) fn new(expected: &Digest, size: u64, extent_bytes: u64) -> Self {
        let hasher = ContentHasher::like(expected, size);
        Self {
            extent_bytes,
            budget: Arc::default(),
            early: Mutex::default(),
            front: AtomicU64::new(0),
            hash: Mutex::new(Hash { at_extent: hasher.clone(), hasher, extent_start: 0 }),
        }
    }

    pub(super) fn set_budget(&mut self, budget: Arc<ReorderBudget>) {
        self.budget = budget;
    }

    /// Returns the offset of the first byte that is not hashed.
    pub(super) fn front(&self) -> u64 {
        self.front.load(Ordering::Acquire)
    }

    /// Returns the start of the extent that holds an offset.
    fn extent_start(&self, offset: u64) -> u64 {
        offset - offset % self.extent_bytes
    }

    /// Keeps a piece for its turn, if there is room. One whose turn it is needs none: it goes at once.
    pub(super) fn offer(&self, offset: u64, bytes: Bytes) {
        let taken = if offset == self.front() {
            None
        } else {
            let Some(taken) = self.budget.take(bytes.len() as u64) else { return };
            Some(taken)
        };
        self.early().insert(offset, Early { bytes, _taken: taken });
    }

    /// Takes the hash, unless another thread has it: that one then looks again when it is done.
    pub(super) fn try_hash(&self) -> Option<MutexGuard<'_, Hash>> {
        match self.hash.try_lock() {
            Ok(hash) => Some(hash),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Waits for the hash.
    pub(super) fn hash(&self) -> MutexGuard<'_, Hash> {
        self.hash.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hashes the pieces that are next in order and in memory. Enters an extent only when `is_written` says so of the
    /// start of the one before.
    pub(super) fn hash_early(&self, hash: &mut Hash, is_written: impl Fn(u64) -> bool) {
        loop {
            let front = self.front();
            if front > hash.extent_start && front == self.extent_start(front) {
                if !is_written(hash.extent_start) {
                    return;
                }
                hash.enter(front);
            }
            let Some(piece) = self.early().remove(&front) else { return };
            hash.hasher.update(&piece.bytes);
            self.front.store(front + piece.bytes.len() as u64, Ordering::Release);
        }
    }

    /// Returns whether the piece that is next in order is in memory.
    pub(super) fn has_next(&self) -> bool {
        self.early().contains_key(&self.front())
    }

    /// Takes up what was read back of the extent that the front is in, or at the start of: all of it, hashed by
    /// `hasher` from [`Hash::at_start_of`].
    pub(super) fn pass(&self, hash: &mut Hash, hasher: ContentHasher, end: u64) {
        let front = self.front();
        self.forget(self.extent_start(front)..end);
        hash.hasher = hasher;
        self.front.store(end, Ordering::Release);
    }

    /// Forgets an extent that was given up or is damaged: what waits of it, and what was hashed of it.
    ///
    /// # Panics
    /// When a later extent has been entered: it was recorded as written then.
    pub(super) fn give_up(&self, hash: &mut Hash, extent: std::ops::Range<u64>) {
        self.forget(extent.clone());
        let front = self.front();
        if front > extent.start {
            assert!(hash.extent_start <= extent.start, "the hash has passed an extent that is not there");
            hash.hasher = hash.at_extent.clone();
            self.front.store(hash.extent_start, Ordering::Release);
        }
    }

    fn forget(&self, range: std::ops::Range<u64>) {
        let mut early = self.early();
        let gone: Vec<u64> = early.range(range).map(|(offset, _)| *offset).collect();
        for offset in gone {
            early.remove(&offset);
        }
    }

    fn early(&self) -> MutexGuard<'_, BTreeMap<u64, Early>> {
        self.early.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hash {
    fn enter(&mut self, start: u64) {
        self.at_extent = self.hasher.clone();
        self.extent_start = start;
    }

    /// Returns the hash as it was at the start of an extent: the one that the front is in, or at the start of.
    pub(super) fn at_start_of(&mut self, start: u64) -> ContentHasher {
        if start > self.extent_start {
            self.enter(start);
        }
        self.at_extent.clone()
    }

    /// Returns the digest of all that was hashed.
    pub(super) fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }
}
