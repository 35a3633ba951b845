//! What is not the endpoint's own: passed on with the worker's token, or refused.

use agent::PassThrough;
use reqwest::Method;
use runtime::Egress;
use serde_json::Value;

use super::site::{Guest, House, Site, shown, text};

#[tokio::test]
async fn other_repositories_are_the_hubs_with_the_workers_own_token_only() {
    let site = Site::open().await;
    let model = site.model("acme/tiny", None).await;
    let mut house = House::new(Egress::Shared, PassThrough::Allowed).await;
    let guest = house.worker(&site, "wk_1", &model, "acme/tiny").await;
    site.asked();
    let own = [("authorization", "Bearer hf_alice")];
    for (path, headers, expected) in [
        ("/api/models/acme/other", &[][..], "200 -"),
        ("/api/models/acme/secret", &[], "401 RepoNotFound"),
        ("/api/models/acme/secret", &own, "200 -"),
        ("/api/models/acme/none", &own, "404 RepoNotFound"),
        ("/api/whoami-v2", &own, "200 -"),
        ("/acme/secret/resolve/main/config.json", &own, "200 -"),
        ("/api/models/acme/tiny/revision/dev", &[], "200 -"),
        ("/api/models/acme/tiny/tree/dev", &[], "200 -"),
        ("/api/models/acme/tiny/revision/nowhere", &[], "404 RevisionNotFound"),
    ] {
        let answer = guest.ask(Method::GET, path, headers).await;
        assert_eq!(shown(&answer, &["x-error-code"]), expected, "{path}");
        let sent = if headers.is_empty() { "" } else { " with a token" };
        assert_eq!(site.asked(), [format!("GET {path}{sent}")]);
    }
    let registry = guest.get("/api/agent-harnesses").await;
    assert_eq!((registry.status().as_u16(), site.asked().len()), (404, 0), "nobody waits for that");
    house.bench.end().await;
}

#[tokio::test]
async fn redirects_and_pages_stay_below_the_workers_own_address() {
    let site = Site::open().await;
    let model = site.model("acme/tiny", None).await;
    let mut house = House::new(Egress::Shared, PassThrough::Allowed).await;
    let guest = house.worker(&site, "wk_1", &model, "acme/tiny").await;
    let small = guest.ask(Method::HEAD, "/acme/other/resolve/main/config.json", &[]).await;
    let location = text(small.headers(), "location");
    let own = guest.address.splitn(4, '/').nth(3).unwrap().to_owned();
    assert!(location.starts_with(&format!("/{own}/api/resolve-cache/")), "{location}");
    let origin = guest.address.strip_suffix(&format!("/{own}")).unwrap();
    let followed = Guest::at(&format!("{origin}{location}")).get("").await;
    assert_eq!(followed.text().await.unwrap(), "{\"other\": true}\n");
    let other = guest.ask(Method::HEAD, "/ACME/Other/resolve/main/config.json", &[]).await;
    assert_eq!(text(other.headers(), "location"), format!("/{own}/acme/other/resolve/main/config.json"));
    // Bytes of large files are elsewhere, and the worker goes there itself.
    let large = guest.ask(Method::HEAD, "/acme/other/resolve/main/model.safetensors", &[]).await;
    let location = text(large.headers(), "location");
    assert!(
        location.starts_with("http://") && location.contains("/cdn/") && !location.contains(&own),
        "{location}"
    );
    assert_eq!(text(large.headers(), "x-linked-size"), "13");

    let page = guest.get("/api/models/acme/tiny/tree/dev?recursive=true").await;
    assert_eq!(text(page.headers(), "link"), "-");
    site.write("acme/other/a.txt", b"a");
    let page = guest.get("/api/models/acme/other/tree/main?recursive=true").await;
    let link = text(page.headers(), "link");
    assert!(link.starts_with(&format!("<{}/api/models/acme/other/tree/main?", guest.address)), "{link}");
    let next = link.trim_start_matches('<').split('>').next().unwrap();
    let rest: Value = Guest::at(next).get("").await.json().await.unwrap();
    assert_eq!(rest.as_array().unwrap().len(), 1, "{rest}");
    house.bench.end().await;
}

#[tokio::test]
async fn without_egress_nothing_is_passed_on_unless_the_operator_says_so() {
    let site = Site::open().await;
    let model = site.model("acme/tiny", None).await;
    let mut house = House::new(Egress::None, PassThrough::Refused).await;
    let guest = house.worker(&site, "wk_1", &model, "acme/tiny").await;
    site.asked();
    for (path, expected, words) in [
        ("/api/models/acme/other", "403 GatedRepo", "--edge-pass-through"),
        ("/acme/other/resolve/main/config.json", "403 GatedRepo", "--model"),
        ("/api/whoami-v2", "403 GatedRepo", "no way out"),
        ("/datasets/acme/set/resolve/main/a.parquet", "403 GatedRepo", "no way out"),
        ("/api/models/acme/tiny/revision/dev", "404 RevisionNotFound", "org/name@revision"),
        ("/acme/tiny/resolve/main/adapter_config.json", "404 EntryNotFound", "--include"),
    ] {
        let answer = guest.get(path).await;
        assert_eq!(shown(&answer, &["x-error-code"]), expected, "{path}");
        let message = text(answer.headers(), "x-error-message");
        assert!(message.contains(words), "{path}: {message}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["error"], message);
    }
    let put = guest.ask_with(Method::POST, "/api/models/acme/tiny/commit/main", &[], b"{}".to_vec()).await;
    assert_eq!(put.status(), 403);
    assert_eq!(site.asked(), [""; 0]);
    let env = house.driver.seen(&"wk_1".parse().unwrap()).env;
    assert_eq!(env["HF_HUB_DISABLE_XET"], "1");
    assert!(!env.contains_key("HF_HUB_OFFLINE"), "{env:?}");
    house.bench.end().await;
}

#[tokio::test]
async fn where_the_operator_lets_it_the_agent_follows_redirects_for_workers_without_egress() {
    let site = Site::open().await;
    let model = site.model("acme/tiny", None).await;
    let mut house = House::new(Egress::None, PassThrough::Allowed).await;
    let guest = house.worker(&site, "wk_1", &model, "acme/tiny").await;
    site.asked();
    let own = [("authorization", "Bearer hf_alice"), ("range", "bytes=2-5")];
    let path = "/acme/secret/resolve/main/model.safetensors";
    let head = guest.ask(Method::HEAD, path, &own).await;
    assert_eq!(shown(&head, &["content-length", "x-linked-size", "location"]), "200 14 14 -");
    let part = guest.ask(Method::GET, path, &own).await;
    assert_eq!(shown(&part, &["content-range"]), "206 bytes 2-5/14");
    assert_eq!(part.text().await.unwrap(), "cret");
    let expected =
        [format!("HEAD {path} with a token"), format!("GET {path} with a token"), "cdn GET /cdn".to_owned()];
    assert_eq!(site.asked(), expected, "the token stays with the hub");
    house.bench.end().await;
}

#[tokio::test]
async fn a_hub_that_is_down_is_said_to_be() {
    let mut site = Site::open().await;
    let model = site.model("acme/tiny", None).await;
    let mut house = House::new(Egress::Shared, PassThrough::Allowed).await;
    let guest = house.worker(&site, "wk_1", &model, "acme/tiny").await;
    site.close().await;
    let answer = guest.get("/api/models/acme/other").await;
    assert_eq!(answer.status(), 502);
    let message = text(answer.headers(), "x-error-message");
    assert!(message.contains("hub main") && message.contains("127.0.0.1"), "{message}");
    house.bench.end().await;
}
