//! From a real hub server over real connections into a real store: what the parts promise each other.

#![expect(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod faults;
mod site;
mod wire;

use std::{future::Future, time::Duration};

use base::{ByteSize, Redacted};
use hub_server::Origin;
use types::ErrorCode;

use self::site::{Ended, Site};

/// No test waits longer for a value.
const PATIENCE: Duration = Duration::from_secs(60);

async fn soon<T>(value: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, value).await.expect("the value came in time")
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
