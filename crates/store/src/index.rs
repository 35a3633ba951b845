//! What is here, in memory. Rebuilt from the disk at every open, so there is no file that could disagree. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use base::ByteSize;
use types::{Digest, Manifest, ManifestFile, ModelKey};

use crate::{
    HubStanding, Missing, StoredModel, Supplier, flight::FlightKey, layout::PartialOwner, trust::satisfies,
};

/// A published blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlobEntry {
    pub(crate) size: u64,
    pub(crate) suppliers: BTreeSet<Supplier>,
}

/// How far a partial file is; its writer moves it.
#[derive(Debug)]
pub(crate) struct PartialProgress {
    pub(crate) reserved: u64,
    pub(crate) present: AtomicU64,
}

/// What to do with bytes that were just verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// There are none yet: put them.
    Put,
    /// There are some that serve as well: drop the new ones, note who brought them.
    Keep,
    /// There are some that may be a SHA-1 twin from a hub that nobody trusts: replace them.
    Replace,
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    blobs: HashMap<Digest, BlobEntry>,
    models: BTreeMap<ModelKey, Arc<StoredModel>>,
    partials: HashMap<FlightKey, Arc<PartialProgress>>,
}

impl Index {
    pub(crate) fn blob(&self, digest: &Digest) -> Option<&BlobEntry> {
        self.blobs.get(digest)
    }

    pub(crate) fn insert_blob(&mut self, digest: Digest, size: u64, suppliers: BTreeSet<Supplier>) {
        self.blobs.insert(digest, BlobEntry { size, suppliers });
    }

    pub(crate) fn forget_suppliers(&mut self, digest: &Digest) {
        if let Some(blob) = self.blobs.get_mut(digest) {
            blob.suppliers.clear();
        }
    }

    pub(crate) fn remove_blob(&mut self, digest: &Digest) -> Option<BlobEntry> {
        self.blobs.remove(digest)
    }

    /// Returns whether a file is here and this supplier may have it without bringing it.
    pub(crate) fn satisfies(&self, file: &ManifestFile, supplier: &Supplier) -> bool {
        self.blobs
            .get(&file.digest)
            .is_some_and(|blob| blob.size == file.size && satisfies(&file.digest, &blob.suppliers, supplier))
    }

    /// Decides what to do with verified bytes.
    pub(crate) fn placement(&self, digest: &Digest, size: u64, supplier: &Supplier) -> Placement {
        let Some(blob) = self.blobs.get(digest) else { return Placement::Put };
        let from_trusted = blob.suppliers.iter().any(|known| known.standing == HubStanding::Trusted);
        if blob.size != size {
            return Placement::Replace;
        }
        match (digest, supplier.standing) {
            (Digest::GitSha1(_), HubStanding::Trusted) if !from_trusted => Placement::Replace,
            (Digest::GitSha1(_) | Digest::Sha256(_), HubStanding::Trusted | HubStanding::Untrusted) => {
                Placement::Keep
            }
        }
    }

    pub(crate) fn model(&self, key: &ModelKey) -> Option<&Arc<StoredModel>> {
        self.models.get(key)
    }

    pub(crate) fn models(&self) -> impl Iterator<Item = &Arc<StoredModel>> {
        self.models.values()
    }

    pub(crate) fn insert_model(&mut self, model: Arc<StoredModel>) {
        self.models.insert(model.manifest.key().clone(), model);
    }

    pub(crate) fn remove_model(&mut self, key: &ModelKey) {
        self.models.remove(key);
    }

    /// Returns the first file of a manifest that is not here at its size, whoever may have it.
    pub(crate) fn first_absent<'a>(&self, manifest: &'a Manifest) -> Option<&'a ManifestFile> {
        let is_here =
            |file: &&ManifestFile| self.blobs.get(&file.digest).is_some_and(|blob| blob.size == file.size);
        manifest.files().iter().find(|file| !is_here(file))
    }

    /// Returns the digests of a model that no other model names.
    pub(crate) fn only_named_by(&self, model: &StoredModel) -> BTreeSet<Digest> {
        let mut digests: BTreeSet<Digest> = model.manifest.files().iter().map(|file| file.digest).collect();
        for other in self.models.values().filter(|other| other.manifest.key() != model.manifest.key()) {
            for file in other.manifest.files() {
                digests.remove(&file.digest);
            }
        }
        digests
    }

    pub(crate) fn insert_partial(&mut self, key: FlightKey, progress: Arc<PartialProgress>) {
        self.partials.insert(key, progress);
    }

    pub(crate) fn remove_partial(&mut self, key: &FlightKey) {
        self.partials.remove(key);
    }

    /// Returns what a supplier would have to bring, net of extents that are here.
    pub(crate) fn missing(&self, manifest: &Manifest, supplier: &Supplier) -> Missing {
        let owner = PartialOwner::of(supplier);
        let mut seen = BTreeSet::new();
        let mut missing = Missing::default();
        for file in manifest.files() {
            if self.satisfies(file, supplier) || !seen.insert(file.digest) {
                continue;
            }
            let partial = self.partials.get(&(owner.clone(), file.digest));
            let present = partial.map_or(0, |progress| progress.present.load(Ordering::Relaxed));
            missing.bytes += ByteSize(file.size.saturating_sub(present));
            missing.files.push(file.clone());
        }
        missing
    }

    pub(crate) fn blob_bytes(&self) -> ByteSize {
        self.blobs.values().map(|blob| ByteSize(blob.size)).sum()
    }

    /// Returns the bytes of blobs that no model names.
    pub(crate) fn unreferenced_bytes(&self) -> ByteSize {
        let named: BTreeSet<Digest> =
            self.models.values().flat_map(|model| model.manifest.files()).map(|file| file.digest).collect();
        let unnamed = self.blobs.iter().filter(|(digest, _)| !named.contains(digest));
        unnamed.map(|(_, blob)| ByteSize(blob.size)).sum()
    }

    pub(crate) fn partial_bytes(&self) -> ByteSize {
        self.partials.values().map(|progress| ByteSize(progress.reserved)).sum()
    }
}
