//! Where a stream's bytes go: gathered into pieces, each written while the next one is gathered.
//!
//! An extent is durable before the first byte of the next one is taken, so a stream that ends at any point has at most
//! one extent to fetch again. After its last extent a stream leaves its connection to another before it waits for that.

use std::sync::Arc;

use store::{BlobWriter, ExtentIndex, ExtentWriter, WriteExtentError};
use tokio::task::JoinHandle;

use crate::{
    FetchError,
    fetch::{Fetch, joined},
    memory::Piece,
    reading::Sink,
};

/// Writes the extents of one file, from one stream, in order.
#[derive(Debug)]
pub(crate) struct ExtentSink<'a> {
    fetch: &'a Fetch,
    pub(crate) writer: Arc<BlobWriter>,
    /// The extent that the next byte belongs to.
    next: ExtentIndex,
    /// Bytes of that extent that were taken.
    taken: u64,
    gathering: Option<Piece>,
    state: State,
}

/// The extent that is being written.
#[derive(Debug)]
enum State {
    /// None, or in the hands of nobody but this sink.
    Idle(Option<ExtentWriter>),
    /// A piece is on its way to the disk.
    Writing(JoinHandle<Result<Option<ExtentWriter>, WriteExtentError>>),
}

impl<'a> ExtentSink<'a> {
    pub(crate) const fn new(fetch: &'a Fetch, writer: Arc<BlobWriter>, next: ExtentIndex) -> Self {
        Self { fetch, writer, next, taken: 0, gathering: None, state: State::Idle(None) }
    }

    /// Goes to the start of another extent; what was taken of the present one is thrown away. Returns how many bytes
    /// that was.
    pub(crate) async fn go_to(&mut self, next: ExtentIndex) -> u64 {
        // A write that failed is told by the next one: the extent is given up in any case.
        drop(self.settle().await);
        self.state = State::Idle(None);
        self.gathering = None;
        self.next = next;
        std::mem::take(&mut self.taken)
    }

    /// Waits for the write that is under way. To be called before the sink is dropped, so that the writer is free.
    pub(crate) async fn settle(&mut self) -> Result<Option<ExtentWriter>, FetchError> {
        match std::mem::replace(&mut self.state, State::Idle(None)) {
            State::Idle(extent) => Ok(extent),
            State::Writing(handle) => Ok(joined(handle).await?),
        }
    }

    /// Sends the gathered piece to the disk, after the one before it.
    async fn flush(&mut self) -> Result<(), FetchError> {
        let Some(piece) = self.gathering.take() else { return Ok(()) };
        let extent = self.settle().await?;
        let (writer, index, piece) = (self.writer.clone(), self.next, piece.freeze());
        let range = self.writer.extent_range(index);
        let is_last = self.taken == range.end - range.start;
        let handle = tokio::task::spawn_blocking(move || {
            let begun = match extent {
                Some(extent) => Some(extent),
                None => writer.begin_extent(index)?,
            };
            // An extent that is there already is left as it is.
            let Some(mut extent) = begun else { return Ok(None) };
            extent.append(piece)?;
            if extent.missing_bytes() > 0 {
                return Ok(Some(extent));
            }
            extent.commit()?;
            Ok(None)
        });
        self.state = State::Writing(handle);
        if is_last {
            self.next = ExtentIndex(index.0 + 1);
            self.taken = 0;
            self.fetch.tracker.wrote();
        }
        Ok(())
    }
}

impl Sink for ExtentSink<'_> {
    async fn take(&mut self, mut bytes: &[u8]) -> Result<(), FetchError> {
        while !bytes.is_empty() {
            if self.taken == 0 {
                // Not ended by a cancelled fetch: the bytes of the extent before are here, so they are kept.
                drop(self.settle().await?);
            }
            let range = self.writer.extent_range(self.next);
            let left = usize::try_from(range.end - range.start - self.taken).unwrap_or(usize::MAX);
            let mut piece = match self.gathering.take() {
                Some(piece) => piece,
                None => self.fetch.unless_cancelled(self.fetch.shared.memory.piece(left)).await?,
            };
            let filled = piece.fill(&bytes[..bytes.len().min(left)]);
            self.taken += filled as u64;
            bytes = &bytes[filled..];
            let is_full = piece.space() == 0 || filled == left;
            self.gathering = Some(piece);
            if is_full {
                self.flush().await?;
            }
        }
        Ok(())
    }
}
