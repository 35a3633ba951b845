//! What onlookers see of the figures.

use base::ManualTime;
use types::ErrorCode;

use super::*;

#[test]
fn the_state_is_that_of_the_busiest_stream() {
    let time = ManualTime::starting_at(Timestamp::from_millis(1000));
    let tracker = Tracker::new(Clock::Manual(time.clone()), 3, ByteSize(100));
    let watch = tracker.watch();
    let state = || watch.borrow().state.clone();
    assert_eq!(state(), FetchState::Waiting);
    let first = tracker.reading();
    assert_eq!(state(), FetchState::Fetching);
    let fault = Fault::new(ErrorCode::HubServerError, "no");
    let at = Timestamp::from_millis(2000);
    let retrying = tracker.retrying(fault.clone(), at);
    assert_eq!(state(), FetchState::Fetching, "another stream still reads");
    drop(first);
    assert_eq!(state(), FetchState::Retrying { fault, at });
    let verifying = tracker.verifying();
    drop(retrying);
    assert_eq!(state(), FetchState::Verifying);
    drop(verifying);
    assert_eq!(state(), FetchState::Waiting);
    tracker.end(FetchState::Done);
    drop(tracker.reading());
    assert_eq!(state(), FetchState::Done, "an end is an end");
}

#[test]
fn rate_and_time_left_follow_the_bytes_of_the_last_seconds() {
    let time = ManualTime::starting_at(Timestamp::from_millis(0));
    let tracker = Tracker::new(Clock::Manual(time.clone()), 1, ByteSize(10_000));
    let watch = tracker.watch();
    let check = |bytes_done: u64, rate: u64, eta: Option<u64>| {
        let shown = watch.borrow().clone();
        let shown = (shown.bytes_done.0, shown.rate_bytes_per_second, shown.eta.map(|eta| eta.as_secs()));
        assert_eq!(shown, (bytes_done, rate, eta));
    };
    check(0, 0, None);
    tracker.found(1000);
    check(1000, 0, None);
    for _ in 0..20 {
        time.advance(Duration::from_secs(1));
        tracker.received(100);
    }
    check(3000, 100, Some(70));
    // Bytes that come at once are not shown at once, but not forgotten either.
    tracker.received(500);
    check(3000, 100, Some(70));
    time.advance(Duration::from_secs(60));
    tracker.lost(500);
    check(3000, 8, Some(875));
}

#[test]
fn the_rate_keeps_a_bounded_number_of_samples() {
    let mut rate = RateMeter::starting_at(Timestamp::from_millis(0));
    for milli in 0..100_000_i64 {
        rate.note(Timestamp::from_millis(milli), milli.unsigned_abs() * 5);
    }
    assert_eq!(rate.per_second(Timestamp::from_millis(99_999)), 5000);
}
