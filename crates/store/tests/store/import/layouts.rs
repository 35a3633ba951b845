//! Which snapshots of which layouts are taken.

use std::{ops::ControlFlow, path::Path};

use store::{ImportEnd, ImportError, ImportMode, SnapshotOutcome, Store, ViewSpec};

use super::{
    import, lines,
    maker::{COMMIT, Content, Maker, OTHER, content, small_model},
    request,
};
use crate::pool::{self, Algorithm};

const REPO: &str = "models--Acme--Tiny";

struct Setting {
    folder: tempfile::TempDir,
    maker: Maker,
    store: Store,
}

impl Setting {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = pool::real();
        let maker = Maker::new(&disk, &folder.path().join("cache/hub"));
        let store = pool::open(&disk, &folder.path().join("store"));
        Self { folder, maker, store }
    }

    /// Imports by copying, compares the report, and returns it.
    fn check(&self, expected: &[&str]) -> store::ImportReport {
        let report = import(&self.store, &self.maker.root, ImportMode::Copy);
        assert_eq!(lines(&report), expected);
        report
    }

    /// Checks that a view of the first snapshot shows exactly these files.
    fn check_view(&self, report: &store::ImportReport, files: &[Content]) {
        let SnapshotOutcome::Imported(key) = &report.snapshots[0].outcome else { panic!("{report:?}") };
        assert!(self.store.verify(key).unwrap().is_sound());
        assert!(
            self.store.holds(key, &pool::trusted("tn_somebody")),
            "the operator's word counts for everyone"
        );
        assert!(
            !self.store.holds(key, &pool::untrusted("tn_somebody")),
            "an unknown hub's listing proves nothing"
        );
        let lease = self.store.view(&ViewSpec { key: key.clone(), refs: Default::default() }).unwrap();
        for file in files {
            let path = lease.path().join("snapshots").join(COMMIT).join(file.path);
            assert_eq!(std::fs::read(&path).unwrap(), file.bytes, "{}", path.display());
        }
        assert_eq!(self.store.get(key).unwrap().manifest.files().len(), files.len());
    }
}

#[test]
fn links_into_blobs() {
    let setting = Setting::new();
    let files = small_model();
    for file in &files {
        setting.maker.linked(REPO, COMMIT, file);
    }
    setting.maker.reference(REPO, "main", COMMIT);
    setting.maker.reference(REPO, "refs/pr/1", COMMIT);
    setting.maker.put(".locks/models--Acme--Tiny/abc.lock", b"");
    setting.maker.put("models--Acme--Tiny/blobs/abc.12345678.incomplete", b"part");
    setting.maker.put("CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55");
    setting.maker.put("version.txt", b"1");
    let report = setting.check(&["Acme/Tiny@11111111 [main,refs/pr/1] 3 files: imported"]);
    setting.check_view(&report, &files);
    assert_eq!(report.bytes.copied.bytes() + report.bytes.cloned.bytes(), 80_007);
    assert_eq!(report.snapshots[0].unvouched, 0);
    // Again: nothing is read, nothing is brought.
    let again = setting.check(&["Acme/Tiny@11111111 [main,refs/pr/1] 3 files: already here"]);
    assert_eq!((again.bytes.copied.bytes(), again.bytes.already_here.bytes()), (0, 80_007));
}

#[test]
fn the_folder_above_is_taken_for_its_hub() {
    let setting = Setting::new();
    for file in &small_model() {
        setting.maker.linked(REPO, COMMIT, file);
    }
    let report = import(&setting.store, &setting.folder.path().join("cache"), ImportMode::Copy);
    assert_eq!(lines(&report), ["Acme/Tiny@11111111 [] 3 files: imported"]);
}

#[test]
fn plain_files_with_a_listing_are_what_it_says() {
    let setting = Setting::new();
    let files = small_model();
    for file in &files {
        setting.maker.plain(REPO, COMMIT, file);
    }
    setting.maker.tree(REPO, COMMIT, &files);
    let report = setting.check(&["Acme/Tiny@11111111 [] 3 files: imported"]);
    setting.check_view(&report, &files);
    assert_eq!(report.snapshots[0].unvouched, 0);
    let SnapshotOutcome::Imported(key) = &report.snapshots[0].outcome else { panic!() };
    let absent = setting.store.get(key).unwrap().manifest.absent().clone();
    assert_eq!(
        absent,
        pool::paths(["generation_config.json"]),
        "what the listing lacks is known to be missing"
    );
}

