//! How many workers an endpoint should have, by either scaler.
//!
//! - No worker, and a job of normal priority waits: one, at once, under either scaler.
//! - `QUEUE_DELAY`: one more whenever a job has waited longer than the delay, at most one per delay, and never more on
//!   their way or without a job than jobs waiting. So one job that waits for a long cold start does not fill the
//!   fleet, and a job that an idle worker is about to get starts nobody.
//! - `REQUEST_COUNT`: jobs in queue and in progress, divided by the count, rounded up.
//! - Jobs of low priority cause no start at all, not even the first: they use workers that others have caused.
//! - Scalers only ask for more. Less comes from the idle timeout, or from a lower maximum.

use base::Timestamp;
use types::{Scaler, Scaling};

use crate::fleet::Demand;

/// An endpoint's workers of its present release, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Workforce {
    /// Those that do or will do work.
    pub live: u32,
    /// Those of them that are on their way, or idle.
    pub free: u32,
    /// When the latest of them was wanted.
    pub latest_start: Option<Timestamp>,
}

/// What a scaler asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Workers below which none is stopped for being idle or not needed.
    pub floor: u32,
    /// Workers that there should be now: at least `floor`, at most the maximum.
    pub workers: u32,
    /// When the scaler would ask for one more if nothing changes.
    pub more_at: Option<Timestamp>,
}

/// Returns what the endpoint's scaler asks for.
pub fn wanted(scaling: &Scaling, demand: &Demand, force: &Workforce, now: Timestamp) -> Wanted {
    let first = u32::from(demand.queued > 0);
    let counted = match scaling.scaler {
        Scaler::QueueDelay { .. } => 0,
        Scaler::RequestCount { request_count } => {
            demand.queued.saturating_add(demand.in_progress).div_ceil(request_count.max(1))
        }
    };
    let floor = scaling.workers_min.max(first).max(counted).min(scaling.workers_max);
    let enough = Wanted { floor, workers: floor, more_at: None };
    let (Scaler::QueueDelay { queue_delay }, Some(oldest_since)) = (scaling.scaler, demand.oldest_since)
    else {
        return enough;
    };
    let may_grow = force.live >= floor && force.live < scaling.workers_max && force.free < demand.queued;
    if demand.queued == 0 || !may_grow {
        return enough;
    }
    let due = oldest_since.max(force.latest_start.unwrap_or(oldest_since)) + queue_delay;
    if now < due {
        return Wanted { more_at: Some(due), ..enough };
    }
    Wanted { workers: force.live + 1, ..enough }
}

#[cfg(test)]
mod tests;
