//! Addresses as they come.

use super::*;

#[test]
fn an_address_is_taken_apart_and_put_together() {
    let check = |whole: &str, worker: &str, key: &str, path: &str| {
        let place = Place::new(whole, Some("a=1"), Some("127.0.0.1:5")).unwrap();
        assert_eq!((place.worker, place.key, place.path), (worker, key, path), "{whole}");
        let own = format!("/hub/{worker}/{key}");
        assert_eq!(place.relative("/x"), format!("{own}/x"));
        assert_eq!(place.absolute("/x?y"), format!("http://127.0.0.1:5{own}/x?y"));
        assert_eq!(place.target(), format!("{path}?a=1"));
    };
    check("/hub/wk_1/k/api/models/a/b", "wk_1", "k", "/api/models/a/b");
    check("/hub/wk_1/k/a/b/resolve/refs%2Fpr%2F1/c%20d", "wk_1", "k", "/a/b/resolve/refs%2Fpr%2F1/c%20d");
    check("/hub/wk_1/k/", "wk_1", "k", "/");
    check("/hub/wk_1/k", "wk_1", "k", "");
    for none in ["/hub/wk_1", "/hub", "/hub/", "/v2/x", ""] {
        assert_eq!(Place::new(none, None, None), None, "{none}");
    }
}

#[test]
fn a_path_that_means_another_folder_is_noticed_however_it_is_written() {
    let leaves = |path: &str| {
        let whole = format!("/hub/wk_1/k{path}");
        Place::new(&whole, None, None).unwrap().leaves_its_folder()
    };
    for wrong in [
        "/a/../b",
        "/a/..%2fb",
        "/a/%2e%2e/b",
        "/a/%2E./b",
        "/a/x%2F..%2Fy",
        "/a/..%5cb",
        "/a/./b",
        "/..",
        "/a&/../b",
        "/a&b=/%2e%2e/c",
    ] {
        assert!(leaves(wrong), "{wrong}");
    }
    for right in ["/a/b", "/a/..b", "/a/b..", "/a/refs%2Fpr%2F1", "/a/.gitattributes", "/a/b+c&d=e", ""] {
        assert!(!leaves(right), "{right}");
    }
}
