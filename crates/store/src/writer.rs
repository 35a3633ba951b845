//! One blob being brought here, extent by extent.

use std::{fmt, ops::Range};

use base::ByteSize;
use types::ManifestFile;

use crate::{FinishError, PublishedBlob, WriteExtentError};

/// The place of an extent in its file, from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtentIndex(pub u32);

impl fmt::Display for ExtentIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "extent {}", self.0)
    }
}

/// The right to write one blob. Share it by reference (or in an `Arc`) between streams; extents may come in any order
/// and several at once. Dropping it without [`BlobWriter::finish`] keeps what is there for the next claim.
#[derive(Debug)]
pub struct BlobWriter(());

impl BlobWriter {
    /// Returns the file as claimed.
    pub fn file(&self) -> &ManifestFile {
        unreachable!("being built")
    }

    /// Returns how long an extent of this file is (the last one may be shorter).
    pub fn extent_bytes(&self) -> u64 {
        unreachable!("being built")
    }

    /// Returns how many extents the file has.
    pub fn extent_count(&self) -> u32 {
        unreachable!("being built")
    }

    /// Returns which bytes of the file an extent holds. An extent beyond the end is empty.
    pub fn extent_range(&self, _index: ExtentIndex) -> Range<u64> {
        unreachable!("being built")
    }

    /// Returns the extents that are still to be written, in order. A few may come back when they are read and found damaged.
    pub fn missing_extents(&self) -> Vec<ExtentIndex> {
        unreachable!("being built")
    }

    /// Returns how many bytes are still to be written.
    pub fn missing_bytes(&self) -> ByteSize {
        unreachable!("being built")
    }

    /// Writes one whole extent. Blocks until it survives a power loss.
    ///
    /// # Errors
    /// [`WriteExtentError`] by condition.
    pub fn write_extent(&self, _index: ExtentIndex, _bytes: &[u8]) -> Result<(), WriteExtentError> {
        unreachable!("being built")
    }

    /// Checks the digest and publishes the blob. Blocks until it survives a power loss.
    ///
    /// # Errors
    /// [`FinishError`] by condition. Missing extents and full disks keep what is there; wrong bytes are thrown away.
    pub fn finish(self) -> Result<PublishedBlob, FinishError> {
        unreachable!("being built")
    }
}
