//! Tokens: who sees what, in the Hub's own words.

use hub_server::Origin;

use crate::served::{Served, header};

const NOBODY: &[&str] = &[];
const ALICE: &[&str] = &["authorization: Bearer hf_alice"];
const BOB: &[&str] = &["authorization: Bearer hf_bob"];
const STRANGER: &[&str] = &["authorization: Bearer hf_mallory"];

#[tokio::test]
async fn each_caller_sees_what_it_may() {
    let served = Served::start().await;
    let check = async |path: &str, expected: [(&str, &[&str], u16, &str); 4]| {
        for (who, headers, status, code) in expected {
            let response = served.ask("HEAD", path, headers).await;
            let seen = (response.status().as_u16(), header(&response, "x-error-code"));
            assert_eq!(seen, (status, code), "{who} at {path}");
        }
    };
    let all = |nobody: (u16, &'static str), alice: (u16, &'static str), bob: (u16, &'static str)| {
        [
            ("nobody", NOBODY, nobody.0, nobody.1),
            ("alice", ALICE, alice.0, alice.1),
            ("bob", BOB, bob.0, bob.1),
            ("a stranger", STRANGER, 401, ""),
        ]
    };
    let ok = (200, "");
    let (gated, not_granted) = ((401, "GatedRepo"), (403, "GatedRepo"));
    let (hidden, missing) = ((401, "RepoNotFound"), (404, "RepoNotFound"));
    check("/api/models/acme/tiny", all(ok, ok, ok)).await;
    check("/acme/tiny/resolve/main/model.safetensors", all((302, ""), (302, ""), (302, ""))).await;
    check("/api/models/acme/gated/tree/main", all(ok, ok, ok)).await;
    check("/acme/gated/resolve/main/model.safetensors", all(gated, (302, ""), not_granted)).await;
    check("/acme/gated/resolve/main/config.json", all(gated, ok, not_granted)).await;
    check("/api/models/acme/secret", all(hidden, ok, missing)).await;
    check("/acme/secret/resolve/main/model.safetensors", all(hidden, (302, ""), missing)).await;
    check("/api/models/acme/none", all(hidden, missing, missing)).await;
    check("/api/models/acme/gone", all((403, ""), (403, ""), (403, ""))).await;
    // Not even another spelling tells that a private repository is there.
    check("/api/models/ACME/Secret", all(hidden, (307, ""), missing)).await;
    served.stop().await;
}

#[tokio::test]
async fn the_address_of_small_files_asks_for_the_right_too() {
    let served = Served::start().await;
    let told = served.ask("GET", "/api/models/acme/secret", ALICE).await;
    let told: serde_json::Value = told.json().await.unwrap();
    let path = format!("/api/resolve-cache/models/acme/secret/{}/config.json", told["sha"].as_str().unwrap());
    assert_eq!(served.ask("GET", &path, NOBODY).await.status(), 401);
    assert_eq!(served.ask("GET", &path, BOB).await.status(), 404);
    assert_eq!(served.ask("GET", &path, ALICE).await.status(), 200);
    served.stop().await;
}

#[tokio::test]
async fn refusals_use_the_words_that_clients_compare() {
    let served = Served::start().await;
    let message = async |path: &str, headers: &[&str]| {
        header(&served.ask("GET", path, headers).await, "x-error-message").to_owned()
    };
    assert_eq!(message("/api/models/acme/none", NOBODY).await, "Invalid username or password.");
    assert_eq!(message("/api/models/acme/none", BOB).await, "Repository not found");
    assert_eq!(
        message("/api/models/acme/tiny", STRANGER).await,
        "Invalid credentials in Authorization header"
    );
    assert_eq!(message("/api/models/acme/gone", NOBODY).await, "Access to this resource is disabled.");
    served.hub.set_faults(hub_server::Faults { token_scope_refused: true, ..Default::default() });
    let scope = message("/acme/gated/resolve/main/config.json", ALICE).await;
    assert!(scope.contains("fine-grained token settings"), "{scope}");
    served.stop().await;
}

#[tokio::test]
async fn a_token_tells_whose_it_is() {
    let served = Served::start().await;
    let told: serde_json::Value = served.ask("GET", "/api/whoami-v2", ALICE).await.json().await.unwrap();
    assert_eq!((&told["name"], &told["auth"]["accessToken"]["role"]), (&"alice".into(), &"read".into()));
    assert_eq!(served.ask("GET", "/api/whoami-v2", NOBODY).await.status(), 401);
    assert_eq!(served.ask("GET", "/api/whoami-v2", STRANGER).await.status(), 401);
    served.stop().await;
}

#[tokio::test]
async fn requests_are_kept_without_what_they_carried() {
    let served = Served::start().await;
    let link = served.link("/acme/gated/resolve/main/model.safetensors", ALICE).await;
    served.hub.clear_requests();
    served.ask("GET", "/api/models/acme/tiny?x=1", BOB).await;
    served.ask("GET", &link, &["range: bytes=0-3"]).await;
    let kept = served.hub.requests();
    let told: Vec<_> = kept.iter().map(|r| (r.origin, r.status, r.authorized, r.range.as_deref())).collect();
    assert_eq!(told, [(Origin::Hub, 200, true, None), (Origin::Cdn, 206, false, Some("bytes=0-3"))]);
    assert_eq!(kept[0].path, "/api/models/acme/tiny");
    assert!(!format!("{kept:?}").contains("signature"));
    served.stop().await;
}
