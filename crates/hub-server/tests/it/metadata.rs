//! Models, trees, entries, refs: what the API says of a folder.

use std::time::Duration;

use serde_json::{Value, json};

use crate::served::{Served, header};

#[tokio::test]
async fn a_model_is_told_at_every_kind_of_revision() {
    let served = Served::start().await;
    let main = served.commit("acme/tiny", "main").await;
    let dev = served.commit("acme/tiny", "dev").await;
    let pull = served.commit("acme/tiny", "refs%2Fpr%2F1").await;
    assert!(main != dev && dev != pull && main != pull);
    for (path, commit) in [
        ("/api/models/acme/tiny", &main),
        ("/api/models/acme/tiny?revision=dev", &dev),
        ("/api/models/acme/tiny/revision/refs%2Fheads%2Fdev", &dev),
        (&*format!("/api/models/acme/tiny/revision/{dev}"), &dev),
        (&*format!("/api/models/acme/tiny/revision/{pull}"), &pull),
    ] {
        assert_eq!(served.json(path).await["sha"], json!(commit), "{path}");
    }
    let told = served.json("/api/models/acme/tiny?blobs=true").await;
    let names: Vec<&str> =
        told["siblings"].as_array().unwrap().iter().map(|s| s["rfilename"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "1_Pooling/config.json",
            "README.md",
            "a b/\u{fc}.txt",
            "config.json",
            "empty.txt",
            "model.safetensors"
        ]
    );
    assert_eq!(told["siblings"][5]["lfs"]["size"], 3_000_000);
    assert_eq!(told["siblings"][5]["size"], 3_000_000);
    assert_eq!(told["id"], "acme/tiny");
    let fields = served.json("/api/models/acme/gated?expand=sha&expand=gated").await;
    assert_eq!(fields["gated"], "auto");
    assert_eq!(fields.as_object().unwrap().len(), 4, "{fields}");
    served.stop().await;
}

#[tokio::test]
async fn a_commit_follows_the_content_and_nothing_else() {
    let served = Served::start().await;
    let before = served.commit("acme/tiny", "main").await;
    served.write("acme/tiny/config.json", b"{\"a\": 1}\n");
    assert_eq!(served.commit("acme/tiny", "main").await, before);
    served.write("acme/tiny/new/file.txt", b"new");
    let after = served.commit("acme/tiny", "main").await;
    assert_ne!(after, before);
    let gone = served.ask("GET", &format!("/api/models/acme/tiny/revision/{before}"), &[]).await;
    assert_eq!(header(&gone, "x-error-code"), "RevisionNotFound");
    std::fs::remove_dir_all(served.folder.path().join("acme/tiny/new")).unwrap();
    assert_eq!(served.commit("acme/tiny", "main").await, before);
    served.stop().await;
}

#[tokio::test]
async fn a_tree_comes_in_pages_whose_links_lead_on() {
    let served = Served::start_with(|options| options.page_entries_max = 3).await;
    let mut next = Some("/api/models/acme/tiny/tree/main?recursive=true&expand=false".to_owned());
    let mut paths: Vec<String> = Vec::new();
    let mut pages = 0;
    while let Some(path) = next.take() {
        let response = served.ask("GET", &path, &[]).await;
        let link = header(&response, "link").to_owned();
        if let Some(url) = link.strip_prefix('<').and_then(|rest| rest.strip_suffix(">; rel=\"next\"")) {
            assert!(url.starts_with(&served.hub.endpoint()), "{url}");
            next = Some(url.to_owned());
        }
        let entries: Vec<Value> = response.json().await.unwrap();
        assert!(entries.len() <= 3);
        paths.extend(entries.iter().map(|entry| entry["path"].as_str().unwrap().to_owned()));
        pages += 1;
    }
    assert_eq!(pages, 3);
    assert_eq!(
        paths,
        [
            "1_Pooling",
            "1_Pooling/config.json",
            "README.md",
            "a b",
            "a b/\u{fc}.txt",
            "config.json",
            "empty.txt",
            "model.safetensors"
        ]
    );
    let folder = served.json("/api/models/acme/tiny/tree/main/a%20b").await;
    assert_eq!(folder[0]["path"], "a b/\u{fc}.txt");
    served.stop().await;
}

