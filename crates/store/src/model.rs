//! Models that are whole: the durable record of each, its removal, its verification.

use std::{collections::BTreeSet, io, sync::Arc};

use base::{ByteSize, Timestamp, write_durably};
use serde::{Deserialize, Serialize};
use types::{Digest, Manifest, ModelKey, RepoPath};

use crate::{
    BlobsMissing, Departure, DepartureCause, DiskTrouble, ModelNotHere, ModelPinned, PublishModelError,
    RemoveModelError, Supplier, VerifyModelError,
    layout::first_byte,
    partial::remove_if_there,
    store::{Inner, Publication},
    suppliers::SupplierLine,
};

/// A record of 100,000 files, the most that a listing may have, takes about 30 MB.
pub(crate) const RECORD_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// The format of records that this version writes and reads.
const RECORD_FORMAT: u32 = 1;

/// A model whose files are all here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredModel {
    /// Its files.
    pub manifest: Manifest,
    /// When it became whole on this host.
    pub published_at: Timestamp,
}

/// What removing a model did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Blobs that no other model names and that are gone.
    pub blobs: u64,
    /// Bytes that the disk has free again.
    pub freed: ByteSize,
    /// Bytes of removed blobs that stay on the disk because views still hold them.
    pub held: ByteSize,
}

/// What was found of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileVerdict {
    /// Its bytes are what its digest says.
    Sound,
    /// Its bytes hash to something else.
    Damaged {
        /// What they hash to.
        actual: Digest,
    },
    /// It is not there.
    Missing,
    /// The disk would not give it.
    Unreadable {
        /// What the operating system said.
        reason: String,
    },
}

/// One file of a verified model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedFile {
    /// The file.
    pub path: RepoPath,
    /// What its bytes must hash to.
    pub digest: Digest,
    /// Its length.
    pub size: ByteSize,
    /// What was found.
    pub verdict: FileVerdict,
}

/// What re-reading every byte of a model found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// The model.
    pub key: ModelKey,
    /// Its files, sorted by path.
    pub files: Vec<VerifiedFile>,
}

impl VerifyReport {
    /// Returns whether every file is sound.
    pub fn is_sound(&self) -> bool {
        self.files.iter().all(|file| file.verdict == FileVerdict::Sound)
    }
}

/// A record as it stands on the disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format: u32,
    published_at: Timestamp,
    manifest: Manifest,
}

/// Reads a record. `None` when it is none of a format that we know.
pub(crate) fn decode_record(bytes: &[u8]) -> Option<StoredModel> {
    let record: Record = serde_json::from_slice(bytes).ok()?;
    (record.format == RECORD_FORMAT)
        .then_some(StoredModel { manifest: record.manifest, published_at: record.published_at })
}

fn encode_record(model: &StoredModel) -> Vec<u8> {
    let record =
        Record { format: RECORD_FORMAT, published_at: model.published_at, manifest: model.manifest.clone() };
    serde_json::to_vec(&record).expect("names, digests and numbers are always JSON")
}

impl Inner {
    pub(crate) fn publish_model(
        &self,
        manifest: &Manifest,
        supplier: &Supplier,
    ) -> Result<Arc<StoredModel>, PublishModelError> {
        let mut publication = self.publication();
        let (missing, known) = {
            let index = self.index();
            (index.missing(manifest, supplier), index.record(manifest.key()).map(|(model, _)| model.clone()))
        };
        if let Some(first) = missing.files.first() {
            return Err(BlobsMissing { count: missing.files.len(), first: first.path.clone() }.into());
        }
        self.sync_names_of(&mut publication, manifest)?;
        // A record that is known may have been written by a process that was killed before it was durable.
        let published_at = known.map_or_else(|| self.clock.now(), |known| known.published_at);
        let model = Arc::new(StoredModel { manifest: manifest.clone(), published_at });
        let folder = self.layout.model_folder(&manifest.key().repo);
        let hub = folder.parent().expect("a repository's folder stands in its hub's");
        self.make_durable_folder(&mut publication, hub)?;
        self.make_durable_folder(&mut publication, &folder)?;
        let path = self.layout.model(manifest.key());
        write_durably(&self.disk, &path, &encode_record(&model))
            .map_err(|error| DiskTrouble::new("writing", &path, error))?;
        // Before it is listed again: else a new lease could share a view of the damaged bytes.
        self.end_quarantine()?;
        if self.notes().is_new(manifest.key()) {
            let before = publication.history.last(manifest.key()).and_then(|entry| entry.uses.clone());
            self.notes().arrived(manifest.key(), before, self.clock.now());
        }
        let mut index = self.index();
        index.insert_model(Arc::clone(&model));
        index.mend();
        drop(index);
        Ok(model)
    }

