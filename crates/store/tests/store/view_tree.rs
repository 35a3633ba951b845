//! A view, entry by entry, as readers of the Hugging Face cache layout expect it.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    sync::Arc,
};

use base::{Disk, Entropy, FaultyDisk};
use store::{Store, ViewError, ViewLease, ViewSpec};
use types::{Digest, ErrorCode, Manifest};

use crate::pool::{self, Algorithm, Sample};

/// Breaks something that stands at a path.
type Harm = fn(&Path);

/// A model of three files, one in a folder, with two optional files that the commit lacks.
struct Model {
    samples: Vec<Sample>,
    manifest: Manifest,
}

fn model() -> Model {
    let entropy = Entropy::seeded(1);
    let samples = vec![
        pool::sample(&entropy, "1_Pooling/deep/config.json", Algorithm::GitSha1, 190),
        pool::sample(&entropy, "config.json", Algorithm::GitSha1, 612),
        pool::sample(&entropy, "model.safetensors", Algorithm::Sha256, 9000),
    ];
    let files: Vec<_> = samples.iter().map(|sample| sample.file.clone()).collect();
    let key = pool::key("huggingface!Acme/Tiny-Model", 0xab, &files);
    let absent = pool::paths(["adapter_config.json", "custom_generate/generate.py"]);
    Model { manifest: Manifest::new(key, files, absent).unwrap(), samples }
}

fn publish(store: &Store, model: &Model) {
    let supplier = pool::trusted("tn_a");
    model.samples.iter().for_each(|sample| pool::bring(store, sample, &supplier));
    store.publish_model(&model.manifest, &supplier).unwrap();
}

fn spec<const N: usize>(model: &Model, refs: [&str; N]) -> ViewSpec {
    let refs = refs.iter().map(|revision| revision.parse().unwrap()).collect();
    ViewSpec { key: model.manifest.key().clone(), refs }
}

/// Lists a folder as lines of mode, path, and what is there.
fn tree(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            let meta = fs::symlink_metadata(&path).unwrap();
            let mode = meta.permissions().mode() & 0o7777;
            if meta.is_dir() {
                lines.push(format!("{name}/ {mode:o}"));
                folders.push(path);
            } else if meta.is_symlink() {
                lines.push(format!("{name} -> {}", fs::read_link(path).unwrap().display()));
            } else {
                lines.push(format!("{name} {mode:o} {} bytes, {} names", meta.len(), meta.nlink()));
            }
        }
    }
    lines.sort();
    lines
}

#[test]
fn the_tree_is_exactly_the_cache_layout() {
    let root = tempfile::tempdir().unwrap();
    let store = pool::open(&pool::real(), root.path());
    let model = model();
    publish(&store, &model);
    let commit = "ab".repeat(20);
    // The commit itself needs no ref; a revision may hold slashes.
    let lease = store.view(&spec(&model, ["refs/pr/1", "v1.0", &commit])).unwrap();
    assert_eq!(lease.repo_folder_name(), "models--Acme--Tiny-Model");
    assert_eq!(lease.path(), lease.hub_path().join("models--Acme--Tiny-Model"));
    let [pooling, config, weights] = [0, 1, 2].map(|place| model.samples[place].file.digest);
    let tree_bytes = fs::read(lease.path().join("trees").join(format!("{commit}.json"))).unwrap();
    let mut expected = vec![
        ".no_exist/ 755".to_owned(),
        format!(".no_exist/{commit}/ 755"),
        format!(".no_exist/{commit}/adapter_config.json 444 0 bytes, 1 names"),
        format!(".no_exist/{commit}/custom_generate/ 755"),
        format!(".no_exist/{commit}/custom_generate/generate.py 444 0 bytes, 1 names"),
        "blobs/ 755".to_owned(),
        format!("blobs/{pooling} 444 190 bytes, 2 names"),
        format!("blobs/{config} 444 612 bytes, 2 names"),
        format!("blobs/{weights} 444 9000 bytes, 2 names"),
        "refs/ 755".to_owned(),
        "refs/main 444 40 bytes, 1 names".to_owned(),
        "refs/refs/ 755".to_owned(),
        "refs/refs/pr/ 755".to_owned(),
        "refs/refs/pr/1 444 40 bytes, 1 names".to_owned(),
        "refs/v1.0 444 40 bytes, 1 names".to_owned(),
        "snapshots/ 755".to_owned(),
        format!("snapshots/{commit}/ 755"),
        format!("snapshots/{commit}/1_Pooling/ 755"),
        format!("snapshots/{commit}/1_Pooling/deep/ 755"),
        format!("snapshots/{commit}/1_Pooling/deep/config.json -> ../../../../blobs/{pooling}"),
        format!("snapshots/{commit}/config.json -> ../../blobs/{config}"),
        format!("snapshots/{commit}/model.safetensors -> ../../blobs/{weights}"),
        "trees/ 755".to_owned(),
        format!("trees/{commit}.json 644 {} bytes, 1 names", tree_bytes.len()),
    ];
    expected.sort();
    assert_eq!(tree(lease.path()), expected);
    for name in ["main", "v1.0", "refs/pr/1"] {
        assert_eq!(fs::read_to_string(lease.path().join("refs").join(name)).unwrap(), commit);
    }
    let snapshot = lease.path().join("snapshots").join(&commit);
    for sample in &model.samples {
        assert_eq!(fs::read(snapshot.join(sample.file.path.as_str())).unwrap(), sample.bytes);
    }
    check_listing(&tree_bytes, pooling, config, weights);
    let around: Vec<_> = tree(lease.hub_path().parent().unwrap())
        .into_iter()
        .filter(|line| !line.starts_with("hub/models--"))
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(around, ["hub/", "hub/CACHEDIR.TAG", "view.json"]);
}

