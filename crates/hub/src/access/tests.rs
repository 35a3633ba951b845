//! Which file stands for the weights, and what a question about it proves.

use types::ErrorCode;

use super::*;
use crate::tests::stand_in::{Heard, Reply, StandIn, commit, entry, repo, token};

#[test]
fn the_largest_file_in_large_storage_stands_for_the_weights() {
    let check = |files: &[(&str, u64, bool)], expected: Option<&str>| {
        let files: Vec<_> = files.iter().map(|(path, size, large)| entry(path, *size, *large)).collect();
        assert_eq!(weight_file(&files).map(|file| file.path.as_str()), expected);
    };
    check(&[], None);
    check(&[("a.json", 5, false), ("b.json", 9, false)], Some("b.json"));
    check(&[("a.json", 500, false), ("b.bin", 9, true), ("c.bin", 20, true)], Some("c.bin"));
    check(&[("a.bin", 9, true), ("b.bin", 9, true)], Some("a.bin"));
}

#[tokio::test]
async fn access_is_proven_or_the_reason_is_told() {
    let check = async |reply: fn() -> Reply, with_token: bool, expected: Option<ErrorCode>| {
        let stand_in = StandIn::start(move |_: &Heard| reply()).await;
        let path = "model.safetensors".parse().unwrap();
        let token = with_token.then(token);
        let proven = stand_in.hub().prove_access(&repo(), commit(), &path, token.as_ref()).await;
        assert_eq!(proven.as_ref().err().map(|error| error.fault().code), expected, "{proven:?}");
        let heard = stand_in.heard();
        assert_eq!(heard[0].method, "HEAD");
        assert_eq!(heard[0].path(), format!("/acme/tiny/resolve/{}/model.safetensors", commit()));
    };
    let gated = || Reply::status(401).header("x-error-code", "GatedRepo");
    let denied = || Reply::status(403).header("x-error-code", "GatedRepo");
    check(|| Reply::redirect(302, "http://127.0.0.1:1/cdn?signature=secret"), true, None).await;
    check(|| Reply::status(200), false, None).await;
    check(gated, false, Some(ErrorCode::RepoGatedNoToken)).await;
    check(denied, true, Some(ErrorCode::RepoGatedNotGranted)).await;
    check(|| Reply::status(404).header("x-error-code", "EntryNotFound"), true, Some(ErrorCode::FileNotFound))
        .await;
    check(
        || Reply::status(403).header("x-error-message", "Access to this resource is disabled."),
        true,
        Some(ErrorCode::RepoDisabled),
    )
    .await;
    check(
        || Reply::status(401).header("x-error-message", "Invalid credentials in Authorization header"),
        true,
        Some(ErrorCode::HubTokenWrong),
    )
    .await;
}
