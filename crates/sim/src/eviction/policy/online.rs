//! The rivals, as the literature has them: each evicts one model after the other, and forgets what has left.

use base::{ByteSize, Timestamp};

use super::Policy;
use crate::eviction::{disk::Disk, trace::Trace};

/// Returns the model on the disk with the lowest rank; of equals the first of the trace.
fn lowest<R: PartialOrd>(disk: &Disk<'_>, rank: impl Fn(usize) -> R) -> Vec<usize> {
    let lower = |one: usize, other: usize| (rank(other), other) < (rank(one), one);
    let found =
        disk.models().iter().copied().reduce(|one, other| if lower(one, other) { other } else { one });
    found.into_iter().collect()
}

/// Least recently used.
pub(super) struct Lru {
    last: Vec<Timestamp>,
}

impl Lru {
    pub(super) fn new(trace: &Trace) -> Self {
        Self { last: vec![Timestamp::EPOCH; trace.models().len()] }
    }
}

impl Policy for Lru {
    fn used(&mut self, _: usize, model: usize, now: Timestamp) {
        self.last[model] = now;
    }

    fn victims(&mut self, disk: &Disk<'_>, _: u64, _: Timestamp) -> Vec<usize> {
        lowest(disk, |model| self.last[model])
    }

    fn left(&mut self, _: usize) {}
}

/// Least frequently used since it came.
pub(super) struct Lfu {
    uses: Vec<u64>,
    last: Vec<Timestamp>,
}

impl Lfu {
    pub(super) fn new(trace: &Trace) -> Self {
        Self { uses: vec![0; trace.models().len()], last: vec![Timestamp::EPOCH; trace.models().len()] }
    }
}

impl Policy for Lfu {
    fn used(&mut self, _: usize, model: usize, now: Timestamp) {
        self.uses[model] += 1;
        self.last[model] = now;
    }

    fn victims(&mut self, disk: &Disk<'_>, _: u64, _: Timestamp) -> Vec<usize> {
        lowest(disk, |model| (self.uses[model], self.last[model]))
    }

    fn left(&mut self, model: usize) {
        self.uses[model] = 0;
    }
}

/// Greedy-Dual-Size-Frequency: uses times cost per byte, above the priority of whatever left last.
pub(super) struct Gdsf {
    /// Cost of each model per byte.
    cost: Vec<f64>,
    uses: Vec<f64>,
    priority: Vec<f64>,
    inflation: f64,
}

impl Gdsf {
    pub(super) fn new(trace: &Trace, cost: impl Fn(ByteSize) -> f64) -> Self {
        let models = trace.models().len();
        let per_byte = (0..models).map(|model| {
            let bytes = trace.bytes_of(model);
            cost(bytes) / bytes.bytes().max(1) as f64
        });
        Self {
            cost: per_byte.collect(),
            uses: vec![0.0; models],
            priority: vec![0.0; models],
            inflation: 0.0,
        }
    }
}

impl Policy for Gdsf {
    fn used(&mut self, _: usize, model: usize, _: Timestamp) {
        self.uses[model] += 1.0;
        self.priority[model] = self.inflation + self.uses[model] * self.cost[model];
    }

    fn victims(&mut self, disk: &Disk<'_>, _: u64, _: Timestamp) -> Vec<usize> {
        lowest(disk, |model| self.priority[model])
    }

    fn left(&mut self, model: usize) {
        self.uses[model] = 0.0;
        self.inflation = self.inflation.max(self.priority[model]);
    }
}
