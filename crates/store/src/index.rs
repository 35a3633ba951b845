//! What is here, in memory. Rebuilt from the disk at every open, so there is no file that could disagree. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use base::{ByteSize, Timestamp};
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
    /// Models on record that lack a blob.
    damaged: BTreeMap<ModelKey, Arc<StoredModel>>,
    partials: HashMap<FlightKey, Arc<PartialProgress>>,
    /// Blobs that were moved aside, with their lengths.
    quarantined: BTreeMap<Digest, u64>,
}

/// Whether a model on record can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wholeness {
    Whole,
    Damaged,
}

/// What is known of a blob beside its length, for whoever looks at the blobs one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NamedBlob {
    pub(crate) size: u64,
    /// When the youngest model that names it became whole; `None` when no model names it.
    pub(crate) named_since: Option<Timestamp>,
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

    /// Returns the models on record that lack a blob.
    pub(crate) fn damaged(&self) -> impl Iterator<Item = &Arc<StoredModel>> {
        self.damaged.values()
    }

    /// Returns every model on record, and whether it can be used.
    pub(crate) fn recorded(&self) -> impl Iterator<Item = (&Arc<StoredModel>, Wholeness)> {
        let whole = self.models.values().map(|model| (model, Wholeness::Whole));
        whole.chain(self.damaged.values().map(|model| (model, Wholeness::Damaged)))
    }

    /// Returns a model on record, and whether it can be used.
    pub(crate) fn record(&self, key: &ModelKey) -> Option<(&Arc<StoredModel>, Wholeness)> {
        let damaged = || self.damaged.get(key).map(|model| (model, Wholeness::Damaged));
        self.models.get(key).map(|model| (model, Wholeness::Whole)).or_else(damaged)
    }

    /// Takes a model on record: as whole when all its blobs are here, else as damaged.
    pub(crate) fn insert_model(&mut self, model: Arc<StoredModel>) {
        let key = model.manifest.key().clone();
        self.remove_model(&key);
        let models = match self.first_absent(&model.manifest) {
            None => &mut self.models,
            Some(_) => &mut self.damaged,
        };
        models.insert(key, model);
    }

    pub(crate) fn remove_model(&mut self, key: &ModelKey) {
        self.models.remove(key);
        self.damaged.remove(key);
    }

    /// Counts as whole what was damaged and has all its blobs again. Returns those models.
    pub(crate) fn mend(&mut self) -> Vec<ModelKey> {
        let whole: Vec<_> = self
            .damaged
            .values()
            .filter(|model| self.first_absent(&model.manifest).is_none())
            .cloned()
            .collect();
        let keys = whole.iter().map(|model| model.manifest.key().clone()).collect();
        whole.into_iter().for_each(|model| self.insert_model(model));
        keys
    }

    /// Returns the models on record that name a blob.
    pub(crate) fn naming(&self, digest: &Digest) -> Vec<ModelKey> {
        let names =
            |model: &Arc<StoredModel>| model.manifest.files().iter().any(|file| file.digest == *digest);
        let naming = self.recorded().filter(|(model, _)| names(model));
        naming.map(|(model, _)| model.manifest.key().clone()).collect()
    }

    /// Takes a blob out, and counts the models that name it as damaged. Returns these.
    pub(crate) fn lose_blob(&mut self, digest: &Digest) -> Vec<ModelKey> {
        self.blobs.remove(digest);
        let keys = self.naming(digest);
        let damaged: Vec<_> = keys.iter().filter_map(|key| self.models.remove(key)).collect();
        self.damaged.extend(damaged.into_iter().map(|model| (model.manifest.key().clone(), model)));
        keys
    }

    pub(crate) fn insert_quarantined(&mut self, digest: Digest, size: u64) {
        self.quarantined.insert(digest, size);
    }

    pub(crate) fn remove_quarantined(&mut self, digest: &Digest) {
        self.quarantined.remove(digest);
    }

    /// Returns the blobs that were moved aside.
    pub(crate) fn quarantined(&self) -> impl Iterator<Item = &Digest> {
        self.quarantined.keys()
    }

    pub(crate) fn quarantined_bytes(&self) -> ByteSize {
        self.quarantined.values().map(|size| ByteSize(*size)).sum()
    }

    /// Returns every blob by what names it.
    pub(crate) fn named_blobs(&self) -> HashMap<Digest, NamedBlob> {
        let blobs = self.blobs.iter();
        let mut named: HashMap<Digest, NamedBlob> =
            blobs.map(|(digest, blob)| (*digest, NamedBlob { size: blob.size, named_since: None })).collect();
        for (model, _) in self.recorded() {
            for file in model.manifest.files() {
                if let Some(blob) = named.get_mut(&file.digest) {
                    blob.named_since = blob.named_since.max(Some(model.published_at));
                }
            }
        }
        named
    }

    /// Returns how many models name each blob.
    pub(crate) fn name_counts(&self) -> HashMap<Digest, usize> {
        let mut counts = HashMap::new();
        for (model, _) in self.recorded() {
            let digests: BTreeSet<Digest> = model.manifest.files().iter().map(|file| file.digest).collect();
            digests.into_iter().for_each(|digest| *counts.entry(digest).or_default() += 1);
        }
        counts
    }

    /// Returns the blobs that no model names.
    pub(crate) fn unnamed(&self) -> BTreeMap<Digest, u64> {
        let unnamed = self.named_blobs().into_iter().filter(|(_, blob)| blob.named_since.is_none());
        unnamed.map(|(digest, blob)| (digest, blob.size)).collect()
    }

    /// Returns the partial files with the room that each has reserved.
    pub(crate) fn partials(&self) -> impl Iterator<Item = (&FlightKey, u64)> {
        self.partials.iter().map(|(key, progress)| (key, progress.reserved))
    }

    /// Returns the files that a supplier would have to bring and for which the disk has no room reserved yet.
    pub(crate) fn unreserved(&self, manifest: &Manifest, supplier: &Supplier) -> HashMap<FlightKey, u64> {
        let owner = PartialOwner::of(supplier);
        let wanted = manifest.files().iter().filter(|file| !self.satisfies(file, supplier));
        let keyed = wanted.map(|file| ((owner.clone(), file.digest), file.size));
        keyed.filter(|(key, _)| !self.partials.contains_key(key)).collect()
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
        for (other, _) in self.recorded().filter(|(other, _)| other.manifest.key() != model.manifest.key()) {
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
        self.unnamed().into_values().map(ByteSize).sum()
    }

    pub(crate) fn partial_bytes(&self) -> ByteSize {
        self.partials.values().map(|progress| ByteSize(progress.reserved)).sum()
    }
}