#[tokio::test]
async fn entries_are_told_for_a_form_and_for_json() {
    let served = Served::start().await;
    let path = "/api/models/acme/tiny/paths-info/main";
    let form =
        ("application/x-www-form-urlencoded", "paths=config.json&paths=1_Pooling&paths=nope&expand=False");
    let json = ("application/json", r#"{"paths": ["config.json", "1_Pooling", "nope"]}"#);
    for (content_type, body) in [form, json] {
        let entries: Vec<Value> = served.post(path, content_type, body).await.json().await.unwrap();
        let told: Vec<(&str, &str)> =
            entries.iter().map(|e| (e["path"].as_str().unwrap(), e["type"].as_str().unwrap())).collect();
        assert_eq!(told, [("1_Pooling", "directory"), ("config.json", "file")]);
    }
    assert_eq!(served.post(path, "application/json", "{").await.status(), 400);
    assert_eq!(served.ask("GET", path, &[]).await.status(), 405);
    served.stop().await;
}

#[tokio::test]
async fn refs_name_every_branch() {
    let served = Served::start().await;
    let told = served.json("/api/models/acme/tiny/refs?include_prs=1").await;
    let names = |kind: &str| -> Vec<String> {
        told[kind].as_array().unwrap().iter().map(|one| one["ref"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("branches"), ["refs/heads/dev", "refs/heads/main"]);
    assert_eq!(names("pullRequests"), ["refs/pr/1"]);
    served.stop().await;
}

#[tokio::test]
async fn another_spelling_is_led_to_the_right_one() {
    let served = Served::start().await;
    let check = async |path: &str, expected: &str| {
        let response = served.ask("GET", path, &[]).await;
        assert_eq!((response.status().as_u16(), header(&response, "location")), (307, expected), "{path}");
    };
    check("/api/models/ACME/Tiny/revision/main", "/api/models/acme/tiny/revision/main").await;
    check("/api/models/tiny/tree/main?recursive=true", "/api/models/acme/tiny/tree/main?recursive=true")
        .await;
    check("/other/mixed-case/resolve/main/config.json", "/Other/Mixed-Case/resolve/main/config.json").await;
    check("/mixed-case/resolve/refs%2Fpr%2F1/a%20b", "/Other/Mixed-Case/resolve/refs%2Fpr%2F1/a%20b").await;
    // Two organisations have one of this name.
    assert_eq!(served.ask("GET", "/api/models/gated", &[]).await.status(), 401);
    served.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_refused_by_kind() {
    let served = Served::start().await;
    let commit = served.commit("acme/tiny", "main").await;
    let check = async |path: &str, status: u16, code: &str, repo_commit: &str| {
        for method in ["GET", "HEAD"] {
            let response = served.ask(method, path, &[]).await;
            let seen = (
                response.status().as_u16(),
                header(&response, "x-error-code"),
                header(&response, "x-repo-commit"),
            );
            assert_eq!(seen, (status, code, repo_commit), "{method} {path}");
            let message = header(&response, "x-error-message").to_owned();
            if method == "GET" {
                let body: Value = response.json().await.unwrap();
                assert!(!body["error"].as_str().unwrap().is_empty());
                assert!(message.is_empty() || body["error"] == message);
            }
        }
    };
    check("/api/models/acme/none", 401, "RepoNotFound", "").await;
    check("/api/models/..%2F..%2Fetc", 401, "RepoNotFound", "").await;
    check("/acme/none/resolve/main/x", 401, "RepoNotFound", "").await;
    check("/api/models/acme/tiny/revision/nope", 404, "RevisionNotFound", "").await;
    check("/acme/tiny/resolve/nope/config.json", 404, "RevisionNotFound", "").await;
    check("/acme/tiny/resolve/main/nope.json", 404, "EntryNotFound", &commit).await;
    check("/acme/tiny/resolve/main/1_Pooling", 404, "EntryNotFound", &commit).await;
    check("/acme/tiny/resolve/main/..%2f..%2fgated%2fconfig.json", 404, "EntryNotFound", &commit).await;
    check("/acme/tiny/resolve/main/.git/HEAD", 404, "EntryNotFound", &commit).await;
    check("/acme/tiny/resolve/main/\u{fc}.json", 404, "EntryNotFound", &commit).await;
    check("/api/models/acme/tiny/tree/main/nope", 404, "EntryNotFound", &commit).await;
    check("/api/agent-harnesses", 404, "", "").await;
    check("/api/models/acme/tiny/xet-read-token/main", 404, "", "").await;
    check("/", 404, "", "").await;
    assert_eq!(served.ask("DELETE", "/api/models/acme/tiny", &[]).await.status(), 405);
    served.stop().await;
}

#[tokio::test]
async fn the_folder_is_hashed_at_the_start_and_listed() {
    let served = Served::start().await;
    let mut progress = served.hub.progress();
    // Requests that come meanwhile hash nothing twice.
    futures::future::join_all((0..20).map(|_| served.json("/api/models/acme/tiny?blobs=true"))).await;
    let finished =
        tokio::time::timeout(crate::served::DEADLINE, progress.wait_for(|progress| progress.finished));
    let done = *finished.await.unwrap().unwrap();
    // Every file of the tree but the two that are left out.
    assert_eq!((done.files, done.files_done), (16, 16));
    assert_eq!(done.bytes, done.bytes_done);
    let repos = served.hub.repos().await.unwrap();
    let told: Vec<String> =
        repos.iter().map(|repo| format!("{} {} {:?}", repo.name, repo.branches.len(), repo.access)).collect();
    assert_eq!(
        told,
        [
            "Other/Mixed-Case 1 Public",
            "Other/gated 1 Public",
            "acme/gated 1 Gated",
            "acme/gone 1 Disabled",
            "acme/secret 1 Private",
            "acme/tiny 3 Public"
        ]
    );
    served.stop().await;
}

#[tokio::test]
async fn a_caller_over_the_quota_is_told_to_wait() {
    let window = Duration::from_secs(1_000_000_000);
    let served = Served::start_with(|options| {
        options.quotas = hub_server::Quotas { api: 2, resolvers: 10, window };
    })
    .await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let response = served.ask("GET", "/api/models/acme/tiny", &[]).await;
        let standing = header(&response, "ratelimit").split(";t=").next().unwrap().to_owned();
        seen.push((response.status().as_u16(), standing));
    }
    assert_eq!(seen, [(200, "\"api\";r=1".into()), (200, "\"api\";r=0".into()), (429, "\"api\";r=0".into())]);
    let resolve = served.ask("HEAD", "/acme/tiny/resolve/main/config.json", &[]).await;
    assert!(header(&resolve, "ratelimit").starts_with("\"resolvers\";r=9;t="));
    assert_eq!(header(&resolve, "ratelimit-policy"), "\"fixed window\";\"resolvers\";q=10;w=1000000000");
    // Another caller has another count.
    let other = served.ask("GET", "/api/models/acme/tiny", &["authorization: Bearer hf_bob"]).await;
    assert_eq!(other.status(), 200);
    served.stop().await;
}

#[tokio::test]
async fn links_that_leave_the_folder_are_not_served() {
    let served = Served::start().await;
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("passwords.txt"), "secret").unwrap();
    std::fs::create_dir(served.folder.path().join("acme/links")).unwrap();
    let link = |target: &std::path::Path, name: &str| {
        std::os::unix::fs::symlink(target, served.folder.path().join("acme").join(name)).unwrap();
    };
    link(&outside.path().join("passwords.txt"), "links/absolute.txt");
    link("../../../../../../../../etc/hostname".as_ref(), "links/climbing.txt");
    link("../tiny/config.json".as_ref(), "links/inside.json");
    link(outside.path(), "links/folder");
    link(outside.path(), "outside");
    let told = served.json("/api/models/acme/links").await;
    assert_eq!(told["siblings"], json!([{ "rfilename": "inside.json" }]));
    let inside = served.ask("GET", "/acme/links/resolve/main/inside.json", &[]).await;
    let followed = served.ask("GET", header(&inside, "location"), &[]).await;
    assert_eq!(followed.text().await.unwrap(), "{\"a\": 1}\n");
    for path in ["absolute.txt", "climbing.txt", "folder/passwords.txt"] {
        let response = served.ask("GET", &format!("/acme/links/resolve/main/{path}"), &[]).await;
        assert_eq!(response.status(), 404, "{path}");
    }
    assert_eq!(served.ask("GET", "/api/models/acme/outside", &[]).await.status(), 401);
    served.stop().await;
}
