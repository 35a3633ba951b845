//! Resolving against a stand-in: names, commits, redirects, tokens, tries.

use std::sync::atomic::{AtomicUsize, Ordering};

use types::ErrorCode;

use super::*;
use crate::{
    TokenOverHttp,
    tests::stand_in::{End, Heard, Reply, StandIn, options, repo, token},
};

const DESCRIPTION: &str = r#"{"_id":"x","id":"acme/tiny","sha":"abababababababababababababababababababab","private":false,"gated":false,"siblings":[]}"#;

async fn resolve(stand_in: &StandIn, name: &str) -> Result<Resolved, HubError> {
    stand_in.hub().resolve(&name.parse().unwrap(), &Revision::main(), Some(&token())).await
}

#[tokio::test]
async fn the_hub_decides_about_spelling_and_commit() {
    let stand_in = StandIn::start(|heard: &Heard| match heard.path() {
        "/api/models/acme/tiny/revision/main" => Reply::json(DESCRIPTION),
        "/api/models/ACME/Tiny/revision/main" => Reply::redirect(307, "/api/models/acme/tiny/revision/main"),
        "/api/models/tiny/revision/main" => Reply::redirect(308, "/api/models/acme/tiny/revision/main"),
        _ => Reply::status(404),
    })
    .await;
    for name in ["acme/tiny", "ACME/Tiny", "tiny"] {
        let resolved = resolve(&stand_in, name).await.unwrap();
        assert_eq!(
            (resolved.repo.as_str(), resolved.commit),
            ("acme/tiny", crate::tests::stand_in::commit())
        );
        assert_eq!(resolved.visibility, Visibility::Public);
    }
    for heard in stand_in.heard() {
        assert_eq!(heard.header("authorization"), Some("Bearer hf_secret"), "{heard:?}");
        assert_eq!(heard.header("accept-encoding"), Some("identity"));
        assert_eq!(heard.header("referer"), None);
    }
}

