//! What becomes of addresses in a hub's answers.

use super::*;

#[test]
fn links_below_the_hub_lead_back_and_others_stay() {
    let behind = |url: &str| url.strip_prefix("https://hub.test").map(|rest| format!("http://edge/k{rest}"));
    for (link, expected) in [
        ("<https://hub.test/a?x=1>; rel=\"next\"", "<http://edge/k/a?x=1>; rel=\"next\""),
        ("<https://cas.test/v1>; rel=\"xet\"", "<https://cas.test/v1>; rel=\"xet\""),
        (
            "<https://hub.test/a>; rel=\"one\", <https://other.test/b>; rel=\"two\", <https://hub.test/c>",
            "<http://edge/k/a>; rel=\"one\", <https://other.test/b>; rel=\"two\", <http://edge/k/c>",
        ),
        ("", ""),
        ("no address", "no address"),
        ("<https://hub.test/open", "<http://edge/k/open>"),
    ] {
        assert_eq!(lead_links_back(link, behind), expected);
    }
}

#[test]
fn one_client_serves_each_hub_whose_address_can_be_asked() {
    let upstreams = Upstreams::default();
    let origin =
        |endpoint: &str| HubOrigin { name: "main".parse().unwrap(), endpoint: endpoint.parse().unwrap() };
    for endpoint in ["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:1"] {
        assert!(upstreams.hub(&origin(endpoint)).is_some());
    }
    assert_eq!(lock(&upstreams.hubs).len(), 2);
    assert!(upstreams.hub(&origin("ftp://hub.test")).is_none());
}
