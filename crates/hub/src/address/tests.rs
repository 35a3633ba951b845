//! Cases of spelling and of redirects.

use proptest::prelude::*;

use super::*;

fn endpoint(text: &str) -> Endpoint {
    Endpoint::new(text.parse().unwrap()).unwrap()
}

#[test]
fn segments_stay_segments() {
    let check = |path: &str, expected: &str| {
        let url = endpoint("https://hub.test/base/").file(
            &"acme/tiny".parse().unwrap(),
            Commit::from_bytes([0; 20]),
            &path.parse().unwrap(),
        );
        let start = format!("https://hub.test/base/acme/tiny/resolve/{}/", "0".repeat(40));
        assert_eq!(url.as_str().strip_prefix(&start), Some(expected));
    };
    check("config.json", "config.json");
    check("a b/ü?.txt", "a%20b/%C3%BC%3F.txt");
    check("%2e%2e/x#y", "%252e%252e/x%23y");
    check("...a/x", "...a/x");
    let revision =
        endpoint("http://127.0.0.1:80").revision(&"tiny".parse().unwrap(), &"refs/pr/1".parse().unwrap());
    assert_eq!(revision.as_str(), "http://127.0.0.1/api/models/tiny/revision/refs%2Fpr%2F1");
}

#[test]
fn redirects_are_home_elsewhere_or_refused() {
    let from: Url = "https://hub.test/a/b".parse().unwrap();
    let check = |location: &str, expected: &str| {
        let decided = match endpoint("https://hub.test").redirect(&from, location) {
            Redirect::Home(url) => format!("home {url}"),
            Redirect::Elsewhere(url) => format!("elsewhere {url}"),
            Redirect::Refused(reason) => format!("refused {reason}"),
        };
        assert_eq!(decided, expected, "{location}");
    };
    check("/x?y=1", "home https://hub.test/x?y=1");
    check("c", "home https://hub.test/a/c");
    check("https://hub.test:443/x", "home https://hub.test/x");
    check("https://HUB.test/x", "home https://hub.test/x");
    check("https://hub.test:444/x", "elsewhere https://hub.test:444/x");
    check("https://hub.test.evil/x", "elsewhere https://hub.test.evil/x");
    check("//cdn.test/x", "elsewhere https://cdn.test/x");
    check("http://hub.test/x", "refused from https to http");
    check("http://cdn.test/x", "refused from https to http");
    check("ftp://hub.test/x", "refused to an address that is neither http nor https");
    check("file:///etc/passwd", "refused to an address that is neither http nor https");
    check("https://user@hub.test/x", "refused to an address that holds a user or password");
    check("https://[", "refused to something that is no address");
}

#[test]
fn only_encrypted_or_local_addresses_keep_secrets() {
    for keeps in ["https://hub.test", "http://localhost:1", "http://127.9.9.9", "http://[::1]:8000"] {
        assert!(endpoint(keeps).keeps_secrets(), "{keeps}");
    }
    for shows in ["http://hub.test", "http://10.0.0.1", "http://localhost.evil", "http://[::2]"] {
        assert!(!endpoint(shows).keeps_secrets(), "{shows}");
    }
}

#[test]
fn endpoints_that_are_none_are_refused_without_showing_secrets() {
    for wrong in
        ["ftp://hub.test", "https://user:secret@hub.test", "https://hub.test/?secret=1", "data:secret"]
    {
        let error = Endpoint::new(wrong.parse().unwrap()).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(testkit::cases(1000)))]

    #[test]
    fn a_redirect_never_takes_a_token_from_home_or_leaves_encryption(
        location in prop_oneof![
            "[ -~]{0,60}",
            "(https?|ftp|data)?:?/{0,3}[a-z.:@%0-9\\\\]{0,30}(/[a-z.%]{0,9}){0,3}",
            "(https?:)?//hub\\.test(:[0-9]{0,6})?[/@?#.]?[a-z]{0,6}",
        ],
    ) {
        let from: Url = "https://hub.test/a/b".parse().unwrap();
        match endpoint("https://hub.test").redirect(&from, &location) {
            Redirect::Home(url) => {
                prop_assert_eq!((url.scheme(), url.host_str(), url.port()), ("https", Some("hub.test"), None));
                prop_assert!(url.username().is_empty() && url.password().is_none());
            }
            Redirect::Elsewhere(url) => {
                prop_assert_eq!(url.scheme(), "https");
                prop_assert!(url.host_str() != Some("hub.test") || url.port().is_some());
            }
            Redirect::Refused(_) => {}
        }
    }
}
