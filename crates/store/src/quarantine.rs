//! Damaged blobs: moved aside, brought again by an ordinary fetch, and put into the views that still show the old ones.
//!
//! ```text
//!          wrong twice                       fetched and recorded        views linked anew
//! (blob) ───────────────▶ quarantine/ ───────────────────────────▶ both ───────────────────▶ (blob)
//!                         its models are damaged: not listed, not leased
//! ```
//! What stands in `quarantine/` is the durable sign that a view may still link the old bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
};

use base::{Access, Disk, EntryKind};
use types::{Digest, ManifestFile, ModelKey};

use crate::{
    DiskTrouble, FileVerdict,
    hash::ContentHasher,
    index::Index,
    layout::{Layout, first_byte},
    partial::remove_if_there,
    store::{Inner, Publication},
    suppliers::SupplierLine,
};

/// Large enough that a disk reads ahead, small beside what an agent may take.
const VERIFY_BYTES: usize = 1024 * 1024;

/// What a second look at suspect blobs came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quarantined {
    /// Blobs that were wrong once more and were moved aside.
    pub blobs: Vec<Digest>,
    /// Blobs that are sound after all.
    pub sound: Vec<Digest>,
    /// Models that are damaged now, and can be repaired by a fetch.
    pub models: BTreeSet<ModelKey>,
}

/// Reads a blob and tells what was found.
pub(crate) fn verify_blob(disk: &Arc<dyn Disk>, path: &Path, expected: &Digest) -> FileVerdict {
    match hash_file(disk, path, expected) {
        Ok(actual) if actual == *expected => FileVerdict::Sound,
        Ok(actual) => FileVerdict::Damaged { actual },
        Err(error) if error.kind() == io::ErrorKind::NotFound => FileVerdict::Missing,
        Err(error) => FileVerdict::Unreadable { reason: error.to_string() },
    }
}

