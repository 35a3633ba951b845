//! The bounds: greedy, and in the know.
//!
//! Both admit what is wanted, as everyone must, take what is worth least until it is enough, and put back what was not
//! needed. Neither is a bound in the strict sense: with sizes as different as these the best choice is a knapsack
//! problem. Nothing online beats them by more than a hair where their knowledge is all there is to know.

use std::cmp::Reverse;

use base::Timestamp;

use super::Policy;
use crate::eviction::{disk::Disk, trace::Trace};

/// Takes models of the lowest rank until enough is free, and puts back, highest first, what was not needed.
///
/// Blobs that models share are reckoned with each of them: the runner asks again while the disk is too full.
fn cheapest<R: Ord>(disk: &Disk<'_>, needed: u64, rank: impl Fn(usize) -> R) -> Vec<usize> {
    let mut models = disk.models().to_vec();
    models.sort_by_key(|model| (rank(*model), *model));
    let mut freed = 0;
    let bytes = |model: usize| disk.trace().bytes_of(model).bytes();
    let enough = models.iter().position(|model| {
        freed += bytes(*model);
        freed >= needed
    });
    models.truncate(enough.map_or(models.len(), |last| last + 1));
    models.reverse();
    models.retain(|model| {
        let is_needed = freed - bytes(*model) < needed;
        if !is_needed {
            freed -= bytes(*model);
        }
        is_needed
    });
    models
}

/// Knows how often each model is asked for.
pub(super) struct Popularity {
    requests: Vec<u64>,
}

impl Popularity {
    pub(super) fn new(trace: &Trace) -> Self {
        let mut requests = vec![0; trace.models().len()];
        for request in trace.requests() {
            requests[request.model] += 1;
        }
        Self { requests }
    }
}

impl Policy for Popularity {
    fn used(&mut self, _: usize, _: usize, _: Timestamp) {}

    fn victims(&mut self, disk: &Disk<'_>, needed: u64, _: Timestamp) -> Vec<usize> {
        cheapest(disk, needed, |model| self.requests[model])
    }

    fn left(&mut self, _: usize) {}
}

/// Knows when each model is wanted next.
pub(super) struct Clairvoyant {
    /// For each request: the next one for the same model, or no request's number.
    next_of_request: Vec<usize>,
    next: Vec<usize>,
}

impl Clairvoyant {
    pub(super) fn new(trace: &Trace) -> Self {
        let mut next = vec![usize::MAX; trace.models().len()];
        let mut next_of_request = vec![usize::MAX; trace.requests().len()];
        for (number, request) in trace.requests().iter().enumerate().rev() {
            next_of_request[number] = std::mem::replace(&mut next[request.model], number);
        }
        Self { next_of_request, next }
    }
}

impl Policy for Clairvoyant {
    fn used(&mut self, request: usize, model: usize, _: Timestamp) {
        self.next[model] = self.next_of_request[request];
    }

    fn victims(&mut self, disk: &Disk<'_>, needed: u64, _: Timestamp) -> Vec<usize> {
        cheapest(disk, needed, |model| Reverse(self.next[model]))
    }

    fn left(&mut self, _: usize) {}
}
