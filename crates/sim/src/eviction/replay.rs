//! The runner: a trace on a disk under a policy.

use std::time::Duration;

use base::{ByteSize, Timestamp};
use serde::Serialize;

use super::{
    disk::Disk,
    policy::{Policy, PolicyName},
    trace::Trace,
};

/// The host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// What its disk holds.
    pub disk: ByteSize,
    /// Bytes per second of a fetch.
    pub rate_bytes: u64,
    /// What a fetch costs beside its bytes.
    pub fetch_overhead: Duration,
}

impl Setup {
    /// Makes a host that fetches at 200 MB/s, two thirds of what this project's engine reached where it was measured,
    /// with a second for each fetch beside its bytes, as the planner reckons.
    pub const fn new(disk: ByteSize) -> Self {
        Self { disk, rate_bytes: 200_000_000, fetch_overhead: Duration::from_secs(1) }
    }

    /// Returns how long a fetch of so many bytes takes.
    pub(super) fn fetch_time(&self, bytes: ByteSize) -> Duration {
        let micros = u128::from(bytes.bytes()) * 1_000_000 / u128::from(self.rate_bytes.max(1));
        self.fetch_overhead + Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Requests.
    pub requests: u64,
    /// Requests for a model that was here with every byte.
    pub hits: u64,
    /// Bytes of the models that were requested, each time.
    pub bytes_requested: ByteSize,
    /// Of these, bytes that were here.
    pub bytes_hit: ByteSize,
    /// Bytes that were fetched.
    pub bytes_fetched: ByteSize,
    /// How long requests waited for fetches, together.
    pub waited: Duration,
    /// Models that were evicted.
    pub evictions: u64,
    /// Requests for models that the disk is too small for.
    pub refused: u64,
}

impl Outcome {
    /// Returns the part of the requested bytes that was here.
    pub fn byte_hit_ratio(&self) -> f64 {
        ratio(self.bytes_hit.bytes(), self.bytes_requested.bytes())
    }

    /// Returns the part of the requests that found everything here.
    pub fn hit_ratio(&self) -> f64 {
        ratio(self.hits, self.requests)
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Runs a trace.
///
/// # Panics
/// When a policy evicts what is not there: that is a bug of the policy.
pub fn replay(trace: &Trace, policy: PolicyName, setup: &Setup) -> Outcome {
    let mut policy = policy.policy(trace, setup);
    let mut disk = Disk::new(trace);
    let mut outcome = Outcome::default();
    for (number, request) in trace.requests().iter().enumerate() {
        let (model, bytes) = (request.model, trace.bytes_of(request.model));
        outcome.requests += 1;
        outcome.bytes_requested += bytes;
        if disk.is_here(model) {
            outcome.hits += 1;
            outcome.bytes_hit += bytes;
        } else if bytes > setup.disk {
            outcome.refused += 1;
            continue;
        } else {
            outcome.evictions += make_room(&mut disk, policy.as_mut(), setup, model, request.at);
            let missing = ByteSize(disk.missing(model));
            outcome.bytes_hit += ByteSize(bytes.bytes() - missing.bytes());
            outcome.bytes_fetched += missing;
            outcome.waited += setup.fetch_time(missing);
            disk.add(model);
        }
        policy.used(number, model, request.at);
    }
    outcome
}

/// Evicts until a model fits, and returns how many models left.
fn make_room(
    disk: &mut Disk<'_>,
    policy: &mut dyn Policy,
    setup: &Setup,
    model: usize,
    now: Timestamp,
) -> u64 {
    let mut evicted = 0;
    // What leaves may share blobs with the model that comes, so what is needed can grow on the way.
    while let Some(needed) = needed(disk, setup, model) {
        let victims = policy.victims(disk, needed, now);
        assert!(!victims.is_empty(), "a disk that is too full has something to evict");
        for victim in victims {
            assert!(disk.is_here(victim), "only what is here is evicted");
            disk.remove(victim);
            policy.left(victim);
            evicted += 1;
        }
    }
    evicted
}

fn needed(disk: &Disk<'_>, setup: &Setup, model: usize) -> Option<u64> {
    (disk.taken() + disk.missing(model)).checked_sub(setup.disk.bytes()).filter(|needed| *needed > 0)
}
