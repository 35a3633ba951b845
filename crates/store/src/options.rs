//! What a store is opened with.

use std::path::PathBuf;

use base::ByteSize;

/// The extent size of new partial files. DESIGN.md, "Extents", has the measurements.
pub const EXTENT_BYTES_DEFAULT: ExtentBytes = ExtentBytes(8 * 1024 * 1024);

/// The smallest extent is a page of every machine that we run on: writes stay aligned.
const EXTENT_BYTES_MIN: u64 = 4096;
/// The largest extent is a buffer that a caller must hold whole, once per stream.
const EXTENT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Where a store lives and how it cuts files.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The folder of the store; made when missing. It must be one file system, for links and renames.
    pub root: PathBuf,
    /// The extent size of partial files begun from now on.
    pub extent_bytes: ExtentBytes,
}

impl StoreOptions {
    /// Returns the defaults for a store in this folder.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), extent_bytes: EXTENT_BYTES_DEFAULT }
    }
}

/// The size of an extent.
///
/// Invariant: a multiple of 4,096 bytes, at most 256 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtentBytes(u64);

/// A number of bytes that no extent can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an extent of {bytes} bytes is refused: it must be a multiple of 4,096 and at most 268,435,456")]
pub struct ExtentBytesRefused {
    /// The number as given.
    pub bytes: u64,
}

impl ExtentBytes {
    /// Makes an extent size.
    ///
    /// # Errors
    /// [`ExtentBytesRefused`] when it is no multiple of 4,096 or above 256 MiB.
    pub const fn new(size: ByteSize) -> Result<Self, ExtentBytesRefused> {
        let bytes = size.bytes();
        if bytes < EXTENT_BYTES_MIN || bytes > EXTENT_BYTES_MAX || !bytes.is_multiple_of(EXTENT_BYTES_MIN) {
            return Err(ExtentBytesRefused { bytes });
        }
        Ok(Self(bytes))
    }

    /// Returns the number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Returns how many extents a file of this length has; an empty file has none.
    pub(crate) const fn count(self, file_bytes: u64) -> u64 {
        file_bytes.div_ceil(self.0)
    }
    /// Returns how many bytes of a file are there, given the crc32c of each extent that is.
    pub(crate) fn present(self, file_bytes: u64, extents: &[Option<u32>]) -> u64 {
        let there = (0..).zip(extents).filter(|(_, crc)| crc.is_some());
        there.map(|(index, _): (u64, _)| self.0.min(file_bytes.saturating_sub(index * self.0))).sum()
    }
}
