//! Listings of small branches, and pages of any.

use base::Timestamp;
use proptest::prelude::{prop_assert_eq, proptest};
use serde_json::{Value, json};

use super::{ModelQuery, TreeQuery, model, paths_info, refs, tree};
use crate::{
    access::RepoAccess,
    faults::ListingLie,
    git,
    identity::Identity,
    shelf::{Branch, HubFile},
};

fn branch(paths: &[&str]) -> Branch {
    let mut files: Vec<HubFile> = paths
        .iter()
        .map(|path| HubFile {
            path: path.parse().unwrap(),
            place: format!("acme/tiny/{path}").parse().unwrap(),
            size: 7,
            identity: if path.ends_with(".bin") {
                Identity::Lfs { sha256: [1; 32], pointer: [2; 20], pointer_size: 120 }
            } else {
                Identity::Blob([3; 20])
            },
        })
        .collect();
    files.sort_by(|one, other| one.path.cmp(&other.path));
    let trees = git::tree_ids(files.iter().map(|file| (&file.path, file.identity.blob_id())));
    Branch {
        commit: git::commit_id(&trees.root),
        files,
        folders: trees.folders,
        modified: Timestamp::from_millis(1_000),
    }
}

fn paths(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["path"].as_str().unwrap()).collect()
}

const FILES: [&str; 5] = ["config.json", "a/x.json", "a/b/y.bin", "a.txt", "z/w.bin"];

#[test]
fn a_tree_lists_what_it_is_asked_for() {
    let branch = branch(&FILES);
    let check = |folder: Option<&str>, recursive: bool, expected: &[&str]| {
        let query = TreeQuery { recursive, ..TreeQuery::default() };
        let page = tree(&branch, folder, &query, 1000, &[]).unwrap();
        assert_eq!(paths(&page.entries), expected, "{folder:?}");
        assert_eq!(page.next_cursor, None);
    };
    check(None, false, &["a", "a.txt", "config.json", "z"]);
    check(None, true, &["a", "a.txt", "a/b", "a/b/y.bin", "a/x.json", "config.json", "z", "z/w.bin"]);
    check(Some("a"), false, &["a/b", "a/x.json"]);
    check(Some("a"), true, &["a/b", "a/b/y.bin", "a/x.json"]);
    let missing = tree(&branch, Some("nowhere"), &TreeQuery::default(), 1000, &[]).unwrap_err();
    assert_eq!(missing.status_and_code(), "404 EntryNotFound");
    let cursor = TreeQuery { cursor: Some("!".into()), ..TreeQuery::default() };
    assert_eq!(tree(&branch, None, &cursor, 1000, &[]).unwrap_err().status_and_code(), "400 -");
}

#[test]
fn entries_carry_the_names_that_the_hub_gives() {
    let branch = branch(&FILES);
    let info = |path: &str, expand| paths_info(&branch, &[path.to_owned()], expand, &[]).unwrap();
    assert_eq!(
        info("z/w.bin", false),
        [json!({
            "type": "file", "oid": "02".repeat(20), "size": 7, "path": "z/w.bin",
            "lfs": { "oid": "01".repeat(32), "size": 7, "pointerSize": 120 },
        })]
    );
    assert_eq!(
        info("config.json", false),
        [json!({ "type": "file", "oid": "03".repeat(20), "size": 7, "path": "config.json" })]
    );
    assert_eq!(info("a/", false)[0]["type"], "directory");
    assert_eq!(info("config.json", true)[0]["lastCommit"]["id"], json!(branch.commit));
    assert_eq!(info("config.json", true)[0]["securityFileStatus"]["status"], "unscanned");
    assert!(info("nowhere", false).is_empty());
    let many = vec![String::new(); 1001];
    assert_eq!(paths_info(&branch, &many, false, &[]).unwrap_err().status_and_code(), "400 -");
}

#[test]
fn a_model_tells_all_or_what_is_asked() {
    let branch = branch(&FILES);
    let repo = "acme/tiny".parse().unwrap();
    let ask = |query: ModelQuery, access| model(&repo, &branch, access, &query, &[]);
    let all = ask(ModelQuery::default(), RepoAccess::Public).unwrap();
    assert_eq!(all["id"], "acme/tiny");
    assert_eq!(all["sha"], json!(branch.commit));
    assert_eq!((&all["private"], &all["gated"]), (&json!(false), &json!(false)));
    assert_eq!(all["siblings"][0], json!({ "rfilename": "a.txt" }));
    assert_eq!(all["usedStorage"], 35);
    assert_eq!(all["lastModified"], "1970-01-01T00:00:01.000Z");
    let blobs = ask(ModelQuery { blobs: true, expand: vec![] }, RepoAccess::Gated).unwrap();
    assert_eq!(blobs["gated"], "auto");
    assert_eq!(blobs["siblings"][4]["lfs"]["sha256"], json!("01".repeat(32)));
    let some =
        ask(ModelQuery { blobs: false, expand: vec!["sha".into(), "gguf".into()] }, RepoAccess::Private);
    let keys: Vec<String> = some.unwrap().as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["_id", "id", "sha"]);
    let both = ModelQuery { blobs: true, expand: vec!["sha".into()] };
    assert_eq!(ask(both, RepoAccess::Public).unwrap_err().status_and_code(), "400 -");
}

#[test]
fn refs_are_told_by_kind() {
    let branch = branch(&FILES);
    let (main, pull) = ("main".parse().unwrap(), "refs/pr/1".parse().unwrap());
    let told = refs([(&main, &branch), (&pull, &branch)], true);
    assert_eq!(
        told["branches"],
        json!([{ "name": "main", "ref": "refs/heads/main", "targetCommit": branch.commit }])
    );
    assert_eq!(told["pullRequests"][0]["ref"], "refs/pr/1");
    assert_eq!(refs([(&main, &branch)], false).get("pullRequests"), None);
}

#[test]
fn a_drill_lies_about_one_file_only() {
    let branch = branch(&FILES);
    let lies = [
        ListingLie::Size { path: "z/w.bin".into(), size: 99 },
        ListingLie::Digest { path: "z/w.bin".into(), digest: "aa".into() },
        ListingLie::Path { path: "a.txt".into(), shown: "../../x".into() },
    ];
    let query = TreeQuery { recursive: true, ..TreeQuery::default() };
    let page = tree(&branch, None, &query, 1000, &lies).unwrap();
    assert!(paths(&page.entries).contains(&"../../x"));
    let lied = page.entries.iter().find(|entry| entry["path"] == "z/w.bin").unwrap();
    assert_eq!((&lied["size"], &lied["lfs"]["oid"]), (&json!(99), &json!("aa")));
    let honest = page.entries.iter().find(|entry| entry["path"] == "a/b/y.bin").unwrap();
    assert_eq!(honest["lfs"]["oid"], json!("01".repeat(32)));
}

proptest! {
    #[test]
    fn pages_together_are_the_whole(
        names in proptest::collection::btree_set("[ab]{1,3}(/[ab]{1,2}){0,2}\\.(bin|txt)", 0..30),
        page_size in 1usize..6,
        recursive in proptest::bool::ANY,
    ) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let branch = branch(&names);
        let whole = tree(&branch, None, &TreeQuery { recursive, ..TreeQuery::default() }, 1000, &[]).unwrap();
        let mut gathered = Vec::new();
        let mut cursor = None;
        loop {
            let page = tree(&branch, None, &TreeQuery { recursive, cursor, ..TreeQuery::default() }, page_size, &[]).unwrap();
            gathered.extend(page.entries);
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        prop_assert_eq!(gathered, whole.entries);
    }
}
