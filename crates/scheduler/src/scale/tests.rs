//! What both scalers ask for, as a table.

use std::time::Duration;

use super::*;

fn delay(min: u32, max: u32) -> Scaling {
    let scaler = Scaler::QueueDelay { queue_delay: Duration::from_secs(4) };
    Scaling { workers_min: min, workers_max: max, scaler, ..Scaling::default() }
}

fn count(min: u32, max: u32, request_count: u32) -> Scaling {
    Scaling {
        workers_min: min,
        workers_max: max,
        scaler: Scaler::RequestCount { request_count },
        ..delay(0, 0)
    }
}

/// Jobs queued, of low priority, in progress; workers live and free; seconds since the oldest job and the latest
/// start.
struct Case(u32, u32, u32, u32, u32, i64, i64);

/// Expects the floor, the workers wanted, and the seconds until one more.
fn check(scaling: &Scaling, case: &Case, expected: (u32, u32, Option<u64>)) {
    let Case(queued, queued_low, in_progress, live, free, oldest, latest) = *case;
    let now = Timestamp::from_millis(1_000_000);
    let ago = |seconds: i64| Timestamp::from_millis(1_000_000 - seconds * 1000);
    let oldest_since = (queued > 0).then(|| ago(oldest));
    let demand = Demand { queued, queued_low, oldest_since, in_progress };
    let force = Workforce { live, free, latest_start: (live > 0).then(|| ago(latest)) };
    let wanted = wanted(scaling, &demand, &force, now);
    assert_eq!((wanted.floor, wanted.workers, wanted.more_at.map(|at| at.since(now).as_secs())), expected);
}

#[test]
fn the_first_worker_starts_at_once_under_either_scaler() {
    check(&delay(0, 3), &Case(1, 0, 0, 0, 0, 0, 0), (1, 1, None));
    check(&count(0, 3, 10), &Case(1, 0, 0, 0, 0, 0, 0), (1, 1, None));
    check(&delay(0, 0), &Case(1, 0, 0, 0, 0, 99, 0), (0, 0, None));
}

#[test]
fn low_priority_starts_nothing() {
    check(&delay(0, 3), &Case(0, 9, 0, 0, 0, 0, 0), (0, 0, None));
    check(&count(0, 3, 1), &Case(0, 9, 0, 0, 0, 0, 0), (0, 0, None));
}

#[test]
fn queue_delay_adds_one_for_each_delay() {
    check(&delay(0, 3), &Case(2, 0, 0, 1, 1, 1, 1), (1, 1, Some(3)));
    check(&delay(0, 3), &Case(2, 0, 0, 1, 1, 4, 4), (1, 2, None));
    check(&delay(0, 3), &Case(3, 0, 0, 2, 2, 4, 0), (1, 1, Some(4)));
    check(&delay(0, 3), &Case(1, 0, 1, 1, 0, 9, 60), (1, 2, None));
    // A job that waits for the worker that it caused causes no other; nor does anyone at the maximum.
    check(&delay(0, 3), &Case(1, 0, 0, 1, 1, 60, 60), (1, 1, None));
    check(&delay(0, 3), &Case(9, 0, 3, 3, 0, 60, 60), (1, 1, None));
}

#[test]
fn request_count_divides() {
    check(&count(0, 9, 2), &Case(2, 0, 3, 1, 0, 0, 0), (3, 3, None));
    check(&count(0, 2, 1), &Case(9, 0, 0, 1, 0, 0, 0), (2, 2, None));
    check(&count(0, 9, 0), &Case(4, 0, 0, 1, 0, 0, 0), (4, 4, None));
}

#[test]
fn the_minimum_is_always_wanted() {
    check(&delay(2, 3), &Case(0, 0, 0, 0, 0, 0, 0), (2, 2, None));
    check(&count(5, 3, 1), &Case(0, 0, 0, 0, 0, 0, 0), (3, 3, None));
}
