//! What is passed on, what comes back, and where tokens go.

use std::time::Duration;

use reqwest::header::{HeaderName, RANGE};

use super::*;
use crate::tests::stand_in::{Heard, Reply, StandIn};

const FILE: &str = "/acme/tiny/resolve/main/model.safetensors";

fn request(method: Method, target: &str, elsewhere: Elsewhere) -> ForwardRequest {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("authorization", "Bearer own"),
        ("connection", "keep-alive, x-secret-hop"),
        ("x-secret-hop", "1"),
        ("host", "127.0.0.1:1"),
        ("cookie", "a=b"),
        ("user-agent", "hf/2.4"),
        ("range", "bytes=1-3"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    ForwardRequest { method, target: target.to_owned(), headers, body: None, elsewhere }
}

/// A client that waits for a busy machine.
fn patient(server: &StandIn) -> Hub {
    let mut options = server.options();
    options.stall_timeout = Duration::from_secs(30);
    Hub::new(options).unwrap()
}

async fn text(hub: &Hub, mut forwarded: Forwarded) -> String {
    let mut body = Vec::new();
    while let Some(chunk) = forwarded.chunk(hub).await.unwrap() {
        body.extend_from_slice(&chunk);
    }
    String::from_utf8(body).unwrap()
}

fn shown(forwarded: &Forwarded, name: &str) -> String {
    forwarded.headers.get(name).map_or("-", |value| value.to_str().unwrap()).to_owned()
}

fn header(heard: &Heard, name: &str) -> String {
    heard.header(name).unwrap_or("-").to_owned()
}

#[tokio::test]
async fn a_request_and_its_answer_go_through_as_they_are() {
    let server = StandIn::start(|_| {
        Reply::status(404)
            .header("x-error-code", "EntryNotFound")
            .header("set-cookie", "a=b")
            .header("x-repo-commit", "abc")
            .body("no such file")
    })
    .await;
    let hub = patient(&server);
    let forwarded = hub.forward(request(Method::GET, "/a/b?x=%2F&y", Elsewhere::Tell)).await.unwrap();
    assert_eq!(forwarded.status, 404);
    let told =
        ["x-error-code", "set-cookie", "connection", "x-repo-commit"].map(|name| shown(&forwarded, name));
    assert_eq!(told, ["EntryNotFound", "-", "-", "abc"]);
    assert_eq!(text(&hub, forwarded).await, "no such file");
    let heard = &server.heard()[0];
    assert_eq!((heard.method.as_str(), heard.target.as_str()), ("GET", "/a/b?x=%2F&y"));
    let heard =
        ["authorization", "user-agent", "range", "cookie", "x-secret-hop"].map(|name| header(heard, name));
    assert_eq!(heard, ["Bearer own", "hf/2.4", "bytes=1-3", "-", "-"]);
}

#[tokio::test]
async fn a_redirect_elsewhere_is_told_or_followed_without_the_token() {
    let cdn = StandIn::start(|_| Reply::status(206).header("etag", "\"other\"").body("abc")).await;
    let address = cdn.address();
    let server = StandIn::start(move |_| {
        Reply::redirect(302, format!("{address}/cdn/x?sig=1"))
            .header("x-repo-commit", "c0")
            .header("x-linked-size", "9")
            .header("x-linked-etag", "\"e0\"")
    })
    .await;
    let hub = patient(&server);
    let told = hub.forward(request(Method::GET, FILE, Elsewhere::Tell)).await.unwrap();
    assert_eq!((told.status, shown(&told, "x-repo-commit")), (StatusCode::FOUND, "c0".to_owned()));
    assert!(shown(&told, "location").ends_with("/cdn/x?sig=1") && cdn.heard().is_empty());

    let head = hub.forward(request(Method::HEAD, FILE, Elsewhere::Follow)).await.unwrap();
    let facts = ["content-length", "etag", "x-repo-commit"].map(|name| shown(&head, name));
    assert_eq!((head.status, facts), (StatusCode::OK, ["9", "\"e0\"", "c0"].map(str::to_owned)));
    assert!(cdn.heard().is_empty(), "its size and name are known without");

    let bytes = hub.forward(request(Method::GET, FILE, Elsewhere::Follow)).await.unwrap();
    assert_eq!(
        (bytes.status, shown(&bytes, "x-linked-etag")),
        (StatusCode::PARTIAL_CONTENT, "\"e0\"".to_owned())
    );
    assert_eq!(text(&hub, bytes).await, "abc");
    let heard = &cdn.heard()[0];
    assert_eq!(
        (header(heard, "authorization"), header(heard, RANGE.as_str())),
        ("-".to_owned(), "bytes=1-3".to_owned())
    );

    let put = hub.forward(request(Method::PUT, FILE, Elsewhere::Follow)).await;
    assert!(matches!(put, Err(HubError::RedirectRefused(_))), "{put:?}");
}

#[tokio::test]
async fn a_redirect_within_the_hub_is_told_and_its_place_behind_the_address_is_known() {
    let server = StandIn::start(|_| Reply::redirect(307, "/api/resolve-cache/models/a/b?x=1")).await;
    let hub = patient(&server);
    for elsewhere in [Elsewhere::Tell, Elsewhere::Follow] {
        let answer = hub.forward(request(Method::HEAD, FILE, elsewhere)).await.unwrap();
        assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
        let location = shown(&answer, "location");
        assert_eq!(hub.behind(FILE, &location).as_deref(), Some("/api/resolve-cache/models/a/b?x=1"));
    }
    let own = format!("{}/x/y", server.address());
    assert_eq!(hub.behind(FILE, &own).as_deref(), Some("/x/y"));
    assert_eq!(hub.behind(FILE, "https://elsewhere.test/x"), None);
    let below = Hub::new(crate::HubOptions::new("h".parse().unwrap(), "http://h.test/hf/".parse().unwrap()));
    let below = below.unwrap();
    assert_eq!(below.behind(FILE, "http://h.test/hf/x").as_deref(), Some("/x"));
    assert_eq!(below.behind(FILE, "/other"), None);
    assert_eq!(below.behind(FILE, "http://h.test/hfx/x"), None);
}

#[tokio::test]
async fn a_token_does_not_cross_a_network_in_the_clear() {
    let options = crate::HubOptions::new("h".parse().unwrap(), "http://192.0.2.1".parse().unwrap());
    let hub = Hub::new(options).unwrap();
    let refused = hub.forward(request(Method::GET, FILE, Elsewhere::Tell)).await;
    assert!(matches!(refused, Err(HubError::TokenInsecure(_))), "{refused:?}");
}
