//! Listings of a small shelf, as text.

use super::*;
use crate::edge::shelf::tests::shelf;

fn names(page: &Page) -> Vec<String> {
    page.entries.iter().map(|entry| entry["path"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_tree_lists_what_is_kept_by_folder_and_by_page() {
    let shelf = shelf();
    let check = |folder: Option<&str>, recursive, expected: &[&str]| {
        let query = TreeQuery { recursive, ..TreeQuery::default() };
        assert_eq!(names(&tree(&shelf, folder, &query).unwrap()), expected, "{folder:?}");
    };
    check(None, false, &["config.json", "model.safetensors", "nested"]);
    check(Some("nested"), false, &["nested/a.txt", "nested/deep"]);
    check(Some("nested"), true, &["nested/a.txt", "nested/deep", "nested/deep/notes.txt"]);
    let all = [
        "config.json",
        "model.safetensors",
        "nested",
        "nested/a.txt",
        "nested/deep",
        "nested/deep/notes.txt",
    ];
    check(None, true, &all);
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = tree(&shelf, None, &TreeQuery { recursive: true, limit: Some(2), cursor }).unwrap();
        assert!(page.entries.len() <= 2);
        seen.extend(names(&page));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, all);
    let missing = tree(&shelf, Some("additional_chat_templates"), &TreeQuery::default());
    assert!(matches!(missing, Err(Refusal::EntryNotFound { .. })), "{missing:?}");
    let broken = TreeQuery { cursor: Some("§".to_owned()), ..TreeQuery::default() };
    assert!(matches!(tree(&shelf, None, &broken), Err(Refusal::BadRequest { .. })));
}

#[test]
fn a_file_is_told_of_as_git_and_large_file_storage_name_it() {
    let shelf = shelf();
    let told =
        paths(&shelf, &["model.safetensors", "config.json", "nested/", "gone"].map(str::to_owned)).unwrap();
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(
        (&told[0]["path"], &told[0]["oid"], &told[0]["lfs"]),
        (&json!("config.json"), &json!("01".repeat(20)), &Value::Null)
    );
    // `printf 'version …\noid sha256:0202…\nsize 1000\n' | wc -c`
    assert_eq!(told[1]["lfs"], json!({ "oid": "02".repeat(32), "size": 1000, "pointerSize": 129 }));
    assert_eq!((&told[2]["type"], &told[2]["path"]), (&json!("directory"), &json!("nested")));
    assert!(paths(&shelf, &vec![String::new(); PATHS_MAX + 1]).is_err());
}

#[test]
fn a_model_is_told_of_at_its_commit_whole_or_by_field() {
    let shelf = shelf();
    let all = model(&shelf, true, &[]);
    assert_eq!((&all["id"], &all["sha"]), (&json!("Acme/Tiny"), &json!("ab".repeat(20))));
    assert_eq!((all["siblings"].as_array().unwrap().len(), &all["usedStorage"]), (4, &json!(1021)));
    assert_eq!(all["siblings"][1]["lfs"]["sha256"], "02".repeat(32));
    assert_eq!(model(&shelf, false, &[])["siblings"][0], json!({ "rfilename": "config.json" }));
    let some = model(&shelf, false, &["sha".to_owned()]);
    assert_eq!(some.as_object().unwrap().keys().collect::<Vec<_>>(), ["_id", "id", "sha"]);
    let heads = refs(&shelf);
    let heads: Vec<_> =
        heads["branches"].as_array().unwrap().iter().map(|head| head["ref"].clone()).collect();
    assert_eq!(heads, ["refs/heads/main", "refs/heads/v1"]);
}
