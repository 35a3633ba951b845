//! The endpoint's own models: at once, at the pinned commit, whatever the hub does.

use std::collections::BTreeSet;

use agent::PassThrough;
use reqwest::Method;
use runtime::Egress;
use serde_json::{Value, json};

use super::site::{House, LEFT_OUT, Site, shown, text, weights};

const FACTS: [&str; 5] = ["content-length", "etag", "x-repo-commit", "x-linked-size", "x-linked-etag"];

#[tokio::test]
async fn files_come_from_the_view_with_all_that_describes_them() {
    let mut site = Site::open().await;
    let model = site.model("acme/tiny", None).await;
    let mut house = House::new(Egress::Shared, PassThrough::Allowed).await;
    let guest = house.worker(&site, "wk_1", &model, "ACME/Tiny@v1").await;
    site.close().await;
    let commit = model.key().commit.to_string();
    let file = |path: &str| model.files().iter().find(|file| file.path.as_str() == path).unwrap().clone();
    let (config, large) = (file("config.json"), file("model.safetensors"));
    for revision in ["main", "v1", &commit] {
        for (repo, path, file) in [
            ("acme/tiny", "config.json", &config),
            ("ACME/Tiny", "model.safetensors", &large),
            ("Acme/TINY", "nested/a%20b/%C3%BC.txt", &file("nested/a b/\u{fc}.txt")),
        ] {
            let address = format!("/{repo}/resolve/{revision}/{path}");
            let linked = match file.digest {
                types::Digest::Sha256(digest) => {
                    format!("{} \"{}\"", file.size, types::Digest::Sha256(digest))
                }
                types::Digest::GitSha1(_) => "- -".to_owned(),
            };
            let expected = format!("200 {} \"{}\" {commit} {linked}", file.size, file.digest);
            for method in [Method::HEAD, Method::GET] {
                let answer = guest.ask(method.clone(), &address, &[("authorization", "Bearer hf_any")]).await;
                assert_eq!(shown(&answer, &FACTS), expected, "{method} {address}");
                let bytes = answer.bytes().await.unwrap().len() as u64;
                assert_eq!(bytes, if method == Method::GET { file.size } else { 0 }, "{method} {address}");
            }
        }
    }
    let whole = guest.get("/acme/tiny/resolve/main/model.safetensors").await.bytes().await.unwrap();
    assert!(whole == weights(), "the bytes are those of the hub");
    ranges(&guest, &large.digest.to_string()).await;
    let cached = format!("/api/resolve-cache/models/acme/tiny/{commit}/config.json");
    assert_eq!(guest.get(&cached).await.text().await.unwrap(), "{\"a\": 1}\n");
    house.bench.end().await;
}

async fn ranges(guest: &super::site::Guest, digest: &str) {
    let path = "/acme/tiny/resolve/main/model.safetensors";
    let quoted = format!("\"{digest}\"");
    for (headers, expected, part) in [
        (vec![("range", "bytes=0-9")], "206 bytes 0-9/400000", Some(0..10)),
        (vec![("range", "bytes=399990-")], "206 bytes 399990-399999/400000", Some(399_990..400_000)),
        (vec![("range", "bytes=-5")], "206 bytes 399995-399999/400000", Some(399_995..400_000)),
        (vec![("range", "bytes=100000-300000")], "206 bytes 100000-300000/400000", Some(100_000..300_001)),
        (vec![("range", "bytes=400000-")], "416 bytes */400000", None),
        (vec![("range", "bytes=0-9"), ("if-range", quoted.as_str())], "206 bytes 0-9/400000", Some(0..10)),
        (vec![("range", "bytes=0-9"), ("if-range", "\"old\"")], "200 -", Some(0..400_000)),
        (vec![("if-none-match", quoted.as_str())], "304 -", None),
    ] {
        let answer = guest.ask(Method::GET, path, &headers).await;
        assert_eq!(shown(&answer, &["content-range"]), expected, "{headers:?}");
        let bytes = answer.bytes().await.unwrap();
        assert!(bytes == part.map_or_else(Vec::new, |part| weights()[part].to_vec()), "{headers:?}");
    }
}

