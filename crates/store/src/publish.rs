//! Publishing: from verified bytes to a blob that everyone may see.

use base::ByteSize;
use types::Digest;

use crate::ContentMismatch;

/// A blob that is here, verified and durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedBlob {
    /// Its digest.
    pub digest: Digest,
    /// Its length.
    pub size: ByteSize,
}

/// What became of a batch of small files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SmallBatch {
    /// The blobs that are here now.
    pub published: Vec<PublishedBlob>,
    /// The files whose bytes were wrong; nothing of them was kept.
    pub mismatches: Vec<ContentMismatch>,
}