fn check_listing(bytes: &[u8], pooling: Digest, config: Digest, weights: Digest) {
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{weights}\nsize 9000\n");
    let listing: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    let expected = serde_json::json!({
        "format_version": 1,
        "files": {
            "1_Pooling/deep/config.json": {"size": 190, "blob_id": pooling},
            "config.json": {"size": 612, "blob_id": config},
            "model.safetensors": {
                "size": 9000,
                "blob_id": pool::digest(Algorithm::GitSha1, pointer.as_bytes()),
                "lfs_sha256": weights,
                "lfs_size": 9000,
            },
        },
    });
    assert_eq!(listing, expected);
}

#[test]
fn a_view_adds_no_bytes_and_names_its_blobs() {
    let root = tempfile::tempdir().unwrap();
    let store = pool::open(&pool::real(), root.path());
    let model = model();
    publish(&store, &model);
    let one = store.view(&spec(&model, [])).unwrap();
    let two = store.view(&spec(&model, ["main", "dev"])).unwrap();
    assert_ne!(one.id(), two.id());
    let weights = model.samples[2].file.digest.to_string();
    let inode = |lease: &ViewLease| fs::metadata(lease.path().join("blobs").join(&weights)).unwrap().ino();
    let blob = fs::metadata(root.path().join("blobs").join(&weights[..2]).join(&weights)).unwrap();
    assert_eq!((inode(&one), inode(&two)), (blob.ino(), blob.ino()));
    assert_eq!(blob.nlink(), 3);
    drop(one);
    drop(two);
    assert_eq!(fs::read_dir(root.path().join("views")).unwrap().count(), 0);
}

/// Two quantisations of one commit, as two endpoints of a host keep them: each view shows its own and lists only that.
#[test]
fn two_selections_of_one_commit_are_two_views_with_two_listings() {
    let root = tempfile::tempdir().unwrap();
    let store = pool::open(&pool::real(), root.path());
    let entropy = Entropy::seeded(3);
    let config = pool::sample(&entropy, "config.json", Algorithm::GitSha1, 100);
    let selections = ["Q4_K_M.gguf", "Q8_0.gguf"].map(|name| {
        let weights = pool::sample(&entropy, name, Algorithm::Sha256, 5000);
        let manifest = pool::manifest("huggingface!Acme/Tiny", 0xab, &[&config, &weights]);
        let model = Model { manifest, samples: vec![config.clone(), weights] };
        publish(&store, &model);
        (name, model)
    });
    let leases = selections.each_ref().map(|(_, model)| store.view(&spec(model, [])).unwrap());
    assert_ne!(leases[0].id(), leases[1].id());
    for ((name, model), lease) in selections.iter().zip(&leases) {
        let commit = model.manifest.key().commit;
        let names = |folder: &str| {
            let entries = fs::read_dir(lease.path().join(folder)).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<BTreeSet<_>>()
        };
        let expected = BTreeSet::from(["config.json".to_owned(), (*name).to_owned()]);
        assert_eq!(names(&format!("snapshots/{commit}")), expected);
        assert_eq!(names("blobs").len(), 2);
        let listing = fs::read(lease.path().join(format!("trees/{commit}.json"))).unwrap();
        let listing: serde_json::Value = serde_json::from_slice(&listing).unwrap();
        let listed: BTreeSet<String> = listing["files"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(listed, expected, "offline, a listing that names more makes the snapshot incomplete");
    }
    // One quantisation goes, with its bytes and nothing else.
    let [gone, kept] = leases;
    drop(gone);
    let removed = store.remove(selections[0].1.manifest.key()).unwrap();
    assert_eq!(removed.blobs, 1);
    assert!(kept.path().join("blobs").join(config.file.digest.to_string()).exists());
    assert!(store.verify(selections[1].1.manifest.key()).unwrap().is_sound());
}

#[test]
fn names_that_stand_in_each_others_way_are_refused_or_left_out() {
    let root = tempfile::tempdir().unwrap();
    let store = pool::open(&pool::real(), root.path());
    let mut model = model();
    let absent = pool::paths(["config.json", "a", "a/b", "1_Pooling"]);
    model.manifest =
        Manifest::new(model.manifest.key().clone(), model.manifest.files().to_vec(), absent).unwrap();
    publish(&store, &model);
    let error = store.view(&spec(&model, ["dev", "dev/new"])).unwrap_err();
    assert!(matches!(error, ViewError::Refs(_)));
    assert_eq!(error.fault().code, ErrorCode::FieldInvalid);
    let error = store.view(&spec(&model, ["main/x"])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the revisions main and main/x can't be shown side by side: one's name is the other's folder"
    );
    let lease = store.view(&spec(&model, ["dev", "dev-new"])).unwrap();
    let missing = lease.path().join(".no_exist").join("ab".repeat(20));
    let names: BTreeSet<_> = fs::read_dir(missing)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, BTreeSet::from(["1_Pooling".to_owned(), "a".to_owned()]));
}

