//! Ended workers whose logs are kept for whoever asks why: the latest few, for a while.
//!
//! It only says which; [`crate::host`] has the others removed. After a restart of the agent the driver tells of every
//! ended worker that still has a log, and they are put here again.

use std::{collections::BTreeSet, time::Duration};

use base::Timestamp;
use types::WorkerId;

/// Ended workers by the moment from which their logs are kept.
#[derive(Debug)]
pub(crate) struct Shelf {
    kept: BTreeSet<(Timestamp, WorkerId)>,
    count_max: usize,
    kept_for: Duration,
}

impl Shelf {
    /// Makes an empty one that keeps at most so many, each for so long.
    pub(crate) const fn new(count_max: usize, kept_for: Duration) -> Self {
        Self { kept: BTreeSet::new(), count_max, kept_for }
    }

    /// Keeps a worker's log from `since` on.
    pub(crate) fn put(&mut self, worker: WorkerId, since: Timestamp) {
        self.kept.insert((since, worker));
    }

    /// Takes out the workers whose time is over, and the oldest of too many.
    pub(crate) fn sweep(&mut self, now: Timestamp) -> Vec<WorkerId> {
        let mut over = Vec::new();
        while let Some((since, _)) = self.kept.first()
            && (self.kept.len() > self.count_max || *since + self.kept_for <= now)
        {
            over.extend(self.kept.pop_first().map(|(_, worker)| worker));
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_by_number_and_by_time() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let mut shelf = Shelf::new(2, Duration::from_secs(60));
        for (name, since) in [("wk_b", 2), ("wk_a", 1), ("wk_c", 30)] {
            shelf.put(name.parse().unwrap(), at(since));
        }
        let check = |shelf: &mut Shelf, now: i64, expected: &[&str]| {
            let over: Vec<String> = shelf.sweep(at(now)).iter().map(WorkerId::to_string).collect();
            assert_eq!(over, expected, "at {now}");
        };
        check(&mut shelf, 30, &["wk_a"]);
        check(&mut shelf, 61, &[]);
        check(&mut shelf, 62, &["wk_b"]);
        check(&mut shelf, 1000, &["wk_c"]);
        check(&mut shelf, 1000, &[]);
    }
}