#[test]
fn plain_files_that_nothing_names_are_named_by_their_own_digests() {
    let setting = Setting::new();
    let mut files = small_model();
    files.push(content(
        ".gitattributes",
        Algorithm::GitSha1,
        b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n",
    ));
    for file in &files {
        setting.maker.plain(REPO, COMMIT, file);
    }
    let report = setting.check(&["Acme/Tiny@11111111 [] 4 files: imported"]);
    setting.check_view(&report, &files);
    assert_eq!(report.snapshots[0].unvouched, 4);
    let SnapshotOutcome::Imported(key) = &report.snapshots[0].outcome else { panic!() };
    let manifest = setting.store.get(key).unwrap().manifest.clone();
    for file in &files {
        let found = manifest.files().iter().find(|known| known.path.as_str() == file.path).unwrap();
        assert_eq!(found.digest, file.digest, "{}: the hub would name it so", file.path);
    }
}

#[test]
fn blobs_in_the_shared_store_are_followed() {
    let setting = Setting::new();
    let files = small_model();
    setting.maker.linked(REPO, COMMIT, &files[0]);
    setting.maker.shared(REPO, COMMIT, &files[1]);
    setting.maker.linked(REPO, COMMIT, &files[2]);
    let report = setting.check(&["Acme/Tiny@11111111 [] 3 files: imported"]);
    setting.check_view(&report, &files);
}

#[test]
fn links_that_name_the_cache_from_the_root_are_followed() {
    let setting = Setting::new();
    let file = content("config.json", Algorithm::GitSha1, b"{}");
    setting.maker.put(&format!("{REPO}/blobs/{}", file.digest), &file.bytes);
    let target = setting.maker.root.join(format!("{REPO}/blobs/{}", file.digest));
    setting.maker.link(&format!("{REPO}/snapshots/{COMMIT}/config.json"), target.to_str().unwrap());
    setting.check(&["Acme/Tiny@11111111 [] 1 files: imported"]);
}

#[test]
fn two_revisions_share_what_they_have_in_common() {
    let setting = Setting::new();
    let files = small_model();
    for file in &files {
        setting.maker.linked(REPO, COMMIT, file);
    }
    setting.maker.name(REPO, OTHER, &files[1]);
    setting.maker.linked(REPO, OTHER, &content("config.json", Algorithm::GitSha1, b"{\"a\": 1}"));
    setting.maker.reference(REPO, "main", OTHER);
    let report = setting
        .check(&["Acme/Tiny@11111111 [] 3 files: imported", "Acme/Tiny@22222222 [main] 2 files: imported"]);
    assert_eq!(report.bytes.copied.bytes() + report.bytes.cloned.bytes(), 80_007 + 8);
    assert_eq!(setting.store.disk_usage().unwrap().unreferenced.bytes(), 0);
}

#[test]
fn what_is_cut_short_is_told_and_its_whole_files_are_kept() {
    let setting = Setting::new();
    let files = small_model();
    setting.maker.linked(REPO, COMMIT, &files[0]);
    setting.maker.name(REPO, COMMIT, &files[1]);
    let wrong = content("wrong.bin", Algorithm::Sha256, b"right");
    setting.maker.put(&format!("{REPO}/blobs/{}", wrong.digest), b"wrong");
    setting.maker.name(REPO, COMMIT, &wrong);
    let shard = content("model-00002-of-00003.safetensors", Algorithm::Sha256, b"shard");
    setting.maker.linked("models--a--shards", COMMIT, &shard);
    let index = br#"{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}"#;
    let indexed = "models--b--index";
    setting.maker.linked(
        indexed,
        COMMIT,
        &content("model.safetensors.index.json", Algorithm::GitSha1, index),
    );
    setting.maker.linked(indexed, COMMIT, &content("one.safetensors", Algorithm::Sha256, b"one"));
    let sha = |text: &str| pool::digest(Algorithm::Sha256, text.as_bytes());
    let report = setting.check(&[
        "Acme/Tiny@11111111 [] 1 files: incomplete",
        "  model.safetensors: its link leads to nothing",
        &format!("  wrong.bin: its bytes hash to {}, not to {}", sha("wrong"), sha("right")),
        "a/shards@11111111 [] 1 files: incomplete",
        "  model-00001-of-00003.safetensors: it is missing",
        "  model-00003-of-00003.safetensors: it is missing",
        "b/index@11111111 [] 2 files: incomplete",
        "  two.safetensors: it is missing",
    ]);
    assert_eq!(report.snapshots[0].flaws_total, 2);
    assert!(setting.store.list().is_empty());
    let kept = setting.store.disk_usage().unwrap().unreferenced.bytes();
    assert_eq!(kept, 2 + 5 + index.len() as u64 + 3, "whole files wait for a fetch that needs them");
}

