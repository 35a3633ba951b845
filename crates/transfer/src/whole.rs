//! Brings a large file from a source that gives no ranges: over one connection, in order, skipping what is here.
//!
//! Slow, but it resumes: extents that are on the disk stay, and only the missing ones are written.

use std::sync::Arc;

use store::{BlobWriter, ExtentIndex};

use crate::{
    FetchError,
    fetch::Fetch,
    reading::{Sink, WholeSink, read_whole},
    seat::Seat,
    sink::ExtentSink,
    source::OpenFile,
};

/// Brings all missing extents of a file that no stream is bringing.
pub(crate) async fn bring(
    fetch: &Arc<Fetch>,
    file: &Arc<OpenFile>,
    writer: &Arc<BlobWriter>,
) -> Result<(), FetchError> {
    let extents = ExtentSink::new(fetch, writer.clone(), ExtentIndex(0));
    let mut sink = MissingSink { fetch, file, missing: Vec::new(), offset: 0, extents };
    let mut seat = Seat::new(fetch, 0);
    let ended = read_whole(file, &mut sink, &mut seat).await;
    let settled = sink.extents.settle().await;
    ended.and(settled.map(drop))
}

/// Writes the extents that are missing and lets the others pass.
struct MissingSink<'a> {
    fetch: &'a Fetch,
    file: &'a OpenFile,
    /// In falling order, so that the next one is the last.
    missing: Vec<ExtentIndex>,
    offset: u64,
    extents: ExtentSink<'a>,
}

impl WholeSink for MissingSink<'_> {
    async fn begin(&mut self) {
        let lost = self.extents.go_to(ExtentIndex(0)).await;
        self.fetch.tracker.discarded(&self.file.file.path, lost);
        self.missing = self.extents.writer.missing_extents();
        self.missing.reverse();
        self.offset = 0;
    }
}

impl Sink for MissingSink<'_> {
    async fn take(&mut self, mut bytes: &[u8]) -> Result<(), FetchError> {
        while !bytes.is_empty() {
            let next = self.missing.last().copied();
            let range = next.map(|index| self.extents.writer.extent_range(index));
            let until_next = range.as_ref().map_or(u64::MAX, |range| range.start.saturating_sub(self.offset));
            if until_next > 0 {
                let skipped = bytes.len().min(usize::try_from(until_next).unwrap_or(usize::MAX));
                self.fetch.tracker.discarded(&self.file.file.path, skipped as u64);
                bytes = &bytes[skipped..];
                self.offset += skipped as u64;
                continue;
            }
            let (Some(index), Some(range)) = (next, range) else { continue };
            if self.offset == range.start {
                self.extents.go_to(index).await;
            }
            let left = usize::try_from(range.end - self.offset).unwrap_or(usize::MAX);
            let taken = bytes.len().min(left);
            self.extents.take(&bytes[..taken]).await?;
            bytes = &bytes[taken..];
            self.offset += taken as u64;
            if self.offset == range.end {
                self.missing.pop();
            }
        }
        Ok(())
    }
}
