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
    let path: RepoPath = "model.safetensors".parse().unwrap();
    check(0, 0, None);
    tracker.found(1000);
    check(1000, 0, None);
    for _ in 0..20 {
        time.advance(Duration::from_secs(1));
        tracker.received(&path, 100);
    }
    check(3000, 100, Some(70));
    // Bytes that come at once are not shown at once, but not forgotten either.
    tracker.received(&path, 500);
    check(3000, 100, Some(70));
    time.advance(Duration::from_secs(60));
    tracker.lost(500);
    check(3000, 8, Some(875));
}

#[test]
fn files_under_way_and_their_sources_are_named() {
    let tracker = Tracker::new(Clock::System, 40, ByteSize(1000));
    let watch = tracker.watch();
    let file = |name: &str| ManifestFile {
        path: name.parse().unwrap(),
        size: 100,
        digest: types::Digest::Sha256([1; 32]),
    };
    let first = file("a.bin");
    let shown = tracker.under_way(&first, 10);
    tracker.sent_by("hub one");
    tracker.sent_by("hub one");
    tracker.received(&first.path, 20);
    // One that is not shown counts all the same.
    tracker.received(&file("small.json").path, 5);
    tracker.wrote();
    let seen = watch.borrow().clone();
    let expected =
        FileProgress { path: first.path.clone(), bytes_total: ByteSize(100), bytes_done: ByteSize(30) };
    assert_eq!((seen.files, seen.bytes_done), (vec![expected], ByteSize(25)));
    assert_eq!(seen.sources, ["hub one"]);
    drop(shown);
    assert!(watch.borrow().files.is_empty());
    let many: Vec<ManifestFile> = (0..40).map(|number| file(&format!("{number:02}.bin"))).collect();
    let _shown: Vec<_> = many.iter().map(|file| tracker.under_way(file, 0)).collect();
    (0..40).for_each(|number| tracker.sent_by(&format!("peer {number}")));
    let seen = watch.borrow().clone();
    assert_eq!((seen.files.len(), seen.sources.len()), (FILES_SHOWN_MAX, SOURCES_SHOWN_MAX));
}

#[test]
fn the_rate_keeps_a_bounded_number_of_samples() {
    let mut rate = RateMeter::starting_at(Timestamp::from_millis(0));
    for milli in 0..100_000_i64 {
        rate.note(Timestamp::from_millis(milli), milli.unsigned_abs() * 5);
    }
    assert_eq!(rate.per_second(Timestamp::from_millis(99_999)), 5000);
}