#[test]
fn a_listing_tells_what_was_left_out_and_what_is_not_its_own() {
    let setting = Setting::new();
    let files = small_model();
    let more = content("pytorch_model.bin", Algorithm::Sha256, b"not asked for");
    for file in &files {
        setting.maker.linked(REPO, COMMIT, file);
    }
    setting.maker.tree(REPO, COMMIT, &[files.clone(), vec![more]].concat());
    let other = "models--Acme--Other";
    setting.maker.linked(other, COMMIT, &files[0]);
    setting.maker.tree(other, COMMIT, &[content("config.json", Algorithm::GitSha1, b"[]")]);
    let report = setting.check(&[
        "Acme/Other@11111111 [] 0 files: incomplete",
        "  config.json: the cache's listing says that another file belongs here",
        "Acme/Tiny@11111111 [] 3 files: imported",
    ]);
    assert_eq!((report.snapshots[1].left_out.files, report.snapshots[1].left_out.bytes.bytes()), (1, 13));
}

#[test]
fn what_is_no_model_is_skipped_with_its_reason() {
    let setting = Setting::new();
    setting.maker.linked(REPO, COMMIT, &small_model()[0]);
    setting.maker.put("datasets--Acme--Words/refs/main", COMMIT.as_bytes());
    setting.maker.put("models--a--b--c/refs/main", COMMIT.as_bytes());
    setting.maker.put("models--empty/refs/main", COMMIT.as_bytes());
    setting.maker.put("models--named/snapshots/main/config.json", b"{}");
    setting.maker.link("models--acme--tiny", REPO);
    setting.check(&[
        "Acme/Tiny@11111111 [] 1 files: imported",
        "skipped datasets--Acme--Words: it is no model",
        "skipped models--a--b--c: its name is no model's",
        "skipped models--acme--tiny: it is no folder of its own",
        "skipped models--empty: it has no snapshot",
        "skipped named@main: its name is no commit",
    ]);
}

#[test]
fn a_folder_that_is_no_cache_is_refused() {
    let setting = Setting::new();
    let refused = |folder: &Path| {
        let answer =
            setting.store.import(&request(folder, ImportMode::Copy), &mut |_| ControlFlow::Continue(()));
        answer.unwrap_err()
    };
    assert!(matches!(refused(&setting.folder.path().join("cache")), ImportError::NoCache(_)));
    assert!(matches!(refused(&setting.folder.path().join("absent")), ImportError::NoCache(_)));
    // A view of the store is a cache, but its own.
    for file in &small_model() {
        setting.maker.linked(REPO, COMMIT, file);
    }
    let report = import(&setting.store, &setting.maker.root, ImportMode::Copy);
    let SnapshotOutcome::Imported(key) = &report.snapshots[0].outcome else { panic!() };
    let lease = setting.store.view(&ViewSpec { key: key.clone(), refs: Default::default() }).unwrap();
    assert!(matches!(refused(lease.hub_path()), ImportError::InsideStore(_)));
}

#[test]
fn an_import_that_is_ended_goes_on_where_it_was() {
    let setting = Setting::new();
    for file in &small_model() {
        setting.maker.linked(REPO, COMMIT, file);
    }
    setting.maker.linked("models--Acme--Zwei", COMMIT, &content("a.json", Algorithm::GitSha1, b"a"));
    let mut calls_max = 0;
    loop {
        let mut calls = 0;
        let report = setting.store.import(&request(&setting.maker.root, ImportMode::Copy), &mut |progress| {
            assert!(progress.bytes_done <= progress.bytes_total, "{progress:?}");
            calls += 1;
            if calls > calls_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let report = report.unwrap();
        if report.end == ImportEnd::Finished {
            assert_eq!(report.snapshots.len(), 2);
            break;
        }
        assert_eq!(report.end, ImportEnd::Cancelled);
        calls_max += 1;
    }
    assert!(calls_max > 2, "it could be ended in between");
    assert_eq!(setting.store.list().len(), 2);
}
