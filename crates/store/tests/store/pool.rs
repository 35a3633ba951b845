//! Files, models and suppliers for the tests.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use base::{ByteSize, Clock, Disk, Entropy, RealDisk};
use bytes::Bytes;
use sha2::Digest as _;
use store::{BlobWriter, Claim, ExtentBytes, ExtentIndex, HubStanding, Store, StoreOptions, Supplier};
use types::{Commit, Digest, Manifest, ManifestFile, ModelKey, RepoId, RepoPath, SelectionKey};

/// The smallest extent: many of them fit into small files.
pub(crate) const EXTENT: u64 = 4096;

/// A file with its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) file: ManifestFile,
    pub(crate) bytes: Bytes,
}

impl Sample {
    pub(crate) fn extent(&self, writer: &BlobWriter, index: ExtentIndex) -> &[u8] {
        let range = writer.extent_range(index);
        &self.bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Algorithm {
    Sha256,
    GitSha1,
}

pub(crate) fn digest(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    match algorithm {
        Algorithm::Sha256 => Digest::Sha256(sha2::Sha256::digest(bytes).into()),
        Algorithm::GitSha1 => {
            let header = format!("blob {}\0", bytes.len());
            Digest::GitSha1(sha1::Sha1::new_with_prefix(header).chain_update(bytes).finalize().into())
        }
    }
}

pub(crate) fn random_bytes(entropy: &Entropy, len: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&entropy.number().to_le_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

pub(crate) fn sample(entropy: &Entropy, path: &str, algorithm: Algorithm, len: usize) -> Sample {
    let bytes = random_bytes(entropy, len);
    let file =
        ManifestFile { path: path.parse().unwrap(), size: len as u64, digest: digest(algorithm, &bytes) };
    Sample { file, bytes }
}

pub(crate) fn key(repo: &str, commit: u8, files: &[ManifestFile]) -> ModelKey {
    let (hub, name) = repo.split_once('!').unwrap();
    ModelKey {
        repo: RepoId { hub: hub.parse().unwrap(), name: name.parse().unwrap() },
        commit: Commit::from_bytes([commit; 20]),
        selection: SelectionKey::from_bytes(sha2::Sha256::digest(Manifest::selection_input(files)).into()),
    }
}

pub(crate) fn manifest(repo: &str, commit: u8, samples: &[&Sample]) -> Manifest {
    let files: Vec<ManifestFile> = samples.iter().map(|sample| sample.file.clone()).collect();
    Manifest::new(key(repo, commit, &files), files, BTreeSet::new()).unwrap()
}

pub(crate) fn paths<const N: usize>(paths: [&str; N]) -> BTreeSet<RepoPath> {
    paths.iter().map(|path| path.parse().unwrap()).collect()
}

/// A tenant that asks a hub that the operator trusts.
pub(crate) fn trusted(tenant: &str) -> Supplier {
    Supplier {
        hub: "huggingface".parse().unwrap(),
        tenant: tenant.parse().unwrap(),
        standing: HubStanding::Trusted,
    }
}

/// A tenant that asks a hub of its own.
pub(crate) fn untrusted(tenant: &str) -> Supplier {
    Supplier {
        hub: "10.0.0.1:80".parse().unwrap(),
        tenant: tenant.parse().unwrap(),
        standing: HubStanding::Untrusted,
    }
}

pub(crate) fn options(root: &Path) -> StoreOptions {
    StoreOptions { root: root.to_owned(), extent_bytes: ExtentBytes::new(ByteSize(EXTENT)).unwrap() }
}

pub(crate) fn open(disk: &Arc<dyn Disk>, root: &Path) -> Store {
    Store::open(Arc::clone(disk), Clock::System, options(root)).unwrap()
}

pub(crate) fn real() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

/// Claims a file that must not be here or on its way.
pub(crate) fn writer(store: &Store, sample: &Sample, supplier: &Supplier) -> BlobWriter {
    match store.claim(&sample.file, supplier).unwrap() {
        Claim::Write(writer) => writer,
        other @ (Claim::Present | Claim::Busy(_)) => panic!("{}: {other:?}", sample.file.path),
    }
}

pub(crate) fn is_present(store: &Store, sample: &Sample, supplier: &Supplier) -> bool {
    matches!(store.claim(&sample.file, supplier).unwrap(), Claim::Present)
}

/// Writes what is missing, in order, and finishes.
pub(crate) fn bring(store: &Store, sample: &Sample, supplier: &Supplier) {
    if is_present(store, sample, supplier) {
        return;
    }
    let writer = writer(store, sample, supplier);
    for index in writer.missing_extents() {
        writer.write_extent(index, sample.extent(&writer, index)).unwrap();
    }
    writer.finish().unwrap();
}
