//! Publishing: from verified bytes to a blob that everyone may see.
//!
//! One publication, removal or model record at a time: whoever holds the publication lock alone adds to `blobs/` and
//! takes from it, so that a removal never unlinks what another just put. Data is synced before the lock is taken.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use base::{Access, ByteSize};
use bytes::Bytes;
use types::{Digest, ManifestFile};

use crate::{
    ContentMismatch, DiskTrouble, PublishSmallError, Supplier,
    hash::digest_like,
    index::Placement,
    layout::first_byte,
    partial::remove_if_there,
    store::{Inner, Publication},
    suppliers::SupplierLine,
};

/// Up to so many files or folders are synced one by one, more by one sync of the file system. One costs 0.3 to 0.5 ms
/// here, the other 3 to 50 ms (DESIGN.md, "Write order"), and it also waits for what others wrote.
pub(crate) const SINGLE_SYNCS_MAX: usize = 16;

/// A blob that is here, verified and durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedBlob {
    /// Its digest.
    pub digest: Digest,
    /// Its length.
    pub size: ByteSize,
}

/// What became of a batch of small files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SmallBatch {
    /// The blobs that are here now, each once.
    pub published: Vec<PublishedBlob>,
    /// The files whose bytes were wrong; nothing of them was kept.
    pub mismatches: Vec<ContentMismatch>,
}

/// Verified bytes that wait under another name.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) path: PathBuf,
}

impl Inner {
    /// Publishes one file that was verified, made read-only and synced.
    pub(crate) fn publish_verified(
        &self,
        file: &ManifestFile,
        supplier: &Supplier,
        path: &Path,
    ) -> Result<PublishedBlob, DiskTrouble> {
        let verified = Verified { digest: file.digest, size: file.size, path: path.to_owned() };
        self.publish_all(&[verified], supplier)?;
        Ok(PublishedBlob { digest: file.digest, size: ByteSize(file.size) })
    }

    /// Checks and publishes files that are whole in memory.
    pub(crate) fn publish_small(
        &self,
        files: Vec<(ManifestFile, Bytes)>,
        supplier: &Supplier,
    ) -> Result<SmallBatch, PublishSmallError> {
        let (right, mismatches) = self.sort_by_digest(files);
        let folder = self.scratch(&self.layout.building());
        let outcome = self.write_batch(&right, &folder).and_then(|verified| {
            self.publish_all(&verified, supplier)?;
            Ok(verified)
        });
        if let Err(error) = self.disk.remove_tree(&folder) {
            tracing::warn!(folder = %folder.display(), %error, "a batch's folder stays until the next open");
        }
        let published = outcome?
            .iter()
            .map(|verified| PublishedBlob { digest: verified.digest, size: ByteSize(verified.size) })
            .collect();
        Ok(SmallBatch { published, mismatches })
    }

    /// Parts the files whose bytes are right, each digest once, from those that are not.
    fn sort_by_digest(
        &self,
        files: Vec<(ManifestFile, Bytes)>,
    ) -> (BTreeMap<Digest, Bytes>, Vec<ContentMismatch>) {
        let mut right = BTreeMap::new();
        let mut mismatches = Vec::new();
        for (file, bytes) in files {
            let len = bytes.len() as u64;
            let actual = digest_like(&file.digest, &bytes);
            if actual == file.digest && len == file.size {
                right.insert(file.digest, bytes);
            } else {
                self.counters.add_mismatch(len);
                mismatches.push(ContentMismatch {
                    path: file.path,
                    expected: file.digest,
                    actual,
                    discarded: ByteSize(len),
                });
            }
        }
        (right, mismatches)
    }

    fn write_batch(
        &self,
        files: &BTreeMap<Digest, Bytes>,
        folder: &Path,
    ) -> Result<Vec<Verified>, DiskTrouble> {
        let disk = &self.disk;
        disk.make_folder(folder).map_err(|error| DiskTrouble::new("making", folder, error))?;
        let mut verified = Vec::with_capacity(files.len());
        for (digest, bytes) in files {
            let path = folder.join(digest.to_string());
            let failed = |error| DiskTrouble::new("writing", &path, error);
            let file = disk.open(&path, Access::CreateNew).map_err(failed)?;
            file.write_all_at(bytes, 0).map_err(failed)?;
            disk.chmod(&path, 0o444).map_err(failed)?;
            if files.len() <= SINGLE_SYNCS_MAX {
                file.sync().map_err(failed)?;
            }
            verified.push(Verified { digest: *digest, size: bytes.len() as u64, path });
        }
        if files.len() > SINGLE_SYNCS_MAX {
            disk.sync_file_system(folder).map_err(|error| DiskTrouble::new("syncing", folder, error))?;
        }
        Ok(verified)
    }