    /// Makes durable the names of blobs that were found at open, once per folder.
    fn sync_names_of(&self, publication: &mut Publication, manifest: &Manifest) -> Result<(), DiskTrouble> {
        let fans: BTreeSet<u8> = manifest.files().iter().map(|file| first_byte(&file.digest)).collect();
        let unsynced = &fans - &publication.synced_fans;
        self.sync_fans(publication, &unsynced)
    }

    /// Removes a model, frees what no other one names, and notes in the history how it left.
    pub(crate) fn remove_model(
        &self,
        key: &ModelKey,
        cause: DepartureCause,
    ) -> Result<Removed, RemoveModelError> {
        let mut publication = self.publication();
        let (model, digests) = self.views.refuse_if_leased(key, || {
            if let Some(pin) = self.notes().get(key).pin {
                return Err(ModelPinned { key: key.clone(), pin }.into());
            }
            let mut index = self.index();
            let model = index.record(key).map(|(model, _)| model.clone());
            let model = model.ok_or_else(|| ModelNotHere { key: key.clone() })?;
            let digests = index.only_named_by(&model);
            // From here on no view can begin.
            index.remove_model(key);
            Ok::<_, RemoveModelError>((model, digests))
        })?;
        if let Err(trouble) = self.remove_record(key) {
            self.index().insert_model(model);
            return Err(trouble.into());
        }
        let notes = self.take_notes(key);
        let freed = self.free(&mut publication, &digests);
        let dropped = self.drop_quarantine();
        let removed = freed.as_ref().copied().unwrap_or_default();
        let departure = Departure {
            key: key.clone(),
            at: self.clock.now(),
            cause,
            bytes: model.manifest.bytes(),
            freed: removed.freed,
            held: removed.held,
            since: model.published_at,
            provenance: notes.provenance,
            uses: notes.uses,
        };
        if let Err(error) = publication.history.append(departure) {
            tracing::warn!(model = %key, %error, "that a model left is not on record");
        }
        dropped?;
        Ok(freed?)
    }

    fn remove_record(&self, key: &ModelKey) -> Result<(), DiskTrouble> {
        remove_if_there(&self.disk, &self.layout.model(key))?;
        let folder = self.layout.model_folder(&key.repo);
        self.disk.sync_folder(&folder).map_err(|error| DiskTrouble::new("syncing", folder, error))
    }

    /// Removes blobs that no model names. Bytes count as freed when their last name goes. One that can't be removed
    /// stays, as bytes that nobody names or brought, and does not keep the others.
    pub(crate) fn free(
        &self,
        publication: &mut Publication,
        digests: &BTreeSet<Digest>,
    ) -> Result<Removed, DiskTrouble> {
        let gone: Vec<_> = digests.iter().map(|digest| SupplierLine::Gone { blob: *digest }).collect();
        if let Err(error) = publication.suppliers.append(&gone) {
            tracing::warn!(%error, "the suppliers of removed blobs are still on record");
        }
        let mut removed = Removed::default();
        let mut fans = BTreeSet::new();
        let mut trouble = None;
        for digest in digests {
            let Some(blob) = self.index().remove_blob(digest) else { continue };
            match self.remove_blob_file(digest, &mut removed) {
                Ok(()) => {
                    fans.insert(first_byte(digest));
                }
                Err(error) => {
                    self.index().insert_blob(*digest, blob.size, BTreeSet::new());
                    trouble.get_or_insert(error);
                }
            }
        }
        self.sync_fans(publication, &fans)?;
        trouble.map_or(Ok(removed), Err)
    }

    fn remove_blob_file(&self, digest: &Digest, removed: &mut Removed) -> Result<(), DiskTrouble> {
        let path = self.layout.blob(digest);
        let meta = match self.disk.metadata(&path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(DiskTrouble::new("removing", path, error)),
        };
        remove_if_there(&self.disk, &path)?;
        removed.blobs += 1;
        if meta.links > 1 {
            removed.held += ByteSize(meta.allocated);
        } else {
            removed.freed += ByteSize(meta.allocated);
        }
        Ok(())
    }

    pub(crate) fn verify_model(&self, key: &ModelKey) -> Result<VerifyReport, VerifyModelError> {
        let model = self.index().record(key).map(|(model, _)| model.clone());
        let model = model.ok_or_else(|| ModelNotHere { key: key.clone() })?;
        let verdicts = self.verify_files(model.manifest.files().iter());
        let files = model.manifest.files().iter().map(|file| VerifiedFile {
            path: file.path.clone(),
            digest: file.digest,
            size: ByteSize(file.size),
            verdict: verdicts[&file.digest].clone(),
        });
        Ok(VerifyReport { key: key.clone(), files: files.collect() })
    }
}
