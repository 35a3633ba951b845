//! Files that are verified and wait, under names of their own, for one round of syncs that publishes them all.

use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
};

use base::Access;
use types::{Digest, ManifestFile};

use crate::{
    DiskTrouble, Supplier,
    publish::{SINGLE_SYNCS_MAX, Verified},
    store::Inner,
};

/// A batch's syncs cost about 50 ms here for any number of files; the folder of a batch stays small.
const FILES_MAX: usize = 1024;
/// What a crash makes a next import hash again: two seconds' worth.
const BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Verified files that are no blobs yet.
#[derive(Debug, Default)]
pub(super) struct Batch {
    folder: Option<PathBuf>,
    next: u64,
    files: Vec<Verified>,
    bytes: u64,
    digests: HashSet<Digest>,
    linked: BTreeSet<Digest>,
}

impl Batch {
    /// Returns a free name for one more file.
    pub(super) fn name(&mut self, store: &Inner) -> Result<PathBuf, DiskTrouble> {
        let folder = match &self.folder {
            Some(folder) => folder,
            None => {
                let folder = store.scratch(&store.layout.building());
                let made = store.disk.make_folder(&folder);
                made.map_err(|error| DiskTrouble::new("making", &folder, error))?;
                self.folder.insert(folder)
            }
        };
        self.next += 1;
        Ok(folder.join(self.next.to_string()))
    }

    /// Takes a file that is verified and read-only under this name.
    pub(super) fn put(&mut self, file: &ManifestFile, path: PathBuf) {
        self.digests.insert(file.digest);
        self.bytes += file.size;
        self.files.push(Verified { digest: file.digest, size: file.size, path });
    }

    /// Takes a file that has other names outside of the store.
    pub(super) fn put_linked(&mut self, file: &ManifestFile, path: PathBuf) {
        self.linked.insert(file.digest);
        self.put(file, path);
    }

    pub(super) fn contains(&self, digest: &Digest) -> bool {
        self.digests.contains(digest)
    }

    pub(super) const fn is_full(&self) -> bool {
        self.files.len() >= FILES_MAX || self.bytes >= BYTES_MAX
    }

    /// Publishes everything and begins anew.
    pub(super) fn publish(&mut self, store: &Inner, supplier: &Supplier) -> Result<(), DiskTrouble> {
        let batch = std::mem::take(self);
        let Some(folder) = batch.folder else { return Ok(()) };
        let published = sync(store, &folder, &batch.files).and_then(|()| {
            // Before the names: a linked blob is never taken for one of the store's own.
            let is_new = |digest: &&Digest| store.index().blob(digest).is_none();
            store.mark_linked(&batch.linked.iter().filter(is_new).copied().collect())?;
            store.publish_all(&batch.files, supplier)
        });
        discard(store, &folder);
        published
    }

    /// Gives everything up.
    pub(super) fn discard(&mut self, store: &Inner) {
        if let Some(folder) = std::mem::take(self).folder {
            discard(store, &folder);
        }
    }
}

/// Makes the bytes of the files durable.
fn sync(store: &Inner, folder: &Path, files: &[Verified]) -> Result<(), DiskTrouble> {
    if files.len() > SINGLE_SYNCS_MAX {
        let synced = store.disk.sync_file_system(folder);
        return synced.map_err(|error| DiskTrouble::new("syncing", folder, error));
    }
    for file in files {
        let synced = store.disk.open(&file.path, Access::Read).and_then(|open| open.sync());
        synced.map_err(|error| DiskTrouble::new("syncing", &file.path, error))?;
    }
    Ok(())
}

fn discard(store: &Inner, folder: &Path) {
    if let Err(error) = store.disk.remove_tree(folder) {
        tracing::warn!(folder = %folder.display(), %error, "a batch's folder stays until the next open");
    }
}
