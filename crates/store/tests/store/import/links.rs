//! Hard links: no byte added, made read-only, marked, and never of what is not ours or not right.

use std::{fs, os::unix::fs::MetadataExt as _, os::unix::fs::PermissionsExt as _};

use store::{ImportMode, SnapshotOutcome};

use super::{
    import, lines,
    maker::{COMMIT, Maker, content, small_model},
};
use crate::pool::{self, Algorithm};

const REPO: &str = "models--Acme--Tiny";

#[test]
fn linked_files_take_no_room_are_read_only_and_marked() {
    let folder = tempfile::tempdir().unwrap();
    let disk = pool::real();
    let maker = Maker::new(&disk, &folder.path().join("hub"));
    let files = small_model();
    for file in &files {
        maker.linked(REPO, COMMIT, file);
    }
    let store = pool::open(&disk, &folder.path().join("store"));
    let report = import(&store, &maker.root, ImportMode::Link);
    assert_eq!(lines(&report), ["Acme/Tiny@11111111 [] 3 files: imported"]);
    assert_eq!((report.bytes.linked.bytes(), report.bytes.copied.bytes()), (80_007, 0));
    let marked: Vec<_> = store.linked().into_iter().collect();
    let mut expected: Vec<_> = files.iter().map(|file| file.digest).collect();
    expected.sort_unstable();
    assert_eq!(marked, expected);
    for file in &files {
        let meta = fs::metadata(maker.root.join(REPO).join("blobs").join(file.digest.to_string())).unwrap();
        assert_eq!((meta.nlink(), meta.permissions().mode() & 0o7777), (2, 0o444), "{}", file.path);
    }
    drop(store);
    let store = pool::open(&disk, &folder.path().join("store"));
    assert_eq!(store.linked().into_iter().collect::<Vec<_>>(), expected, "the mark survives a restart");
    let SnapshotOutcome::Imported(key) = &report.snapshots[0].outcome else { panic!() };
    store.remove(key).unwrap();
    let kept = maker.root.join(REPO).join("blobs").join(files[0].digest.to_string());
    assert_eq!(fs::read(kept).unwrap(), files[0].bytes, "the cache keeps its own names");
    drop(store);
    assert!(pool::open(&disk, &folder.path().join("store")).linked().is_empty());
}

#[test]
fn a_file_that_is_not_right_is_left_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let disk = pool::real();
    let maker = Maker::new(&disk, &folder.path().join("hub"));
    let file = content("config.json", Algorithm::GitSha1, b"right");
    maker.put(&format!("{REPO}/blobs/{}", file.digest), b"wrong");
    maker.name(REPO, COMMIT, &file);
    let blob = maker.root.join(REPO).join("blobs").join(file.digest.to_string());
    fs::set_permissions(&blob, fs::Permissions::from_mode(0o640)).unwrap();
    let store = pool::open(&disk, &folder.path().join("store"));
    let report = import(&store, &maker.root, ImportMode::Link);
    assert!(matches!(report.snapshots[0].outcome, SnapshotOutcome::Incomplete), "{report:?}");
    let meta = fs::metadata(&blob).unwrap();
    assert_eq!((meta.nlink(), meta.permissions().mode() & 0o7777), (1, 0o640));
    assert!(store.linked().is_empty());
}

#[test]
fn files_of_another_user_are_not_linked() {
    if !nix_is_root() {
        testkit::skip("only root can give a file to another user");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = pool::real();
    let maker = Maker::new(&disk, &folder.path().join("hub"));
    let files = small_model();
    for file in &files {
        maker.linked(REPO, COMMIT, file);
    }
    let blob = maker.root.join(REPO).join("blobs").join(files[0].digest.to_string());
    std::os::unix::fs::chown(&blob, Some(12345), None).unwrap();
    let store = pool::open(&disk, &folder.path().join("store"));
    let report = import(&store, &maker.root, ImportMode::Link);
    assert_eq!(
        lines(&report),
        [
            "Acme/Tiny@11111111 [] 2 files: refused, config.json: it belongs to another user, so it can't be linked",
            "  config.json: it belongs to another user, so it can't be linked",
        ]
    );
    assert!(store.linked().is_empty(), "nothing of a refused snapshot is taken");
    // A copy of it is no harm: it is the operator who imports.
    let report = import(&store, &maker.root, ImportMode::Copy);
    assert_eq!(lines(&report), ["Acme/Tiny@11111111 [] 3 files: imported"]);
}

fn nix_is_root() -> bool {
    let probe = tempfile::NamedTempFile::new().unwrap();
    probe.as_file().metadata().unwrap().uid() == 0
}
