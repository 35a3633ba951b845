//! Faults on order, for tests and drills: what a hub can do wrong, as plain data.
//!
//! A hub that is slow, fails, lies or stops is what the fetching side must survive. These options make one, in the
//! real server and over the real protocol. All are off by default.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base::ByteSize;

/// What goes wrong. The default: nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// Requests answered with an error instead.
    pub failures: Vec<Failure>,
    /// Answers whose bytes are harmed on the way.
    pub bodies: Vec<BodyFault>,
    /// Untruths in listings.
    pub listing: Vec<ListingLie>,
    /// How long signed links are good, in place of the configured time.
    pub link_lifetime: Option<Duration>,
    /// Bytes per second on each connection, where lower than the configured rate.
    pub rate_max: Option<ByteSize>,
    /// How long every request waits for its answer.
    pub answer_delay: Option<Duration>,
    /// The origin (`http://host:port`) that the link to the next page of a listing names.
    pub next_page_origin: Option<String>,
    /// The origin that links to bytes name.
    pub link_origin: Option<String>,
    /// A request without a range for more bytes than this is answered 400, as the public Hub's CDN does.
    pub whole_file_bytes_max: Option<ByteSize>,
    /// Ranges are ignored: every answer holds the whole file.
    pub ignore_ranges: bool,
    /// Every token lacks the right to read gated repositories.
    pub token_scope_refused: bool,
}

/// Which requests a failure hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// Those below `/api/`, except for bytes.
    Api,
    /// Those that resolve a file.
    Resolve,
    /// Those for bytes: signed links and small files.
    Bytes,
}

/// Requests answered with an error: the ones after the first `skip`, `count` of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which requests count.
    pub hit: Hit,
    /// So many are answered well first.
    pub skip: u32,
    /// So many then fail; `u32::MAX` for all.
    pub count: u32,
    /// The status they get.
    pub status: u16,
    /// What `Retry-After` says.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// Makes a failure of every request of a kind.
    pub const fn always(hit: Hit, status: u16) -> Self {
        Self { hit, skip: 0, count: u32::MAX, status, retry_after: None }
    }

    /// Makes a failure of the `nth` request of a kind, counted from 1.
    pub const fn nth(hit: Hit, nth: u32, status: u16) -> Self {
        Self { hit, skip: nth.saturating_sub(1), count: 1, status, retry_after: None }
    }
}

/// Bytes harmed on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyFault {
    /// Only files whose path ends with this; the empty text means all.
    pub path_ends_with: String,
    /// Only so many answers; `u32::MAX` for all.
    pub count: u32,
    /// What happens.
    pub harm: Harm,
}

impl BodyFault {
    /// Makes a fault of every answer with bytes of any file.
    pub const fn always(harm: Harm) -> Self {
        Self { path_ends_with: String::new(), count: u32::MAX, harm }
    }
}

/// What happens to the bytes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// The connection ends after this many bytes of the answer, if it has more.
    TruncateAfter(u64),
    /// Nothing comes after this many bytes of the answer, and the connection stays open.
    StallAfter(u64),
    /// The byte at this offset of the file has all its bits turned round, where the answer holds it.
    FlipByteAt(u64),
}

/// An untruth in a listing. The file itself stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListingLie {
    /// A file has another size.
    Size {
        /// The file.
        path: String,
        /// The size told.
        size: u64,
    },
    /// A file has another digest.
    Digest {
        /// The file.
        path: String,
        /// The digest told, as hex.
        digest: String,
    },
    /// A file has another path.
    Path {
        /// The file.
        path: String,
        /// The path told: anything, such as `../../x`.
        shown: String,
    },
}

/// Counts what the faults have hit.
#[derive(Debug)]
pub(crate) struct FaultBook(Mutex<Book>);

#[derive(Debug)]
struct Book {
    faults: Faults,
    failures_seen: Vec<u32>,
    bodies_hit: Vec<u32>,
}

impl FaultBook {
    pub(crate) fn new(faults: Faults) -> Self {
        Self(Mutex::new(Book::new(faults)))
    }

    /// Replaces the faults and starts counting anew.
    pub(crate) fn set(&self, faults: Faults) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Book::new(faults);
    }

    /// Returns the faults in force.
    pub(crate) fn faults(&self) -> Faults {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).faults.clone()
    }

    /// Counts a request and returns the failure that hits it.
    pub(crate) fn failure(&self, hit: Hit) -> Option<Failure> {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Book { faults, failures_seen, .. } = &mut *book;
        let mut found = None;
        for (failure, seen) in faults.failures.iter().zip(failures_seen) {
            if failure.hit != hit {
                continue;
            }
            let place = *seen;
            *seen = seen.saturating_add(1);
            if place >= failure.skip && place - failure.skip < failure.count && found.is_none() {
                found = Some(failure.clone());
            }
        }
        found
    }

    /// Counts an answer with the bytes of a file and returns what happens to it.
    pub(crate) fn harms(&self, path: &str) -> Vec<Harm> {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Book { faults, bodies_hit, .. } = &mut *book;
        let mut harms = Vec::new();
        for (fault, hit) in faults.bodies.iter().zip(bodies_hit) {
            if path.ends_with(&fault.path_ends_with) && *hit < fault.count {
                *hit += 1;
                harms.push(fault.harm);
            }
        }
        harms
    }
}

impl Book {
    fn new(faults: Faults) -> Self {
        let (failures_seen, bodies_hit) = (vec![0; faults.failures.len()], vec![0; faults.bodies.len()]);
        Self { faults, failures_seen, bodies_hit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_hit_the_requests_they_name() {
        let book = FaultBook::new(Faults {
            failures: vec![
                Failure::nth(Hit::Bytes, 2, 503),
                Failure { skip: 3, count: 2, ..Failure::always(Hit::Bytes, 500) },
            ],
            ..Faults::default()
        });
        assert_eq!(book.failure(Hit::Api), None);
        let seen: Vec<Option<u16>> =
            (0..6).map(|_| book.failure(Hit::Bytes).map(|failure| failure.status)).collect();
        assert_eq!(seen, [None, Some(503), None, Some(500), Some(500), None]);
    }

    #[test]
    fn harms_stop_after_their_count() {
        let fault = BodyFault { path_ends_with: ".bin".into(), count: 1, harm: Harm::FlipByteAt(3) };
        let book = FaultBook::new(Faults { bodies: vec![fault], ..Faults::default() });
        assert_eq!(book.harms("a.json"), []);
        assert_eq!(book.harms("a.bin"), [Harm::FlipByteAt(3)]);
        assert_eq!(book.harms("a.bin"), []);
        book.set(book.faults());
        assert_eq!(book.harms("b.bin"), [Harm::FlipByteAt(3)]);
    }
}
