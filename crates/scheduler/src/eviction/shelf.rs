//! What eviction is asked, and what it answers.

use base::ByteSize;
use serde::{Deserialize, Serialize};

use super::{
    outlook::Outlook,
    score::{Grounds, KeepScore},
    uses::Uses,
};

/// Why a model may or may not leave. The order is that of strength: a blob counts to the strongest of its models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// A worker or a fetch uses it now.
    Leased,
    /// An operator said that it stays.
    Pinned,
    /// Something is about to use it: a start that is held for it, or an admission that counted on its bytes.
    Wanted,
    /// Nobody needs it at the moment.
    Free,
}

/// A blob of a [`Shelf`], which gave it this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobIndex(pub(super) u32);

/// A model on a shelf.
#[derive(Clone, Debug, PartialEq)]
pub struct Shelved<K> {
    /// What the caller calls it. Of two models that are worth the same, the lower key goes first.
    pub key: K,
    /// Its blobs. Naming one twice changes nothing.
    pub blobs: Vec<BlobIndex>,
    /// Whether it may leave.
    pub standing: Standing,
    /// When it was used.
    pub uses: Uses,
    /// How fast the best source that still has it would bring it again, in bytes per second.
    pub refetch_rate_bytes: u64,
    /// How many other hosts hold all of it.
    pub copies_elsewhere: u32,
}

/// The models of one host with their blobs. Models may share blobs, so what leaves with one depends on the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Shelf<K> {
    pub(super) models: Vec<Shelved<K>>,
    pub(super) blobs: Vec<ByteSize>,
}

impl<K> Default for Shelf<K> {
    fn default() -> Self {
        Self { models: Vec::new(), blobs: Vec::new() }
    }
}

impl<K> Shelf<K> {
    /// Makes an empty shelf.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a blob by the bytes that its removal frees on the disk. Each content is added once, whoever names it.
    ///
    /// # Panics
    /// When there are more than 2^32 blobs, which no disk has room for.
    pub fn blob(&mut self, bytes: ByteSize) -> BlobIndex {
        let index = u32::try_from(self.blobs.len()).expect("a disk has no room for 2^32 blobs");
        self.blobs.push(bytes);
        BlobIndex(index)
    }

    /// Adds a model. Each key is added once.
    ///
    /// # Panics
    /// When it names a blob of another shelf.
    pub fn model(&mut self, mut model: Shelved<K>) {
        model.blobs.sort_unstable();
        model.blobs.dedup();
        let known = model.blobs.last().is_none_or(|last| (last.0 as usize) < self.blobs.len());
        assert!(known, "a model names blobs of its own shelf");
        self.models.push(model);
    }

    /// Returns the models, in the order in which they were added.
    pub fn models(&self) -> &[Shelved<K>] {
        &self.models
    }

    pub(super) fn bytes_of(&self, blob: BlobIndex) -> u64 {
        self.blobs[blob.0 as usize].bytes()
    }
}

/// A model that is to leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Victim<K> {
    /// Which.
    pub key: K,
    /// Bytes that go with it once those before it in the plan are gone. Zero only when a later victim shares its blobs.
    pub frees: ByteSize,
    /// Its place among the others.
    pub score: KeepScore,
    /// What the score was made from, in numbers that people know.
    pub grounds: Grounds,
}

/// Models that may not leave, for one reason, and the bytes that stay because of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    /// How many.
    pub models: u64,
    /// Bytes of their blobs. One that several reasons hold counts to the strongest.
    pub bytes: ByteSize,
}

/// What may not leave, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// In use.
    pub leased: Held,
    /// Kept by an operator's word.
    pub pinned: Held,
    /// About to be used.
    pub wanted: Held,
}

/// What is to leave so that enough bytes are free.
///
/// When it is `short_by` some, everything that may leave is a victim: the caller may prefer to refuse and remove nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EvictionPlan<K> {
    /// How past uses were read.
    pub outlook: Outlook,
    /// In the order in which they should go. Without any one of them, too few bytes would be freed.
    pub victims: Vec<Victim<K>>,
    /// What they free together.
    pub freed: ByteSize,
    /// What is still missing then: all that may leave is not enough.
    pub short_by: ByteSize,
    /// What may not leave.
    pub kept: Kept,
}
