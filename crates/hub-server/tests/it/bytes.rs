//! Files: redirects, signed links, ranges, conditions.

use std::time::Duration;

use crate::served::{Served, header, weights};

#[tokio::test]
async fn a_large_file_is_a_redirect_with_its_metadata_to_another_origin() {
    let served = Served::start().await;
    let commit = served.commit("acme/tiny", "main").await;
    let tree = served.json("/api/models/acme/tiny/tree/main").await;
    let entry = tree.as_array().unwrap().iter().find(|entry| entry["path"] == "model.safetensors").unwrap();
    let sha256 = entry["lfs"]["oid"].as_str().unwrap();
    for method in ["GET", "HEAD"] {
        let response = served.ask(method, "/acme/tiny/resolve/main/model.safetensors", &[]).await;
        assert_eq!(response.status(), 302);
        assert_eq!(header(&response, "x-repo-commit"), commit);
        assert_eq!(header(&response, "x-linked-size"), "3000000");
        assert_eq!(header(&response, "x-linked-etag"), format!("\"{sha256}\""));
        assert_eq!(header(&response, "accept-ranges"), "bytes");
        assert!(header(&response, "content-length").parse::<u64>().unwrap() < 1000);
        let location = header(&response, "location").to_owned();
        assert!(
            location.starts_with(&format!("http://{}/cdn/{sha256}?", served.hub.cdn_address())),
            "{location}"
        );
        let bytes = served.ask("GET", &location, &[]).await;
        assert_eq!(header(&bytes, "content-type"), "application/octet-stream");
        let etag = header(&bytes, "etag").to_owned();
        assert!(etag.len() == 66 && !etag.contains(sha256), "{etag}");
        assert_eq!(bytes.bytes().await.unwrap(), weights());
    }
    served.stop().await;
}

#[tokio::test]
async fn a_small_file_is_a_redirect_on_the_same_origin() {
    let served = Served::start().await;
    let commit = served.commit("acme/tiny", "main").await;
    let tree = served.json("/api/models/acme/tiny/tree/main/a%20b").await;
    let blob = tree[0]["oid"].as_str().unwrap().to_owned();
    let response = served.ask("GET", "/acme/tiny/resolve/main/a%20b/%C3%BC.txt", &[]).await;
    assert_eq!(response.status(), 307);
    assert_eq!(header(&response, "x-repo-commit"), commit);
    let location = header(&response, "location").to_owned();
    let start = format!("/api/resolve-cache/models/acme/tiny/{commit}/a%20b/%C3%BC.txt?");
    assert!(location.starts_with(&start) && location.ends_with(&format!("&etag=%22{blob}%22")), "{location}");
    for (method, expected) in [("GET", "umlaut"), ("HEAD", "")] {
        let small = served.ask(method, &location, &[]).await;
        assert_eq!(small.status(), 200);
        assert_eq!(header(&small, "etag"), format!("\"{blob}\""));
        assert_eq!(header(&small, "content-length"), "6", "{method}");
        assert_eq!(header(&small, "x-repo-commit"), commit);
        assert_eq!(header(&small, "x-content-type-options"), "nosniff");
        assert_eq!(small.text().await.unwrap(), expected);
    }
    // The address of small files gives no large ones.
    let weights = format!("/api/resolve-cache/models/acme/tiny/{commit}/model.safetensors");
    assert_eq!(served.ask("GET", &weights, &[]).await.status(), 404);
    served.stop().await;
}

#[tokio::test]
async fn empty_files_and_those_of_closed_repositories_come_directly() {
    let served = Served::start().await;
    let alice = "authorization: Bearer hf_alice";
    for (path, headers, expected) in [
        ("/acme/tiny/resolve/main/empty.txt", &[][..], ""),
        ("/acme/gated/resolve/main/config.json", &[alice][..], "{}"),
        ("/acme/secret/resolve/main/config.json", &[alice][..], "{}"),
    ] {
        let response = served.ask("GET", path, headers).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(header(&response, "content-length"), expected.len().to_string());
        assert_eq!(header(&response, "x-repo-commit").len(), 40);
        assert_eq!(header(&response, "etag").len(), 42);
        assert_eq!(response.text().await.unwrap(), expected);
    }
    served.stop().await;
}

