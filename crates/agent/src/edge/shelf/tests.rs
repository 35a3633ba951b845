//! What is found on a shelf, by path and by revision.

use types::{Digest, Manifest, RepoId, SelectionKey};

use super::*;

pub(in super::super) fn shelf() -> ModelShelf {
    let repo = RepoId { hub: "main".parse().unwrap(), name: "Acme/Tiny".parse().unwrap() };
    let commit = Commit::from_bytes([0xab; 20]);
    let key = ModelKey { repo, commit, selection: SelectionKey::from_bytes([1; 32]) };
    let file = |path: &str, size, digest| ManifestFile { path: path.parse().unwrap(), size, digest };
    let files = vec![
        file("config.json", 10, Digest::GitSha1([1; 20])),
        file("model.safetensors", 1000, Digest::Sha256([2; 32])),
        file("nested/deep/notes.txt", 5, Digest::GitSha1([3; 20])),
        file("nested/a.txt", 6, Digest::GitSha1([4; 20])),
    ];
    let absent = BTreeSet::from(["tokenizer.model".parse().unwrap()]);
    let manifest = Manifest::new(key, files, absent).unwrap();
    let model = StoredModel { manifest, published_at: base::Timestamp::from_millis(0) };
    let refs = BTreeSet::from(["v1".parse().unwrap()]);
    ModelShelf::new(Arc::new(model), refs, Path::new("/views/x/models--Acme--Tiny"))
}

#[test]
fn a_path_is_a_file_known_to_be_absent_or_not_kept() {
    let shelf = shelf();
    let Found::File(file) = shelf.find("nested/a.txt") else { panic!("it is a file") };
    let place = "/views/x/models--Acme--Tiny/blobs/0404040404040404040404040404040404040404";
    assert_eq!(shelf.place(file), Path::new(place));
    for absent in ["tokenizer.model", "../config.json", "/config.json", "", "a//b", "nested/../config.json"] {
        assert_eq!(shelf.find(absent), Found::Absent, "{absent:?}");
    }
    for unknown in ["pytorch_model.bin", "nested", "Config.json"] {
        assert_eq!(shelf.find(unknown), Found::NotKept, "{unknown}");
    }
}

#[test]
fn the_commit_and_its_names_are_here() {
    let shelf = shelf();
    for here in ["main", "v1", "abababababababababababababababababababab"] {
        assert!(shelf.is_here(here), "{here}");
    }
    for elsewhere in ["dev", "abababab", "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd", ""] {
        assert!(!shelf.is_here(elsewhere), "{elsewhere}");
    }
}

#[test]
fn folders_are_named_by_what_is_below_them() {
    let folders = shelf().folders().clone();
    assert_eq!(folders.keys().collect::<Vec<_>>(), ["nested", "nested/deep"]);
    assert!(folders.values().all(|name| name.len() == 40) && folders["nested"] != folders["nested/deep"]);
}

proptest::proptest! {
    #[test]
    fn whatever_is_asked_for_only_files_of_the_view_are_found(path in "[a-d./\\\\%:~ ]{0,16}|nested/[a.t/x]{0,8}") {
        let shelf = shelf();
        if let Found::File(file) = shelf.find(&path) {
            proptest::prop_assert_eq!(file.path.as_str(), path.as_str());
            proptest::prop_assert!(shelf.files().contains(file));
            let place = shelf.place(file);
            proptest::prop_assert_eq!(place.parent(), Some(Path::new("/views/x/models--Acme--Tiny/blobs")));
        }
    }
}
