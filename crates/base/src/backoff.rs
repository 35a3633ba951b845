//! The pace of retries: doubling waits between two named bounds, with jitter, as a pure value.

use std::time::Duration;

/// Waits that double from `first` to `longest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: Duration,
    /// No wait is longer than this.
    pub longest: Duration,
}

impl Backoff {
    /// Returns the wait after `failures` failures in a row (1 or more), without jitter.
    pub fn after(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }

    /// Returns the wait after `failures` failures, spread over its upper half by a random number, so that many
    /// who failed together do not return together ("equal jitter", Brooker 2015).
    pub fn after_with_jitter(&self, failures: u32, random: u64) -> Duration {
        let half = self.after(failures) / 2;
        half + half.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(1) };
        let waits: Vec<u128> = (1..=6).map(|n| backoff.after(n).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.after(u32::MAX), backoff.longest);
        assert!(backoff.after_with_jitter(3, 0) >= Duration::from_millis(200));
        assert!(backoff.after_with_jitter(3, u64::MAX) <= Duration::from_millis(400));
    }
}
