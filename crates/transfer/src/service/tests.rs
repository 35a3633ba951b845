//! Whole fetches into a real store, from a source that fails as it is told.

mod faulty;
mod models;
mod sharing;

use std::{sync::Arc, time::Duration};

use base::{Backoff, ByteSize, Clock, ManualTime, Timestamp};
use hub::Retry;
use proptest::prelude::*;
use types::{ErrorCode, Fault};

use self::{
    faulty::{Ask, Fails, Plan},
    models::{EXTENT, Host, Kind, TestDisk, model, options},
};
use super::*;
use crate::SourceError;

/// No test waits longer for a value.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(value: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, value).await.expect("the value came in time")
}

fn fails(code: ErrorCode, retry: Retry) -> Fails {
    Fails(SourceError { fault: Fault::new(code, "told to fail"), retry })
}

/// Options under which silence is no stall within a test.
fn patient() -> TransferOptions {
    TransferOptions { stall_window: Duration::from_secs(3600), ..options() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_brought_whole() {
    let host = Host::start(patient(), Clock::System);
    let (manifest, source) = model(&[
        ("config.json", 20, Kind::Git),
        ("empty.txt", 0, Kind::Git),
        ("also/empty.txt", 0, Kind::Git),
        ("tiny.bin", 1000, Kind::Large),
        ("copy/tiny.bin", 1000, Kind::Large),
        ("one.safetensors", 10 * EXTENT, Kind::Large),
        ("two.safetensors", 5 * EXTENT + 17, Kind::Large),
        ("copy/two.safetensors", 5 * EXTENT + 17, Kind::Large),
    ]);
    let source = source.plain();
    let handle = host.transfer.fetch(host.request(&manifest, source.clone()));
    let progress = handle.progress();
    let report = soon(handle.join()).await.unwrap();
    let distinct = 20 + 1000 + 15 * EXTENT + 17;
    assert_eq!(report.bytes_fetched, ByteSize(distinct));
    assert_eq!(report.bytes_fetched + report.bytes_reused, manifest.bytes());
    assert_eq!((source.bytes_given(), report.extents_refetched), (distinct, 0));
    let shown = progress.borrow().clone();
    assert_eq!((shown.files_done, shown.bytes_done), (8, manifest.bytes()));
    assert_eq!((shown.files_total, shown.bytes_total, shown.state), (8, manifest.bytes(), FetchState::Done));
    host.assert_sound(&manifest);
    let again = soon(host.transfer.fetch(host.request(&manifest, source)).join()).await.unwrap();
    assert_eq!((again.bytes_fetched, again.bytes_reused), (ByteSize(0), manifest.bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn passing_faults_are_ridden_out() {
    let check = async |first: Plan, fetched: u64, refetched: u64| {
        let shown = format!("{first:?}");
        let stalls = matches!(first, Plan::StallAfter(_));
        let host = Host::start(if stalls { options() } else { patient() }, Clock::System);
        let (manifest, source) =
            model(&[("a.json", 300, Kind::Git), ("b.bin", 40 * EXTENT + 5, Kind::Large)]);
        // Every range fails when it is asked for first, and goes on well where it broke.
        let is_fresh = |ask: &Ask| ask.nth == 0 && ask.offset.is_multiple_of(EXTENT);
        let source = source.planned(move |ask| if is_fresh(ask) { first.clone() } else { Plan::Whole });
        let report = soon(host.transfer.fetch(host.request(&manifest, source.clone())).join()).await.unwrap();
        host.assert_sound(&manifest);
        assert_eq!((report.bytes_fetched.0, report.extents_refetched), (fetched, refetched), "{shown}");
        // On a slow machine what is on its way may be taken for a stall, and is given again.
        assert!(stalls || source.bytes_given() == fetched, "{shown}");
    };
    let whole = 300 + 40 * EXTENT + 5;
    let lost = || fails(ErrorCode::HubConnectionLost, Retry::Soon);
    // What came before a break is kept, so nothing is asked for twice.
    check(Plan::BreakAfter(100, Some(lost())), whole, 0).await;
    check(Plan::BreakAfter(100, None), whole, 0).await;
    check(Plan::BreakAfter(EXTENT + 100, Some(lost())), whole, 0).await;
    check(Plan::Refuse(fails(ErrorCode::HubServerError, Retry::Soon)), whole, 0).await;
    check(Plan::StallAfter(100), whole, 0).await;
    // Wrong bytes are thrown away file by file.
    check(Plan::Flip, 2 * whole, 1 + 41).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lasting_faults_end_the_fetch_with_their_reason() {
    let check = async |plan: fn() -> Plan, code: ErrorCode, part: &str| {
        let host = Host::start(options(), Clock::System);
        let (manifest, source) = model(&[("b.bin", 9 * EXTENT, Kind::Large)]);
        let handle = host.transfer.fetch(host.request(&manifest, source.planned(move |_| plan())));
        let progress = handle.progress();
        let fault = soon(handle.join()).await.unwrap_err().fault();
        assert_eq!(fault.code, code, "{fault:?}");
        assert!(fault.message.contains(part), "{}", fault.message);
        assert_eq!(progress.borrow().state, FetchState::Failed { fault });
        assert!(host.store.get(manifest.key()).is_none());
        let usage = host.store.disk_usage().unwrap();
        assert_eq!((usage.models, usage.blobs), (0, ByteSize(0)));
    };
    check(
        || Plan::Refuse(fails(ErrorCode::RepoGatedNotGranted, Retry::Never)),
        ErrorCode::RepoGatedNotGranted,
        "b.bin could not be fetched from test source: told to fail",
    )
    .await;
    check(|| Plan::Refuse(fails(ErrorCode::HubServerError, Retry::Soon)), ErrorCode::HubServerError, "b.bin")
        .await;
    check(|| Plan::BreakAfter(0, None), ErrorCode::HubConnectionLost, "before the end of their range").await;
    check(|| Plan::TooMuch, ErrorCode::HubAnswerInvalid, "more bytes than were asked for").await;
    check(|| Plan::Flip, ErrorCode::ContentMismatch, "test source gave wrong bytes twice").await;
    check(|| Plan::StallAfter(0), ErrorCode::HubStalled, "test source sent less than").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn small_files_with_wrong_bytes_are_blamed_too() {
    let host = Host::start(patient(), Clock::System);
    let (manifest, source) = model(&[("good.json", 10, Kind::Git), ("bad.json", 10, Kind::Git)]);
    let source = source.planned(|ask| if ask.path == "bad.json" { Plan::Flip } else { Plan::Whole });
    let error = soon(host.transfer.fetch(host.request(&manifest, source.clone())).join()).await.unwrap_err();
    assert_eq!(error.fault().code, ErrorCode::ContentMismatch);
    assert_eq!(source.bytes_given(), 30, "only the wrong file is fetched again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_kept_by_all_streams_for_as_long_as_told() {
    let time = ManualTime::starting_at(Timestamp::from_millis(0));
    let host = Host::start(options(), Clock::Manual(time.clone()));
    let (manifest, source) = model(&[("b.bin", 9 * EXTENT, Kind::Large)]);
    let clock = Clock::Manual(time.clone());
    let at = Timestamp::from_millis(218_000);
    let source = source.planned(move |_| match at.since(clock.now()) {
        Duration::ZERO => Plan::Whole,
        left => Plan::Refuse(fails(ErrorCode::HubRateLimited, Retry::After(left))),
    });
    let handle = host.transfer.fetch(host.request(&manifest, source.clone()));
    let mut progress = handle.progress();
    soon(
        progress
            .wait_for(|shown| matches!(&shown.state, FetchState::Retrying { at: told, .. } if *told == at)),
    )
    .await
    .unwrap();
    time.advance(Duration::from_secs(217));
    // Streams that began before the pause was told have asked once each; none asks again before its end.
    assert!(source.asked() <= options().connections_max as u32, "{} questions", source.asked());
    time.advance(Duration::from_secs(1));
    soon(handle.join()).await.unwrap();
    host.assert_sound(&manifest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drip_is_a_stall() {
    let time = ManualTime::starting_at(Timestamp::from_millis(0));
    let patient = TransferOptions { stall_window: Duration::from_secs(30), ..options() };
    let host = Host::start(patient, Clock::Manual(time.clone()));
    let (manifest, source) = model(&[("b.bin", 4 * EXTENT, Kind::Large)]);
    let is_fresh = |ask: &Ask| ask.nth == 0 && ask.offset.is_multiple_of(EXTENT);
    let source = source.planned(move |ask| if is_fresh(ask) { Plan::StallAfter(3) } else { Plan::Whole });
    let join = host.transfer.fetch(host.request(&manifest, source.clone())).join();
    tokio::pin!(join);
    let report = soon(async {
        loop {
            tokio::select! {
                report = &mut join => return report.unwrap(),
                () = tokio::time::sleep(Duration::from_millis(2)) => {}
            }
            // Time stands still while a connection is open that has bytes to give, however slow this machine is.
            if source.has_given_all() {
                time.advance(Duration::from_secs(1));
            }
        }
    })
    .await;
    assert_eq!(report.bytes_fetched, ByteSize(4 * EXTENT), "what had dripped in is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_fetch_goes_on_where_it_stopped() {
    let host = Host::start(patient(), Clock::System);
    let (manifest, source) =
        model(&[("a.bin", 40 * EXTENT, Kind::Large), ("b.bin", 30 * EXTENT, Kind::Large)]);
    // Every stream stops amid its second extent or later.
    let halting = source.planned(|_| Plan::HangAfter(EXTENT + EXTENT / 2));
    let handle = host.transfer.fetch(host.request(&manifest, halting.clone()));
    let mut progress = handle.progress();
    soon(progress.wait_for(|shown| shown.bytes_done.0 >= 4 * EXTENT)).await.unwrap();
    assert!(soon(handle.cancel()).await.unwrap().is_none());
    let given = halting.bytes_given();
    let report = soon(host.transfer.fetch(host.request(&manifest, source.plain())).join()).await.unwrap();
    host.assert_sound(&manifest);
    let again = given + report.bytes_fetched.0 - manifest.bytes().0;
    let streams = options().connections_max as u64;
    assert!(again <= streams * EXTENT, "{again} bytes were fetched twice by {streams} streams");
    assert!(report.bytes_reused.0 > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_fetches_at_once_cost_one_download() {
    let host = Host::start(patient(), Clock::System);
    let (manifest, source) =
        model(&[("a.json", 50, Kind::Git), ("b.bin", 20 * EXTENT, Kind::Large), ("c.bin", 700, Kind::Large)]);
    let source = source.plain();
    let handles: Vec<_> =
        (0..4).map(|_| host.transfer.fetch(host.request(&manifest, source.clone()))).collect();
    let mut fetched = 0;
    for handle in handles {
        let report = soon(handle.join()).await.unwrap();
        fetched += report.bytes_fetched.0;
        assert_eq!(report.bytes_fetched + report.bytes_reused, manifest.bytes());
    }
    assert_eq!((fetched, source.bytes_given()), (manifest.bytes().0, manifest.bytes().0));
    host.assert_sound(&manifest);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_fetch_that_is_cancelled_goes_on_with_it() {
    let host = Host::start(patient(), Clock::System);
    let (manifest, source) = model(&[("a.json", 50, Kind::Git), ("b.bin", 20 * EXTENT, Kind::Large)]);
    let halting = source.planned(|_| Plan::HangAfter(10));
    let first = host.transfer.fetch(host.request(&manifest, halting.clone()));
    let mut progress = first.progress();
    soon(progress.wait_for(|shown| shown.state == FetchState::Fetching)).await.unwrap();
    let second = host.transfer.fetch(host.request(&manifest, source.plain()));
    soon(first.cancel()).await.unwrap();
    soon(second.join()).await.unwrap();
    host.assert_sound(&manifest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_of_an_untrusted_hub_brings_the_bytes_itself() {
    let host = Host::start(patient(), Clock::System);
    let (manifest, source) = model(&[("a.json", 50, Kind::Git), ("b.bin", 3 * EXTENT, Kind::Large)]);
    for tenant in ["tn_one", "tn_two"] {
        let mut request = host.request(&manifest, source.plain());
        request.supplier.standing = store::HubStanding::Untrusted;
        request.supplier.tenant = tenant.parse().unwrap();
        let report = soon(host.transfer.fetch(request).join()).await.unwrap();
        assert_eq!(report.bytes_fetched, manifest.bytes(), "{tenant}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_at_once() {
    let check = async |disk: TestDisk, asked: u32| {
        let host = Host::start_on(Arc::new(disk), options(), Clock::System);
        let (manifest, source) = model(&[("b.bin", 9 * EXTENT, Kind::Large)]);
        let source = source.plain();
        let error =
            soon(host.transfer.fetch(host.request(&manifest, source.clone())).join()).await.unwrap_err();
        assert_eq!(error.fault().code, ErrorCode::DiskFull, "{error}");
        assert!(error.fault().hint.is_some());
        assert_eq!(source.asked(), asked, "nobody is asked for bytes that have no room");
    };
    check(TestDisk::with_room(ByteSize(8 * EXTENT)), 0).await;
    check(TestDisk::that_refuses_reservations(), 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_many_and_bounded() {
    let host = Host::start(patient(), Clock::System);
    let (manifest, source) = model(&[
        ("a.bin", 40 * EXTENT, Kind::Large),
        ("b.bin", 40 * EXTENT, Kind::Large),
        ("c.json", 30, Kind::Git),
    ]);
    let source = source.planned(|_| Plan::Slow);
    soon(host.transfer.fetch(host.request(&manifest, source.clone())).join()).await.unwrap();
    let most = source.most_at_once();
    assert!((2..=options().connections_max as u32).contains(&most), "{most} connections at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_the_service_stops_fetches_and_keeps_what_they_brought() {
    const THREE_EXTENTS: u64 = 3 * EXTENT;
    let host = Host::start(patient(), Clock::System);
    let (manifest, source) = model(&[("b.bin", 20 * EXTENT, Kind::Large)]);
    let halting = source.planned(|ask| match ask.offset {
        0..THREE_EXTENTS => Plan::Whole,
        _ => Plan::HangAfter(100),
    });
    let handle = host.transfer.fetch(host.request(&manifest, halting));
    let mut progress = handle.progress();
    soon(progress.wait_for(|shown| shown.bytes_done.0 >= 2 * EXTENT)).await.unwrap();
    let store = host.store.clone();
    let supplier = host.request(&manifest, source.plain()).supplier;
    soon(host.stop()).await;
    assert!(matches!(soon(handle.join()).await, Err(FetchError::Cancelled(_))));
    assert!(store.missing(&manifest, &supplier).bytes < manifest.bytes());
}

#[tokio::test]
async fn fetches_beyond_the_limit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = models::open(folder.path(), Arc::new(TestDisk::roomy()));
    let limits = TransferOptions { fetches_waiting_max: 1, ..options() };
    let (transfer, service) = Transfer::new(limits, store, Clock::System, Entropy::seeded(1));
    let (manifest, source) = model(&[("a.json", 50, Kind::Git)]);
    let request = || models::request(&manifest, source.plain());
    let waiting = transfer.fetch(request());
    let refused = transfer.fetch(request());
    assert!(matches!(soon(refused.join()).await, Err(FetchError::Full(_))));
    drop(service);
    assert!(matches!(soon(waiting.join()).await, Err(FetchError::Abandoned(_))));
    assert!(matches!(soon(transfer.fetch(request()).join()).await, Err(FetchError::Abandoned(_))));
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let lost = || fails(ErrorCode::HubConnectionLost, Retry::Soon);
    prop_oneof![
        6 => Just(Plan::Whole),
        2 => (0..3 * EXTENT).prop_map(move |bytes| Plan::BreakAfter(bytes, Some(lost()))),
        2 => (0..3 * EXTENT).prop_map(|bytes| Plan::BreakAfter(bytes, None)),
        1 => Just(Plan::Refuse(fails(ErrorCode::HubServerError, Retry::Soon))),
        1 => Just(Plan::Refuse(fails(ErrorCode::HubRateLimited, Retry::After(Duration::from_millis(1))))),
        1 => Just(Plan::Flip),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: testkit::cases(16), ..ProptestConfig::default() })]

    /// Whatever a source does, a fetch ends with the whole model, or with an error and no model.
    #[test]
    fn a_fetch_ends_with_all_or_nothing(
        plans in proptest::collection::vec(any_plan(), 1..40),
        sizes in proptest::collection::vec(0..12 * EXTENT, 1..5),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let backoff = Backoff { first: Duration::from_millis(1), longest: Duration::from_millis(1) };
            let host = Host::start(TransferOptions { backoff, ..options() }, Clock::System);
            let names: Vec<String> = (0..sizes.len()).map(|index| format!("{index}.bin")).collect();
            let files: Vec<_> =
                names.iter().zip(&sizes).map(|(name, size)| (name.as_str(), *size, Kind::Large)).collect();
            let (manifest, source) = model(&files);
            let source = source.planned(move |ask| plans[ask.asked_before as usize % plans.len()].clone());
            match soon(host.transfer.fetch(host.request(&manifest, source.clone())).join()).await {
                Ok(report) => {
                    assert_eq!(report.bytes_fetched.0, source.bytes_given());
                    host.assert_sound(&manifest);
                }
                Err(_) => assert!(host.store.get(manifest.key()).is_none()),
            }
            // Afterwards a sound source gets it done.
            soon(host.transfer.fetch(host.request(&manifest, source.plain())).join()).await.unwrap();
            host.assert_sound(&manifest);
        });
    }
}
