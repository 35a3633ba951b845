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
fn one_client_serves_each_hub_and_their_number_is_bounded() {
    let upstreams = Upstreams::default();
    let origin = |number: usize| HubOrigin {
        name: format!("hub{number}").parse().unwrap(),
        endpoint: format!("http://127.0.0.1:{number}").parse().unwrap(),
    };
    for number in 1..=3 * HUBS_MAX {
        assert!(upstreams.hub(&origin(number)).is_some());
        assert!(lock(&upstreams.hubs).len() <= HUBS_MAX);
    }
    let unusable = HubOrigin { endpoint: "ftp://hub.test".parse().unwrap(), ..origin(1) };
    assert!(upstreams.hub(&unusable).is_none());
}