#[tokio::test]
async fn ranges_are_served_on_both_origins() {
    let served = Served::start().await;
    let link = served.link("/acme/tiny/resolve/main/model.safetensors", &[]).await;
    let commit = served.commit("acme/tiny", "main").await;
    let small = format!("/api/resolve-cache/models/acme/tiny/{commit}/config.json");
    let check = async |url: &str, whole: &[u8], range: &str, expected: Result<(usize, usize), u16>| {
        let response = served.ask("GET", url, &[&format!("range: {range}")]).await;
        let (status, content_range) =
            (response.status().as_u16(), header(&response, "content-range").to_owned());
        let len = whole.len();
        match expected {
            Ok((first, last)) => {
                assert_eq!((status, content_range), (206, format!("bytes {first}-{last}/{len}")), "{range}");
                assert_eq!(header(&response, "content-length"), (last - first + 1).to_string());
                assert_eq!(response.bytes().await.unwrap(), whole[first..=last]);
            }
            Err(416) => assert_eq!((status, content_range), (416, format!("bytes */{len}")), "{range}"),
            Err(other) => {
                assert_eq!(status, other, "{range}");
                assert_eq!(response.bytes().await.unwrap(), whole);
            }
        }
    };
    let large = weights();
    check(&link, &large, "bytes=0-0", Ok((0, 0))).await;
    check(&link, &large, "bytes=0-", Ok((0, 2_999_999))).await;
    check(&link, &large, "bytes=524287-1048577", Ok((524_287, 1_048_577))).await;
    check(&link, &large, "bytes=-5", Ok((2_999_995, 2_999_999))).await;
    check(&link, &large, "bytes=2999999-4000000", Ok((2_999_999, 2_999_999))).await;
    check(&link, &large, "bytes=3000000-", Err(416)).await;
    check(&link, &large, "bytes=0-1,5-6", Err(200)).await;
    check(&small, b"{\"a\": 1}\n", "bytes=2-4", Ok((2, 4))).await;
    check(&small, b"{\"a\": 1}\n", "bytes=9-", Err(416)).await;
    let head = served.ask("HEAD", &link, &["range: bytes=5-9"]).await;
    assert_eq!((head.status().as_u16(), header(&head, "content-length")), (206, "5"));
    // A part of another state than the client has is of no use to it.
    let stale = served.ask("GET", &link, &["range: bytes=5-9", "if-range: \"other\""]).await;
    assert_eq!(stale.status(), 200);
    served.stop().await;
}

#[tokio::test]
async fn a_client_that_has_a_file_is_not_sent_it_again() {
    let served = Served::start().await;
    let path = "/acme/tiny/resolve/main/model.safetensors";
    let etag = header(&served.ask("HEAD", path, &[]).await, "x-linked-etag").to_owned();
    for condition in [etag.clone(), format!("W/{etag}"), format!("\"x\", {etag}"), "*".to_owned()] {
        let response = served.ask("GET", path, &[&format!("if-none-match: {condition}")]).await;
        assert_eq!((response.status().as_u16(), header(&response, "etag")), (304, &*etag), "{condition}");
    }
    let other = served.ask("GET", path, &["if-none-match: \"x\""]).await;
    assert_eq!(other.status(), 302);
    let commit = served.commit("acme/tiny", "main").await;
    let small = format!("/api/resolve-cache/models/acme/tiny/{commit}/config.json");
    let etag = header(&served.ask("HEAD", &small, &[]).await, "etag").to_owned();
    assert_eq!(served.ask("GET", &small, &[&format!("if-none-match: {etag}")]).await.status(), 304);
    served.stop().await;
}

#[tokio::test]
async fn a_link_is_good_for_its_file_and_its_time_only() {
    let served = Served::start_with(|options| options.link_lifetime = Duration::from_secs(0)).await;
    let expired = served.link("/acme/tiny/resolve/main/model.safetensors", &[]).await;
    let response = served.ask("GET", &expired, &["range: bytes=0-1"]).await;
    assert_eq!((response.status().as_u16(), header(&response, "content-type")), (403, "application/xml"));
    assert!(response.text().await.unwrap().contains("<Code>AccessDenied</Code>"));
    served.hub.set_faults(hub_server::Faults {
        link_lifetime: Some(Duration::from_secs(100)),
        ..Default::default()
    });
    let link = served.link("/acme/tiny/resolve/main/model.safetensors", &[]).await;
    assert_eq!(served.ask("HEAD", &link, &[]).await.status(), 200);
    let origin = format!("http://{}", served.hub.cdn_address());
    for forged in [
        link.replace("acme%2Ftiny%2F", "acme%2Fsecret%2F"),
        link.replace("signature=", "signature=00"),
        format!("{origin}/cdn/model.safetensors"),
        format!("{origin}/acme/tiny/resolve/main/config.json"),
    ] {
        assert_eq!(served.ask("GET", &forged, &[]).await.status(), 403, "{forged}");
    }
    assert_eq!(served.ask("POST", &link, &[]).await.status(), 405);
    // A file that changed under a link is not what the link promised.
    served.write("acme/tiny/model.safetensors", b"other weights");
    assert_eq!(served.ask("GET", &link, &[]).await.status(), 404);
    served.stop().await;
}

#[tokio::test]
async fn a_rate_holds_for_each_connection() {
    let served = Served::start_with(|options| options.rate_max = Some("6 MB".parse().unwrap())).await;
    let link = served.link("/acme/tiny/resolve/main/model.safetensors", &[]).await;
    let begun = std::time::Instant::now();
    let bytes = served.ask("GET", &link, &[]).await.bytes().await.unwrap();
    assert_eq!(bytes, weights());
    // Three million bytes less the last portion, at six million a second.
    assert!(begun.elapsed() >= Duration::from_millis(450), "it took {:?}", begun.elapsed());
    served.stop().await;
}
