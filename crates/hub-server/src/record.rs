//! The latest requests, for whoever watches: how often the hub was asked, for what, and with a token or not.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use base::Timestamp;

/// So many requests are kept: a large model fetched by ranges is some thousands. About 2 MB.
const REQUESTS_KEPT_MAX: usize = 10_000;

/// Which of the two origins was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The Hub's own.
    Hub,
    /// That of the bytes.
    Cdn,
}

/// What is kept of a request. No query and no header's value but the range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// The origin that it came to.
    pub origin: Origin,
    /// When it came.
    pub at: Timestamp,
    /// Its method.
    pub method: String,
    /// Its path, as sent.
    pub path: String,
    /// The status that it got.
    pub status: u16,
    /// Whether it carried an `Authorization` header.
    pub authorized: bool,
    /// Its `Range` header.
    pub range: Option<String>,
}

/// Keeps the latest requests.
#[derive(Debug, Default)]
pub(crate) struct RequestLog(Mutex<VecDeque<RequestRecord>>);

impl RequestLog {
    pub(crate) fn push(&self, request: RequestRecord) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == REQUESTS_KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(request);
    }

    pub(crate) fn list(&self) -> Vec<RequestRecord> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
