//! Numbers drawn from a seed, by the distributions that workloads are made of.

use base::Entropy;

/// A repeatable source of draws.
pub(crate) struct Chance(Entropy);

impl Chance {
    /// Makes a source that draws the same for the same seed.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(Entropy::seeded(seed))
    }

    /// Draws evenly from 0 to 1, the latter excluded.
    pub(crate) fn unit(&self) -> f64 {
        // As many bits as a double holds exactly.
        (self.0.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Draws evenly from the numbers below `end`.
    pub(crate) fn below(&self, end: usize) -> usize {
        ((self.unit() * end as f64) as usize).min(end.saturating_sub(1))
    }

    /// Returns true with this probability.
    pub(crate) fn happens(&self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Draws a pause between events that come at random with this mean pause.
    pub(crate) fn pause(&self, mean: f64) -> f64 {
        -(1.0 - self.unit()).ln() * mean
    }

    /// Draws from the normal distribution, by the sum of twelve even draws: its tails end at six deviations, which no
    /// workload here would notice.
    pub(crate) fn normal(&self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

/// Zipf's law: the draw of rank `r` has a probability in proportion to `1 / (r + 1)^exponent`.
pub(crate) struct Zipf {
    /// For each rank: the probability of it or a lower one.
    reached: Vec<f64>,
}

impl Zipf {
    /// Makes the law for so many ranks.
    pub(crate) fn new(ranks: usize, exponent: f64) -> Self {
        let weights: Vec<f64> = (1..=ranks).map(|rank| (rank as f64).powf(-exponent)).collect();
        let all: f64 = weights.iter().sum();
        let mut sum = 0.0;
        let reached = weights.iter().map(|weight| {
            sum += weight / all;
            sum
        });
        Self { reached: reached.collect() }
    }

    /// Draws a rank.
    pub(crate) fn draw(&self, chance: &Chance) -> usize {
        let drawn = chance.unit();
        // The last sum may lie a hair below 1.
        self.reached.partition_point(|reached| *reached <= drawn).min(self.reached.len() - 1)
    }
}
