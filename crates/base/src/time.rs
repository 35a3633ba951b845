//! Time by argument: a timestamp that is a plain number and a clock that tests can move.
//!
//! Wall time is for records, deadlines and ledgers. Nothing outside this file asks the system what time it is.

use std::{
    fmt,
    ops::{Add, Sub},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// A moment in microseconds since the Unix epoch. On the wire and in rows it is that integer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);

    /// Makes a timestamp from microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Makes a timestamp from milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// Returns microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Returns whole milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Returns how long after `earlier` this moment is, or zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Returns the moment in RFC 3339 with milliseconds, in UTC.
    pub fn to_rfc3339(self) -> String {
        match jiff::Timestamp::from_millisecond(self.as_millis()) {
            Ok(moment) => format!("{moment:.3}"),
            Err(_) => format!("{}us", self.0),
        }
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

/// Where a component reads the time. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The system's wall clock, and the runtime's timer for waiting.
    System,
    /// A clock that moves only when its [`ManualTime`] says so.
    Manual(Arc<ManualTime>),
}

impl Clock {
    /// Returns the present moment.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => {
                let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
                Timestamp(i64::try_from(micros).unwrap_or(i64::MAX))
            }
            Self::Manual(time) => *time.0.borrow(),
        }
    }

    /// Waits until the moment has come.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn sleep_until(&self, moment: Timestamp) {
        match self {
            Self::System => tokio::time::sleep(moment.since(self.now())).await,
            Self::Manual(time) => {
                let mut seen = time.0.subscribe();
                // The sender lives in `time`, which this borrow keeps alive, so waiting cannot fail.
                let _ = seen.wait_for(|now| *now >= moment).await;
            }
        }
    }

    /// Waits for this long.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now() + duration).await;
    }
}

/// The hand that moves a [`Clock::Manual`].
#[derive(Debug)]
pub struct ManualTime(watch::Sender<Timestamp>);

impl ManualTime {
    /// Makes a clock's hand that stands at `start`.
    pub fn starting_at(start: Timestamp) -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(start)))
    }

    /// Moves time forward and wakes whoever was waiting for it.
    pub fn advance(&self, duration: Duration) {
        self.0.send_modify(|now| *now = *now + duration);
    }
}
