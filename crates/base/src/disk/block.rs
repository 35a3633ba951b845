//! Memory that a disk can take bytes from without a copy: blocks, aligned and reused.

use std::fmt;

/// What direct reads and writes are aligned to, in memory and in the file: a page, and the largest sector in use.
pub const BLOCK_BYTES: usize = 4096;

/// Returns whether bytes at this offset of a file can be written past the page cache: whole blocks in both places.
pub fn is_whole_blocks(bytes: &[u8], offset: u64) -> bool {
    bytes.len().is_multiple_of(BLOCK_BYTES)
        && offset.is_multiple_of(BLOCK_BYTES as u64)
        && bytes.as_ptr().addr().is_multiple_of(BLOCK_BYTES)
}

/// A buffer of a fixed capacity that begins on a block.
pub struct BlockBuffer {
    /// Longer than the capacity by a block, so that an aligned part of that length is in it.
    memory: Box<[u8]>,
    start: usize,
    capacity: usize,
    len: usize,
}

impl BlockBuffer {
    /// Makes an empty buffer. Its memory is taken from the system only as it is filled.
    pub fn with_capacity(capacity: usize) -> Self {
        let memory = vec![0; capacity + BLOCK_BYTES].into_boxed_slice();
        let start = memory.as_ptr().align_offset(BLOCK_BYTES);
        Self { memory, start, capacity, len: 0 }
    }

    /// Returns how many bytes it can hold.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Returns how many more bytes it can hold.
    pub const fn room(&self) -> usize {
        self.capacity - self.len
    }

    /// Takes as many of the bytes as there is room for; returns how many.
    pub fn fill(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room());
        let at = self.start + self.len;
        self.memory[at..at + taken].copy_from_slice(&bytes[..taken]);
        self.len += taken;
        taken
    }

    /// Lets a call write so many bytes at its start, as many as it has capacity for, and keeps as many as the call says.
    ///
    /// # Errors
    /// The call's; the buffer is then empty.
    pub fn fill_by<E>(
        &mut self,
        bytes_max: usize,
        call: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        self.len = 0;
        let bytes_max = bytes_max.min(self.capacity);
        self.len = call(&mut self.memory[self.start..self.start + bytes_max])?.min(bytes_max);
        Ok(())
    }

    /// Forgets its bytes.
    pub const fn clear(&mut self) {
        self.len = 0;
    }

    /// Returns its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }
}

impl AsRef<[u8]> for BlockBuffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl fmt::Debug for BlockBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockBuffer({} of {})", self.len, self.capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_begins_on_a_block_and_takes_what_fits() {
        for capacity in [1, BLOCK_BYTES, 3 * BLOCK_BYTES + 5] {
            let mut buffer = BlockBuffer::with_capacity(capacity);
            assert!(is_whole_blocks(buffer.bytes(), 0));
            let given: Vec<u8> = (0..=255).cycle().take(capacity + 7).collect();
            assert_eq!(buffer.fill(&given[..capacity / 2]), capacity / 2);
            assert_eq!(buffer.fill(&given[capacity / 2..]), capacity - capacity / 2);
            assert_eq!((buffer.bytes(), buffer.room()), (&given[..capacity], 0));
            assert_eq!(is_whole_blocks(buffer.bytes(), 0), capacity % BLOCK_BYTES == 0);
            buffer.clear();
            assert_eq!((buffer.bytes(), buffer.room()), (&[][..], capacity));
            let called = buffer.fill_by(capacity + 1, |bytes| {
                bytes.fill(9);
                Ok::<_, ()>(bytes.len() - 1)
            });
            assert_eq!((called, buffer.bytes()), (Ok(()), &vec![9; capacity - 1][..]));
        }
        let buffer = BlockBuffer::with_capacity(BLOCK_BYTES);
        assert!(!is_whole_blocks(buffer.bytes(), 1));
    }
}
