//! Faults on order: each is seen over the wire.

use std::time::{Duration, Instant};

use base::ByteSize;
use hub_server::{BodyFault, Failure, Faults, Harm, Hit, ListingLie};

use crate::served::{Served, header, weights};

const WEIGHTS: &str = "/acme/tiny/resolve/main/model.safetensors";

fn bodies(harm: Harm) -> Faults {
    Faults { bodies: vec![BodyFault::always(harm)], ..Faults::default() }
}

#[tokio::test]
async fn requests_of_a_kind_fail_in_their_turn() {
    let failures = vec![
        Failure::nth(Hit::Api, 2, 500),
        Failure::always(Hit::Resolve, 502),
        Failure { retry_after: Some(Duration::from_secs(7)), ..Failure::nth(Hit::Bytes, 1, 503) },
    ];
    let served = Served::start_faulty(Faults { failures, ..Faults::default() }).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(served.ask("GET", "/api/models/acme/tiny", &[]).await.status().as_u16());
    }
    assert_eq!(seen, [200, 500, 200]);
    assert_eq!(served.ask("HEAD", WEIGHTS, &[]).await.status(), 502);
    let commit = served.commit("acme/tiny", "main").await;
    let small = format!("/api/resolve-cache/models/acme/tiny/{commit}/config.json");
    let busy = served.ask("GET", &small, &[]).await;
    assert_eq!((busy.status().as_u16(), header(&busy, "retry-after")), (503, "7"));
    assert_eq!(served.ask("GET", &small, &[]).await.status(), 200);
    served.stop().await;
}

#[tokio::test]
async fn bytes_are_harmed_as_ordered() {
    let served = Served::start_faulty(bodies(Harm::FlipByteAt(2_000_000))).await;
    let link = served.link(WEIGHTS, &[]).await;
    let mut expected = weights();
    expected[2_000_000] = !expected[2_000_000];
    assert_eq!(served.ask("GET", &link, &[]).await.bytes().await.unwrap(), expected);
    let part = served.ask("GET", &link, &["range: bytes=1999999-2000001"]).await.bytes().await.unwrap();
    assert_eq!(part, expected[1_999_999..=2_000_001]);

    served.hub.set_faults(bodies(Harm::TruncateAfter(1_000_000)));
    let mut response = served.ask("GET", &link, &[]).await;
    assert_eq!(header(&response, "content-length"), "3000000");
    let mut got = 0;
    let error = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => got += chunk.len(),
            Ok(None) => panic!("the body ended well after {got} bytes"),
            Err(error) => break error,
        }
    };
    assert!(got <= 1_000_000 && (error.is_body() || error.is_decode()), "{got} bytes, then {error:?}");

    let once = BodyFault { count: 1, ..BodyFault::always(Harm::StallAfter(100)) };
    served.hub.set_faults(Faults { bodies: vec![once], ..Faults::default() });
    let mut response = served.ask("GET", &link, &[]).await;
    assert_eq!(response.chunk().await.unwrap().unwrap().len(), 100);
    assert!(tokio::time::timeout(Duration::from_millis(200), response.chunk()).await.is_err());
    assert_eq!(served.ask("GET", &link, &[]).await.bytes().await.unwrap(), weights());
    served.stop().await;
}

#[tokio::test]
async fn listings_lie_and_links_lead_elsewhere_as_ordered() {
    let served = Served::start_with(|options| options.page_entries_max = 2).await;
    served.hub.set_faults(Faults {
        listing: vec![
            ListingLie::Path { path: "config.json".into(), shown: "../../x".into() },
            ListingLie::Size { path: "1_Pooling/config.json".into(), size: 9 },
        ],
        next_page_origin: Some("http://127.0.0.1:1".into()),
        link_origin: Some("http://127.0.0.1:2".into()),
        ..Faults::default()
    });
    let told = served.json("/api/models/acme/tiny").await;
    assert_eq!(told["siblings"][3]["rfilename"], "../../x");
    let page = served.ask("GET", "/api/models/acme/tiny/tree/main?recursive=1", &[]).await;
    assert!(
        header(&page, "link")
            .starts_with("<http://127.0.0.1:1/api/models/acme/tiny/tree/main?recursive=1&cursor=")
    );
    let page: serde_json::Value = page.json().await.unwrap();
    assert_eq!(page[1]["size"], 9);
    assert!(served.link(WEIGHTS, &[]).await.starts_with("http://127.0.0.1:2/cdn/"));
    served.stop().await;
}

#[tokio::test]
async fn the_rest_of_the_drills_do_what_they_say() {
    let served = Served::start().await;
    let link = served.link(WEIGHTS, &[]).await;
    served.hub.set_faults(Faults { whole_file_bytes_max: Some(ByteSize(1000)), ..Faults::default() });
    assert_eq!(served.ask("GET", &link, &[]).await.status(), 400);
    assert_eq!(served.ask("GET", &link, &["range: bytes=0-"]).await.status(), 206);
    served.hub.set_faults(Faults { ignore_ranges: true, ..Faults::default() });
    assert_eq!(served.ask("GET", &link, &["range: bytes=0-1"]).await.status(), 200);
    served.hub.set_faults(Faults { answer_delay: Some(Duration::from_millis(120)), ..Faults::default() });
    let begun = Instant::now();
    served.ask("GET", "/api/models/acme/tiny", &[]).await;
    assert!(begun.elapsed() >= Duration::from_millis(120));
    served.hub.set_faults(Faults { rate_max: Some(ByteSize(1_000_000)), ..Faults::default() });
    let begun = Instant::now();
    served.ask("GET", &link, &["range: bytes=0-299999"]).await.bytes().await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(200));
    served.stop().await;
}
