//! The numbers behind decisions, each with its source. One value, passed to every plan.

use std::time::Duration;

use base::Backoff;

/// Attempts of one job before it fails, when nobody asks for a retry.
///
/// Runpod's published capture gives up after one retry; a second one survives a host that dies during the first.
pub const ATTEMPTS_MAX: u32 = 3;

/// Attempts of one job that are remembered with their reasons; older ones are forgotten first.
///
/// Only retries by hand lead beyond [`ATTEMPTS_MAX`]; five rounds of those are worth showing.
pub const ATTEMPT_HISTORY_MAX: usize = 15;

/// Pings in a row that lack an accepted job before it counts as vanished (worker protocol: "two or three pings").
pub const PINGS_MISSED_MAX: u32 = 3;

/// The pause between pings that workers are told to keep. Runpod's platform sets the same.
pub const PING_INTERVAL: Duration = Duration::from_secs(4);

/// How long a worker has to show that it took a job on: two ping intervals, and slack for an interpreter that loads
/// under load, because a second attempt of a job that runs already costs more than a few seconds of doubt.
pub const ACCEPTANCE_TIMEOUT: Duration = Duration::from_secs(15);

/// Best hosts that a report shows. More than a screen's worth explains nothing.
pub const CANDIDATES_SHOWN: usize = 5;

/// What a plan goes by beyond the facts of the fleet and the settings of each endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Pause before starts after crashes in a row, for one endpoint.
    ///
    /// Begins at the default queue delay's order, so that one stray crash costs little; ends at five minutes, so that
    /// a fixed image is tried soon (Kubernetes ends its crash-loop back-off at the same).
    pub crash_backoff: Backoff,
    /// How long a host may be away before its workers count as lost. Six missed agent heartbeats of five seconds.
    pub host_lost_after: Duration,
    /// How long a start whose bytes have arrived waits for room on its host before another host without the bytes
    /// will do. Twice the default idle timeout: whatever is only warm there has gone by then.
    pub throttled_patience: Duration,
    /// Bytes per second expected of a source that nothing is known of. `hf download` reached 120 MB/s where it was
    /// measured for this project; a little less is assumed.
    pub rate_unknown_bytes: u64,
    /// What any fetch costs beside its bytes: connect, resolve, sync, publish. Also keeps a loaded host that holds a
    /// small model ahead of an idle one that does not.
    pub fetch_overhead: Duration,
    /// What each quarter of a host's worker slots in use adds to the time to ready: one step at the bottom of the
    /// scale, so that load decides only between hosts that are otherwise alike.
    pub load_tier_delay: Duration,
    /// Steps by which a rival must be better before a running fetch is given up for it. One step is within the error
    /// of learned rates (12 %); two are not.
    pub rival_steps_min: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            crash_backoff: Backoff { first: Duration::from_secs(2), longest: Duration::from_secs(300) },
            host_lost_after: Duration::from_secs(30),
            throttled_patience: Duration::from_secs(10),
            rate_unknown_bytes: 100_000_000,
            fetch_overhead: Duration::from_secs(1),
            load_tier_delay: Duration::from_millis(250),
            rival_steps_min: 2,
        }
    }
}

/// Pause before a failed fetch is tried again.
///
/// A hub's hiccup is over in a second or two; a hub that is down is asked once in two minutes.
pub const FETCH_BACKOFF: Backoff =
    Backoff { first: Duration::from_secs(2), longest: Duration::from_secs(120) };