#[test]
fn a_model_that_is_not_here_has_no_view() {
    let root = tempfile::tempdir().unwrap();
    let store = pool::open(&pool::real(), root.path());
    let error = store.view(&spec(&model(), [])).unwrap_err();
    assert_eq!(error.fault().code, ErrorCode::ModelNotFound);
}

#[test]
fn views_in_use_outlive_the_agent_and_the_others_are_swept() {
    let root = tempfile::tempdir().unwrap();
    let disk = pool::real();
    let model = model();
    let store = pool::open(&disk, root.path());
    publish(&store, &model);
    let [used, kept, stale] = [spec(&model, ["used"]), spec(&model, ["kept"]), spec(&model, ["stale"])];
    let leases: Vec<_> = [&used, &kept, &stale].map(|spec| store.view(spec).unwrap()).into();
    let path = leases[0].path().to_owned();
    let inode = fs::metadata(&path).unwrap().ino();
    store.leave_views();
    drop(leases);
    drop(store);

    let store = pool::open(&disk, root.path());
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    // Until they are swept, the views may be in use by workers that nobody has told of yet.
    assert_eq!(store.remove(model.manifest.key()).unwrap_err().fault().code, ErrorCode::ModelInUse);
    let lease = store.view(&used).unwrap();
    assert_eq!(lease.path(), path);
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode, "it is the same folder, not a new one");
    assert_eq!(store.sweep_views(&BTreeSet::from([kept.id()])).unwrap(), 1);
    let standing: BTreeSet<_> = fs::read_dir(root.path().join("views"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(standing, BTreeSet::from([used.id().to_string(), kept.id().to_string()]));
    drop(lease);
    assert!(!path.exists());
    assert_eq!(store.sweep_views(&BTreeSet::new()).unwrap(), 1);
    store.remove(model.manifest.key()).unwrap();
}

#[test]
fn a_view_with_holes_is_made_anew() {
    let commit = "ab".repeat(20);
    let harms: [(&str, Harm); 6] = [
        ("refs/main", |path| fs::remove_file(path).unwrap()),
        ("refs/main", |path| {
            fs::remove_file(path).unwrap();
            fs::write(path, "0".repeat(40)).unwrap();
        }),
        ("snapshots/COMMIT/config.json", |path| {
            fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("../../blobs/other", path).unwrap();
        }),
        ("snapshots/COMMIT/extra.json", |path| fs::write(path, "x").unwrap()),
        ("trees/COMMIT.json", |path| fs::write(path, "").unwrap()),
        ("refs", |path| fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap()),
    ];
    for (name, harm) in harms {
        let root = tempfile::tempdir().unwrap();
        let disk = pool::real();
        let model = model();
        let store = pool::open(&disk, root.path());
        publish(&store, &model);
        let spec = spec(&model, []);
        let lease = store.view(&spec).unwrap();
        let (path, whole) = (lease.path().to_owned(), tree(lease.path()));
        store.leave_views();
        drop((lease, store));
        harm(&path.join(name.replace("COMMIT", &commit)));
        let store = pool::open(&disk, root.path());
        let lease = store.view(&spec).unwrap();
        assert_eq!(tree(lease.path()), whole, "{name}");
        assert_eq!(fs::read_to_string(lease.path().join("refs/main")).unwrap(), commit, "{name}");
    }
}

#[test]
fn a_view_is_made_without_a_sync() {
    let disk = FaultyDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let store = pool::open(&shared, Path::new("/store"));
    let model = model();
    publish(&store, &model);
    for call in [base::DiskCall::Sync, base::DiskCall::SyncFolder] {
        // A sync would fail here.
        disk.fail(call, 0);
    }
    drop(store.view(&spec(&model, [])).unwrap());
}

#[test]
fn the_identity_of_a_view_stays_the_same() {
    let model = model();
    assert_eq!(spec(&model, []).id(), spec(&model, []).id());
    let ids = [spec(&model, []).id(), spec(&model, ["main"]).id(), spec(&model, ["a"]).id()];
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(spec(&model, ["a"]).id().to_string().parse(), Ok(spec(&model, ["a"]).id()));
    for wrong in ["", "..", "AB", &"A".repeat(32), &"0".repeat(31)] {
        assert!(wrong.parse::<store::ViewId>().is_err(), "{wrong:?}");
    }
    // Changing how it is derived would orphan every view that stands somewhere.
    assert_eq!(spec(&model, ["dev"]).id().to_string(), "177029aa5caf88425910d8531eae38b3");
}