#[tokio::test]
async fn listings_name_exactly_what_is_kept() {
    let mut site = Site::open().await;
    let model = site.model("acme/tiny", None).await;
    let mut house = House::new(Egress::Shared, PassThrough::Allowed).await;
    let guest = house.worker(&site, "wk_1", &model, "acme/tiny@v1").await;
    site.close().await;
    let commit = model.key().commit.to_string();
    let kept = ["config.json", "model.safetensors", "nested/a b/\u{fc}.txt"];
    for path in ["", "/revision/main", "/revision/v1", &format!("/revision/{commit}"), "?revision=main"] {
        let told = guest.json(&format!("/api/models/Acme/Tiny{path}")).await;
        assert_eq!((&told["id"], &told["sha"]), (&json!("acme/tiny"), &json!(commit)), "{path}");
        let siblings: Vec<&str> = told["siblings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| file["rfilename"].as_str().unwrap())
            .collect();
        assert_eq!(siblings, kept, "{path}");
    }
    let some = guest.json("/api/models/acme/tiny/revision/main?expand=sha&expand=gated").await;
    let fields: BTreeSet<&str> = some.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, BTreeSet::from(["_id", "gated", "id", "sha"]));
    let files = guest.json("/api/models/acme/tiny?blobs=true").await;
    assert_eq!(files["siblings"][1]["size"], 400_000);

    let tree = guest.json(&format!("/api/models/acme/tiny/tree/{commit}?recursive=true&expand=false")).await;
    let names = |tree: &Value| -> Vec<String> {
        tree.as_array().unwrap().iter().map(|entry| entry["path"].as_str().unwrap().to_owned()).collect()
    };
    let all = [kept[0], kept[1], "nested", "nested/a b", kept[2]];
    assert_eq!(names(&tree), all);
    assert_eq!(names(&guest.json("/api/models/acme/tiny/tree/main/nested/a%20b").await), [kept[2]]);
    // Page by page, by the addresses that the answers give.
    let (mut seen, mut next) =
        (Vec::new(), format!("{}/api/models/acme/tiny/tree/main?recursive=true&limit=2", guest.address));
    while !next.is_empty() {
        let page = super::site::Guest::at(&next).get("").await;
        let link = text(page.headers(), "link");
        assert!(link == "-" || link.starts_with(&format!("<{}/", guest.address)), "{link}");
        next = link.strip_prefix('<').and_then(|link| link.split('>').next()).unwrap_or_default().to_owned();
        seen.extend(names(&page.json().await.unwrap()));
    }
    assert_eq!(seen, all);

    let refs = guest.json("/api/models/acme/tiny/refs").await;
    assert_eq!(refs["branches"][1], json!({"name": "v1", "ref": "refs/heads/v1", "targetCommit": commit}));
    let form = guest
        .ask_with(
            Method::POST,
            "/api/models/acme/tiny/paths-info/main",
            &[("content-type", "application/x-www-form-urlencoded")],
            b"paths=config.json&paths=gone&expand=false".to_vec(),
        )
        .await;
    assert_eq!(names(&form.json().await.unwrap()), ["config.json"]);
    let body = json!({"paths": ["nested", LEFT_OUT]}).to_string().into_bytes();
    let headers = [("content-type", "application/json")];
    let told = guest.ask_with(Method::POST, "/api/models/acme/tiny/paths-info/v1", &headers, body).await;
    assert_eq!(names(&told.json().await.unwrap()), ["nested"]);
    house.bench.end().await;
}

#[tokio::test]
async fn a_file_that_is_not_here_is_missing_at_once_whatever_the_hub_has() {
    let mut site = Site::open().await;
    let model = site.model("acme/tiny", None).await;
    let mut house = House::new(Egress::Shared, PassThrough::Allowed).await;
    let guest = house.worker(&site, "wk_1", &model, "acme/tiny").await;
    let expected = format!("404 EntryNotFound {}", model.key().commit);
    site.asked();
    for (path, hint) in [("tokenizer.model", false), ("adapter_config.json", true), (LEFT_OUT, true)] {
        for method in [Method::HEAD, Method::GET] {
            let missing = guest.ask(method, &format!("/acme/tiny/resolve/main/{path}"), &[]).await;
            assert_eq!(shown(&missing, &["x-error-code", "x-repo-commit"]), expected, "{path}");
            let message = text(missing.headers(), "x-error-message");
            assert!(message.starts_with(&format!("Entry not found: {path}")), "{message}");
            assert_eq!(message.contains("--include"), hint, "{message}");
        }
    }
    let folder = guest.get("/api/models/acme/tiny/tree/main/additional_chat_templates").await;
    assert_eq!(shown(&folder, &["x-error-code", "x-repo-commit"]), expected);
    assert_eq!(site.asked(), [""; 0], "nobody is asked");
    // The branch moves on; then the hub goes.
    site.write("acme/tiny/config.json", b"{\"a\": 3}\n");
    for _ in 0..2 {
        let config = guest.get("/acme/tiny/resolve/main/config.json").await;
        assert_eq!(config.text().await.unwrap(), "{\"a\": 1}\n", "what was pinned");
        site.close().await;
    }
    house.bench.end().await;
}
