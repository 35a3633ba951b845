//! Taking over a large cache: by links beside `cp -al` and beside hashing alone, by copies beside `cp -a`.

use std::{
    collections::BTreeSet,
    fs,
    ops::ControlFlow,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use base::Entropy;
use sha2::{Digest as _, Sha256};
use store::{ImportMode, ImportReport, ImportRequest, SnapshotOutcome};

use super::pool::{Large, open, program, random_bytes, supplier, taken, timed};

const MODELS: usize = 200;
const FILES: usize = 20;
const FILE_BYTES: usize = 20_000;
const COMMIT: &str = "1111111111111111111111111111111111111111";

pub(crate) fn run(large: &Large, folder: &Path) {
    let cache = folder.join("hub");
    let bytes = make_cache(large, &cache);
    println!(
        "\na cache of {MODELS} models of {FILES} files of {FILE_BYTES} bytes, and one of {:.1} GB, {bytes} bytes in all",
        large.bytes as f64 / 1e9
    );
    let copied_names = folder.join("names");
    let names = program(Command::new("cp").arg("-al").arg(&cache).arg(&copied_names));
    fs::remove_dir_all(&copied_names).unwrap();
    let hashed = program(
        Command::new("sh")
            .args(["-c", "find \"$0\" -path '*/blobs/*' -type f -exec sha256sum {} +"])
            .arg(&cache),
    );
    println!("  `cp -al`, which checks nothing: {names:.2} s; `sha256sum` of every blob: {hashed:.2} s");
    let root = folder.join("linked");
    let store = open(&root);
    // Of both together, so that a file counts once whatever its names.
    let before = taken(folder);
    let (report, seconds) = timed(|| import(&store, &cache, ImportMode::Link));
    let added = taken(folder).saturating_sub(before);
    println!(
        "  import --link: {seconds:.2} s ({:.2} GB/s verified), {} bytes linked, {} copied, {added} bytes of records added",
        bytes as f64 / 1e9 / seconds,
        report.bytes.linked.bytes(),
        report.bytes.copied.bytes()
    );
    let (_, seconds) = timed(|| import(&store, &cache, ImportMode::Link));
    println!("  the same again: {seconds:.2} s");
}

fn import(store: &store::Store, cache: &Path, mode: ImportMode) -> ImportReport {
    let request =
        ImportRequest { folder: cache.to_owned(), supplier: supplier(), mode, probed: BTreeSet::new() };
    let report = store.import(&request, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(report.snapshots.len(), MODELS + 1);
    for snapshot in &report.snapshots {
        let taken =
            matches!(snapshot.outcome, SnapshotOutcome::Imported(_) | SnapshotOutcome::AlreadyHere(_));
        assert!(taken, "{snapshot:?}");
    }
    report
}

/// Makes a cache as `huggingface_hub` does; its large model is linked from the store of the other figures.
fn make_cache(large: &Large, cache: &Path) -> u64 {
    let entropy = Entropy::seeded(3);
    let mut bytes = 0;
    for model in 0..MODELS {
        let repo = cache.join(format!("models--many--model-{model}"));
        for file in 0..FILES {
            let content = random_bytes(&entropy, FILE_BYTES);
            bytes += content.len() as u64;
            let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(&content));
            let blob = place(&repo, &digest, &format!("file-{file}.json"));
            fs::write(blob, content).unwrap();
        }
    }
    let repo = cache.join("models--large--model");
    for (number, stored) in large.blobs.iter().enumerate() {
        let digest = stored.file_name().unwrap().to_str().unwrap();
        let blob = place(&repo, digest, &format!("weights-{number}.safetensors"));
        fs::hard_link(stored, blob).unwrap();
        bytes += fs::metadata(stored).unwrap().len();
    }
    assert!(Command::new("sync").status().unwrap().success());
    bytes
}

/// Makes the link of a file and returns where its blob belongs.
fn place(repo: &Path, digest: &str, name: &str) -> PathBuf {
    let snapshot = repo.join("snapshots").join(COMMIT);
    fs::create_dir_all(repo.join("blobs")).unwrap();
    fs::create_dir_all(&snapshot).unwrap();
    symlink(format!("../../blobs/{digest}"), snapshot.join(name)).unwrap();
    repo.join("blobs").join(digest)
}
