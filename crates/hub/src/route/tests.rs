//! Addresses as clients spell them.

use super::*;

fn check(path: &str, id: &str, ask: &Ask) {
    match parse(path) {
        Route::Repo(route) => {
            assert_eq!((route.id.as_str(), &route.ask), (id, ask), "{path}");
            assert_eq!(parse(&route.with_id(id)), Route::Repo(route), "{path}");
        }
        other => panic!("{path} was read as {other:?}"),
    }
}

#[test]
fn addresses_are_read_as_the_hub_reads_them() {
    let text = str::to_owned;
    let model = |revision: Option<&str>| Ask::Model { revision: revision.map(text) };
    let tree = |revision: &str, folder: Option<&str>| Ask::Tree {
        revision: text(revision),
        folder: folder.map(text),
    };
    let resolve = |revision: &str, path: &str| Ask::Resolve { revision: text(revision), path: text(path) };
    check("/api/models/acme/tiny", "acme/tiny", &model(None));
    check("/api/models/tiny", "tiny", &model(None));
    check("/api/models/acme/tiny/revision/main", "acme/tiny", &model(Some("main")));
    check("/api/models/acme/tiny/revision/refs%2Fpr%2F1", "acme/tiny", &model(Some("refs/pr/1")));
    check("/api/models/tiny/revision/main", "tiny", &model(Some("main")));
    check("/api/models/acme/tiny/tree/main", "acme/tiny", &tree("main", None));
    check("/api/models/acme/tiny/tree/main/", "acme/tiny", &tree("main", None));
    check("/api/models/acme/tiny/tree/main/a/b%20c", "acme/tiny", &tree("main", Some("a/b c")));
    check("/api/models/tiny/tree/main/a", "tiny", &tree("main", Some("a")));
    check("/api/models/acme/tiny/paths-info/v1", "acme/tiny", &Ask::PathsInfo { revision: text("v1") });
    check("/api/models/acme/tiny/refs", "acme/tiny", &Ask::Refs);
    check("/api/models/tiny/refs", "tiny", &Ask::Refs);
    check("/acme/tiny/resolve/main/config.json", "acme/tiny", &resolve("main", "config.json"));
    check("/acme/tiny/resolve/refs%2Fpr%2F1/a/b.bin", "acme/tiny", &resolve("refs/pr/1", "a/b.bin"));
    check("/tiny/resolve/main/config.json", "tiny", &resolve("main", "config.json"));
    check("/acme/resolve/resolve/main/x", "acme/resolve", &resolve("main", "x"));
    check(
        "/api/resolve-cache/models/acme/tiny/abc/a/b",
        "acme/tiny",
        &Ask::ResolveCache { revision: text("abc"), path: text("a/b") },
    );
    assert_eq!(parse("/api/whoami-v2"), Route::WhoAmI);
    for unknown in [
        "/",
        "",
        "/api/agent-harnesses",
        "/api/datasets/a/b",
        "/acme/tiny",
        "/acme/tiny/resolve/main",
        "/api/models/a/b/c",
        "/api/models/acme/tiny/tree",
        "/acme/tiny/resolve//x",
        "/a/b/resolve/main/%ff",
    ] {
        assert_eq!(parse(unknown), Route::Unknown, "{unknown}");
    }
}

#[test]
fn a_redirect_keeps_all_but_the_id() {
    let Route::Repo(route) = parse("/ACME/Tiny/resolve/refs%2Fpr%2F1/a%20b") else { panic!("no repo route") };
    assert_eq!(route.with_id("acme/tiny"), "/acme/tiny/resolve/refs%2Fpr%2F1/a%20b");
    let Route::Repo(route) = parse("/api/models/Tiny/refs") else { panic!("no repo route") };
    assert_eq!(route.with_id("acme/tiny"), "/api/models/acme/tiny/refs");
}
