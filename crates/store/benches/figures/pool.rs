//! Models and times for the figures.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Instant,
};

use base::{Clock, Entropy, RealDisk};
use sha2::{Digest as _, Sha256};
use store::{Claim, HubStanding, Store, StoreOptions, Supplier};
use types::{Commit, Digest, Manifest, ManifestFile, ModelKey, RepoId, SelectionKey};

/// 2 GB, as the figure names it.
const LARGE_BYTES: u64 = 2_000_000_000;
const LARGE_FILES: u64 = 8;

/// A store with one large model.
pub(crate) struct Large {
    pub(crate) store: Store,
    pub(crate) key: ModelKey,
    pub(crate) blobs: Vec<PathBuf>,
    pub(crate) bytes: u64,
}

/// Makes a store that holds a large model.
pub(crate) fn large_model(folder: &Path) -> Large {
    let bytes = std::env::var("LARDER_BENCH_BYTES").map_or(LARGE_BYTES, |text| text.parse().unwrap());
    let root = folder.join("large");
    let store = open(&root);
    let supplier = supplier();
    let entropy = Entropy::seeded(1);
    let mut files = Vec::new();
    let mut blobs = Vec::new();
    for number in 1..=LARGE_FILES {
        let content = random_bytes(&entropy, usize::try_from(bytes / LARGE_FILES).unwrap());
        let digest = Digest::Sha256(Sha256::digest(&content).into());
        let path = format!("model-{number:05}-of-{LARGE_FILES:05}.safetensors");
        let file = ManifestFile { path: path.parse().unwrap(), size: content.len() as u64, digest };
        let Claim::Write(writer) = store.claim(&file, &supplier).unwrap() else { panic!("{path} is new") };
        for index in writer.missing_extents() {
            let range = writer.extent_range(index);
            let (start, end) = (usize::try_from(range.start).unwrap(), usize::try_from(range.end).unwrap());
            writer.write_extent(index, &content[start..end]).unwrap();
        }
        writer.finish().unwrap();
        let name = digest.to_string();
        blobs.push(root.join("blobs").join(&name[..2]).join(&name));
        files.push(file);
    }
    let manifest = manifest("large/model", files);
    store.publish_model(&manifest, &supplier).unwrap();
    Large { store, key: manifest.key().clone(), blobs, bytes }
}

pub(crate) fn open(root: &Path) -> Store {
    Store::open(Arc::new(RealDisk), Clock::System, StoreOptions::at(root)).unwrap()
}

pub(crate) fn supplier() -> Supplier {
    Supplier {
        hub: "huggingface".parse().unwrap(),
        tenant: "tn_bench".parse().unwrap(),
        standing: HubStanding::Trusted,
    }
}

pub(crate) fn manifest(repo: &str, files: Vec<ManifestFile>) -> Manifest {
    let selection = SelectionKey::from_bytes(Sha256::digest(Manifest::selection_input(&files)).into());
    let repo = RepoId { hub: "huggingface".parse().unwrap(), name: repo.parse().unwrap() };
    let key = ModelKey { repo, commit: Commit::from_bytes([7; 20]), selection };
    Manifest::new(key, files, BTreeSet::new()).unwrap()
}

pub(crate) fn random_bytes(entropy: &Entropy, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&entropy.number().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Returns what something gives, and the seconds that it took.
pub(crate) fn timed<T>(deed: impl FnOnce() -> T) -> (T, f64) {
    let begun = Instant::now();
    let given = deed();
    (given, begun.elapsed().as_secs_f64())
}

pub(crate) fn median(times: &mut [f64]) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Returns the seconds that a program took.
pub(crate) fn program(command: &mut Command) -> f64 {
    let (status, seconds) = timed(|| command.stdout(std::process::Stdio::null()).status().unwrap());
    assert!(status.success(), "{command:?}");
    seconds
}

/// Makes everything durable and clean, so that one figure does not pay for the writes of another.
pub(crate) fn settle(blobs: &[PathBuf]) {
    for blob in blobs {
        std::fs::File::open(blob).unwrap().sync_all().unwrap();
    }
}

/// Returns the bytes that a folder takes, each file once whatever its names.
pub(crate) fn taken(folder: &Path) -> u64 {
    let output = Command::new("du").args(["--summarize", "--block-size=1"]).arg(folder).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}
