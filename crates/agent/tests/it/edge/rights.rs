//! Who gets what: a worker its own models, and nobody anything else.

use std::time::Duration;

use agent::PassThrough;
use api::WorkerIntent;
use reqwest::Method;
use runtime::Egress;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::site::{Guest, House, Site, shown};
use crate::server::DEADLINE;

#[tokio::test]
async fn a_worker_gets_nothing_of_anothers_models_however_it_asks() {
    let mut site = Site::open().await;
    let (tiny, other) = (site.model("acme/tiny", None).await, site.model("acme/other", None).await);
    let mut house = House::new(Egress::Shared, PassThrough::Refused).await;
    let mine = house.worker(&site, "wk_1", &tiny, "acme/tiny").await;
    let theirs = house.worker(&site, "wk_2", &other, "acme/other").await;
    site.close().await;
    let secret = "/acme/other/resolve/main/config.json";
    assert_eq!(theirs.get(secret).await.status(), 200);
    assert_eq!(mine.get(secret).await.status(), 403);
    assert_eq!(mine.get("/api/models/acme/other").await.status(), 403);

    let key = |guest: &Guest| guest.address.rsplit('/').next().unwrap().to_owned();
    let other_key = theirs.address.replace(&key(&theirs), &key(&mine));
    let no_key = theirs.address.replace(&key(&theirs), "");
    let unknown = theirs.address.replace("wk_2", "wk_3");
    let almost = &theirs.address[..theirs.address.len() - 1];
    for stranger in [other_key.as_str(), &no_key, &unknown, almost] {
        let answer = Guest::at(stranger).get(secret).await;
        assert_eq!(answer.status(), 401, "{stranger}");
    }
    let digest = other.files().iter().find(|file| file.path.as_str() == "config.json").unwrap().digest;
    let commit = other.key().commit;
    for path in [
        format!("/acme/tiny/resolve/{commit}/config.json"),
        format!("/acme/tiny/resolve/main/blobs/{digest}"),
        format!("/acme/tiny/resolve/main/..%2f..%2f..%2fblobs%2f{digest}"),
        "/acme/tiny/resolve/main/..%2F..%2F..%2F..%2Fview.json".to_owned(),
        "/acme/tiny/resolve/main/%2e%2e/%2e%2e/refs/main".to_owned(),
        "/acme/tiny/resolve/..%2f..%2fother/config.json".to_owned(),
        "/acme/tiny/resolve/main/%2Fetc%2Fpasswd".to_owned(),
        "/acme/tiny/resolve/main/config.json%00".to_owned(),
        "/acme%2F..%2Facme%2Fother/resolve/main/config.json".to_owned(),
    ] {
        let answer = raw(&mine, &path).await;
        assert!(matches!(&answer[9..12], "400" | "403" | "404"), "{path}: {answer}");
    }
    house.end_worker("wk_2").await;
    assert_eq!(theirs.get(secret).await.status(), 401, "with its worker a key ends");
    house.bench.end().await;
}

/// Asks without any client that would put the path right.
async fn raw(guest: &Guest, path: &str) -> String {
    let (host, own) = guest.address.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let request = format!("GET /{own}{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_key_says_nothing_of_the_relays_and_others_have_none() {
    let site = Site::open().await;
    let tiny = site.model("acme/tiny", None).await;
    let mut house = House::new(Egress::None, PassThrough::Refused).await;
    let guest = house.worker(&site, "wk_1", &tiny, "acme/tiny").await;
    let seen = house.driver.seen(&"wk_1".parse().unwrap());
    assert!(!guest.address.contains(&seen.env["RUNPOD_AI_API_KEY"]));
    assert!(!format!("{:?}", seen.start).contains("/hub/wk_1"), "a start that is logged shows no key");
    let offline = crate::bench::worker("wk_9", WorkerIntent::Run, &["run"]);
    assert_eq!(offline.hub_access, types::HubAccess::Offline);
}

#[tokio::test]
async fn huge_heads_and_silent_connections_end_and_others_are_answered() {
    let site = Site::open().await;
    let tiny = site.model("acme/tiny", None).await;
    let mut house = House::new(Egress::None, PassThrough::Refused).await;
    let guest = house.worker(&site, "wk_1", &tiny, "acme/tiny").await;
    let path = "/acme/tiny/resolve/main/config.json";
    let huge = "a".repeat(200_000);
    let (host, own) = guest.address.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let head = format!("GET /{own}{path} HTTP/1.1\r\nhost: {host}\r\nx-huge: {huge}\r\n\r\n");
    // It may be cut off before all is written.
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("it ends");
    assert!(!String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 200"), "{answer:?}");
    // Heads that never end hold a connection for ten seconds, and nobody else up.
    let mut silent = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(host).await.unwrap();
        stream.write_all(format!("GET /{own}{path} HTTP/1.1\r\nx-slow: ").as_bytes()).await.unwrap();
        silent.push(stream);
    }
    let answer = tokio::time::timeout(DEADLINE, guest.ask(Method::HEAD, path, &[])).await.unwrap();
    assert_eq!(shown(&answer, &["content-length"]), "200 9");
    let mut ended = silent.pop().unwrap();
    let end = tokio::time::timeout(Duration::from_secs(60), ended.read_to_end(&mut Vec::new())).await;
    assert!(end.is_ok(), "a head that never ends is cut off");
    house.bench.end().await;
}

#[tokio::test]
async fn readers_that_take_nothing_hold_no_more_than_their_share() {
    let site = Site::open().await;
    // More than sockets hold while nobody reads.
    site.write("acme/big/model.safetensors", &vec![7; 6_000_000]);
    let (big, tiny) = (site.model("acme/big", None).await, site.model("acme/tiny", None).await);
    let mut house = House::new(Egress::Shared, PassThrough::Refused).await;
    let greedy = house.worker(&site, "wk_1", &big, "acme/big").await;
    let other = house.worker(&site, "wk_2", &tiny, "acme/tiny").await;
    let mut held = Vec::new();
    for _ in 0..32 {
        let answer = greedy.get("/acme/big/resolve/main/model.safetensors").await;
        assert_eq!(answer.status(), 200);
        held.push(answer);
    }
    let waiting = greedy.clone();
    let one_more =
        tokio::spawn(async move { waiting.get("/acme/big/resolve/main/model.safetensors").await.status() });
    assert_eq!(
        other.get("/acme/tiny/resolve/main/config.json").await.status(),
        200,
        "others have turns of their own"
    );
    assert!(!one_more.is_finished(), "the share is taken");
    drop(held.pop());
    assert_eq!(tokio::time::timeout(DEADLINE, one_more).await.unwrap().unwrap(), 200);
    house.bench.end().await;
}

#[tokio::test]
async fn an_adopted_worker_is_answered_as_before() {
    let site = Site::open().await;
    let tiny = site.model("acme/tiny", None).await;
    let mut house = House::new(Egress::None, PassThrough::Refused).await;
    let guest = house.worker(&site, "wk_1", &tiny, "acme/TINY").await;
    house.bench.kill().await;
    let driver = std::sync::Arc::new(house.driver.restarted());
    house.bench.reopen(driver, crate::bench::patient(), crate::server::Commits::AtOnce).await;
    let answer = guest.get("/acme/tiny/resolve/main/config.json").await;
    assert_eq!(answer.text().await.unwrap(), "{\"a\": 1}\n");
    house.bench.end().await;
}