    /// Gives synced files their names as blobs, makes those durable, and announces them.
    ///
    /// Who brought them is on record before they are here: that is true in any case, and a disk that has no room for
    /// the line then says so while the partial file still stands. What did get its name is announced even when
    /// something failed after that: it is verified, and a model's record makes its name durable once more.
    pub(crate) fn publish_all(&self, files: &[Verified], supplier: &Supplier) -> Result<(), DiskTrouble> {
        let mut publication = self.publication();
        let files: Vec<(&Verified, Placement)> = {
            let index = self.index();
            files.iter().map(|file| (file, index.placement(&file.digest, file.size, supplier))).collect()
        };
        let lines = files.iter().filter_map(|(file, placement)| self.line_before(file, *placement, supplier));
        self.record_suppliers(&mut publication, &lines.collect::<Vec<_>>())?;
        for (file, _) in files.iter().filter(|(_, placement)| *placement == Placement::Replace) {
            // In step with the log, also when the rename fails.
            self.index().forget_suppliers(&file.digest);
        }
        let mut placed = Vec::with_capacity(files.len());
        let named = files.into_iter().try_for_each(|(file, placement)| {
            self.place(file, placement)?;
            placed.push((file, placement));
            Ok(())
        });
        let kept_durable = |file: &Verified, placement| {
            placement == Placement::Keep && publication.synced_fans.contains(&first_byte(&file.digest))
        };
        let unsynced = placed.iter().filter(|(file, placement)| !kept_durable(file, *placement));
        let fans = unsynced.map(|(file, _)| first_byte(&file.digest)).collect();
        let synced = self.sync_fans(&mut publication, &fans);
        let replaced = placed.iter().filter(|(_, placement)| *placement == Placement::Replace);
        let lines: Vec<_> = replaced.map(|(file, _)| brought(file, supplier)).collect();
        let recorded = self.record_suppliers(&mut publication, &lines);
        for (file, placement) in placed {
            let is_known = recorded.is_ok() || placement != Placement::Replace;
            self.announce(file, placement, is_known.then_some(supplier));
        }
        named.and(synced).and(recorded)
    }

    /// Returns what is to be on record before a file gets its name. Bytes that replace others are first nobody's:
    /// else those that still stand could pass for the new ones.
    fn line_before(
        &self,
        file: &Verified,
        placement: Placement,
        supplier: &Supplier,
    ) -> Option<SupplierLine> {
        let is_known =
            || self.index().blob(&file.digest).is_some_and(|blob| blob.suppliers.contains(supplier));
        match placement {
            Placement::Put => Some(brought(file, supplier)),
            Placement::Keep => (!is_known()).then(|| brought(file, supplier)),
            Placement::Replace => Some(SupplierLine::Gone { blob: file.digest }),
        }
    }

    fn record_suppliers(
        &self,
        publication: &mut Publication,
        lines: &[SupplierLine],
    ) -> Result<(), DiskTrouble> {
        let appended = publication.suppliers.append(lines);
        appended.map_err(|error| DiskTrouble::new("writing", self.layout.suppliers(), error))
    }

    fn place(&self, file: &Verified, placement: Placement) -> Result<(), DiskTrouble> {
        match placement {
            Placement::Put | Placement::Replace => {
                let name = self.layout.blob(&file.digest);
                let renamed = self.disk.rename(&file.path, &name);
                renamed.map_err(|error| DiskTrouble::new("publishing", name, error))
            }
            Placement::Keep => remove_if_there(&self.disk, &file.path),
        }
    }

    fn announce(&self, file: &Verified, placement: Placement, supplier: Option<&Supplier>) {
        let mut index = self.index();
        let mut suppliers = match placement {
            Placement::Keep => {
                index.blob(&file.digest).map(|blob| blob.suppliers.clone()).unwrap_or_default()
            }
            Placement::Put | Placement::Replace => {
                self.counters.add_published(file.size);
                BTreeSet::new()
            }
        };
        suppliers.extend(supplier.cloned());
        index.insert_blob(file.digest, file.size, suppliers);
    }

    /// Makes the names in these folders of blobs durable.
    pub(crate) fn sync_fans(
        &self,
        publication: &mut Publication,
        fans: &BTreeSet<u8>,
    ) -> Result<(), DiskTrouble> {
        // Should it fail, the next one who relies on them tries again.
        publication.synced_fans.retain(|fan| !fans.contains(fan));
        if fans.len() > SINGLE_SYNCS_MAX {
            let blobs = self.layout.blobs();
            let synced = self.disk.sync_file_system(&blobs);
            synced.map_err(|error| DiskTrouble::new("syncing", blobs, error))?;
        } else {
            for fan in fans {
                let folder = self.layout.fan(*fan);
                let synced = self.disk.sync_folder(&folder);
                synced.map_err(|error| DiskTrouble::new("syncing", folder, error))?;
            }
        }
        publication.synced_fans.extend(fans);
        Ok(())
    }

    /// Makes a folder below one that is durable, and its name durable, once in this process: a process before it may
    /// have been killed in between.
    pub(crate) fn make_durable_folder(
        &self,
        publication: &mut Publication,
        folder: &Path,
    ) -> Result<(), DiskTrouble> {
        if publication.durable_folders.contains(folder) {
            return Ok(());
        }
        let parent = folder.parent().expect("folders of the store stand below its root");
        let made = self.disk.make_folder(folder).and_then(|()| self.disk.sync_folder(parent));
        made.map_err(|error| DiskTrouble::new("making", folder, error))?;
        publication.durable_folders.insert(folder.to_owned());
        Ok(())
    }

    /// Returns a name that nothing in this process has in a folder that is emptied at every open.
    pub(crate) fn scratch(&self, folder: &Path) -> PathBuf {
        folder.join(self.next_scratch.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

fn brought(file: &Verified, supplier: &Supplier) -> SupplierLine {
    SupplierLine::Brought { blob: file.digest, by: supplier.clone() }
}
