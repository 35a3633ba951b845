//! The memory of all fetches: one budget, and buffers that are used again. Fresh pages cost as much as a copy.

use std::sync::{Arc, Mutex, PoisonError};

use base::{BlockBuffer, ByteSize};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What streams gather before they write it: large enough to keep a disk busy (here 1 MiB is as fast as 4), so small
/// that two for each of many streams fit into the budget.
pub(crate) const PIECE_BYTES: usize = 1024 * 1024;

/// The budget.
#[derive(Debug)]
pub(crate) struct Memory {
    /// In KiB.
    room: Arc<Semaphore>,
    kib_max: u32,
    idle: Arc<Mutex<Vec<BlockBuffer>>>,
}

/// A part of the budget; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Room(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// A buffer of at most [`PIECE_BYTES`], and its part of the budget. Its memory is used again when it is dropped.
#[derive(Debug)]
pub(crate) struct Piece {
    /// `None` only while it is dropped.
    buffer: Option<BlockBuffer>,
    capacity: usize,
    idle: Arc<Mutex<Vec<BlockBuffer>>>,
    _room: Room,
}

impl Memory {
    pub(crate) fn new(bytes_max: ByteSize) -> Self {
        // Less than one piece would be no budget at all.
        let kib = (bytes_max.bytes() / 1024).max(PIECE_BYTES as u64 / 1024);
        let kib_max = u32::try_from(kib).unwrap_or(u32::MAX);
        Self { room: Arc::new(Semaphore::new(kib_max as usize)), kib_max, idle: Arc::default() }
    }

    /// Waits for room; more than there is at all counts as all of it.
    ///
    /// # Cancel safety
    /// Dropping the future loses only the place in the queue.
    pub(crate) async fn room(&self, bytes: u64) -> Room {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).clamp(1, self.kib_max);
        let permit = self.room.clone().acquire_many_owned(kib).await;
        Room(permit.expect("the semaphore is never closed"))
    }

    /// Waits for an empty piece that can hold so many bytes, if a piece can.
    ///
    /// # Cancel safety
    /// As [`Memory::room`].
    pub(crate) async fn piece(&self, bytes: usize) -> Piece {
        let capacity = bytes.min(PIECE_BYTES);
        let room = self.room(capacity as u64).await;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let buffer = idle.unwrap_or_else(|| BlockBuffer::with_capacity(PIECE_BYTES));
        Piece { buffer: Some(buffer), capacity, idle: self.idle.clone(), _room: room }
    }
}

impl Piece {
    /// Takes as many of the bytes as there is room for; returns how many.
    pub(crate) fn fill(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.space());
        self.buffer.as_mut().map_or(0, |buffer| buffer.fill(&bytes[..taken]))
    }

    /// Returns how many more bytes it can hold.
    pub(crate) fn space(&self) -> usize {
        self.capacity - self.as_ref().len()
    }

    /// Returns its bytes, to be shared; the budget gets its part back with the last of them.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], BlockBuffer::bytes)
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(mut buffer) = self.buffer.take() {
            buffer.clear();
            // Never more than the budget has pieces: each was taken under it.
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_are_used_again_and_never_more_than_the_budget_has_room_for() {
        let memory = Memory::new(ByteSize::mib(2));
        let mut first = memory.piece(PIECE_BYTES).await;
        assert_eq!(
            (first.fill(&[7; 100]), first.as_ref().len(), first.space()),
            (100, 100, PIECE_BYTES - 100)
        );
        let address = first.as_ref().as_ptr();
        let second = memory.piece(PIECE_BYTES).await;
        let third =
            tokio::time::timeout(std::time::Duration::from_millis(10), memory.piece(PIECE_BYTES)).await;
        assert!(third.is_err(), "the budget has two");
        let shared = first.freeze();
        let copy = shared.clone();
        drop(shared);
        assert_eq!(copy.len(), 100);
        drop(copy);
        let third = memory.piece(PIECE_BYTES).await;
        assert_eq!((third.as_ref().as_ptr(), third.as_ref().len()), (address, 0));
        drop((second, third));
        // More than there is counts as all.
        memory.room(1 << 40).await;
    }
}