#[tokio::test]
async fn visibility_is_read_from_the_description() {
    let check = async |field: &'static str, expected: Visibility| {
        let text = DESCRIPTION.replace(r#""private":false,"gated":false"#, field);
        let stand_in = StandIn::start(move |_: &Heard| Reply::json(&text)).await;
        assert_eq!(resolve(&stand_in, "acme/tiny").await.unwrap().visibility, expected, "{field}");
    };
    check(r#""private":true,"gated":"auto""#, Visibility::Private).await;
    check(r#""private":false,"gated":"manual""#, Visibility::Gated).await;
    check(r#""gated":true"#, Visibility::Gated).await;
    check(r#""gated":null"#, Visibility::Public).await;
}

#[tokio::test]
async fn answers_that_are_wrong_are_refused() {
    let check = async |reply: Reply, expected: ErrorCode| {
        let shown = format!("{reply:?}");
        let stand_in = StandIn::start(move |_: &Heard| reply.clone()).await;
        let fault = resolve(&stand_in, "acme/tiny").await.unwrap_err().fault();
        assert_eq!(fault.code, expected, "{shown}: {}", fault.message);
        assert!(!fault.message.contains("secret"), "{}", fault.message);
    };
    let invalid = ErrorCode::HubAnswerInvalid;
    check(Reply::json("{"), invalid).await;
    check(Reply::json(r#"{"id":"acme/tiny"}"#), invalid).await;
    check(Reply::json(&DESCRIPTION.replace("acme/tiny", "../../etc")), invalid).await;
    check(Reply::json(&DESCRIPTION.replace("abab", "xyxy")), invalid).await;
    check(Reply::json(&DESCRIPTION.replace(r#""_id""#, r#""disabled":true,"_id""#)), ErrorCode::RepoDisabled)
        .await;
    check(Reply::json(&"[".repeat(100_000)), invalid).await;
    check(Reply::redirect(302, "http://127.0.0.1:1/x?secret=1"), invalid).await;
    check(Reply::redirect(302, "ftp://127.0.0.1/secret"), invalid).await;
    check(Reply::status(302), invalid).await;
    check(Reply::redirect(307, "/again"), invalid).await;
    check(Reply::status(200).end(End::StallAfter(0)).header("content-length", "9"), ErrorCode::HubStalled)
        .await;
    check(Reply::json(DESCRIPTION).end(End::CloseAfter(9)), ErrorCode::HubConnectionLost).await;
    check(Reply::json(DESCRIPTION).end(End::ResetAfter(9)), ErrorCode::HubConnectionLost).await;
    check(Reply::status(500), ErrorCode::HubServerError).await;
    check(Reply::status(429).header("retry-after", "7"), ErrorCode::HubRateLimited).await;
}

#[tokio::test]
async fn a_hub_that_is_down_is_told_at_once() {
    let address = StandIn::start(|_: &Heard| Reply::status(500)).await.address();
    let hub = Hub::new(options(&address)).unwrap();
    let error = hub.resolve(&repo(), &Revision::main(), None).await.unwrap_err();
    assert_eq!(error.fault().code, ErrorCode::HubUnreachable, "{error}");
    let message = error.fault().message;
    assert!(message.contains("can't be reached at 127.0.0.1:"), "{message}");
    assert!(!message.contains("error sending request"), "{message}");
}

#[tokio::test]
async fn an_answer_over_the_limit_is_not_read_to_its_end() {
    let stand_in = StandIn::start(|_: &Heard| Reply::json(&" ".repeat(5000))).await;
    let mut options = stand_in.options();
    options.limits.answer_bytes_max = base::ByteSize::kib(1);
    let error = Hub::new(options).unwrap().resolve(&repo(), &Revision::main(), None).await.unwrap_err();
    assert!(error.to_string().contains("longer than 1.0 kB"), "{error}");
}

#[tokio::test]
async fn an_error_of_the_hub_is_tried_again_and_a_pause_is_not() {
    let check = async |first: Reply, asked: usize, works: bool| {
        let count = AtomicUsize::new(0);
        let stand_in = StandIn::start(move |_: &Heard| match count.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => first.clone(),
            _ => Reply::json(DESCRIPTION),
        })
        .await;
        assert_eq!(resolve(&stand_in, "acme/tiny").await.is_ok(), works);
        assert_eq!(stand_in.heard().len(), asked);
    };
    check(Reply::status(502), 3, true).await;
    check(Reply::json(DESCRIPTION).end(End::ResetAfter(3)), 3, true).await;
    check(Reply::status(503).header("retry-after", "2"), 1, false).await;
    check(Reply::status(429), 1, false).await;
    check(Reply::status(404), 1, false).await;
}

#[tokio::test]
async fn a_token_does_not_cross_a_network_in_the_open() {
    // Not a loopback address by its number, and yet it leads nowhere but to this machine.
    let mut options = options("http://0.0.0.0:9");
    let hub = Hub::new(options.clone()).unwrap();
    let error = hub.resolve(&repo(), &Revision::main(), Some(&token())).await.unwrap_err();
    assert_eq!(error.fault().code, ErrorCode::HubTokenInsecure);
    options.token_over_http = TokenOverHttp::Anywhere;
    let hub = Hub::new(options).unwrap();
    let error = hub.resolve(&repo(), &Revision::main(), Some(&token())).await.unwrap_err();
    assert_eq!(error.fault().code, ErrorCode::HubUnreachable);
}

#[tokio::test]
async fn a_token_that_no_header_can_carry_is_wrong() {
    let stand_in = StandIn::start(|_: &Heard| Reply::json(DESCRIPTION)).await;
    let token = base::Redacted::new("line\nbreak".to_owned());
    let error = stand_in.hub().resolve(&repo(), &Revision::main(), Some(&token)).await.unwrap_err();
    assert_eq!(error.fault().code, ErrorCode::HubTokenWrong);
    assert!(stand_in.heard().is_empty());
}
