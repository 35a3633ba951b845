//! One extent being written, piece by piece.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    ExtentLength, WriteExtentError,
    writer::{BlobWriter, ExtentIndex},
};

/// The right to write one extent of a blob, in order. Dropped before [`ExtentWriter::commit`], the extent is missing
/// as before.
#[derive(Debug)]
pub struct ExtentWriter {
    writer: Arc<BlobWriter>,
    index: ExtentIndex,
    written: u64,
    crc: u32,
    is_entered: bool,
}

impl ExtentWriter {
    pub(super) const fn new(writer: Arc<BlobWriter>, index: ExtentIndex) -> Self {
        Self { writer, index, written: 0, crc: 0, is_entered: true }
    }

    /// Returns how many bytes the extent still lacks.
    pub fn missing_bytes(&self) -> u64 {
        let range = self.writer.extent_range(self.index);
        range.end - range.start - self.written
    }

    /// Writes the next bytes. Blocks for the disk and perhaps for the hash, not for a sync. Bytes that begin on a block
    /// in memory, and end on one unless they are the file's last, are written without a copy. They may be kept until
    /// their turn to be hashed comes.
    ///
    /// # Errors
    /// [`WriteExtentError`] by condition; the extent is then to be dropped.
    pub fn append(&mut self, bytes: Bytes) -> Result<(), WriteExtentError> {
        let given = bytes.len() as u64;
        if given > self.missing_bytes() {
            return Err(self.length(given));
        }
        let offset = self.writer.extent_range(self.index).start + self.written;
        self.writer.write_piece(offset, &bytes)?;
        self.crc = crc32c::crc32c_append(self.crc, &bytes);
        self.written += given;
        self.writer.hash_piece(offset, bytes);
        Ok(())
    }

    /// Blocks until the extent survives a power loss (a file of one extent does so only when it is finished).
    ///
    /// # Errors
    /// [`WriteExtentError`] by condition.
    pub fn commit(mut self) -> Result<(), WriteExtentError> {
        if self.missing_bytes() > 0 {
            return Err(self.length(0));
        }
        self.is_entered = false;
        self.writer.commit(self.index, self.crc)
    }

    fn length(&self, given: u64) -> WriteExtentError {
        let range = self.writer.extent_range(self.index);
        let (expected, given) = (range.end - range.start, self.written + given);
        ExtentLength { index: self.index, expected, given }.into()
    }
}

impl Drop for ExtentWriter {
    fn drop(&mut self) {
        if self.is_entered {
            self.writer.leave(self.index);
        }
    }
}
