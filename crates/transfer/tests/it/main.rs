//! From a real hub server over real connections into a real store: what the parts promise each other.

#![expect(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod site;

use std::{future::Future, time::Duration};

use base::{ByteSize, Redacted};
use hub_server::{BodyFault, Failure, Faults, Harm, Hit, ListingLie, Origin, Quotas};
use transfer::FetchState;
use types::ErrorCode;

use self::site::{Ended, Site, WEIGHTS_BYTES};

/// No test waits longer for a value.
const PATIENCE: Duration = Duration::from_secs(60);

async fn soon<T>(value: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, value).await.expect("the value came in time")
}

fn failure(hit: Hit, count: u32, status: u16) -> Faults {
    Faults {
        failures: vec![Failure { hit, skip: 0, count, status, retry_after: None }],
        ..Default::default()
    }
}

fn harm(harm: Harm, count: u32) -> Faults {
    let path_ends_with = "model.safetensors".to_owned();
    Faults { bodies: vec![BodyFault { path_ends_with, count, harm }], ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_model_arrives_byte_for_byte_and_its_token_stays_home() {
    let site = Site::start(|_| {}).await;
    let token = Redacted::new("hf_right".to_owned());
    let ended = soon(site.pull("acme/secret", Some(&token))).await.unwrap();
    site.assert_same("acme/secret", &ended.manifest);
    assert_eq!(ended.report.bytes_fetched, ended.manifest.bytes());
    let requests = site.hub.requests();
    let (home, elsewhere): (Vec<_>, Vec<_>) =
        requests.into_iter().partition(|request| request.origin == Origin::Hub);
    assert!(home.iter().all(|request| request.authorized));
    assert!(!elsewhere.is_empty() && elsewhere.iter().all(|request| !request.authorized));
    assert!(elsewhere.iter().all(|request| request.range.is_some() && request.status == 206));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_pull_asks_for_no_bytes() {
    let site = Site::start(|_| {}).await;
    soon(site.pull("acme/tiny", None)).await.unwrap();
    site.hub.clear_requests();
    let ended: Ended = soon(site.pull("ACME/Tiny", None)).await.unwrap();
    assert_eq!(
        (ended.report.bytes_fetched, ended.report.bytes_reused),
        (ByteSize(0), ended.manifest.bytes())
    );
    assert!(site.hub.requests().iter().all(|request| request.origin == Origin::Hub));
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_that_pass_are_ridden_out() {
    let check = async |faults: Faults| {
        let shown = format!("{faults:?}");
        let site = Site::start(|options| options.faults = faults).await;
        match soon(site.pull("acme/tiny", None)).await {
            Ok(ended) => site.assert_same("acme/tiny", &ended.manifest),
            Err(fault) => panic!("{shown}: {fault:?}"),
        }
    };
    check(failure(Hit::Api, 2, 502)).await;
    check(failure(Hit::Bytes, 3, 500)).await;
    check(failure(Hit::Bytes, 3, 408)).await;
    let pause = Failure { retry_after: Some(Duration::from_secs(1)), ..Failure::nth(Hit::Bytes, 2, 429) };
    check(Faults { failures: vec![pause], ..Default::default() }).await;
    check(harm(Harm::TruncateAfter(50_000), 12)).await;
    check(harm(Harm::StallAfter(50_000), 3)).await;
    check(harm(Harm::FlipByteAt(1000), 1)).await;
    check(Faults { answer_delay: Some(Duration::from_millis(20)), ..Default::default() }).await;
    check(Faults { ignore_ranges: true, ..Default::default() }).await;
    check(Faults { whole_file_bytes_max: Some(ByteSize(1000)), ..Default::default() }).await;
    // Each range takes longer than the life of a link, so every stream renews its own.
    let rate_max = Some(ByteSize(WEIGHTS_BYTES / 4));
    check(Faults { link_lifetime: Some(Duration::from_secs(1)), rate_max, ..Default::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_up_window_is_waited_for() {
    let site = Site::start(|options| {
        options.quotas = Quotas { api: 1000, resolvers: 4, window: Duration::from_secs(1) };
    })
    .await;
    let ended = soon(site.pull("acme/tiny", None)).await.unwrap();
    site.assert_same("acme/tiny", &ended.manifest);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_that_last_are_told_by_their_code_and_leave_no_model() {
    let check = async |repo: &str, faults: Faults, expected: ErrorCode| {
        let shown = format!("{faults:?}");
        let site = Site::start(|options| {
            options.faults = faults;
            options.page_entries_max = 2;
        })
        .await;
        let fault = soon(site.pull(repo, None)).await.expect_err(&shown);
        assert_eq!(fault.code, expected, "{shown}: {fault:?}");
        assert!(site.store.list().is_empty());
    };
    let none = Faults::default;
    let lie = |lie| Faults { listing: vec![lie], ..Default::default() };
    let path = || "model.safetensors".to_owned();
    check("acme/unknown", none(), ErrorCode::RepoNotFoundOrPrivate).await;
    check("acme/secret", none(), ErrorCode::RepoNotFoundOrPrivate).await;
    check("acme/gated", none(), ErrorCode::RepoGatedNoToken).await;
    check("acme/gone", none(), ErrorCode::RepoDisabled).await;
    check("acme/tiny@nowhere", none(), ErrorCode::RevisionNotFound).await;
    check("acme/tiny:Q4_K_M", none(), ErrorCode::VariantNotFound).await;
    check("acme/tiny", failure(Hit::Bytes, u32::MAX, 500), ErrorCode::HubServerError).await;
    check("acme/tiny", failure(Hit::Bytes, u32::MAX, 403), ErrorCode::HubRefused).await;
    check("acme/tiny", harm(Harm::FlipByteAt(1000), u32::MAX), ErrorCode::ContentMismatch).await;
    let elsewhere = Some("http://127.0.0.1:1".to_owned());
    check("acme/tiny", Faults { next_page_origin: elsewhere, ..none() }, ErrorCode::HubAnswerInvalid).await;
    let shown = "../../../../tmp/escaped".to_owned();
    check("acme/tiny", lie(ListingLie::Path { path: path(), shown }), ErrorCode::PathRefused).await;
    let digest = "../../etc/passwd".to_owned();
    check("acme/tiny", lie(ListingLie::Digest { path: path(), digest }), ErrorCode::HubAnswerInvalid).await;
    let digest = "ab".repeat(32);
    check("acme/tiny", lie(ListingLie::Digest { path: path(), digest }), ErrorCode::ContentMismatch).await;
    let size = WEIGHTS_BYTES + 1;
    check("acme/tiny", lie(ListingLie::Size { path: path(), size }), ErrorCode::ContentMismatch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gated_model_needs_a_token_to_which_it_is_granted() {
    let site = Site::start(|_| {}).await;
    let check = async |token: &str, expected: ErrorCode| {
        let token = Redacted::new(token.to_owned());
        assert_eq!(soon(site.pull("acme/gated", Some(&token))).await.unwrap_err().code, expected);
    };
    check("hf_right", ErrorCode::RepoGatedNotGranted).await;
    check("hf_unheard_of", ErrorCode::HubTokenWrong).await;
    let granted = Redacted::new("hf_granted".to_owned());
    soon(site.pull("acme/gated", Some(&granted))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_goes_down_fails_the_fetch_and_its_return_completes_it() {
    let mut site = Site::start(|options| options.rate_max = Some(ByteSize(WEIGHTS_BYTES / 8))).await;
    let handle = site.begin("acme/tiny", None).await.unwrap();
    let mut progress = handle.progress();
    soon(progress.wait_for(|shown| shown.state == FetchState::Fetching && shown.bytes_done.0 > 300_000))
        .await
        .unwrap();
    let manifest = handle.manifest.clone();
    soon(site.stop_hub()).await;
    let fault = soon(handle.join()).await.unwrap_err().fault();
    assert_eq!(fault.code, ErrorCode::HubUnreachable, "{fault:?}");
    assert!(site.missing(&manifest) < manifest.bytes(), "what was brought is kept");
    site.start_hub(|_| {}).await;
    let ended = soon(site.pull("acme/tiny", None)).await.unwrap();
    assert!(ended.report.bytes_reused.0 > 0);
    site.assert_same("acme/tiny", &ended.manifest);
}
