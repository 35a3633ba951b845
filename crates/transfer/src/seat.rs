//! A stream's place among the connections of all fetches: kept from range to range, left while the stream waits.

use crate::{
    FetchCancelled,
    fetch::Fetch,
    lanes::{Claim, Lane},
};

/// A stream's connection, while it has one.
#[derive(Debug)]
pub(crate) struct Seat<'a> {
    pub(crate) fetch: &'a Fetch,
    /// Which of the fetch's files it is for.
    file: usize,
    lane: Option<Lane>,
}

impl<'a> Seat<'a> {
    /// Makes a place for a stream of a file; streams of one file share its number.
    pub(crate) const fn new(fetch: &'a Fetch, file: usize) -> Self {
        Self { fetch, file, lane: None }
    }

    /// Waits for a connection to a source, unless it has one.
    pub(crate) async fn take(&mut self, source: &str) -> Result<&Lane, FetchCancelled> {
        if self.lane.as_ref().is_some_and(|lane| lane.source() != source) {
            self.lane = None;
        }
        let lane = match self.lane.take() {
            Some(lane) => lane,
            None => {
                let claim = Claim { fetch: self.fetch.number, file: self.file, source: source.to_owned() };
                self.fetch.unless_cancelled(self.fetch.shared.lanes.acquire(claim)).await?
            }
        };
        Ok(self.lane.insert(lane))
    }

    /// Gives the connection back.
    pub(crate) fn release(&mut self) {
        self.lane = None;
    }
}