fn hash_file(disk: &Arc<dyn Disk>, path: &Path, expected: &Digest) -> io::Result<Digest> {
    let open = disk.open(path, Access::Read)?;
    let len = open.len()?;
    let mut hasher = ContentHasher::like(expected, len);
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

/// Takes what stands in quarantine into the index.
pub(crate) fn find(disk: &Arc<dyn Disk>, layout: &Layout, index: &mut Index) -> Result<(), DiskTrouble> {
    let folder = layout.quarantine();
    let entries = disk.list(&folder).map_err(|error| DiskTrouble::new("listing", &folder, error))?;
    for entry in entries {
        let path = folder.join(&entry.name);
        match entry.name.parse::<Digest>() {
            Ok(digest) if entry.kind == EntryKind::File => {
                let meta =
                    disk.metadata(&path).map_err(|error| DiskTrouble::new("looking at", &path, error))?;
                index.insert_quarantined(digest, meta.len);
            }
            Ok(_) | Err(_) => tracing::warn!(path = %path.display(), "a file that is not the store's"),
        }
    }
    Ok(())
}

impl Inner {
    /// Looks once more at suspect blobs, and moves aside those that are wrong again.
    pub(crate) fn quarantine(&self, suspects: &[Digest]) -> Result<Quarantined, DiskTrouble> {
        let mut outcome = Quarantined::default();
        for digest in suspects {
            if self.index().blob(digest).is_none() {
                continue;
            }
            // Read before the lock is taken: a large one takes minutes.
            match verify_blob(&self.disk, &self.layout.blob(digest), digest) {
                FileVerdict::Sound => {
                    self.note_verified(digest);
                    outcome.sound.push(*digest);
                }
                FileVerdict::Damaged { .. } | FileVerdict::Missing | FileVerdict::Unreadable { .. } => {
                    let mut publication = self.publication();
                    outcome.models.extend(self.move_aside(&mut publication, digest)?);
                    outcome.blobs.push(*digest);
                }
            }
        }
        Ok(outcome)
    }

    /// Moves a blob aside and counts its models as damaged, whatever the disk says to that: it is known to be wrong.
    fn move_aside(
        &self,
        publication: &mut Publication,
        digest: &Digest,
    ) -> Result<Vec<ModelKey>, DiskTrouble> {
        let size = self.index().blob(digest).map_or(0, |blob| blob.size);
        // Whoever brought the right bytes has nothing here any more.
        if let Err(error) = publication.suppliers.append(&[SupplierLine::Gone { blob: *digest }]) {
            tracing::warn!(%error, "the suppliers of a damaged blob are still on record");
        }
        let models = self.index().lose_blob(digest);
        tracing::warn!(blob = %digest, models = models.len(), "a blob is damaged and is moved aside");
        self.counters.add_quarantined();
        let (from, to) = (self.layout.blob(digest), self.layout.quarantined(digest));
        let moved = self.disk.rename(&from, &to);
        // Also when it did not move: the views are told once it is repaired.
        self.index().insert_quarantined(*digest, if moved.is_ok() { size } else { 0 });
        match moved {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(models),
            Err(error) => return Err(DiskTrouble::new("moving aside", from, error)),
        }
        let folder = self.layout.quarantine();
        self.disk.sync_folder(&folder).map_err(|error| DiskTrouble::new("syncing", &folder, error))?;
        self.sync_fans(publication, &BTreeSet::from([first_byte(digest)]))?;
        Ok(models)
    }

    /// Ends the quarantine of blobs that are here again: views that link the old bytes get the new ones, then the old
    /// ones go. Models that are whole by that are listed again.
    pub(crate) fn end_quarantine(&self) -> Result<(), DiskTrouble> {
        let back: Vec<(Digest, Vec<ModelKey>)> = {
            let index = self.index();
            let back = index.quarantined().filter(|digest| index.blob(digest).is_some());
            back.map(|digest| (*digest, index.naming(digest))).collect()
        };
        for (digest, models) in back {
            for key in &models {
                self.relink(key, &digest)?;
            }
            remove_if_there(&self.disk, &self.layout.quarantined(&digest))?;
            self.index().remove_quarantined(&digest);
            self.counters.add_repaired();
            tracing::info!(blob = %digest, models = models.len(), "a damaged blob is repaired");
        }
        Ok(())
    }

    /// Drops what stands in quarantine and is named by no model any more.
    pub(crate) fn drop_quarantine(&self) -> Result<(), DiskTrouble> {
        let unnamed: Vec<Digest> = {
            let index = self.index();
            index.quarantined().filter(|digest| index.naming(digest).is_empty()).copied().collect()
        };
        for digest in unnamed {
            remove_if_there(&self.disk, &self.layout.quarantined(&digest))?;
            self.index().remove_quarantined(&digest);
        }
        Ok(())
    }

    /// Gives the standing views of a model the blob that is here now. Files that workers have open stay as they are.
    fn relink(&self, key: &ModelKey, digest: &Digest) -> Result<(), DiskTrouble> {
        for view in self.views.standing(key) {
            let path = crate::view::blob_path(&self.layout.view(view), key, digest);
            if self.disk.metadata(&path).is_err() {
                continue;
            }
            let aside = self.scratch(&self.layout.building());
            let linked = self.disk.link(&self.layout.blob(digest), &aside);
            let renamed = linked.and_then(|()| self.disk.rename(&aside, &path));
            renamed.map_err(|error| DiskTrouble::new("repairing", &path, error))?;
            // A rename between two names of one file does nothing (rename(2)).
            remove_if_there(&self.disk, &aside)?;
        }
        Ok(())
    }

    /// Verifies the blobs of files, each digest once.
    pub(crate) fn verify_files<'a>(
        &self,
        files: impl Iterator<Item = &'a ManifestFile>,
    ) -> BTreeMap<Digest, FileVerdict> {
        let mut verdicts = BTreeMap::new();
        for file in files {
            verdicts.entry(file.digest).or_insert_with(|| {
                let verdict = verify_blob(&self.disk, &self.layout.blob(&file.digest), &file.digest);
                if verdict == FileVerdict::Sound {
                    self.note_verified(&file.digest);
                }
                verdict
            });
        }
        verdicts
    }
}
