//! Models that are whole: the durable record of each, its removal, its verification.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
};

use base::{Access, ByteSize, Disk, Timestamp, write_durably};
use serde::{Deserialize, Serialize};
use types::{Digest, Manifest, ManifestFile, ModelKey, RepoPath};

use crate::{
    BlobsMissing, DiskTrouble, ModelNotHere, PublishModelError, RemoveModelError, Supplier, VerifyModelError,
    hash::ContentHasher,
    layout::first_byte,
    partial::remove_if_there,
    store::{Inner, Publication},
    suppliers::SupplierLine,
};

/// A record of 100,000 files, the most that a listing may have, takes about 30 MB.
pub(crate) const RECORD_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// The format of records that this version writes and reads.
const RECORD_FORMAT: u32 = 1;
/// Large enough that a disk reads ahead, small beside what an agent may take.
const VERIFY_BYTES: usize = 1024 * 1024;

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
            (index.missing(manifest, supplier), index.model(manifest.key()).cloned())
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
        self.index().insert_model(Arc::clone(&model));
        Ok(model)
    }

    /// Makes durable the names of blobs that were found at open, once per folder.
    fn sync_names_of(&self, publication: &mut Publication, manifest: &Manifest) -> Result<(), DiskTrouble> {
        let fans: BTreeSet<u8> = manifest.files().iter().map(|file| first_byte(&file.digest)).collect();
        let unsynced = &fans - &publication.synced_fans;
        self.sync_fans(publication, &unsynced)
    }

    pub(crate) fn remove_model(&self, key: &ModelKey) -> Result<Removed, RemoveModelError> {
        let mut publication = self.publication();
        let (model, digests) = self.views.refuse_if_leased(key, || {
            let mut index = self.index();
            let model = index.model(key).cloned().ok_or_else(|| ModelNotHere { key: key.clone() })?;
            let digests = index.only_named_by(&model);
            // From here on no view can begin.
            index.remove_model(key);
            Ok::<_, RemoveModelError>((model, digests))
        })?;
        if let Err(trouble) = self.remove_record(key) {
            self.index().insert_model(model);
            return Err(trouble.into());
        }
        Ok(self.free(&mut publication, &digests)?)
    }

    fn remove_record(&self, key: &ModelKey) -> Result<(), DiskTrouble> {
        remove_if_there(&self.disk, &self.layout.model(key))?;
        let folder = self.layout.model_folder(&key.repo);
        self.disk.sync_folder(&folder).map_err(|error| DiskTrouble::new("syncing", folder, error))
    }

    /// Removes blobs that no model names. Bytes count as freed when their last name goes. One that can't be removed
    /// stays, as bytes that nobody names or brought, and does not keep the others.
    fn free(
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
        let model = self.index().model(key).cloned().ok_or_else(|| ModelNotHere { key: key.clone() })?;
        let mut verdicts: BTreeMap<Digest, FileVerdict> = BTreeMap::new();
        let files = model.manifest.files().iter().map(|file| {
            let verdict = verdicts
                .entry(file.digest)
                .or_insert_with(|| verify_blob(&self.disk, &self.layout.blob(&file.digest), file))
                .clone();
            VerifiedFile { path: file.path.clone(), digest: file.digest, size: ByteSize(file.size), verdict }
        });
        Ok(VerifyReport { key: key.clone(), files: files.collect() })
    }
}

fn verify_blob(disk: &Arc<dyn Disk>, path: &Path, file: &ManifestFile) -> FileVerdict {
    match hash_file(disk, path, file) {
        Ok(actual) if actual == file.digest => FileVerdict::Sound,
        Ok(actual) => FileVerdict::Damaged { actual },
        Err(error) if error.kind() == io::ErrorKind::NotFound => FileVerdict::Missing,
        Err(error) => FileVerdict::Unreadable { reason: error.to_string() },
    }
}

fn hash_file(disk: &Arc<dyn Disk>, path: &Path, file: &ManifestFile) -> io::Result<Digest> {
    let open = disk.open(path, Access::Read)?;
    let len = open.len()?;
    let mut hasher = ContentHasher::like(&file.digest, len);
    // At least one byte, or a read could not tell the end.
    let mut buffer = vec![0; usize::try_from(len).unwrap_or(usize::MAX).clamp(1, VERIFY_BYTES)];
    let mut offset = 0;
    loop {
        match open.read_at(&mut buffer, offset)? {
            0 => return Ok(hasher.finish()),
            read => {
                hasher.update(&buffer[..read]);
                offset += read as u64;
            }
        }
    }
}
