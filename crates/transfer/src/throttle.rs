//! The rate that all fetches together may have.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base::{ByteSize, Clock, Timestamp};

/// What was not used is kept for so long: long enough to even out ranges that begin and end, too short to be seen as
/// a burst on a line's graph.
const BURST: Duration = Duration::from_millis(100);

/// Lets bytes through at a rate. Bytes are taken first and paid for by waiting, so that any chunk fits.
#[derive(Debug)]
pub(crate) struct Throttle {
    clock: Clock,
    bucket: Option<Mutex<Bucket>>,
}

/// When the bytes taken so far are paid for. Pure.
#[derive(Debug)]
struct Bucket {
    bytes_per_second: u64,
    paid_at: Timestamp,
}

impl Throttle {
    pub(crate) fn new(clock: Clock, rate_max: Option<ByteSize>) -> Self {
        let bucket = rate_max.map(|rate| {
            Mutex::new(Bucket { bytes_per_second: rate.bytes().max(1), paid_at: Timestamp::EPOCH })
        });
        Self { clock, bucket }
    }

    /// Takes bytes and waits until they are paid for.
    ///
    /// # Cancel safety
    /// Dropping the future spares the wait only.
    pub(crate) async fn take(&self, bytes: u64) {
        let Some(bucket) = &self.bucket else { return };
        let now = self.clock.now();
        let paid_at = bucket.lock().unwrap_or_else(PoisonError::into_inner).take(bytes, now);
        if paid_at > now {
            self.clock.sleep_until(paid_at).await;
        }
    }
}

impl Bucket {
    fn take(&mut self, bytes: u64, now: Timestamp) -> Timestamp {
        let micros = u128::from(bytes) * 1_000_000 / u128::from(self.bytes_per_second);
        let takes = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        self.paid_at = self.paid_at.max(now - BURST) + takes;
        self.paid_at
    }
}

#[cfg(test)]
mod tests {
    use base::ManualTime;

    use super::*;

    #[test]
    fn bytes_are_paid_for_at_the_rate_and_little_is_saved_up() {
        let at = Timestamp::from_millis;
        let mut bucket = Bucket { bytes_per_second: 1000, paid_at: Timestamp::EPOCH };
        // After a long silence a tenth of a second is free.
        assert_eq!(bucket.take(100, at(60_000)), at(60_000));
        assert_eq!(bucket.take(500, at(60_000)), at(60_500));
        // Others wait behind, whenever they come.
        assert_eq!(bucket.take(1000, at(60_100)), at(61_500));
        assert_eq!(bucket.take(0, at(60_200)), at(61_500));
        assert_eq!(
            bucket.take(u64::MAX / 2_000_000, at(60_200)),
            at(61_500) + Duration::from_micros(u64::MAX / 2_000_000 * 1000)
        );
    }

    #[tokio::test]
    async fn whoever_takes_waits_and_without_a_limit_nobody_does() {
        let time = ManualTime::starting_at(at_start());
        let throttle = Throttle::new(Clock::Manual(time.clone()), Some(ByteSize(1000)));
        let taking = throttle.take(1100);
        tokio::pin!(taking);
        assert!(futures::poll!(&mut taking).is_pending());
        time.advance(Duration::from_millis(999));
        assert!(futures::poll!(&mut taking).is_pending());
        time.advance(Duration::from_millis(1));
        taking.await;
        Throttle::new(Clock::Manual(time), None).take(u64::MAX).await;
    }

    fn at_start() -> Timestamp {
        Timestamp::from_millis(1_000_000)
    }
}
