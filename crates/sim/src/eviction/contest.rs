//! The contest: workloads, disks and policies, and whether our policy reaches its goal.

use std::collections::BTreeMap;

use base::ByteSize;

use super::{
    policy::PolicyName,
    replay::{Outcome, Setup, replay},
    workload::{Scale, Workload},
};

/// Disks of a contest, in working sets: from far too small to nearly enough for everything.
pub const DISK_SHARES: [f64; 5] = [0.3, 0.6, 1.0, 1.7, 3.0];

/// What is contested.
#[derive(Clone, Debug, PartialEq)]
pub struct Contest {
    /// Which workloads.
    pub workloads: Vec<Workload>,
    /// How large they are.
    pub scale: Scale,
    /// Disks, in working sets.
    pub disk_shares: Vec<f64>,
    /// The seeds; each makes a trace of every workload.
    pub seeds: Vec<u64>,
}

/// One trace on one disk.
#[derive(Clone, Debug, PartialEq)]
pub struct ContestRow {
    /// The workload.
    pub workload: Workload,
    /// Its seed.
    pub seed: u64,
    /// The disk, in working sets.
    pub disk_share: f64,
    /// The disk.
    pub disk: ByteSize,
    /// What came of each policy.
    pub outcomes: BTreeMap<PolicyName, Outcome>,
}

/// A part of the goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Goal {
    /// On Zipf traces: 0.9 of the greedy offline bound.
    NearTheBound,
    /// On Zipf traces: above LRU and LFU, on the mean of the seeds. On disks that hold nearly everything a single trace is
    /// decided by a handful of misses.
    AboveLruAndLfu,
    /// On all traces: at most 2 % below the best rival.
    NearTheBestRival,
}

/// Part of the bound's byte-hit ratio that must be reached.
const BOUND_PART_MIN: f64 = 0.9;
/// Part of the best rival's byte-hit ratio that must be reached.
const RIVAL_PART_MIN: f64 = 0.98;

impl ContestRow {
    /// Returns a policy's byte-hit ratio.
    ///
    /// # Panics
    /// When the policy took no part.
    pub fn byte_hit_ratio(&self, policy: PolicyName) -> f64 {
        self.outcomes[&policy].byte_hit_ratio()
    }

    /// Returns the best byte-hit ratio of a rival.
    pub fn best_rival(&self) -> f64 {
        PolicyName::RIVALS.into_iter().map(|rival| self.byte_hit_ratio(rival)).fold(0.0, f64::max)
    }

    /// Returns our byte-hit ratio as a part of another.
    pub fn part_of(&self, other: f64) -> f64 {
        // Where nobody hits anything, nothing is missing.
        if other == 0.0 { 1.0 } else { self.byte_hit_ratio(PolicyName::Larder) / other }
    }

    /// Returns what is not reached on this trace.
    pub fn missed(&self) -> Vec<Goal> {
        let mut missed = Vec::new();
        let bound = self.byte_hit_ratio(PolicyName::Popularity);
        if self.workload.is_zipf() && self.part_of(bound) < BOUND_PART_MIN {
            missed.push(Goal::NearTheBound);
        }
        if self.part_of(self.best_rival()) < RIVAL_PART_MIN {
            missed.push(Goal::NearTheBestRival);
        }
        missed
    }
}

/// Returns the mean byte-hit ratio of a policy.
///
/// # Panics
/// When the policy took no part.
pub fn mean_byte_hit_ratio(rows: &[&ContestRow], policy: PolicyName) -> f64 {
    rows.iter().map(|row| row.byte_hit_ratio(policy)).sum::<f64>() / rows.len().max(1) as f64
}

/// Returns what is not reached by the mean of these rows: the seeds of one workload on one disk.
pub fn missed_on_the_mean(rows: &[&ContestRow]) -> Option<Goal> {
    let mean = |policy| mean_byte_hit_ratio(rows, policy);
    let is_below = |rival| mean(PolicyName::Larder) <= mean(rival);
    let is_zipf = rows.iter().any(|row| row.workload.is_zipf());
    (is_zipf && (is_below(PolicyName::Lru) || is_below(PolicyName::Lfu))).then_some(Goal::AboveLruAndLfu)
}

/// Runs a contest, and hands over each row as it comes.
pub fn contest(contest: &Contest, mut row: impl FnMut(ContestRow)) {
    for workload in &contest.workloads {
        for seed in &contest.seeds {
            let trace = workload.trace(contest.scale, *seed);
            for disk_share in &contest.disk_shares {
                let disk = ByteSize((trace.working_set().bytes() as f64 * disk_share) as u64);
                let setup = Setup::new(disk);
                let outcomes = PolicyName::ALL.map(|policy| (policy, replay(&trace, policy, &setup)));
                row(ContestRow {
                    workload: *workload,
                    seed: *seed,
                    disk_share: *disk_share,
                    disk,
                    outcomes: outcomes.into(),
                });
            }
        }
    }
}
